//! The routes of plans and accounts for visitors and tenants.

use axum::{extract::State, response::IntoResponse};
use garde::Validate;
use omnistack_core::{
    http::{Error, ErrorEnvelope, Json, header},
    identity::{Identity, Require},
    module::Api,
    text::Text,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{handle::BillingAccounts, model::CurrentPlan};
use crate::plan::PlanDefinition;

/// The time for which browsers and proxies may keep the list of plans.
const PLANS_CACHE_CONTROL: &str = "public, max-age=300";

/// Returns the route under `/api/v1/public/billing`.
pub(super) fn public() -> Api<BillingAccounts> {
    Api::new().routes(routes!(plans))
}

/// Returns the routes under `/api/v1/app/billing`.
pub(super) fn app() -> Api<BillingAccounts> {
    Api::new()
        .require(Require::permission("billing:read"), routes!(current_plan))
        .require(Require::permission("billing:manage"), routes!(update))
}

/// The plans that customers can buy.
#[derive(Debug, Serialize, ToSchema)]
struct PublicPlans {
    /// The plans, from the smallest to the largest.
    plans: Vec<PlanDefinition>,
}

/// List plans
///
/// The newest version of each plan, for pricing pages. Browsers and proxies may keep the response for five minutes.
#[utoipa::path(get, path = "/plans", operation_id = "list_plans", responses((status = 200, body = PublicPlans)))]
async fn plans(State(accounts): State<BillingAccounts>) -> impl IntoResponse {
    let plans = accounts.0.catalogue.plans().filter(|plan| plan.listed).cloned().collect();
    ([(header::CACHE_CONTROL, PLANS_CACHE_CONTROL)], Json(PublicPlans { plans }))
}

/// Get the plan of the tenant
///
/// With its limits and features, the seats, and the running billing period.
#[utoipa::path(get, path = "/plan", operation_id = "get_current_plan", responses((status = 200, body = CurrentPlan)))]
async fn current_plan(State(accounts): State<BillingAccounts>, caller: Identity) -> Result<Json<CurrentPlan>, Error> {
    Ok(Json(accounts.current_plan(caller.require_tenant()?).await?))
}

/// The changes of a billing account.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct UpdateBillingAccount {
    /// The IANA name of the time zone of billing periods, such as `Europe/Berlin`.
    zone: Text<1, 100>,
}

/// Update the billing account
///
/// Sets the time zone in which billing periods begin and end. It counts from the next period on.
#[utoipa::path(patch, path = "/account", operation_id = "update_billing_account", request_body = UpdateBillingAccount,
    responses(
    (status = 200, body = CurrentPlan),
    (status = 403, body = ErrorEnvelope, description = "`IMPERSONATION_REFUSED`: it would outlive the impersonation."),
    (status = 422, body = ErrorEnvelope),
))]
async fn update(
    State(accounts): State<BillingAccounts>,
    caller: Identity,
    Json(changes): Json<UpdateBillingAccount>,
) -> Result<Json<CurrentPlan>, Error> {
    // The time zone outlives the impersonation.
    caller.deny_impersonation()?;
    let tenant = caller.require_tenant()?;
    accounts.set_zone(&caller, tenant, &changes.zone).await?;
    Ok(Json(accounts.current_plan(tenant).await?))
}
