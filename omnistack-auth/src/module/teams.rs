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
    api_key::{self, ApiKeys, authenticate},
    maintenance::TeamMaintenance,
    operator::{self, Operators},
    request::tenant_selection,
    role,
    tenant::{self, Tenants, invitation::Invitations, members::TEAM_MEMBERS},
    wiring::{Services, audit_log},
};

/// Registers tenants, teams, members, roles, invitations and API keys.
pub(super) fn teams(registry: &mut Registry, grace: Duration) {
    // Beyond the limits of its plan, a tenant can still be selected, secured, handed over and deleted.
    let keys = || Mount::app("/api-keys").permissions("api-keys").without_idempotency().without_plan_limits();
    let teams = || Mount::app("/teams").without_plan_limits();
    let tenants = Mount::app("/tenants").without_plan_limits();
    // Limits invitations, which send emails to strangers: enough to invite a team of ordinary size at once.
    let mails = Rate::new(100, Duration::from_secs(60 * 60));
    tenant::export::register(registry);
    registry
        .permissions(role::MODULE_PERMISSIONS)
        .caller_parameter("TenantId", tenant_selection::tenant_parameter())
        .security_scheme("apiKey", authenticate::security_scheme())
        .provide_from(move |ctx| {
            let sessions = ctx.get::<Services>()?.sessions;
            Ok(Tenants::new(
                ctx.get::<Db>()?.app_database(),
                ctx.get()?,
                (audit_log(ctx)?, ctx.get()?),
                sessions,
                grace,
            ))
        })
        .provide_from(|ctx| Ok(ApiKeys::new(ctx.get()?, ctx.get()?)))
        .provide_from(|ctx| Ok(Invitations::new(ctx.get()?, ctx.get()?, ctx.get()?, ctx.get()?)))
        .limited_resource(TEAM_MEMBERS, |ctx| {
            let tenants = ctx.get::<Tenants>()?;
            Ok(move |tenant| {
                let tenants = tenants.clone();
                async move { Ok(tenants.count_members_with_invited(tenant).await?) }
            })
        })
        .job::<TeamMaintenance>(|ctx| Ok((ctx.get()?, ctx.get()?, ctx.get()?)))
        .cron(Cron::new("27 * * * *", TeamMaintenance {}))
        .routes(teams(), tenant::routes::teams::api(), Context::get)
        .routes(teams().in_person(), tenant::routes::teams::personal(), Context::get)
        .routes(Mount::app("/teams"), tenant::routes::teams::activity(), |ctx| Ok((ctx.get()?, ctx.get()?)))
        .routes(teams(), tenant::routes::members::api(), Context::get)
        .routes(teams().in_person(), tenant::routes::members::leaving(), Context::get)
        .routes(Mount::app("/teams"), tenant::routes::roles::api(), |ctx| Ok((ctx.get()?, ctx.get()?)))
        .routes(Mount::app("/teams"), tenant::routes::invitations::api(), Context::get)
        .routes(Mount::app("/teams").rate_limit(mails), tenant::routes::invitations::sending(), Context::get)
        .routes(Mount::app("/invitations").in_person(), tenant::routes::invitations::accepting(), Context::get)
        .routes(tenants, tenant::routes::current::api(), Context::get)
        .routes(keys(), api_key::routes::reading(), Context::get)
        .routes(keys().in_person(), api_key::routes::changing(), |ctx| Ok((ctx.get()?, ctx.get()?)));
}

/// Registers users, tenants and the audit log for operators.
pub(super) fn operators(registry: &mut Registry) {
    let logs = AuditApi::routes();
    registry
        .provide_from(|ctx| Ok(Operators::new(ctx.get()?)))
        .routes(Mount::admin("/users"), operator::routes::users::api(), Context::get)
        .routes(Mount::admin("/tenants"), operator::routes::tenants::api(), Context::get)
        .routes(
            Mount::admin("/impersonate").without_idempotency(),
            operator::routes::impersonation::api(),
            Context::get,
        )
        .routes(
            Mount::app("/impersonation").without_plan_limits(),
            operator::routes::impersonation::stopping(),
            Context::get,
        )
        .routes(Mount::admin("/audit-logs").no_timeout(), logs, Context::get);
}
