//! The module.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use omnistack_core::{
    app::{Audience, BoxError, Ctx, Module, Mount, Registry, Slot},
    audit::AuditApi,
    config::Environment,
    crypto::KeyRing,
    db::Db,
    email::MailSettings,
    http::{Rate, client::Client, layer::StepLayer},
    identity::Authenticator,
    jobs::Cron,
    migrations,
};
use secrecy::SecretString;

use crate::{
    account::{Accounts, FirstOwner},
    api_key::ApiKeys,
    config::{AccountSettings, AuthSettings, IssuerSettings, SocialSettings},
    cookie::VaryByCookie,
    http,
    invitation::{Invitations, Post, SendInvitation},
    issuer::{Checked, Issuer},
    mail::{AccountMail, Mails},
    operator::Operators,
    password::{Breaches, Hashing, PasswordCheck, Passwords},
    role,
    services::{AccountParts, Services},
    signing::SigningKeys,
    social::{self, Provider, Social},
    tenant::Tenants,
    upkeep::{TeamUpkeep, Upkeep},
    users::Users,
};
#[cfg(feature = "passkeys")]
use crate::{config::PasskeySettings, passkey::RelyingParty};

/// Accounts: who calls, for which tenant, and what they may do.
///
/// ```no_run
/// use omnistack_auth::Auth;
/// use omnistack_core::app::App;
///
/// # async fn run() -> omnistack_core::Result<()> {
/// App::from_env().with(Auth::accounts()).run().await
/// # }
/// ```
#[derive(Debug, Default)]
#[must_use]
pub struct Auth {
    built_in: bool,
    issuers: Vec<Issuer>,
    from_env: bool,
    breaches: Breaches,
    first_owner: FirstOwner,
    providers: Vec<Provider>,
}

impl Auth {
    /// Accounts built in.
    pub fn accounts() -> Self {
        Self { built_in: true, ..Self::default() }
    }

    /// What the settings say: the issuers of `AUTH_ISSUERS`, or accounts built in when there are none.
    pub fn from_env() -> Self {
        Self { from_env: true, ..Self::default() }
    }

    /// As of [`Issuer::jwks`].
    pub fn jwks(issuer: impl Into<String>) -> Self {
        Self::default().and(Issuer::jwks(issuer))
    }

    /// As of [`Issuer::hs256`].
    pub fn hs256(issuer: impl Into<String>, secret: impl Into<SecretString>) -> Self {
        Self::default().and(Issuer::hs256(issuer, secret))
    }

    /// As of [`Issuer::clerk`].
    pub fn clerk(frontend_api: impl Into<String>, origins: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::default().and(Issuer::clerk(frontend_api, origins))
    }

    /// As of [`Issuer::supabase`].
    pub fn supabase(project: impl Into<String>) -> Self {
        Self::default().and(Issuer::supabase(project))
    }

    /// As of [`Issuer::auth0`].
    pub fn auth0(domain: impl Into<String>, audience: impl Into<String>) -> Self {
        Self::default().and(Issuer::auth0(domain, audience))
    }

    /// As of [`Issuer::keycloak`].
    pub fn keycloak(realm: impl Into<String>, client: impl Into<String>) -> Self {
        Self::default().and(Issuer::keycloak(realm, client))
    }

    /// And the tokens of this issuer.
    pub fn and(mut self, issuer: Issuer) -> Self {
        self.issuers.push(issuer);
        self
    }

    /// And lets users of the app's own accounts sign in with this provider.
    pub fn sign_in_with(mut self, provider: Provider) -> Self {
        self.providers.push(provider);
        self
    }

