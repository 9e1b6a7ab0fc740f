//! `/api/v1/app/ai/budgets` and `/api/v1/admin/ai/budgets`: the budgets of tenants.

#![expect(unused_qualifications, reason = "the derive macros for queries generate qualified paths")]

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    audit::AuditLog,
    http::{CursorPage, Error, ErrorEnvelope, Json, PageRequest, Path, Query, StatusCode},
    identity::{Identity, Require, TenantId},
    module::Api,
    text::Text,
};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;
use uuid::Uuid;

use crate::accounting::{
    Accounting, AiBudget, BudgetFilter, BudgetId, BudgetOwner, BudgetPeriod, BudgetScope, BudgetValues,
};

/// State of the routes.
#[derive(Clone)]
pub(super) struct BudgetRoutes {
    pub(super) accounting: Accounting,
    pub(super) log: AuditLog,
}

/// Returns the routes of tenants.
pub(super) fn app_api() -> Api<BudgetRoutes> {
    let manage = || Require::permission("ai:manage");
    Api::new()
        .require(Require::permission("ai:read"), routes!(list_own))
        .require(manage(), routes!(create_own))
        .require(manage(), routes!(update_own))
        .require(manage(), routes!(delete_own))
}

/// Returns the routes of operators.
pub(super) fn admin_api() -> Api<BudgetRoutes> {
    Api::new().routes(routes!(list)).routes(routes!(create)).routes(routes!(update)).routes(routes!(delete))
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct OwnBudgetsQuery {
    /// Only budgets of this scope.
    #[garde(skip)]
    scope: Option<BudgetScope>,
    /// The largest number of items to return, 1 to 100. Default: 20.
    #[garde(range(min = 1, max = 100))]
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// The `next_cursor` of the previous page.
    #[garde(length(chars, max = 100))]
    #[param(max_length = 100)]
    cursor: Option<String>,
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AiBudgetsQuery {
    /// Only budgets of this tenant.
    #[garde(skip)]
    #[param(value_type = Option<String>, format = "uuid")]
    tenant: Option<TenantId>,
    /// Only budgets of this scope. The time of the response grows with the number of newer budgets of other scopes.
    #[garde(skip)]
    scope: Option<BudgetScope>,
    /// The largest number of items to return, 1 to 100. Default: 20.
    #[garde(range(min = 1, max = 100))]
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// The `next_cursor` of the previous page.
    #[garde(length(chars, max = 100))]
    #[param(max_length = 100)]
    cursor: Option<String>,
}

/// The limits of a budget. At least one of `limit_tokens` and `limit_cost` is set.
#[derive(Clone, Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct AiBudgetLimits {
    /// The limit of tokens.
    #[serde(default)]
    limit_tokens: Option<u64>,
    /// The limit of costs in US dollars: a decimal number as text, such as `25.50`.
    #[serde(default)]
    limit_cost: Option<Text<0, 40>>,
    /// The share of a limit, in percent, at which the tenant gets the event `ai.budget_threshold_reached`.
    #[garde(range(min = 1, max = 99))]
    #[serde(default)]
    #[schema(minimum = 1, maximum = 99)]
    soft_percent: Option<u8>,
    /// Whether calls beyond the limit are refused. Default: `true`. Otherwise the tenant is only told.
    #[serde(default = "yes")]
    hard: bool,
}

impl AiBudgetLimits {
    fn values(&self) -> BudgetValues {
        BudgetValues {
            limit_tokens: self.limit_tokens,
            limit_cost: self.limit_cost.clone().map(String::from),
            soft_percent: self.soft_percent,
            hard: self.hard,
        }
    }
}

const fn yes() -> bool {
    true
}

/// A budget to create.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewOwnBudget {
    /// The scope of the budget: `tenant`, `user` or `key`.
    #[garde(skip)]
    scope: BudgetScope,
    /// The id of the user or of the API key.
    #[garde(skip)]
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Uuid)]
    subject: Option<Uuid>,
    /// The period for which the budget is.
    #[garde(skip)]
    period: BudgetPeriod,
    /// The limits.
    #[garde(dive)]
    limits: AiBudgetLimits,
}

