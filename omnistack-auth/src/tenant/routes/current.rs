//! Routes of the current tenant.

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    http::{Error, Json},
    identity::{Identity, TenantId},
    module::Api,
};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::teams::TeamBody;
use crate::tenant::Tenants;

/// Returns the routes for signed-in callers.
pub(crate) fn api() -> Api<Tenants> {
    Api::new().routes(routes!(get, switch))
}

/// Get the current tenant
///
/// The current tenant is the one of the header `X-Tenant-Id`, of the subdomain, or of the session, in this order.
#[utoipa::path(get, path = "/current", operation_id = "get_current_tenant", responses(
    (status = 200, description = "The tenant.", body = TeamBody),
    (status = 403, description = "`TENANT_REQUIRED`: no tenant is selected.")))]
async fn get(State(tenants): State<Tenants>, caller: Identity) -> Result<Json<TeamBody>, Error> {
    Ok(Json(tenants.access(&caller, caller.require_tenant()?).await?.into()))
}

/// The tenant to switch to.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TenantSwitch)]
struct Switch {
    /// A tenant that the caller is a member of.
    #[garde(skip)]
    #[schema(value_type = String, format = Uuid)]
    tenant_id: TenantId,
}

/// Switch to another tenant
///
/// Changes the tenant of the session. The access token that the next refresh returns is for that tenant. Until then,
/// and for single requests, send `X-Tenant-Id`.
#[utoipa::path(put, path = "/current", operation_id = "switch_tenant", request_body = Switch, responses(
    (status = 200, description = "The tenant.", body = TeamBody),
    (status = 404, description = "The caller is not a member of such a tenant.")))]
async fn switch(
    State(tenants): State<Tenants>,
    caller: Identity,
    Json(to): Json<Switch>,
) -> Result<Json<TeamBody>, Error> {
    let session = caller.session.ok_or_else(|| {
        Error::forbidden("only a session can switch tenants; an API key belongs to one, other tokens use `X-Tenant-Id`")
    })?;
    let rights = tenants.access(&caller, to.tenant_id).await?;
    tenants.sessions.switch_tenant(session, to.tenant_id).await?;
    Ok(Json(rights.into()))
}
