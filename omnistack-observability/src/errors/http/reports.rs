//! Reports that operators and tenants share.

use omnistack_core::{clock::Timestamp, db, identity::TenantId};
use serde::Serialize;
use utoipa::ToSchema;

use super::period::{Interval, Period, at};
use crate::errors::{
    analysis::{ErrorAnalysis, GroupTotal, MIN_ERRORS, PatternDimension, patterns},
    model::{ErrorGroupId, ErrorOriginKind},
    recommendations::{Audience, recommendations},
    store::{Dimension, ErrorScope, ErrorStore},
};

/// Largest number of values of a dimension in a report.
const MAX_VALUES: u32 = 20;

/// Largest number of groups whose patterns are searched.
const MAX_ANALYSED_GROUPS: u32 = 1_000;

/// The number of errors of a value.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ErrorCount {
    /// The value.
    pub(super) value: String,
    /// Number of errors.
    pub(super) errors: i64,
}

/// The number of errors in an interval.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ErrorTrendPoint {
    /// Beginning of the interval.
    pub(super) at: Timestamp,
    /// Number of errors.
    pub(super) errors: i64,
}

/// Numbers of errors in a period. Lists have at most 20 values, those with the most errors first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ErrorStats {
    /// Beginning of the period.
    pub(super) since: Timestamp,
    /// Number of errors.
    pub(super) errors: i64,
    /// Number of groups with errors.
    pub(super) groups: i64,
    /// Numbers by severity: `error` or `warning`.
    pub(super) by_severity: Vec<ErrorCount>,
    /// Numbers by what the errors occurred in: `request`, `job` or `delivery`.
    pub(super) by_origin: Vec<ErrorCount>,
    /// Numbers by error code.
    pub(super) by_code: Vec<ErrorCount>,
    /// Numbers by method and route pattern, name of the job, or name of the subscriber.
    pub(super) by_operation: Vec<ErrorCount>,
    /// Numbers by version of the app.
    pub(super) by_release: Vec<ErrorCount>,
    /// Numbers by tenant, for operators.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) by_tenant: Option<Vec<ErrorCount>>,
    /// Numbers by hour, without hours that have no errors.
    pub(super) by_hour: Vec<ErrorTrendPoint>,
}

/// Returns the errors of a period that a caller reads.
pub(super) fn scope(store: &ErrorStore, period: Period, tenant: Option<TenantId>) -> ErrorScope {
    ErrorScope { since: period.since(store.clock.now()), tenant, group: None }
}

/// Returns the numbers of errors by a dimension.
pub(super) async fn counts(
    store: &ErrorStore,
    scope: ErrorScope,
    dimension: Dimension,
) -> Result<Vec<ErrorCount>, db::Error> {
    let counts = store.counts(scope, dimension, MAX_VALUES).await?;
    Ok(counts.into_iter().map(|(value, errors)| ErrorCount { value, errors }).collect())
}

pub(super) fn points(counts: Vec<(i64, i64)>) -> Vec<ErrorTrendPoint> {
    counts.into_iter().map(|(start, errors)| ErrorTrendPoint { at: at(start), errors }).collect()
}

pub(super) async fn stats(
    store: &ErrorStore,
    period: Period,
    tenant: Option<TenantId>,
) -> Result<ErrorStats, db::Error> {
    let scope = scope(store, period, tenant);
    let hours = store.hours(scope).await?;
    let by_tenant = match tenant {
        Some(_) => None,
        None => Some(counts(store, scope, Dimension::Tenant).await?),
    };
    Ok(ErrorStats {
        since: at(scope.since),
        errors: hours.iter().map(|(_, errors)| errors).sum(),
        groups: store.group_count(scope).await?,
        by_severity: counts(store, scope, Dimension::Severity).await?,
        by_origin: counts(store, scope, Dimension::Origin).await?,
        by_code: counts(store, scope, Dimension::Code).await?,
        by_operation: counts(store, scope, Dimension::Operation).await?,
        by_release: counts(store, scope, Dimension::Release).await?,
        by_tenant,
        by_hour: points(hours),
    })
}

pub(super) async fn analysis(
    store: &ErrorStore,
    period: Period,
    tenant: Option<TenantId>,
) -> Result<ErrorAnalysis, db::Error> {
    let scope = scope(store, period, tenant);
    let all_errors: i64 = store.hours(scope).await?.iter().map(|(_, errors)| errors).sum();
    let groups = store.group_totals(scope, MAX_ANALYSED_GROUPS).await?;
    let group = |(id, code, origin, errors): (ErrorGroupId, String, String, i64)| GroupTotal {
        id,
        code,
        origin: ErrorOriginKind::from_stored(&origin).unwrap_or(ErrorOriginKind::Request),
        errors,
    };
    let groups: Vec<_> = groups.into_iter().map(group).collect();
    let mut values = Vec::new();
    for (shown, dimension) in [
        (PatternDimension::Operation, Dimension::Operation),
        (PatternDimension::Release, Dimension::Release),
        (PatternDimension::Hour, Dimension::Hour),
        (PatternDimension::Tenant, Dimension::Tenant),
    ] {
        // All errors of a tenant have the same tenant.
        if tenant.is_none() || dimension != Dimension::Tenant {
            values.push((shown, store.values(scope, dimension, MIN_ERRORS).await?));
        }
    }
    for (_, rows) in values.iter_mut().filter(|(shown, _)| *shown == PatternDimension::Hour) {
        for row in rows {
            if let Ok(hour) = row.value.parse() {
                row.value = at(hour).to_string();
            }
        }
    }
    let (signals, peaks) = (store.signals(scope).await?, store.signal_peaks(scope).await?);
    let releases = store.counts(scope, Dimension::Release, 2).await?.len();
    let audience = if tenant.is_some() { Audience::Tenants } else { Audience::Operators };
    Ok(ErrorAnalysis {
        patterns: patterns(values, &groups, all_errors),
        recommendations: recommendations(&signals, &peaks, period.hours(), releases, audience),
    })
}

/// Returns the number of errors in each interval of a period.
pub(super) async fn trend(
    store: &ErrorStore,
    scope: ErrorScope,
    interval: Interval,
) -> Result<Vec<ErrorTrendPoint>, db::Error> {
    let hours = store.hours(scope).await?;
    Ok(points(interval.fold(&hours, scope.since, store.clock.now().as_micros())))
}
