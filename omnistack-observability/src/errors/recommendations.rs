//! Recommendations: a table of rules, each with the errors that it is based on.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::{
    model::{ErrorGroupId, Signal},
    store::SignalRow,
};

/// Least number of errors for a recommendation.
const MIN_ERRORS: i64 = 5;

/// Number of errors from which the confidence is high.
const HIGH_CONFIDENCE_ERRORS: i64 = 100;

/// Number of errors from which the confidence is medium.
const MEDIUM_CONFIDENCE_ERRORS: i64 = 20;

/// Least number of errors in the hour of a burst.
const MIN_BURST_ERRORS: i64 = 20;

/// A burst has more than this many times the mean of the hours of the period.
const BURST_FACTOR: i64 = 5;

/// A release is the cause if this share of the errors occurred in it, in percent.
const RELEASE_PERCENT: i64 = 80;

/// Largest number of groups in the evidence.
const MAX_GROUPS: usize = 5;

/// The page of the book with the runbooks.
macro_rules! runbook {
    ($anchor:literal) => {
        concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/docs/src/error-analytics.md#", $anchor)
    };
}

/// The confidence of a recommendation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = RecommendationConfidence)]
pub(crate) enum Confidence {
    /// Fewer than 20 errors.
    Low,
    /// At least 20 errors.
    Medium,
    /// At least 100 errors.
    High,
}

/// A recommendation, and the errors that it is based on.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ErrorRecommendation {
    /// The cause that the text of the errors shows.
    pub(crate) signal: Signal,
    /// The steps to take.
    pub(crate) text: &'static str,
    /// Number of errors with this cause.
    pub(crate) errors: i64,
    /// Largest number of errors with this cause in an hour.
    pub(crate) errors_in_peak_hour: i64,
    /// The groups with the most of these errors, at most five.
    #[schema(value_type = Vec<String>)]
    pub(crate) groups: Vec<ErrorGroupId>,
    /// The version of the app in which at least 80 % of these errors occurred; `null` if there is none, or only one
    /// version had errors.
    #[schema(required)]
    pub(crate) release: Option<String>,
    /// The confidence of the recommendation.
    pub(crate) confidence: Confidence,
    /// The section of the book that describes the steps.
    pub(crate) runbook: &'static str,
}

/// The audience of a recommendation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    Operators,
    Tenants,
}

/// A condition beyond the number of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Always,
    /// An hour has far more errors than the others.
    Burst,
    /// If most errors occurred in one release, the confidence is higher.
    Release,
}

struct Rule {
    signal: Signal,
    condition: Condition,
    audiences: &'static [Audience],
    text: &'static str,
    runbook: &'static str,
}

const OPERATORS: &[Audience] = &[Audience::Operators];
const TENANTS: &[Audience] = &[Audience::Tenants];

