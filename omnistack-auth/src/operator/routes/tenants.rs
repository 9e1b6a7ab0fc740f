//! Operator routes of tenants.

use ::http::StatusCode;
use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    http::{Error, Json, MAX_PAGE_SIZE, NumberedPage, Path, Query},
    identity::{Identity, TenantId, UserId},
    module::Api,
    text::{Name, Text},
};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::page;
use crate::{
    model::Tenant,
    operator::{
        Operators,
        store::{TenantQuery, TenantSort},
    },
};

pub(crate) fn api() -> Api<Operators> {
    Api::new()
        .routes(routes!(list, create))
        .routes(routes!(get, delete))
        .routes(routes!(suspend))
        .routes(routes!(reactivate))
        .routes(routes!(restore))
}

#[derive(Deserialize, Validate, IntoParams)]
#[into_params(parameter_in = Query)]
struct TenantListQuery {
    /// Only tenants whose name or slug contains this text. With many tenants, a search for fewer than three characters
    /// is slow. A search that takes more than three seconds fails with 503 `SEARCH_TIMEOUT`.
    #[garde(inner(length(chars, max = 200)))]
    #[param(max_length = 200)]
    q: Option<String>,
    /// `true` for personal tenants only, `false` for teams only.
    #[garde(skip)]
    personal: Option<bool>,
    /// `true` for suspended tenants only, `false` for the others only.
    #[garde(skip)]
    suspended: Option<bool>,
    /// The order: `created_at` or `name`, descending with a leading `-`. By default `-created_at`.
    #[garde(skip)]
    #[param(inline)]
    sort: Option<TenantSort>,
    /// The number of the page, beginning with 1. Pages beyond row 100,000 are slow.
    #[garde(inner(range(min = 1, max = 1_000_000)))]
    #[param(minimum = 1, maximum = 1_000_000, default = 1)]
    page: Option<u32>,
    /// The number of tenants per page.
    #[garde(inner(range(min = 1, max = MAX_PAGE_SIZE)))]
    #[param(minimum = 1, maximum = 100, default = 20)]
    page_size: Option<u32>,
}

/// List tenants
#[utoipa::path(get, path = "/", operation_id = "list_tenants", params(TenantListQuery),
    responses((status = 200, description = "A page of tenants.", body = NumberedPage<Tenant>)))]
async fn list(
    State(operators): State<Operators>,
    Query(query): Query<TenantListQuery>,
) -> Result<Json<NumberedPage<Tenant>>, Error> {
    let wanted = TenantQuery {
        text: query.q,
        personal: query.personal,
        suspended: query.suspended,
        sort: query.sort.unwrap_or_default(),
        page: page(query.page, query.page_size),
    };
    Ok(Json(operators.tenants(&wanted).await?))
}

/// A tenant to create.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct NewTenant {
    /// The display name.
    name: Name<100>,
    /// The slug, the tenant's name in URLs: 3 to 63 characters of `a-z 0-9 -`. If absent, it is derived from the name.
    #[garde(inner(length(chars, max = 63)))]
    #[schema(min_length = 3, max_length = 63, pattern = "^[a-z0-9][a-z0-9-]*[a-z0-9]$")]
    slug: Option<String>,
    /// The user who becomes the first owner.
    #[schema(value_type = String, format = Uuid)]
    owner_id: UserId,
}

/// Create a tenant
#[utoipa::path(post, path = "/", operation_id = "create_tenant", request_body = NewTenant, responses(
    (status = 201, description = "The tenant.", body = Tenant),
    (status = 409, description = "`SLUG_TAKEN`: another tenant has this slug.")))]
async fn create(
    State(operators): State<Operators>,
    caller: Identity,
    Json(new): Json<NewTenant>,
) -> Result<(StatusCode, Json<Tenant>), Error> {
    let made = operators.create_tenant(&caller, &new.name, new.slug.as_deref(), new.owner_id).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Get a tenant
#[utoipa::path(get, path = "/{id}", operation_id = "get_tenant",
    params(("id" = String, Path, format = Uuid, description = "The tenant.")), responses(
    (status = 200, description = "The tenant.", body = Tenant), (status = 404, description = "There is no such tenant.")))]
async fn get(State(operators): State<Operators>, Path(id): Path<TenantId>) -> Result<Json<Tenant>, Error> {
    Ok(Json(operators.tenant(id).await?))
}

/// The suspension of a tenant.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TenantSuspension)]
#[garde(allow_unvalidated)]
struct Suspension {
    /// The reason, for the audit log, which the tenant's members can read.
    reason: Text<10, 1000>,
}

/// Suspend a tenant
///
/// Requests of its members and its API keys are refused immediately, until the tenant is reactivated. No data is lost.
#[utoipa::path(post, path = "/{id}/suspend", operation_id = "suspend_tenant", request_body = Suspension,
    params(("id" = String, Path, format = Uuid, description = "The tenant.")),
    responses((status = 200, description = "The tenant.", body = Tenant)))]
async fn suspend(
    State(operators): State<Operators>,
    caller: Identity,
    Path(id): Path<TenantId>,
    Json(why): Json<Suspension>,
) -> Result<Json<Tenant>, Error> {
    Ok(Json(operators.set_suspension(&caller, id, Some(&why.reason)).await?))
}

/// Reactivate a tenant
#[utoipa::path(post, path = "/{id}/reactivate", operation_id = "reactivate_tenant",
    params(("id" = String, Path, format = Uuid, description = "The tenant.")),
    responses((status = 200, description = "The tenant.", body = Tenant)))]
async fn reactivate(
    State(operators): State<Operators>,
    caller: Identity,
    Path(id): Path<TenantId>,
) -> Result<Json<Tenant>, Error> {
    Ok(Json(operators.set_suspension(&caller, id, None).await?))
}

/// Delete a tenant
///
/// The tenant stays usable until `delete_at` and can be restored until then; after that it is deleted permanently.
#[utoipa::path(delete, path = "/{id}", operation_id = "delete_tenant",
    params(("id" = String, Path, format = Uuid, description = "The tenant.")), responses(
    (status = 200, description = "The tenant, with its `delete_at`.", body = Tenant),
    (status = 409, description = "`PERSONAL_TENANT`: a personal tenant is deleted with its user's account.")))]
async fn delete(
    State(operators): State<Operators>,
    caller: Identity,
    Path(id): Path<TenantId>,
) -> Result<Json<Tenant>, Error> {
    Ok(Json(operators.set_deletion(&caller, id, true).await?))
}

/// Restore a tenant
#[utoipa::path(post, path = "/{id}/restore", operation_id = "restore_tenant",
    params(("id" = String, Path, format = Uuid, description = "The tenant.")),
    responses((status = 200, description = "The tenant.", body = Tenant)))]
async fn restore(
    State(operators): State<Operators>,
    caller: Identity,
    Path(id): Path<TenantId>,
) -> Result<Json<Tenant>, Error> {
    Ok(Json(operators.set_deletion(&caller, id, false).await?))
}
