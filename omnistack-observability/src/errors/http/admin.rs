//! `/api/v1/admin/errors`: the errors of the app, for operators.

#![expect(unused_qualifications, reason = "the derive macros for queries generate qualified paths")]

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    http::{CursorPage, Error, ErrorEnvelope, FieldError, Json, PageRequest, Patch, Path, Query},
    identity::{Identity, UserId},
    module::Api,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::{
    RouteState,
    period::{Interval, Period},
    reports::{self, ErrorCount, ErrorStats, ErrorTrendPoint},
};
use crate::errors::{
    analysis::ErrorAnalysis,
    model::{ErrorGroup, ErrorGroupId, ErrorGroupStatus, ErrorOriginKind, ErrorSample, ErrorSeverity},
    store::{Dimension, ErrorScope, GroupChange, GroupFilter, GroupPosition},
};

pub(super) fn api() -> Api<RouteState> {
    Api::new()
        .routes(routes!(stats))
        .routes(routes!(analysis))
        .routes(routes!(trends))
        .routes(routes!(groups))
        .routes(routes!(group, change))
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ErrorQuery {
    /// The period, which ends now. Default: `7d`.
    #[garde(skip)]
    #[param(inline)]
    period: Option<Period>,
}

/// Get numbers of errors
#[utoipa::path(get, path = "/stats", operation_id = "get_error_stats", params(ErrorQuery), responses(
    (status = 200, body = ErrorStats),
    (status = 422, body = ErrorEnvelope, description = "The period is not valid."),
))]
async fn stats(State(state): State<RouteState>, Query(query): Query<ErrorQuery>) -> Result<Json<ErrorStats>, Error> {
    Ok(Json(reports::stats(&state.store, query.period.unwrap_or_default(), None).await?))
}

/// Analyse errors
///
/// Returns values that are more frequent in a group than in all errors, and recommendations.
#[utoipa::path(get, path = "/analysis", operation_id = "get_error_analysis", params(ErrorQuery), responses(
    (status = 200, body = ErrorAnalysis),
    (status = 422, body = ErrorEnvelope, description = "The period is not valid."),
))]
async fn analysis(
    State(state): State<RouteState>,
    Query(query): Query<ErrorQuery>,
) -> Result<Json<ErrorAnalysis>, Error> {
    Ok(Json(reports::analysis(&state.store, query.period.unwrap_or_default(), None).await?))
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ErrorTrendQuery {
    /// The period, which ends now. Default: `7d`.
    #[garde(skip)]
    #[param(inline)]
    period: Option<Period>,
    /// The length of the intervals. Default: `hour` for `7d`, otherwise `day`.
    #[garde(skip)]
    #[param(inline)]
    by: Option<Interval>,
}

/// The numbers of errors in the intervals of a period.
#[derive(Serialize, ToSchema)]
struct ErrorTrend {
    /// The intervals, oldest first, including those without errors.
    points: Vec<ErrorTrendPoint>,
}

/// Get the trend of errors
#[utoipa::path(get, path = "/trends", operation_id = "get_error_trends", params(ErrorTrendQuery), responses(
    (status = 200, body = ErrorTrend),
    (status = 422, body = ErrorEnvelope, description = "The period or the interval is not valid."),
))]
async fn trends(
    State(state): State<RouteState>,
    Query(query): Query<ErrorTrendQuery>,
) -> Result<Json<ErrorTrend>, Error> {
    let period = query.period.unwrap_or_default();
    let default = if period == Period::Week { Interval::Hour } else { Interval::Day };
    let scope = reports::scope(&state.store, period, None);
    let points = reports::trend(&state.store, scope, query.by.unwrap_or(default)).await?;
    Ok(Json(ErrorTrend { points }))
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ErrorGroupListQuery {
    /// Only groups with this status.
    #[garde(skip)]
    #[param(inline)]
    status: Option<ErrorGroupStatus>,
    /// Only groups with errors in this period, which ends now. Default: `7d`.
    #[garde(skip)]
    #[param(inline)]
    period: Option<Period>,
    /// Only groups whose errors occurred in this. The time of the response grows with the number of other groups in
    /// the period.
    #[garde(skip)]
    #[param(inline)]
    origin: Option<ErrorOriginKind>,
    /// Only groups with this severity. The time of the response grows with the number of other groups in the period.
    #[garde(skip)]
    #[param(inline)]
    severity: Option<ErrorSeverity>,
    /// Largest number of items to return, from 1 to 100. Default: 20.
    #[garde(range(min = 1, max = 100))]
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// The `next_cursor` of the previous page.
    #[garde(length(chars, max = 100))]
    #[param(max_length = 100)]
    cursor: Option<String>,
}

/// List error groups
///
/// Those with the latest errors come first.
#[utoipa::path(get, path = "/groups", operation_id = "list_error_groups", params(ErrorGroupListQuery), responses(
    (status = 200, body = CursorPage<ErrorGroup>),
    (status = 422, body = ErrorEnvelope, description = "A parameter is not valid."),
))]
async fn groups(
    State(state): State<RouteState>,
    Query(query): Query<ErrorGroupListQuery>,
) -> Result<Json<CursorPage<ErrorGroup>>, Error> {
    let after = match &query.cursor {
        None => GroupPosition::start(),
        Some(cursor) => read_cursor(cursor)
            .ok_or_else(|| Error::invalid([FieldError::new("cursor", "must be a `next_cursor` value")]))?,
    };
    let filter = GroupFilter {
        status: query.status,
        origin: query.origin,
        severity: query.severity,
        since: query.period.unwrap_or_default().since(state.store.clock.now()),
    };
    let limit = query.limit.unwrap_or(PageRequest::DEFAULT_SIZE);
    let mut items = state.store.groups(&filter, after, limit + 1).await?;
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = items.len() > most;
    items.truncate(most);
    let next_cursor = items.last().filter(|_| more).map(|last| format!("{}.{}", last.last_seen.as_micros(), last.id));
    Ok(Json(CursorPage { items, next_cursor }))
}