    /// What verifies the tokens of other issuers; takes their webhooks.
    fn issuers(&self, registry: &mut Registry, own: &str) -> Vec<Checked> {
        let mut issuers = self.issuers.clone();
        if let Some(settings) = registry.config::<IssuerSettings>().filter(|_| self.from_env) {
            match settings.read() {
                Ok(more) => issuers.extend(more),
                Err(error) => _ = registry.problem(format!("`AUTH_ISSUERS`: {error}"), "write `clerk=https://…`"),
            }
        }
        let mut trusted: Vec<Checked> = Vec::new();
        for issuer in &issuers {
            match issuer.check(own) {
                Ok(checked) if trusted.iter().any(|other| other.name() == checked.name()) => {
                    let what = format!("trusts the issuer `{}` twice", checked.name());
                    registry.problem(what, "name each once, with all its audiences");
                }
                Ok(checked) => trusted.push(checked),
                Err((what, fix)) => _ = registry.problem(what, fix),
            }
        }
        if issuers.iter().any(Issuer::publishes) {
            registry.require::<Client>();
        }
        let mount = || Mount::public("/auth/webhooks").without_idempotency().body_limit(256 * 1024);
        for (path, api) in [("/clerk", http::webhook::clerk()), ("/supabase", http::webhook::supabase())] {
            if issuers.iter().any(|issuer| issuer.webhook_path() == Some(path)) {
                registry.routes(mount(), api, |ctx| Ok(ctx.get::<Services>()?.webhooks));
            }
        }
        trusted
    }

    /// Has new passwords looked up among breached ones.
    pub fn password_check(mut self, check: impl PasswordCheck) -> Self {
        self.breaches = Breaches(Some(Arc::new(check)));
        self
    }
}

/// Says that the app has accounts of its own.
#[derive(Clone, Copy)]
struct SignsInHere;

#[async_trait]
impl Module for Auth {
    fn name(&self) -> &'static str {
        "auth"
    }

    fn register(&self, registry: &mut Registry) {
        let Some(settings) = registry.config::<AuthSettings>() else { return };
        registry.require::<Db>().require::<KeyRing>().migrations(migrations![
            "0001_accounts",
            "0002_accounts",
            "0003_teams",
            "0005_api_keys",
            "0006_second_factors",
            "0007_passkeys"
        ]);
        let issuers = self.issuers(registry, settings.issuer());
        let Some(parts) = self.accounts_of(registry) else { return };
        #[cfg(feature = "passkeys")]
        let parts_have_passkeys = parts.passkeys.is_some();
        let built_in = self.built_in || (self.from_env && issuers.is_empty());
        let (grace, address) = (settings.tenant_delete_grace, settings.issuer().to_owned());
        let lifetimes = (settings.signing_key, settings.access_token);
        registry
            .provide_with(move |ctx| Services::new(ctx, &settings, &issuers, &parts))
            .provide_with(|ctx| Ok(ctx.get::<Services>()?.sessions))
            .provide_with(|ctx| Ok(ctx.get::<Services>()?.keys))
            .provide_with(|ctx| Ok(ctx.get::<Services>()?.accounts))
            .provide_with(|ctx| Ok(ctx.get::<Services>()?.passwords))
            .provide_with(|ctx| Ok(Users::new(ctx.get::<Db>()?.main(), ctx.get()?)))
            .provide_with(|ctx| Ok(Authenticator::new(ctx.get::<Services>()?.recognize)))
            .service("auth", |ctx| {
                let ended = ctx.get::<Services>()?.ended;
                Ok(move |shutdown| ended.clone().listen(shutdown))
            })
            .job::<Upkeep>(move |ctx| Ok((ctx.get()?, lifetimes)))
            .cron(Cron::new("17 * * * *", Upkeep {}))
            .routes(Mount::app("/users/me"), http::me::api(), |ctx| Ok((ctx.get()?, ctx.get()?)))
            .routes(Mount::app("/users/me").v2(), http::me::v2(), |ctx| Ok((ctx.get()?, ctx.get()?)));
        if built_in {
            self.sign_in_here(registry);
        }
        self.sign_in_elsewhere(registry, built_in);
        #[cfg(feature = "passkeys")]
        if built_in && parts_have_passkeys {
            passkeys(registry);
        }
        teams(registry, grace, address);
        operators(registry);
    }

    async fn start(&self, ctx: &Ctx) -> Result<(), BoxError> {
        ctx.get::<SigningKeys>()?.start().await?;
        if ctx.get::<SignsInHere>().is_ok() {
            ctx.get::<Accounts>()?.make_first_owner(ctx.get::<FirstOwner>().ok().as_ref()).await?;
        }
        Ok(())
    }
}