const RULES: [Rule; 12] = [
    Rule {
        signal: Signal::PoolTimeout,
        condition: Condition::Always,
        audiences: OPERATORS,
        text: "No connection to the database was free in time. Look for slow statements and long transactions, then \
               raise DATABASE_MAX_CONNECTIONS.",
        runbook: runbook!("pool-timeout"),
    },
    Rule {
        signal: Signal::UniqueViolation,
        condition: Condition::Always,
        audiences: OPERATORS,
        text: "Rows with the same unique value are inserted. Send an Idempotency-Key with repeated requests, or use \
               `on conflict`.",
        runbook: runbook!("unique-violation"),
    },
    Rule {
        signal: Signal::TransactionConflict,
        condition: Condition::Always,
        audiences: OPERATORS,
        text: "Transactions conflict. Run the whole transaction again after such an error, and lock rows in one \
               order.",
        runbook: runbook!("transaction-conflict"),
    },
    Rule {
        signal: Signal::StatementTimeout,
        condition: Condition::Always,
        audiences: OPERATORS,
        text: "Statements take longer than DATABASE_STATEMENT_TIMEOUT. Find them in the slow-query log, and add an \
               index or read fewer rows.",
        runbook: runbook!("statement-timeout"),
    },
    Rule {
        signal: Signal::UpstreamRateLimit,
        condition: Condition::Always,
        audiences: OPERATORS,
        text: "A provider limits the rate of the app's calls. Retry after `Retry-After`, limit the rate of the \
               queue, or ask the provider for a higher limit.",
        runbook: runbook!("upstream-rate-limit"),
    },
    Rule {
        signal: Signal::UpstreamFailure,
        condition: Condition::Always,
        audiences: OPERATORS,
        text: "A provider fails or can't be reached. Check its status page and /health/ready, and call it through a \
               circuit breaker.",
        runbook: runbook!("upstream-failure"),
    },
    Rule {
        signal: Signal::DecodeFailure,
        condition: Condition::Release,
        audiences: OPERATORS,
        text: "Texts can't be decoded. If it began with a release, its types differ from what is stored or sent: add \
               `#[serde(default)]` to new fields, or roll the release back.",
        runbook: runbook!("decode-failure"),
    },
    Rule {
        signal: Signal::Unauthorized,
        condition: Condition::Burst,
        audiences: OPERATORS,
        text: "Credentials are rejected far more often than before. Check whether a key or a token was rotated, \
               revoked or has expired.",
        runbook: runbook!("unauthorized"),
    },
    Rule {
        signal: Signal::Unauthorized,
        condition: Condition::Always,
        audiences: TENANTS,
        text: "The app rejects credentials of your programs. Check whether an API key was revoked or has expired.",
        runbook: runbook!("unauthorized"),
    },
    Rule {
        signal: Signal::RateLimited,
        condition: Condition::Always,
        audiences: TENANTS,
        text: "Your programs send more requests than the rate limit allows. Wait for `Retry-After` before the next \
               request.",
        runbook: runbook!("rate-limited"),
    },
    Rule {
        signal: Signal::Forbidden,
        condition: Condition::Always,
        audiences: TENANTS,
        text: "Requests lack a permission. Compare the permissions of the role or API key with those of the routes.",
        runbook: runbook!("forbidden"),
    },
    Rule {
        signal: Signal::InvalidRequest,
        condition: Condition::Always,
        audiences: TENANTS,
        text: "Requests are invalid. The problems in the responses name the fields; compare the requests with \
               /openapi.json.",
        runbook: runbook!("invalid-request"),
    },
];

/// Returns the recommendations for errors with signals. `peaks` are the largest numbers of errors in an hour, `hours`
/// is the number of hours of the period, and `releases` the number of versions that had errors.
pub(super) fn recommendations(
    rows: &[SignalRow],
    peaks: &[(String, i64)],
    hours: i64,
    releases: usize,
    audience: Audience,
) -> Vec<ErrorRecommendation> {
    let rules = RULES.iter().filter(|rule| rule.audiences.contains(&audience));
    let mut found: Vec<_> = rules.filter_map(|rule| apply(rule, rows, peaks, hours, releases)).collect();
    found.sort_by_key(|recommendation| std::cmp::Reverse(recommendation.errors));
    found
}