/// A budget to create for a tenant.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewTenantBudget {
    /// The tenant.
    #[garde(skip)]
    #[schema(value_type = String, format = Uuid)]
    tenant: TenantId,
    /// The scope of the budget: `tenant`, `user` or `key`.
    #[garde(skip)]
    scope: BudgetScope,
    /// The id of the user or of the API key.
    #[garde(skip)]
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Uuid)]
    subject: Option<Uuid>,
    /// The period for which the budget is.
    #[garde(skip)]
    period: BudgetPeriod,
    /// The limits.
    #[garde(dive)]
    limits: AiBudgetLimits,
}

/// List the budgets for language models
///
/// The newest come first. Needs `ai:read`.
#[utoipa::path(get, path = "/", operation_id = "list_ai_budgets", params(OwnBudgetsQuery), responses(
    (status = 200, body = CursorPage<AiBudget>),
    (status = 422, body = ErrorEnvelope),
))]
async fn list_own(
    State(state): State<BudgetRoutes>,
    caller: Identity,
    Query(query): Query<OwnBudgetsQuery>,
) -> Result<Json<CursorPage<AiBudget>>, Error> {
    let OwnBudgetsQuery { scope, limit, cursor } = query;
    let filter = BudgetFilter { tenant: Some(caller.require_tenant()?), scope };
    let limit = limit.unwrap_or(PageRequest::DEFAULT_SIZE);
    Ok(Json(state.accounting.budgets(&filter, cursor.as_deref(), limit).await?))
}

/// Create a budget for language models
///
/// The use in the current period before the creation counts. Needs `ai:manage`.
#[utoipa::path(post, path = "/", operation_id = "create_ai_budget", request_body = NewOwnBudget, responses(
    (status = 201, body = AiBudget),
    (status = 409, body = ErrorEnvelope, description = "There is a budget of the same subject and period."),
    (status = 422, body = ErrorEnvelope),
))]
async fn create_own(
    State(state): State<BudgetRoutes>,
    caller: Identity,
    Json(new): Json<NewOwnBudget>,
) -> Result<(StatusCode, Json<AiBudget>), Error> {
    caller.deny_impersonation()?;
    let tenant = caller.require_tenant()?;
    let NewOwnBudget { scope, subject, period, limits } = new;
    let (owner, values) = (BudgetOwner::Tenant(tenant), limits.values());
    let budget =
        state.accounting.create_budget(&caller, &state.log, owner, tenant, (scope, subject, period), &values).await?;
    Ok((StatusCode::CREATED, Json(budget)))
}

/// Change a budget for language models
///
/// The limits replace the present ones. A budget that an operator has set can't be changed. Needs `ai:manage`.
#[utoipa::path(put, path = "/{id}", operation_id = "update_ai_budget", request_body = AiBudgetLimits,
    params(("id" = String, Path, format = Uuid)), responses(
    (status = 200, body = AiBudget),
    (status = 403, body = ErrorEnvelope, description = "`BUDGET_OF_OPERATOR`: an operator has set it."),
    (status = 404, body = ErrorEnvelope),
    (status = 422, body = ErrorEnvelope),
))]
async fn update_own(
    State(state): State<BudgetRoutes>,
    caller: Identity,
    Path(id): Path<BudgetId>,
    Json(limits): Json<AiBudgetLimits>,
) -> Result<Json<AiBudget>, Error> {
    caller.deny_impersonation()?;
    let owner = BudgetOwner::Tenant(caller.require_tenant()?);
    Ok(Json(state.accounting.update_budget(&caller, &state.log, owner, id, &limits.values()).await?))
}