fn read_cursor(cursor: &str) -> Option<GroupPosition> {
    let (last_seen, id) = cursor.split_once('.')?;
    Some(GroupPosition { last_seen: last_seen.parse().ok()?, id: id.parse().ok()? })
}

/// An error group, with the numbers of its errors in a period. Lists have at most 20 values, those with the most errors
/// first.
#[derive(Serialize, ToSchema)]
struct ErrorGroupDetails {
    /// The group.
    group: ErrorGroup,
    /// Numbers by hour, without hours that have no errors.
    hours: Vec<ErrorTrendPoint>,
    /// Numbers by day in UTC, including days without errors.
    days: Vec<ErrorTrendPoint>,
    /// Numbers by method and route pattern, name of the job, or name of the subscriber.
    operations: Vec<ErrorCount>,
    /// Numbers by tenant.
    tenants: Vec<ErrorCount>,
    /// Numbers by version of the app.
    releases: Vec<ErrorCount>,
    /// The latest errors, at most ten, newest first.
    samples: Vec<ErrorSample>,
}

fn no_group() -> Error {
    Error::not_found("the error group")
}

/// Get an error group
#[utoipa::path(get, path = "/groups/{id}", operation_id = "get_error_group",
    params(("id" = String, Path, format = Uuid), ErrorQuery), responses(
    (status = 200, body = ErrorGroupDetails),
    (status = 404, body = ErrorEnvelope),
    (status = 422, body = ErrorEnvelope, description = "The period is not valid."),
))]
async fn group(
    State(state): State<RouteState>,
    Path(id): Path<ErrorGroupId>,
    Query(query): Query<ErrorQuery>,
) -> Result<Json<ErrorGroupDetails>, Error> {
    let store = &state.store;
    let group = store.group(id).await?.ok_or_else(no_group)?;
    let scope = ErrorScope { group: Some(id), ..reports::scope(store, query.period.unwrap_or_default(), None) };
    let hours = store.hours(scope).await?;
    let days = Interval::Day.fold(&hours, scope.since, store.clock.now().as_micros());
    Ok(Json(ErrorGroupDetails {
        group,
        hours: reports::points(hours),
        days: reports::points(days),
        operations: reports::counts(store, scope, Dimension::Operation).await?,
        tenants: reports::counts(store, scope, Dimension::Tenant).await?,
        releases: reports::counts(store, scope, Dimension::Release).await?,
        samples: store.samples(id).await?,
    }))
}

/// The status that an operator sets.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum NewErrorGroupStatus {
    /// The group needs attention.
    Open,
    /// The cause is removed. If the error occurs again, the group is `regressed`.
    Resolved,
    /// The group is counted, and causes no alerts.
    Ignored,
}

/// A change of an error group. Absent fields keep their values.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct ErrorGroupChange {
    /// The new status.
    #[garde(skip)]
    status: Option<NewErrorGroupStatus>,
    /// The user who is responsible for the group; `null` removes the assignee.
    #[serde(default)]
    #[garde(skip)]
    #[schema(value_type = Option<String>, format = Uuid)]
    assignee: Patch<UserId>,
}

/// Change an error group
///
/// Resolves, ignores, reopens or assigns the group. Each change is recorded in the audit log.
#[utoipa::path(patch, path = "/groups/{id}", operation_id = "update_error_group", request_body = ErrorGroupChange,
    params(("id" = String, Path, format = Uuid)), responses(
    (status = 200, body = ErrorGroup),
    (status = 404, body = ErrorEnvelope),
    (status = 422, body = ErrorEnvelope, description = "A field is not valid."),
))]
async fn change(
    State(state): State<RouteState>,
    caller: Identity,
    Path(id): Path<ErrorGroupId>,
    Json(change): Json<ErrorGroupChange>,
) -> Result<Json<ErrorGroup>, Error> {
    let status = change.status.map(|status| match status {
        NewErrorGroupStatus::Open => ErrorGroupStatus::Open,
        NewErrorGroupStatus::Resolved => ErrorGroupStatus::Resolved,
        NewErrorGroupStatus::Ignored => ErrorGroupStatus::Ignored,
    });
    let change = GroupChange { status, assignee: change.assignee.into_nested_option() };
    state.store.change(id, change, &state.log, &caller).await?.map(Json).ok_or_else(no_group)
}
