//! `/api/v1/app/ai/usage` and `/api/v1/admin/ai/spend`: what calls have used and cost.

#![expect(unused_qualifications, reason = "the derive macros for queries generate qualified paths")]

use std::time::Duration;

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    clock::Timestamp,
    data_environment::DataEnvironment,
    http::{Error, ErrorEnvelope, FieldError, Json, Query},
    identity::{ApiKeyId, Identity, Require, TenantId, UserId},
    module::Api,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::{
    numbers::{self, AiSpendItem, AiSpendNumbers, MAX_GROUPS, SpendGroup, SpendScope},
    projection::{self, AiProjection},
    quality::{self, AiCallErrors, AiLatencies},
};
use crate::accounting::Accounting;

/// The longest period of a report, whose calls are all read.
const MAX_PERIOD: Duration = Duration::from_secs(93 * 86_400);
/// The period of a report without a start.
const DEFAULT_PERIOD: Duration = Duration::from_secs(30 * 86_400);

/// Returns the routes of tenants.
pub(super) fn app_api() -> Api<Accounting> {
    Api::new().require(Require::permission("ai:read"), routes!(usage))
}

/// Returns the routes of operators.
pub(super) fn admin_api() -> Api<Accounting> {
    Api::new().routes(routes!(spend))
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AiUsageQuery {
    /// The start of the first call. Default: 30 days before `until`.
    #[garde(skip)]
    from: Option<Timestamp>,
    /// The time before which calls have started. Default: now. A period has at most 93 days.
    #[garde(skip)]
    until: Option<Timestamp>,
    /// The property by which calls are grouped. Default: `model`.
    #[garde(skip)]
    group_by: Option<SpendGroup>,
    /// Only calls of this environment.
    #[garde(skip)]
    environment: Option<DataEnvironment>,
    /// Only calls of this user.
    #[garde(skip)]
    #[param(value_type = Option<String>, format = "uuid")]
    user: Option<UserId>,
    /// Only calls with this API key.
    #[garde(skip)]
    #[param(value_type = Option<String>, format = "uuid")]
    key: Option<ApiKeyId>,
}

/// The use of language models by a tenant in a period.
#[derive(Debug, Serialize, ToSchema)]
struct AiUsageReport {
    /// The start of the period.
    from: Timestamp,
    /// The end of the period.
    until: Timestamp,
    /// The property by which calls are grouped.
    group_by: SpendGroup,
    /// The use by all calls.
    total: AiSpendNumbers,
    /// The use by the calls of each group, the groups with the largest costs first; days in their order.
    items: Vec<AiSpendItem>,
    /// Whether there are more than 1,000 groups. The others are left out.
    is_truncated: bool,
}

/// Get the usage of language models
///
/// The calls of the current tenant that have ended, and what they have used and cost. All calls of the period are read,
/// so a longer one takes more time. Needs `ai:read`.
#[utoipa::path(get, path = "/", operation_id = "get_ai_usage", params(AiUsageQuery), responses(
    (status = 200, body = AiUsageReport),
    (status = 422, body = ErrorEnvelope),
))]
async fn usage(
    State(accounting): State<Accounting>,
    caller: Identity,
    Query(query): Query<AiUsageQuery>,
) -> Result<Json<AiUsageReport>, Error> {
    let AiUsageQuery { from, until, group_by, environment, user, key } = query;
    let tenant = caller.require_tenant()?;
    let group = group_by.unwrap_or(SpendGroup::Model);
    let (from, until) = period(accounting.clock().now(), from, until)?;
    let scope = SpendScope { from, until, environment, tenant: Some(tenant), user, api_key: key };
    let mut tx = accounting.db().tenant(tenant).begin_read().await?;
    let total = numbers::total(&mut tx, &scope).await?;
    let (items, is_truncated) = truncated(numbers::by_group(&mut tx, &scope, group).await?);
    tx.commit().await?;
    Ok(Json(AiUsageReport { from, until, group_by: group, total, items, is_truncated }))
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AiSpendQuery {
    /// The start of the first call. Default: 30 days before `until`.
    #[garde(skip)]
    from: Option<Timestamp>,
    /// The time before which calls have started. Default: now. A period has at most 93 days.
    #[garde(skip)]
    until: Option<Timestamp>,
    /// The property by which calls are grouped. Default: `model`.
    #[garde(skip)]
    group_by: Option<SpendGroup>,
    /// Only calls of this environment.
    #[garde(skip)]
    environment: Option<DataEnvironment>,
    /// Only calls of this tenant.
    #[garde(skip)]
    #[param(value_type = Option<String>, format = "uuid")]
    tenant: Option<TenantId>,
}

/// The costs of language models for an app in a period.
#[derive(Debug, Serialize, ToSchema)]
struct AiSpendReport {
    /// The start of the period.
    from: Timestamp,
    /// The end of the period.
    until: Timestamp,
    /// The property by which calls are grouped.
    group_by: SpendGroup,
    /// The use by all calls.
    total: AiSpendNumbers,
    /// The use by the calls of each group, the groups with the largest costs first; days in their order.
    items: Vec<AiSpendItem>,
    /// Whether there are more than 1,000 groups. The others are left out.
    is_truncated: bool,
    /// The share of calls that the cache of answers has answered, from 0 to 1.
    cached_share: f64,
    /// The durations of calls.
    latencies: AiLatencies,
    /// The errors of calls, the most frequent first.
    errors: Vec<AiCallErrors>,
    /// The costs of the current month, whatever the period.
    projection: AiProjection,
}

/// Get the costs of language models
///
/// The calls of all tenants that have ended, with what they have used and cost, their latencies and errors, and the
/// projection of the current month. All calls of the period and of the month are read, so a longer period takes more
/// time.
#[utoipa::path(get, path = "/", operation_id = "get_ai_spend", params(AiSpendQuery), responses(
    (status = 200, body = AiSpendReport),
    (status = 422, body = ErrorEnvelope),
))]
async fn spend(
    State(accounting): State<Accounting>,
    Query(query): Query<AiSpendQuery>,
) -> Result<Json<AiSpendReport>, Error> {
    let AiSpendQuery { from, until, group_by, environment, tenant } = query;
    let now = accounting.clock().now();
    let group = group_by.unwrap_or(SpendGroup::Model);
    let (from, until) = period(now, from, until)?;
    let scope = SpendScope { from, until, environment, tenant, user: None, api_key: None };
    // An operator sees the calls of all tenants.
    let mut tx = accounting.db().all_tenants().begin_read().await?;
    let total = numbers::total(&mut tx, &scope).await?;
    let (items, is_truncated) = truncated(numbers::by_group(&mut tx, &scope, group).await?);
    let latencies = quality::latencies(&mut tx, &scope).await?;
    let errors = quality::errors(&mut tx, &scope).await?;
    let projection = projection::of_month(&mut tx, &scope, now).await?;
    tx.commit().await?;
    let cached_share = total.cached_share();
    Ok(Json(AiSpendReport {
        from,
        until,
        group_by: group,
        total,
        items,
        is_truncated,
        cached_share,
        latencies,
        errors,
        projection,
    }))
}

/// Returns the period of a report.
fn period(now: Timestamp, from: Option<Timestamp>, until: Option<Timestamp>) -> Result<(Timestamp, Timestamp), Error> {
    // The calls of this microsecond are in the default period.
    let until = until.unwrap_or(now + Duration::from_micros(1));
    let from = from.unwrap_or(until - DEFAULT_PERIOD);
    if from >= until {
        return Err(Error::invalid([FieldError::new("from", "must be before `until`")]));
    }
    if until.duration_since(from) > MAX_PERIOD {
        return Err(Error::invalid([FieldError::new("from", "must be at most 93 days before `until`")]));
    }
    Ok((from, until))
}

/// Returns the groups of a report, and whether there are more.
fn truncated(mut items: Vec<AiSpendItem>) -> (Vec<AiSpendItem>, bool) {
    let most = usize::try_from(MAX_GROUPS).unwrap_or(usize::MAX);
    let is_truncated = items.len() > most;
    items.truncate(most);
    (items, is_truncated)
}