impl Auth {
    /// What only accounts of the app's own have: a way to sign in, sessions, credentials.
    fn sign_in_here(&self, registry: &mut Registry) {
        let address = registry.config::<AuthSettings>();
        if registry.environment().is_production() && address.is_some_and(|settings| !settings.is_public()) {
            registry.problem(
                "links in mails, access tokens and cookies need the address users reach the app at: `PUBLIC_URL`",
                "set it to that address, over TLS, e.g. PUBLIC_URL=https://app.example.com",
            );
        }
        if registry.environment() == Environment::Development {
            let owner = self.first_owner.clone();
            registry.provide(owner.clone()).banner("sign in as", move || owner.line());
        }
        registry
            .provide(SignsInHere)
            .layer(Slot::Identity, |_| Ok(StepLayer(VaryByCookie)))
            .job::<AccountMail>(|ctx| {
                let mails = ctx.get::<Services>()?.mails;
                Ok(Mails { outbox: ctx.get().ok(), ..mails })
            })
            .routes(Mount::root("/.well-known", Audience::Public), http::keys::api(), Ctx::get)
            .routes(Mount::public("/auth").without_idempotency(), http::login::api(), Ctx::get)
            .routes(Mount::public("/auth").without_idempotency(), http::account::api(), Ctx::get)
            .routes(Mount::public("/auth").without_idempotency(), http::factor::public(), Ctx::get)
            .routes(Mount::app("/auth/mfa").without_idempotency(), http::factor::app(), Ctx::get)
            .routes(Mount::app("/auth").without_idempotency(), http::credential::api(), Ctx::get)
            .routes(Mount::admin("/users").without_idempotency(), http::admin::factors::api(), Ctx::get)
            .routes(Mount::app("/auth/sessions"), http::session::app(), Ctx::get)
            .routes(Mount::app("/users/me").without_idempotency(), http::credential::me(), Ctx::get)
            .routes(Mount::app("/users/me").v2().without_idempotency(), http::credential::me_v2(), Ctx::get);
    }
}

impl Auth {
    /// Providers of the app's own accounts.
    fn sign_in_elsewhere(&self, registry: &mut Registry, built_in: bool) {
        let mut providers = self.providers.clone();
        if let Some(settings) = registry.config::<SocialSettings>().filter(|_| self.from_env) {
            match settings.read() {
                Ok(more) => providers.extend(more),
                Err(error) => _ = registry.problem(error, "set both, or neither"),
            }
        }
        if providers.is_empty() {
            return;
        }
        if !built_in {
            let what = "signs in with a provider, and has no accounts of its own";
            registry.problem(what, "begin with `Auth::accounts()`");
        }
        let mut checked: Vec<social::Checked> = Vec::new();
        for provider in &providers {
            match provider.check() {
                Ok(provider) if checked.iter().any(|other| other.name() == provider.name()) => {
                    let what = format!("signs in with two providers called `{}`", provider.name());
                    registry.problem(what, "give one another name: `.named(…)`");
                }
                Ok(provider) => checked.push(provider),
                Err((what, fix)) => _ = registry.problem(what, fix),
            }
        }
        let Some(public_url) = registry.config::<AuthSettings>().map(|settings| settings.issuer().to_owned()) else {
            return;
        };
        // Each way back may cost a request to the provider.
        let oauth = Mount::public("/auth/oauth").without_idempotency().rate_limit(Rate::per_minute(300));
        registry
            .require::<Client>()
            .provide_with(move |ctx| {
                let (accounts, url) = (ctx.get::<Services>()?.accounts, public_url.clone());
                Ok(Social::new(accounts, ctx.get()?, ctx.get()?, url, checked.clone(), &ctx.get()?))
            })
            .routes(oauth, http::social::api(), Ctx::get)
            .routes(Mount::app("/auth/identities").without_idempotency(), http::social::app(), Ctx::get);
    }

