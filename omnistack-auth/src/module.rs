//! The module.

use async_trait::async_trait;
use omnistack_core::{
    app::{Audience, BoxError, Ctx, Missing, Module, Mount, Registry},
    audit::AuditApi,
    clock::Clock,
    crypto::KeyRing,
    db::Db,
    http::Rate,
    identity::Authenticator,
    jobs::{Cron, Job, JobCtx, JobError},
    migrations,
};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    api_key::{ApiKeys, recognize::Keys},
    authenticator::{Ended, Recognize, Remembered},
    choice::TenantDomain,
    config::AuthSettings,
    http,
    invitation::{Invitations, Post, SendInvitation},
    operator::Operators,
    role,
    session::Sessions,
    signing::SigningKeys,
    tenant::Tenants,
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
pub struct Auth {}

impl Auth {
    /// Accounts built in.
    pub fn accounts() -> Self {
        Self::default()
    }
}

impl Auth {
    /// Tenants, teams, members, roles and invitations.
    fn teams(registry: &mut Registry) {
        let Some(settings) = registry.config::<AuthSettings>() else { return };
        let (grace, address) = (settings.tenant_delete_grace, settings.issuer().to_owned());
        // Mails to others: as many as a team of ordinary size needs at once.
        let mails = Rate::new(100, Duration::from_secs(60 * 60));
        registry
            .permissions(role::KNOWN)
            .provide_with(move |ctx| {
                let sessions = ctx.get::<Services>()?.sessions;
                Ok(Tenants::new(ctx.get()?, ctx.get()?, ctx.get()?, sessions, grace))
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
            .routes(
                Mount::app("/api-keys").permissions("api-keys").without_idempotency(),
                http::api_key::api(),
                |ctx| Ok((ctx.get()?, ctx.get()?)),
            );
    }
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

#[async_trait]
impl Module for Auth {
    fn name(&self) -> &'static str {
        "auth"
    }

    fn register(&self, registry: &mut Registry) {
        let Some(settings) = registry.config::<AuthSettings>() else { return };
        registry.require::<Db>().require::<KeyRing>().migrations(migrations![
            "0001_accounts",
            "0003_teams",
            "0005_api_keys"
        ]);
        let lifetimes = (settings.signing_key, settings.access_token);
        registry
            .provide_with(move |ctx| Services::new(ctx, &settings))
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
        Self::teams(registry);
        operators(registry);
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
    ended: Ended,
}

impl Services {
    fn new(ctx: &Ctx, settings: &AuthSettings) -> Result<Self, Missing> {
        let (db, clock, ring): (Db, Clock, KeyRing) = (ctx.get()?, ctx.get()?, ctx.get()?);
        let known = Remembered::default();
        let rate = settings.api_key_rate_limit.0;
        let programs = Keys::new(db.clone(), clock.clone(), rate, &ctx.get()?, ctx.get()?);
        let domain = TenantDomain::new(settings.tenant_domain.as_deref());
        let ended = Ended::new(known.clone(), ctx.get()?);
        let keys = SigningKeys::new(db.clone(), ring.clone(), clock.clone());
        let access = AccessTokens::new(keys.clone(), clock.clone(), settings.issuer().into(), settings.access_token);
        let recognize =
            Recognize { db: db.clone(), clock: clock.clone(), access: access.clone(), known, domain, keys: programs };
        let sessions = Sessions::new(db, clock, ring, access, ended.clone(), settings);
        Ok(Self { keys, sessions, recognize, ended })
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
        Ok(())
    }
}

/// Deletes teams whose time has come, invitations nobody accepted and keys that ended. Every hour.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct TeamUpkeep {}

#[async_trait]
impl Job for TeamUpkeep {
    const NAME: &'static str = "auth.team_upkeep";
    type State = (Tenants, Invitations, ApiKeys);

    async fn run(self, (tenants, invitations, keys): &Self::State, _: &JobCtx) -> Result<(), JobError> {
        while tenants.sweep(10).await? > 0 {}
        while invitations.sweep(CHUNK).await? > 0 {}
        while keys.sweep(CHUNK).await? > 0 {}
        Ok(())
    }
}