fn apply(
    rule: &Rule,
    rows: &[SignalRow],
    peaks: &[(String, i64)],
    hours: i64,
    releases: usize,
) -> Option<ErrorRecommendation> {
    let signal = rule.signal.as_str();
    let (mut by_group, mut by_release) = (BTreeMap::<ErrorGroupId, i64>::new(), BTreeMap::<&str, i64>::new());
    for row in rows.iter().filter(|row| row.signal == signal) {
        *by_group.entry(row.group_id).or_default() += row.errors;
        *by_release.entry(&row.release).or_default() += row.errors;
    }
    let errors: i64 = by_group.values().sum();
    let peak = peaks.iter().find(|(name, _)| name == signal).map_or(0, |(_, errors)| *errors);
    let is_burst = peak >= MIN_BURST_ERRORS && peak * hours.max(1) > BURST_FACTOR * errors;
    if errors < MIN_ERRORS || (rule.condition == Condition::Burst && !is_burst) {
        return None;
    }
    let release = by_release.into_iter().find(|(_, of_release)| of_release * 100 >= errors * RELEASE_PERCENT);
    let release = release.filter(|_| releases > 1).map(|(release, _)| release.to_owned());
    let confidence = match errors {
        _ if rule.condition == Condition::Release && release.is_none() => Confidence::Low,
        HIGH_CONFIDENCE_ERRORS.. => Confidence::High,
        MEDIUM_CONFIDENCE_ERRORS.. => Confidence::Medium,
        _ => Confidence::Low,
    };
    let mut groups: Vec<_> = by_group.into_iter().collect();
    groups.sort_by_key(|(_, errors)| std::cmp::Reverse(*errors));
    let groups = groups.into_iter().take(MAX_GROUPS).map(|(group, _)| group).collect();
    Some(ErrorRecommendation {
        signal: rule.signal,
        text: rule.text,
        errors,
        errors_in_peak_hour: peak,
        groups,
        release,
        confidence,
        runbook: rule.runbook,
    })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn row(signal: Signal, group: u128, release: &str, errors: i64) -> SignalRow {
        let group_id = ErrorGroupId::from_uuid(Uuid::from_u128(group));
        SignalRow { signal: signal.as_str().into(), group_id, release: release.into(), errors }
    }

    fn find(rows: &[SignalRow], peak: i64, audience: Audience) -> Option<ErrorRecommendation> {
        let peaks: Vec<_> = rows.iter().map(|row| (row.signal.clone(), peak)).collect();
        recommendations(rows, &peaks, 168, 2, audience).into_iter().next()
    }

    #[test]
    fn each_rule_needs_its_evidence() {
        use Audience::{Operators, Tenants};
        use Signal as S;
        for (signal, errors, peak, audience, expected) in [
            (S::PoolTimeout, 4, 4, Operators, None),
            (S::PoolTimeout, 5, 5, Operators, Some(Confidence::Low)),
            (S::PoolTimeout, 20, 5, Operators, Some(Confidence::Medium)),
            (S::UniqueViolation, 100, 5, Operators, Some(Confidence::High)),
            (S::TransactionConflict, 30, 5, Operators, Some(Confidence::Medium)),
            (S::StatementTimeout, 30, 5, Operators, Some(Confidence::Medium)),
            (S::UpstreamRateLimit, 30, 5, Operators, Some(Confidence::Medium)),
            (S::UpstreamFailure, 30, 5, Operators, Some(Confidence::Medium)),
            (S::Unauthorized, 1_000, 19, Operators, None),
            (S::Unauthorized, 1_000, 29, Operators, None),
            (S::Unauthorized, 1_000, 40, Operators, Some(Confidence::High)),
            (S::Unauthorized, 30, 5, Tenants, Some(Confidence::Medium)),
            (S::RateLimited, 30, 5, Operators, None),
            (S::RateLimited, 30, 5, Tenants, Some(Confidence::Medium)),
            (S::Forbidden, 30, 5, Tenants, Some(Confidence::Medium)),
            (S::InvalidRequest, 30, 5, Tenants, Some(Confidence::Medium)),
            (S::PoolTimeout, 30, 5, Tenants, None),
        ] {
            let found = find(&[row(signal, 1, "1.0.0", errors)], peak, audience);
            assert_eq!(found.map(|found| found.confidence), expected, "{signal:?} {errors} {peak} {audience:?}");
        }
    }

    #[test]
    fn decode_failures_are_attributed_to_a_release() {
        let rows = [row(Signal::DecodeFailure, 1, "1.1.0", 90), row(Signal::DecodeFailure, 2, "1.0.0", 10)];
        let found = find(&rows, 50, Audience::Operators).unwrap();
        assert_eq!((found.release.as_deref(), found.confidence), (Some("1.1.0"), Confidence::High));
        assert_eq!((found.errors, found.groups.len()), (100, 2));
        let rows = [row(Signal::DecodeFailure, 1, "1.1.0", 60), row(Signal::DecodeFailure, 2, "1.0.0", 40)];
        let found = find(&rows, 50, Audience::Operators).unwrap();
        assert_eq!((found.release, found.confidence), (None, Confidence::Low));
    }

    #[test]
    fn the_most_frequent_cause_comes_first() {
        let rows = [row(Signal::PoolTimeout, 1, "1.0.0", 10), row(Signal::UpstreamFailure, 2, "1.0.0", 50)];
        let found = recommendations(&rows, &[], 168, 1, Audience::Operators);
        let found: Vec<_> = found.iter().map(|recommendation| recommendation.signal).collect();
        assert_eq!(found, [Signal::UpstreamFailure, Signal::PoolTimeout]);
    }
}
