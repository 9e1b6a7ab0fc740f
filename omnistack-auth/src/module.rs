//! The module.

use async_trait::async_trait;
use omnistack_core::{
    app::{Audience, BoxError, Ctx, Missing, Module, Mount, Registry, Slot},
    clock::Clock,
    config::{Config, Environment},
    crypto::KeyRing,
    db::Db,
    email::{
        MailSettings,
        template::{Brand, Templates},
    },
    http::{HttpSettings, Rate, RateLimiter, client::Client, layer::StepLayer},
    identity::Authenticator,
    jobs::{Cron, Job, JobCtx, JobError},
    migrations,
};
use std::{sync::Arc, time::Duration};

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::{
    account::{self, Accounts, FirstOwner, SecondFactors},
    authenticator::{Ended, Recognize, Remembered},
    config::{AccountSettings, AuthSettings, IssuerSettings},
    cookie::{Browser, VaryByCookie},
    factor::Factors,
    http,
    issuer::{Checked, Issuer, sync::Sync, verify::Issuers, webhook::Webhooks},
    lockout::Lockout,
    mail::{AccountMail, Mails},
    one_time::OneTime,
    password::{Breaches, Hashing, PasswordCheck, Passwords},
    session::Sessions,
    signing::SigningKeys,
    token::AccessTokens,
    users::Users,
};

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
            "0006_second_factors"
        ]);
        let issuers = self.issuers(registry, settings.issuer());
        let Some(parts) = self.accounts_of(registry) else { return };
        let built_in = self.built_in || (self.from_env && issuers.is_empty());
        let lifetimes = (settings.signing_key, settings.access_token);
        registry
            .provide_with(move |ctx| Services::new(ctx, &settings, &issuers, &parts))
            .provide_with(|ctx| Ok(ctx.get::<Services>()?.sessions))
            .provide_with(|ctx| Ok(ctx.get::<Services>()?.keys))
            .provide_with(|ctx| Ok(ctx.get::<Services>()?.accounts))
            .provide_with(|ctx| Ok(ctx.get::<Services>()?.passwords))
            .provide_with(|ctx| Ok(Users::new(ctx.get()?, ctx.get()?)))
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
    }

    async fn start(&self, ctx: &Ctx) -> Result<(), BoxError> {
        ctx.get::<SigningKeys>()?.start().await?;
        if self.built_in && ctx.get::<Config>()?.environment() == Environment::Development {
            ctx.get::<Accounts>()?.make_first_owner(&self.first_owner).await?;
        }
        Ok(())
    }
}

/// What built-in accounts are wired with.
#[derive(Clone)]
struct AccountParts {
    settings: AccountSettings,
    product: String,
    passwords: Passwords,
    breaches: Breaches,
}

impl Auth {
    /// What only accounts of the app's own have: a way to sign in, sessions, credentials.
    fn sign_in_here(&self, registry: &mut Registry) {
        let first = self.first_owner.clone();
        registry
            .banner("sign in as", move || first.line())
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
            .routes(Mount::app("/auth/sessions"), http::session::app(), Ctx::get)
            .routes(Mount::app("/users/me").without_idempotency(), http::credential::me(), Ctx::get)
            .routes(Mount::app("/users/me").v2().without_idempotency(), http::credential::me_v2(), Ctx::get);
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
        match Passwords::new(hashing) {
            Ok(passwords) => Some(AccountParts { settings, product, passwords, breaches: self.breaches.clone() }),
            Err(error) => {
                registry
                    .problem(format!("Argon2 can't be computed so: {error}"), "remove the settings `AUTH_ARGON2_…`");
                None
            }
        }
    }
}

/// What the module's parts share. Made once, while wiring.
#[derive(Clone)]
struct Services {
    keys: SigningKeys,
    sessions: Sessions,
    recognize: Recognize,
    webhooks: Webhooks,
    ended: Ended,
    accounts: Accounts,
    passwords: Passwords,
    mails: Mails,
}