    fn accounts_of(&self, registry: &mut Registry) -> Option<AccountParts> {
        let settings: AccountSettings = registry.config()?;
        let product = registry.config::<MailSettings>()?.product;
        if registry.environment().is_production() && !settings.is_costly() {
            registry.problem(
                "password hashes cost less than they should: `AUTH_ARGON2_MEMORY` and `AUTH_ARGON2_PASSES`",
                "remove both, or set e.g. 19456 and 2, 47104 and 1, 12288 and 3",
            );
        }
        let cores = || std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let hashing = Hashing {
            memory: settings.argon2_memory,
            passes: settings.argon2_passes,
            lanes: settings.argon2_lanes,
            running: settings.hashing.unwrap_or_else(cores),
            waiting: settings.hashing_queue,
        };
        #[cfg(feature = "passkeys")]
        let passkeys = relying_party(registry, &product)?;
        match Passwords::new(hashing) {
            Ok(passwords) => Some(AccountParts {
                settings,
                product,
                passwords,
                breaches: self.breaches.clone(),
                #[cfg(feature = "passkeys")]
                passkeys,
            }),
            Err(error) => {
                registry
                    .problem(format!("Argon2 can't be computed so: {error}"), "remove the settings `AUTH_ARGON2_…`");
                None
            }
        }
    }
}

/// What the app is to devices; nothing inside where it has no domain, and nothing at all where the settings are wrong.
#[cfg(feature = "passkeys")]
fn relying_party(registry: &mut Registry, product: &str) -> Option<Option<RelyingParty>> {
    let (settings, auth): (PasskeySettings, AuthSettings) = (registry.config()?, registry.config()?);
    match RelyingParty::new(auth.issuer(), &settings, product) {
        Ok(party) => Some(party),
        Err((what, fix)) => {
            registry.problem(what, fix);
            None
        }
    }
}

/// Signing in without a password.
#[cfg(feature = "passkeys")]
fn passkeys(registry: &mut Registry) {
    // Whoever begins has a row kept for five minutes.
    let public = Mount::public("/auth/passkeys").without_idempotency().rate_limit(Rate::per_minute(300));
    registry
        .routes(public.body_limit(PASSKEY_BODY), http::passkey::public(), Ctx::get)
        .routes(
            Mount::public("/auth/mfa/passkey").without_idempotency().body_limit(PASSKEY_BODY),
            http::passkey::second_factor(),
            Ctx::get,
        )
        .routes(
            Mount::app("/auth/passkeys").without_idempotency().body_limit(PASSKEY_BODY),
            http::passkey::app(),
            |ctx| Ok((ctx.get()?, ctx.get().ok())),
        );
}

/// Largest body of what a device has signed; certificates of its maker are in it.
#[cfg(feature = "passkeys")]
const PASSKEY_BODY: u64 = 64 * 1024;

/// Tenants, teams, members, roles and invitations.
fn teams(registry: &mut Registry, grace: Duration, address: String) {
    // Mails to others: as many as a team of ordinary size needs at once.
    let mails = Rate::new(100, Duration::from_secs(60 * 60));
    registry
        .permissions(role::KNOWN)
        .provide_with(move |ctx| {
            let sessions = ctx.get::<Services>()?.sessions;
            Ok(Tenants::new(ctx.get::<Db>()?.main(), ctx.get()?, ctx.get()?, sessions, grace))
        })
        .provide_with(|ctx| Ok(ApiKeys::new(ctx.get()?)))
        .provide_with(|ctx| Ok(Invitations::new(ctx.get()?, ctx.get()?, ctx.get()?)))
        .job::<SendInvitation>(move |ctx| {
            Ok(Post { invitations: ctx.get()?, mailer: ctx.get()?, address: address.clone() })
        })
        .job::<TeamUpkeep>(|ctx| Ok((ctx.get()?, ctx.get()?, ctx.get()?)))
        .cron(Cron::new("27 * * * *", TeamUpkeep {}))
        .routes(Mount::app("/teams"), http::team::api(), Ctx::get)
        .routes(Mount::app("/teams"), http::team::activity(), |ctx| Ok((ctx.get()?, ctx.get()?)))
        .routes(Mount::app("/teams"), http::member::api(), Ctx::get)
        .routes(Mount::app("/teams"), http::role::api(), |ctx| Ok((ctx.get()?, ctx.get()?)))
        .routes(Mount::app("/teams"), http::invitation::api(), Ctx::get)
        .routes(Mount::app("/teams").rate_limit(mails), http::invitation::sending(), Ctx::get)
        .routes(Mount::app("/invitations"), http::invitation::accepting(), Ctx::get)
        .routes(Mount::app("/tenants"), http::tenant::api(), Ctx::get)
        .routes(Mount::app("/api-keys").permissions("api-keys").without_idempotency(), http::api_key::api(), |ctx| {
            Ok((ctx.get()?, ctx.get()?))
        });
}

