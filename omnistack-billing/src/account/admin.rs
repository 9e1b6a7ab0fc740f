//! The routes of accounts for operators: `/api/v1/admin/billing/accounts`.

#![expect(unused_qualifications, reason = "the derive macros for queries generate qualified paths")]

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    clock::Timestamp,
    http::{CursorPage, Error, ErrorEnvelope, Json, PageRequest, Path, Query, StatusCode},
    id::Id,
    identity::{Identity, TenantId},
    module::Api,
    text::Text,
};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::{
    handle::BillingAccounts,
    model::{BillingAccount, BillingAccountSummary, PlanAssignment},
    overrides::{NewOverride, OverrideKind, PlanOverride},
    seats::MAX_SEATS,
};

/// Returns the routes under `/api/v1/admin/billing`.
pub(super) fn api() -> Api<BillingAccounts> {
    Api::new()
        .routes(routes!(list))
        .routes(routes!(get))
        .routes(routes!(assign_plan))
        .routes(routes!(set_seats))
        .routes(routes!(set_override))
        .routes(routes!(remove_override))
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct BillingAccountsQuery {
    /// Only tenants that were assigned the plan with this key.
    #[garde(length(chars, max = 50))]
    #[param(max_length = 50)]
    plan: Option<String>,
    /// The largest number of items to return, 1 to 100. Default: 20.
    #[garde(range(min = 1, max = 100))]
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// The `next_cursor` of the previous page.
    #[garde(length(chars, max = 100))]
    #[param(max_length = 100)]
    cursor: Option<String>,
}

/// List billing accounts
///
/// A tenant is in this list from the first change of its account on. The accounts of one plan are sorted by its
/// version, the oldest first.
#[utoipa::path(get, path = "/accounts", operation_id = "list_billing_accounts", params(BillingAccountsQuery), responses(
    (status = 200, body = CursorPage<BillingAccountSummary>),
    (status = 422, body = ErrorEnvelope),
))]
async fn list(
    State(accounts): State<BillingAccounts>,
    Query(query): Query<BillingAccountsQuery>,
) -> Result<Json<CursorPage<BillingAccountSummary>>, Error> {
    let BillingAccountsQuery { plan, limit, cursor } = query;
    let limit = limit.unwrap_or(PageRequest::DEFAULT_SIZE);
    Ok(Json(accounts.list(plan.as_deref(), cursor.as_deref(), limit).await?))
}

/// Get a billing account
///
/// A tenant that was assigned no plan has the default plan.
#[utoipa::path(get, path = "/accounts/{tenant}", operation_id = "get_billing_account",
    params(("tenant" = String, Path, format = Uuid, description = "The id of the tenant.")), responses(
    (status = 200, body = BillingAccount),
    (status = 422, body = ErrorEnvelope),
))]
async fn get(
    State(accounts): State<BillingAccounts>,
    Path(tenant): Path<TenantId>,
) -> Result<Json<BillingAccount>, Error> {
    Ok(Json(accounts.get(tenant).await?))
}

/// The plan to assign.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct AssignPlan {
    /// The key of the plan.
    plan: Text<1, 50>,
    /// The version of the plan. Default: the newest.
    #[serde(default)]
    version: Option<u32>,
}

/// Assign a plan
///
/// The tenant keeps the version until another one is assigned. Its billing periods stay.
#[utoipa::path(put, path = "/accounts/{tenant}/plan", operation_id = "assign_plan", request_body = AssignPlan,
    params(("tenant" = String, Path, format = Uuid, description = "The id of the tenant.")), responses(
    (status = 200, body = BillingAccount),
    (status = 404, body = ErrorEnvelope, description = "There is no such plan or version."),
    (status = 422, body = ErrorEnvelope),
))]
async fn assign_plan(
    State(accounts): State<BillingAccounts>,
    caller: Identity,
    Path(tenant): Path<TenantId>,
    Json(AssignPlan { plan, version }): Json<AssignPlan>,
) -> Result<Json<BillingAccount>, Error> {
    let assignment = match version {
        Some(version) => PlanAssignment::new(plan).version(version),
        None => PlanAssignment::new(plan),
    };
    accounts.assign_plan(&caller, tenant, &assignment).await?;
    Ok(Json(accounts.get(tenant).await?))
}

/// The seats to set.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct SetSeats {
    /// The number of seats; `null` for the limit of the plan.
    #[garde(inner(range(max = MAX_SEATS)))]
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(required, maximum = 1_000_000_000)]
    seats: Option<u64>,
}

/// Set the seats
///
/// They take the place of the plan's limit of team members.
#[utoipa::path(put, path = "/accounts/{tenant}/seats", operation_id = "set_seats", request_body = SetSeats,
    params(("tenant" = String, Path, format = Uuid, description = "The id of the tenant.")), responses(
    (status = 200, body = BillingAccount),
    (status = 409, body = ErrorEnvelope, description = "`SEATS_IN_USE`: the tenant uses more."),
    (status = 422, body = ErrorEnvelope),
))]
async fn set_seats(
    State(accounts): State<BillingAccounts>,
    caller: Identity,
    Path(tenant): Path<TenantId>,
    Json(SetSeats { seats }): Json<SetSeats>,
) -> Result<Json<BillingAccount>, Error> {
    accounts.change_seats(Some(&caller), tenant, seats).await?;
    Ok(Json(accounts.get(tenant).await?))
}

/// The override to set.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct SetPlanOverride {
    /// Whether it is a feature or a limit.
    kind: OverrideKind,
    /// The name of the feature, or of the limit as plans have it.
    name: Text<1, 100>,
    /// The value: of a feature, 1 to include it or 0 to remove it; of a limit, its number, or `null` for unlimited.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(required, minimum = 0)]
    value: Option<i64>,
    /// The reason.
    reason: Text<1, 1000>,
    /// The time until which it holds. Default: it has no end.
    #[serde(default)]
    expires_at: Option<Timestamp>,
}

/// Set a plan override
///
/// It replaces the override of the same feature or limit, if there is one. A feature can't be removed from a plan that
/// includes every feature.
#[utoipa::path(put, path = "/accounts/{tenant}/overrides", operation_id = "set_plan_override",
    request_body = SetPlanOverride,
    params(("tenant" = String, Path, format = Uuid, description = "The id of the tenant.")), responses(
    (status = 200, body = PlanOverride),
    (status = 422, body = ErrorEnvelope),
))]
async fn set_override(
    State(accounts): State<BillingAccounts>,
    caller: Identity,
    Path(tenant): Path<TenantId>,
    Json(set): Json<SetPlanOverride>,
) -> Result<Json<PlanOverride>, Error> {
    let SetPlanOverride { kind, name, value, reason, expires_at } = set;
    let new = NewOverride { kind, name: name.into(), value, reason: reason.into(), expires_at };
    Ok(Json(accounts.set_override(&caller, tenant, new).await?))
}

/// Remove a plan override
#[utoipa::path(delete, path = "/accounts/{tenant}/overrides/{id}", operation_id = "remove_plan_override",
    params(
        ("tenant" = String, Path, format = Uuid, description = "The id of the tenant."),
        ("id" = String, Path, format = Uuid, description = "The id of the override."),
    ),
    responses((status = 204), (status = 404, body = ErrorEnvelope), (status = 422, body = ErrorEnvelope)))]
async fn remove_override(
    State(accounts): State<BillingAccounts>,
    caller: Identity,
    Path((tenant, id)): Path<(TenantId, Id<PlanOverride>)>,
) -> Result<StatusCode, Error> {
    accounts.remove_override(&caller, tenant, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
