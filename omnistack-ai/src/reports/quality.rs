//! Latencies and errors of calls.

use omnistack_core::db::{Arguments, Error, FromRow, Tx};
use serde::Serialize;
use sqlx::AssertSqlSafe;
use utoipa::ToSchema;

use super::numbers::SpendScope;

/// Number of calls of which latencies are read, the newest first.
const MAX_SAMPLED_CALLS: i64 = 10_000;
/// Largest number of kinds of errors in a report.
const MAX_ERRORS: i64 = 50;

/// The durations of calls that a model has answered, of the newest 10,000 at most. Half of the calls took at most
/// `p50`, and so on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct AiLatencies {
    /// The number of calls.
    calls: i64,
    /// The times from the start to the end, in milliseconds.
    total_ms: AiPercentiles,
    /// The times from the start to the first byte of the answer, in milliseconds.
    first_byte_ms: AiPercentiles,
}

/// Percentiles in milliseconds; `null` if there are no calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct AiPercentiles {
    /// 50 percent of the values are at most this one.
    #[schema(required)]
    p50: Option<i64>,
    /// 95 percent of the values are at most this one.
    #[schema(required)]
    p95: Option<i64>,
    /// 99 percent of the values are at most this one.
    #[schema(required)]
    p99: Option<i64>,
}

impl AiPercentiles {
    fn of(mut values: Vec<i64>) -> Self {
        values.sort_unstable();
        let at = |percent: usize| {
            let rank = (values.len() * percent).div_ceil(100);
            values.get(rank.saturating_sub(1)).copied()
        };
        Self { p50: at(50), p95: at(95), p99: at(99) }
    }
}

/// Calls that have ended with the same kind of error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, FromRow)]
pub(super) struct AiCallErrors {
    /// The provider; `null` if none was asked.
    #[schema(required)]
    provider: Option<String>,
    /// The name of the kind of the error, such as `rate_limited`, or the status of the call.
    error: String,
    /// The number of calls.
    calls: i64,
}

/// Returns the latencies of calls.
pub(super) async fn latencies(tx: &mut Tx, scope: &SpendScope) -> Result<AiLatencies, Error> {
    let mut args = Arguments::new(tx.dialect());
    let condition = scope.condition(&mut args);
    let limit = args.push(MAX_SAMPLED_CALLS);
    let sql = format!(
        "select duration_ms, first_byte_ms from omni_ai_calls
        where {condition} and status = 'succeeded' and not is_cached order by id desc limit ${limit}"
    );
    let rows: Vec<(Option<i64>, Option<i64>)> = tx.query(AssertSqlSafe(sql)).args(args).fetch_all().await?;
    let calls = i64::try_from(rows.len()).unwrap_or(MAX_SAMPLED_CALLS);
    let (totals, first_bytes): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
    let percentiles = |values: Vec<Option<i64>>| AiPercentiles::of(values.into_iter().flatten().collect());
    Ok(AiLatencies { calls, total_ms: percentiles(totals), first_byte_ms: percentiles(first_bytes) })
}

/// Returns the errors of calls, the most frequent first.
pub(super) async fn errors(tx: &mut Tx, scope: &SpendScope) -> Result<Vec<AiCallErrors>, Error> {
    let mut args = Arguments::new(tx.dialect());
    let condition = scope.condition(&mut args);
    let limit = args.push(MAX_ERRORS);
    let sql = format!(
        "select provider, coalesce(error, status) as error, count(*) as calls from omni_ai_calls
        where {condition} and status in ('failed', 'interrupted', 'lost')
        group by provider, coalesce(error, status) order by calls desc, 2 limit ${limit}"
    );
    tx.query(AssertSqlSafe(sql)).args(args).fetch_all().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_of_calls() {
        let found = |values: &[i64]| {
            let AiPercentiles { p50, p95, p99 } = AiPercentiles::of(values.to_vec());
            (p50, p95, p99)
        };
        assert_eq!(found(&[]), (None, None, None));
        assert_eq!(found(&[7]), (Some(7), Some(7), Some(7)));
        assert_eq!(found(&[4, 1, 3, 2]), (Some(2), Some(4), Some(4)));
        let hundred: Vec<i64> = (1..=100).rev().collect();
        assert_eq!(found(&hundred), (Some(50), Some(95), Some(99)));
    }
}