/// Delete a budget for language models
///
/// A budget that an operator has set can't be deleted. Needs `ai:manage`.
#[utoipa::path(delete, path = "/{id}", operation_id = "delete_ai_budget",
    params(("id" = String, Path, format = Uuid)), responses(
    (status = 204),
    (status = 403, body = ErrorEnvelope, description = "`BUDGET_OF_OPERATOR`: an operator has set it."),
    (status = 404, body = ErrorEnvelope),
))]
async fn delete_own(
    State(state): State<BudgetRoutes>,
    caller: Identity,
    Path(id): Path<BudgetId>,
) -> Result<StatusCode, Error> {
    caller.deny_impersonation()?;
    let owner = BudgetOwner::Tenant(caller.require_tenant()?);
    state.accounting.delete_budget(&caller, &state.log, owner, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List the budgets of tenants for language models
///
/// The newest come first.
#[utoipa::path(get, path = "/", operation_id = "list_ai_budgets", params(AiBudgetsQuery), responses(
    (status = 200, body = CursorPage<AiBudget>),
    (status = 422, body = ErrorEnvelope),
))]
async fn list(
    State(state): State<BudgetRoutes>,
    Query(query): Query<AiBudgetsQuery>,
) -> Result<Json<CursorPage<AiBudget>>, Error> {
    let AiBudgetsQuery { tenant, scope, limit, cursor } = query;
    let limit = limit.unwrap_or(PageRequest::DEFAULT_SIZE);
    let filter = BudgetFilter { tenant, scope };
    Ok(Json(state.accounting.budgets(&filter, cursor.as_deref(), limit).await?))
}

/// Create a budget of a tenant for language models
///
/// The tenant can't change it. What was used in the current period before counts.
#[utoipa::path(post, path = "/", operation_id = "create_ai_budget", request_body = NewTenantBudget, responses(
    (status = 201, body = AiBudget),
    (status = 409, body = ErrorEnvelope, description = "There is a budget of the same subject and period."),
    (status = 422, body = ErrorEnvelope),
))]
async fn create(
    State(state): State<BudgetRoutes>,
    caller: Identity,
    Json(new): Json<NewTenantBudget>,
) -> Result<(StatusCode, Json<AiBudget>), Error> {
    let NewTenantBudget { tenant, scope, subject, period, limits } = new;
    let (owner, values) = (BudgetOwner::Operator, limits.values());
    let budget =
        state.accounting.create_budget(&caller, &state.log, owner, tenant, (scope, subject, period), &values).await?;
    Ok((StatusCode::CREATED, Json(budget)))
}

/// Change a budget of a tenant for language models
///
/// The limits replace the present ones.
#[utoipa::path(put, path = "/{id}", operation_id = "update_ai_budget", request_body = AiBudgetLimits,
    params(("id" = String, Path, format = Uuid)), responses(
    (status = 200, body = AiBudget),
    (status = 404, body = ErrorEnvelope),
    (status = 422, body = ErrorEnvelope),
))]
async fn update(
    State(state): State<BudgetRoutes>,
    caller: Identity,
    Path(id): Path<BudgetId>,
    Json(limits): Json<AiBudgetLimits>,
) -> Result<Json<AiBudget>, Error> {
    let owner = BudgetOwner::Operator;
    Ok(Json(state.accounting.update_budget(&caller, &state.log, owner, id, &limits.values()).await?))
}

/// Delete a budget of a tenant for language models
#[utoipa::path(delete, path = "/{id}", operation_id = "delete_ai_budget",
    params(("id" = String, Path, format = Uuid)), responses(
    (status = 204),
    (status = 404, body = ErrorEnvelope),
))]
async fn delete(
    State(state): State<BudgetRoutes>,
    caller: Identity,
    Path(id): Path<BudgetId>,
) -> Result<StatusCode, Error> {
    state.accounting.delete_budget(&caller, &state.log, BudgetOwner::Operator, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