/// Users, tenants and the audit log, for operators.
fn operators(registry: &mut Registry) {
    let logs = AuditApi::routes();
    registry
        .provide_with(|ctx| Ok(Operators::new(ctx.get()?)))
        .routes(Mount::admin("/users"), http::admin::users::api(), Ctx::get)
        .routes(Mount::admin("/tenants"), http::admin::tenants::api(), Ctx::get)
        .routes(Mount::admin("/impersonate").without_idempotency(), http::admin::impersonation::api(), Ctx::get)
        .routes(Mount::app("/impersonation"), http::admin::impersonation::stopping(), Ctx::get)
        .routes(Mount::admin("/audit-logs").no_timeout(), logs, Ctx::get);
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use omnistack_core::{app::App, config::Config};

    use super::*;
    use crate::{
        account::{SignedIn, Visitor},
        password::Password,
    };

    #[tokio::test]
    async fn the_password_that_is_printed_at_the_first_start_signs_in() {
        for auth in [Auth::accounts(), Auth::from_env()] {
            let (owner, config) = (auth.first_owner.clone(), Config::from_pairs([("DATABASE_URL", "sqlite::memory:")]));
            let cheap = [("AUTH_ARGON2_MEMORY", "64"), ("AUTH_ARGON2_PASSES", "1")];
            let app = cheap.iter().fold(App::builder(config), |app, (name, value)| app.set(*name, *value));
            let app = app.with(auth).build().unwrap();
            app.migrate().await.unwrap();
            assert_eq!(owner.line(), "");
            app.start().await.unwrap();
            let line = owner.line();
            let (email, rest) = line.split_once(", password ").unwrap();
            let password = Password::new(rest.split(' ').next().unwrap()).unwrap();
            let accounts: Accounts = app.ctx().get().unwrap();
            let done = accounts.sign_in(email, &password, &Visitor::default()).await.unwrap();
            assert!(matches!(done, SignedIn::Tokens(_)));
        }
    }

    #[tokio::test]
    async fn production_asks_for_the_address_users_reach_it_at() {
        for (environment, auth, address, good) in [
            ("production", Auth::accounts(), None, false),
            ("production", Auth::from_env(), None, false),
            ("production", Auth::accounts(), Some("http://app.example.com"), false),
            ("production", Auth::accounts(), Some("https://"), false),
            ("production", Auth::accounts(), Some("https://app.example.com"), true),
            // Whose users sign in elsewhere has no links to reset a password by, and no cookies.
            ("production", Auth::hs256("https://id.example.com", "s".repeat(32)), None, true),
            ("development", Auth::accounts(), None, true),
        ] {
            let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:"), ("APP_ENV", environment)]);
            let app = App::builder(config).with(auth);
            let app = address.into_iter().fold(app, |app, address| app.set("PUBLIC_URL", address));
            let problems = app.build().err().map(|problems| problems.to_string()).unwrap_or_default();
            assert_eq!(!problems.contains("`PUBLIC_URL`"), good, "{environment} {address:?}: {problems}");
            assert!(good || problems.contains("PUBLIC_URL=https://app.example.com"), "{problems}");
        }
    }

    #[test]
    fn production_asks_for_hashes_that_cost_enough() {
        for (memory, passes, enough) in
            [("19456", "2", true), ("19456", "1", false), ("47104", "1", true), ("7168", "5", true), ("64", "9", false)]
        {
            let config = Config::from_pairs([("AUTH_ARGON2_MEMORY", memory), ("AUTH_ARGON2_PASSES", passes)]);
            assert_eq!(config.section::<AccountSettings>().unwrap().is_costly(), enough, "{memory} {passes}");
        }
    }
}
