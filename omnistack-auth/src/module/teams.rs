//! Registration of teams, and of the routes for operators.

use std::time::Duration;

use omnistack_core::{
    audit::AuditApi,
    db::Db,
    http::Rate,
    jobs::Cron,
    module::{Context, Mount, Registry},
};

use crate::{
    api_key::{ApiKeys, recognize},
    choice, http,
    invitation::Invitations,
    operator::Operators,
    role,
    services::Services,
    tenant::Tenants,
    upkeep::TeamMaintenance,
};

/// Registers tenants, teams, members, roles, invitations and API keys.
pub(super) fn teams(registry: &mut Registry, grace: Duration) {
    let keys = || Mount::app("/api-keys").permissions("api-keys").without_idempotency();
    // Limits invitations, which send emails to strangers: enough to invite a team of ordinary size at once.
    let mails = Rate::new(100, Duration::from_secs(60 * 60));
    registry
        .permissions(role::MODULE_PERMISSIONS)
        .caller_parameter("TenantId", choice::tenant_parameter())
        .security_scheme("apiKey", recognize::security_scheme())
        .provide_from(move |ctx| {
            let sessions = ctx.get::<Services>()?.sessions;
            Ok(Tenants::new(ctx.get::<Db>()?.app_database(), ctx.get()?, (ctx.get()?, ctx.get()?), sessions, grace))
        })
        .provide_from(|ctx| Ok(ApiKeys::new(ctx.get()?, ctx.get()?)))
        .provide_from(|ctx| Ok(Invitations::new(ctx.get()?, ctx.get()?, ctx.get()?)))
        .job::<TeamMaintenance>(|ctx| Ok((ctx.get()?, ctx.get()?, ctx.get()?)))
        .cron(Cron::new("27 * * * *", TeamMaintenance {}))
        .routes(Mount::app("/teams"), http::team::api(), Context::get)
        .routes(Mount::app("/teams").in_person(), http::team::personal(), Context::get)
        .routes(Mount::app("/teams"), http::team::activity(), |ctx| Ok((ctx.get()?, ctx.get()?)))
        .routes(Mount::app("/teams"), http::member::api(), Context::get)
        .routes(Mount::app("/teams").in_person(), http::member::leaving(), Context::get)
        .routes(Mount::app("/teams"), http::role::api(), |ctx| Ok((ctx.get()?, ctx.get()?)))
        .routes(Mount::app("/teams"), http::invitation::api(), Context::get)
        .routes(Mount::app("/teams").rate_limit(mails), http::invitation::sending(), Context::get)
        .routes(Mount::app("/invitations").in_person(), http::invitation::accepting(), Context::get)
        .routes(Mount::app("/tenants"), http::tenant::api(), Context::get)
        .routes(keys(), http::api_key::reading(), Context::get)
        .routes(keys().in_person(), http::api_key::changing(), |ctx| Ok((ctx.get()?, ctx.get()?)));
}

/// Registers users, tenants and the audit log for operators.
pub(super) fn operators(registry: &mut Registry) {
    let logs = AuditApi::routes();
    registry
        .provide_from(|ctx| Ok(Operators::new(ctx.get()?)))
        .routes(Mount::admin("/users"), http::admin::users::api(), Context::get)
        .routes(Mount::admin("/tenants"), http::admin::tenants::api(), Context::get)
        .routes(Mount::admin("/impersonate").without_idempotency(), http::admin::impersonation::api(), Context::get)
        .routes(Mount::app("/impersonation"), http::admin::impersonation::stopping(), Context::get)
        .routes(Mount::admin("/audit-logs").no_timeout(), logs, Context::get);
}