impl Services {
    fn new(ctx: &Ctx, settings: &AuthSettings, issuers: &[Checked], parts: &AccountParts) -> Result<Self, Missing> {
        let (db, clock, ring): (Db, Clock, KeyRing) = (ctx.get()?, ctx.get()?, ctx.get()?);
        let known = Remembered::default();
        let ended = Ended::new(known.clone(), ctx.get()?);
        let keys = SigningKeys::new(db.clone(), ring.clone(), clock.clone());
        let access = AccessTokens::new(keys.clone(), clock.clone(), settings.issuer().into(), settings.access_token);
        let users = Users::new(db.clone(), clock.clone());
        let verifiers = issuers.iter().cloned().map(|issuer| issuer.verifier(&clock, || ctx.get::<Client>()));
        let issuers = Issuers::new(settings.issuer(), verifiers.collect::<Result<_, _>>()?);
        let sync = Sync::new(db.clone(), clock.clone(), users.clone(), ctx.get()?);
        let http = ctx.get::<Config>()?.section::<HttpSettings>().ok();
        let browser =
            Browser::new(&settings.public_url, http.as_ref(), settings.access_token, settings.session_lifetime);
        let recognize = Recognize {
            db: db.clone(),
            clock: clock.clone(),
            access: access.clone(),
            issuers: issuers.clone(),
            sync: sync.clone(),
            known,
            browser: browser.clone(),
        };
        let codes = Factors::new(db.clone(), clock.clone(), ring.clone());
        let sessions = Sessions::new(db.clone(), clock.clone(), ring, access, ended.clone(), settings);
        let webhooks = Webhooks::new(issuers, sync, sessions.clone());
        let one_time = OneTime::new(db.clone(), clock.clone());
        let mails = Mails {
            mailer: ctx.get()?,
            db: db.clone(),
            one_time: one_time.clone(),
            outbox: None,
            templates: Templates::new(Brand::new(&parts.product)),
            public_url: settings.issuer().into(),
            product: parts.product.clone(),
        };
        let accounts = Accounts::new(account::Inner {
            users: users.clone(),
            sessions: sessions.clone(),
            passwords: parts.passwords.clone(),
            breaches: parts.breaches.clone(),
            factors: ctx.get::<SecondFactors>().unwrap_or_default().and(codes.clone()),
            codes,
            lockout: Lockout::new(db.clone(), clock.clone()),
            one_time,
            jobs: ctx.get()?,
            audit: ctx.get()?,
            browser,
            recorded: RateLimiter::new(Rate::per_minute(60), clock.clone()),
            settings: parts.settings.clone(),
            product: parts.product.clone(),
            host: settings.host().unwrap_or_default().to_owned(),
            db,
            clock,
        });
        let passwords = parts.passwords.clone();
        Ok(Self { keys, sessions, recognize, webhooks, ended, accounts, passwords, mails })
    }
}

/// Rotates signing keys and deletes what has expired. Every hour.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Upkeep {}

/// Rows deleted at once.
const CHUNK: i64 = 1000;

#[async_trait]
impl Job for Upkeep {
    const NAME: &'static str = "auth.upkeep";
    type State = (Services, (Duration, Duration));

    async fn run(self, (services, (key, token)): &Self::State, _: &JobCtx) -> Result<(), JobError> {
        services.keys.rotate(*key, *token + Duration::from_secs(60 * 60)).await?;
        while services.sessions.sweep(CHUNK).await? > 0 {}
        while services.recognize.sync.sweep(CHUNK).await? > 0 {}
        services.accounts.sweep(CHUNK).await?;
        Ok(())
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use omnistack_core::app::App;

    use super::*;
    use crate::{
        account::{SignedIn, Visitor},
        password::Password,
    };

    #[tokio::test]
    async fn the_password_that_is_printed_at_the_first_start_signs_in() {
        let auth = Auth::accounts();
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
