//! The module.

use async_trait::async_trait;
use omnistack_core::{
    app::{Audience, BoxError, Ctx, Missing, Module, Mount, Registry},
    clock::Clock,
    crypto::KeyRing,
    db::Db,
    http::client::Client,
    identity::Authenticator,
    jobs::{Cron, Job, JobCtx, JobError},
    migrations,
};
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::{
    authenticator::{Ended, Recognize, Remembered},
    config::{AuthSettings, IssuerSettings},
    http,
    issuer::{Checked, Issuer, sync::Sync, verify::Issuers, webhook::Webhooks},
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
    issuers: Vec<Issuer>,
    from_env: bool,
}

impl Auth {
    /// Accounts built in.
    pub fn accounts() -> Self {
        Self::default()
    }

    /// What the settings say: the issuers of `AUTH_ISSUERS`.
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
}

#[async_trait]
impl Module for Auth {
    fn name(&self) -> &'static str {
        "auth"
    }

    fn register(&self, registry: &mut Registry) {
        let Some(settings) = registry.config::<AuthSettings>() else { return };
        registry.require::<Db>().require::<KeyRing>().migrations(migrations!["0001_accounts"]);
        let issuers = self.issuers(registry, settings.issuer());
        let lifetimes = (settings.signing_key, settings.access_token);
        registry
            .provide_with(move |ctx| Services::new(ctx, &settings, &issuers))
            .provide_with(|ctx| Ok(ctx.get::<Services>()?.sessions))
            .provide_with(|ctx| Ok(ctx.get::<Services>()?.keys))
            .provide_with(|ctx| Ok(Users::new(ctx.get()?, ctx.get()?)))
            .provide_with(|ctx| Ok(Authenticator::new(ctx.get::<Services>()?.recognize)))
            .service("auth", |ctx| {
                let ended = ctx.get::<Services>()?.ended;
                Ok(move |shutdown| ended.clone().listen(shutdown))
            })
            .job::<Upkeep>(move |ctx| Ok((ctx.get()?, lifetimes)))
            .cron(Cron::new("17 * * * *", Upkeep {}))
            .routes(Mount::root("/.well-known", Audience::Public), http::keys::api(), Ctx::get)
            .routes(Mount::public("/auth").without_idempotency(), http::session::public(), Ctx::get)
            .routes(Mount::app("/auth/sessions"), http::session::app(), Ctx::get)
            .routes(Mount::app("/users/me"), http::me::api(), |ctx| Ok((ctx.get()?, ctx.get()?)))
            .routes(Mount::app("/users/me").v2(), http::me::api(), |ctx| Ok((ctx.get()?, ctx.get()?)));
    }

    async fn start(&self, ctx: &Ctx) -> Result<(), BoxError> {
        Ok(ctx.get::<SigningKeys>()?.start().await?)
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
}

impl Services {
    fn new(ctx: &Ctx, settings: &AuthSettings, issuers: &[Checked]) -> Result<Self, Missing> {
        let (db, clock, ring): (Db, Clock, KeyRing) = (ctx.get()?, ctx.get()?, ctx.get()?);
        let known = Remembered::default();
        let ended = Ended::new(known.clone(), ctx.get()?);
        let keys = SigningKeys::new(db.clone(), ring.clone(), clock.clone());
        let access = AccessTokens::new(keys.clone(), clock.clone(), settings.issuer().into(), settings.access_token);
        let users = Users::new(db.clone(), clock.clone());
        let verifiers = issuers.iter().cloned().map(|issuer| issuer.verifier(&clock, || ctx.get::<Client>()));
        let issuers = Issuers::new(settings.issuer(), verifiers.collect::<Result<_, _>>()?);
        let sync = Sync::new(db.clone(), clock.clone(), users, ctx.get()?);
        let recognize = Recognize {
            db: db.clone(),
            clock: clock.clone(),
            access: access.clone(),
            issuers: issuers.clone(),
            sync: sync.clone(),
            known,
        };
        let sessions = Sessions::new(db, clock, ring, access, ended.clone(), settings);
        let webhooks = Webhooks::new(issuers, sync, sessions.clone());
        Ok(Self { keys, sessions, recognize, webhooks, ended })
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
        Ok(())
    }
}
