//! Wiring: the services that the parts of the module share.

use omnistack_core::{
    audit::AuditLog,
    clock::Clock,
    config::{Config, PublicUrl},
    crypto::KeyRing,
    db::Db,
    http::{HttpSettings, Rate, RateLimiter, client::SettingsClient},
    metrics::AUTH_EVENTS,
    module::{Context, MissingDependency},
};
use omnistack_messaging::email::template::{Brand, Templates};

use crate::{
    account::{self, Accounts, SecondFactors},
    api_key::authenticate::ApiKeyAuthenticator,
    federation::{
        issuer::{ValidatedIssuer, verify::Issuers, webhook::IdentityProviderWebhooks},
        linking::AccountLinker,
        provisioning::UserProvisioner,
    },
    identity_cache::{CacheInvalidator, IdentityCache},
    lockout::Lockout,
    mail::AccountMailer,
    mfa::TotpService,
    one_time_tokens::OneTimeTokens,
    password::{BreachedPasswordCheck, Passwords},
    request::{authenticator::TokenAuthenticator, tenant_selection::TenantDomain},
    session::{Sessions, access_token::AccessTokens, cookies::SessionCookies, signing::SigningKeys},
    settings::{AccountSettings, AuthSettings},
    users::Users,
};

/// The configuration of the built-in accounts.
#[derive(Clone)]
pub(crate) struct AccountConfig {
    pub(crate) settings: AccountSettings,
    pub(crate) product: String,
    pub(crate) passwords: Passwords,
    pub(crate) breaches: BreachedPasswordCheck,
    #[cfg(feature = "passkeys")]
    pub(crate) passkeys: Option<crate::passkey::RelyingParty>,
    /// Whether SMS codes are enabled.
    #[cfg(feature = "sms")]
    pub(crate) sms_codes: bool,
}

/// The services that the parts of the module share, created once at startup.
#[derive(Clone)]
pub(crate) struct Services {
    pub(crate) keys: SigningKeys,
    pub(crate) sessions: Sessions,
    pub(crate) authenticator: TokenAuthenticator,
    pub(crate) webhooks: IdentityProviderWebhooks,
    pub(crate) invalidator: CacheInvalidator,
    pub(crate) accounts: Accounts,
    pub(crate) linker: AccountLinker,
    pub(crate) passwords: Passwords,
    pub(crate) mailer: AccountMailer,
}

/// Returns the audit log, whose entries about accounts and teams are counted.
pub(crate) fn audit_log(ctx: &Context) -> Result<AuditLog, MissingDependency> {
    Ok(ctx.get::<AuditLog>()?.counted_by(&AUTH_EVENTS))
}

impl Services {
    pub(crate) fn new(
        ctx: &Context,
        settings: &AuthSettings,
        issuers: &[ValidatedIssuer],
        parts: &AccountConfig,
    ) -> Result<Self, MissingDependency> {
        let (db, clock, ring): (Db, Clock, KeyRing) = (ctx.get()?, ctx.get()?, ctx.get()?);
        let public_url: PublicUrl = ctx.get()?;
        let audit = audit_log(ctx)?;
        // Memberships and permissions are in the main database, even if tenants have separate databases.
        let db = db.app_database();
        let known = IdentityCache::default();
        let rate = settings.api_key_rate_limit.0;
        let programs = ApiKeyAuthenticator::new(db.clone(), clock.clone(), rate, &ctx.get()?);
        let domain = TenantDomain::new(settings.tenant_domain.as_deref());
        let ended = CacheInvalidator::new(known.clone(), ctx.get()?);
        let keys = SigningKeys::new(db.clone(), ring.clone(), clock.clone());
        let access = AccessTokens::new(keys.clone(), clock.clone(), public_url.to_string(), settings.access_token);
        let users = Users::new(db.clone(), clock.clone(), audit.clone());
        let client = || ctx.get().map(|SettingsClient(client)| client);
        let verifiers = issuers.iter().cloned().map(|issuer| issuer.verifier(&clock, client));
        let issuers = Issuers::new(public_url.as_str(), verifiers.collect::<Result<_, _>>()?);
        let linker = AccountLinker {
            users: users.clone(),
            clock: clock.clone(),
            jobs: ctx.get()?,
            audit: audit.clone(),
            registration: parts.settings.registration,
        };
        let sync = UserProvisioner::new(db.clone(), clock.clone(), linker.clone(), audit.clone());
        let http = ctx.get::<Config>()?.read_settings::<HttpSettings>().ok();
        let browser =
            SessionCookies::new(public_url.as_str(), http.as_ref(), settings.access_token, settings.session_lifetime);
        let recognize = TokenAuthenticator {
            db: db.clone(),
            clock: clock.clone(),
            access: access.clone(),
            issuers: issuers.clone(),
            sync: sync.clone(),
            known,
            browser: browser.clone(),
            domain,
            keys: programs,
            audit: audit.clone(),
        };
        let codes = TotpService::new(db.clone(), clock.clone(), ring.clone());
        #[cfg(feature = "sms")]
        let texts = ctx.get().ok().filter(|_| parts.sms_codes).map(|outbox| crate::mfa::sms_codes::SmsCodes {
            db: db.clone(),
            clock: clock.clone(),
            ring: ring.clone(),
            outbox,
            product: parts.product.clone(),
            host: public_url.host().to_owned(),
        });
        let sessions = Sessions::new(db.clone(), clock.clone(), ring.clone(), access, ended.clone(), settings);
        let webhooks = IdentityProviderWebhooks::new(issuers, sync, sessions.clone());
        let one_time = OneTimeTokens::new(db.clone(), clock.clone());
        let mails = AccountMailer {
            mailer: ctx.get()?,
            db: db.clone(),
            one_time: one_time.clone(),
            ring: ring.clone(),
            clock: clock.clone(),
            outbox: None,
            has_built_in_accounts: false,
            templates: Templates::new(Brand::new(&parts.product)),
            public_url: public_url.to_string(),
            product: parts.product.clone(),
        };
        let accounts = Accounts::new(account::AccountsInner {
            users: users.clone(),
            sessions: sessions.clone(),
            passwords: parts.passwords.clone(),
            breach_check: parts.breaches.clone(),
            app_factors: ctx.get::<SecondFactors>().unwrap_or_default(),
            #[cfg(feature = "passkeys")]
            passkeys: parts.passkeys.clone(),
            totp: codes,
            #[cfg(feature = "sms")]
            sms_codes: texts,
            lockout: Lockout::new(db.clone(), clock.clone()),
            one_time,
            jobs: ctx.get()?,
            audit: audit.clone(),
            events: ctx.get()?,
            browser,
            failure_log_limit: RateLimiter::new(Rate::per_minute(60), clock.clone()),
            settings: parts.settings.clone(),
            product: parts.product.clone(),
            host: public_url.host().to_owned(),
            db,
            clock,
            ring,
        });
        let passwords = parts.passwords.clone();
        Ok(Self {
            keys,
            sessions,
            authenticator: recognize,
            webhooks,
            invalidator: ended,
            accounts,
            linker,
            passwords,
            mailer: mails,
        })
    }
}
