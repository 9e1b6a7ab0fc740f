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
    http::{HttpSettings, Rate, RateLimiter, layer::StepLayer},
    identity::Authenticator,
    jobs::{Cron, Job, JobCtx, JobError},
    migrations,
};
use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    account::{self, Accounts, FirstOwner},
    authenticator::{Ended, Recognize, Remembered},
    config::{AccountSettings, AuthSettings},
    cookie::{Browser, VaryByCookie},
    http,
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
    breaches: Breaches,
    first_owner: FirstOwner,
}

impl Auth {
    /// Accounts built in.
    pub fn accounts() -> Self {
        Self::default()
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
        registry.require::<Db>().require::<KeyRing>().migrations(migrations!["0001_accounts", "0002_accounts"]);
        let Some(accounts) = self.accounts_of(registry) else { return };
        let lifetimes = (settings.signing_key, settings.access_token);
        registry
            .banner("sign in as", {
                let first = self.first_owner.clone();
                move || first.line()
            })
            .provide_with(move |ctx| Services::new(ctx, &settings, &accounts))
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
            .routes(Mount::root("/.well-known", Audience::Public), http::keys::api(), Ctx::get)
            .routes(Mount::public("/auth").without_idempotency(), http::login::api(), Ctx::get)
            .routes(Mount::public("/auth").without_idempotency(), http::account::api(), Ctx::get)
            .routes(Mount::app("/auth").without_idempotency(), http::credential::api(), Ctx::get)
            .routes(Mount::app("/users/me").without_idempotency(), http::credential::me(), Ctx::get)
            .routes(Mount::app("/users/me").v2().without_idempotency(), http::credential::me_v2(), Ctx::get)
            .job::<AccountMail>(|ctx| {
                let mails = ctx.get::<Services>()?.mails;
                Ok(Mails { outbox: ctx.get().ok(), ..mails })
            })
            .layer(Slot::Identity, |_| Ok(StepLayer(VaryByCookie)))
            .routes(Mount::app("/auth/sessions"), http::session::app(), Ctx::get)
            .routes(Mount::app("/users/me"), http::me::api(), |ctx| Ok((ctx.get()?, ctx.get()?)))
            .routes(Mount::app("/users/me").v2(), http::me::v2(), |ctx| Ok((ctx.get()?, ctx.get()?)));
    }

    async fn start(&self, ctx: &Ctx) -> Result<(), BoxError> {
        ctx.get::<SigningKeys>()?.start().await?;
        if ctx.get::<Config>()?.environment() == Environment::Development {
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
    ended: Ended,
    accounts: Accounts,
    passwords: Passwords,
    mails: Mails,
}

impl Services {
    fn new(ctx: &Ctx, settings: &AuthSettings, parts: &AccountParts) -> Result<Self, Missing> {
        let (db, clock, ring): (Db, Clock, KeyRing) = (ctx.get()?, ctx.get()?, ctx.get()?);
        let known = Remembered::default();
        let ended = Ended::new(known.clone(), ctx.get()?);
        let keys = SigningKeys::new(db.clone(), ring.clone(), clock.clone());
        let access = AccessTokens::new(keys.clone(), clock.clone(), settings.issuer().into(), settings.access_token);
        let http = ctx.get::<Config>()?.section::<HttpSettings>().ok();
        let browser =
            Browser::new(&settings.public_url, http.as_ref(), settings.access_token, settings.session_lifetime);
        let recognize =
            Recognize { db: db.clone(), clock: clock.clone(), access: access.clone(), known, browser: browser.clone() };
        let sessions = Sessions::new(db.clone(), clock.clone(), ring, access, ended.clone(), settings);
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
            users: Users::new(db.clone(), clock.clone()),
            sessions: sessions.clone(),
            passwords: parts.passwords.clone(),
            breaches: parts.breaches.clone(),
            factors: ctx.get().unwrap_or_default(),
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
        Ok(Self { keys, sessions, recognize, ended, accounts, passwords, mails })
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
