//! Patterns: values that are more frequent in a group than in all errors.

use serde::Serialize;
use utoipa::ToSchema;

use super::{
    model::{ErrorGroupId, ErrorOriginKind},
    recommendations::ErrorRecommendation,
    store::ValueRow,
};

/// Least number of errors of a value in a group.
pub(super) const MIN_ERRORS: i64 = 20;

/// Least lift of a pattern.
const MIN_LIFT: f64 = 2.0;

/// Largest number of patterns in a response.
const MAX_PATTERNS: usize = 50;

/// The dimension of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PatternDimension {
    /// Method and route pattern, name of the job, or name of the subscriber.
    Operation,
    /// Version of the app.
    Release,
    /// Id of a tenant.
    Tenant,
    /// Beginning of an hour.
    Hour,
}

/// A value that is more frequent in a group than in all errors.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ErrorPattern {
    /// The id of the group.
    #[schema(value_type = String, format = Uuid)]
    pub(crate) group: ErrorGroupId,
    /// The error code of the group.
    pub(crate) code: String,
    /// The kind of origin of the errors.
    pub(crate) origin: ErrorOriginKind,
    /// The dimension of the pattern.
    pub(crate) dimension: PatternDimension,
    /// The value.
    pub(crate) value: String,
    /// Number of errors of the group with the value.
    pub(crate) errors: i64,
    /// Share of the group's errors that have the value, from 0 to 1.
    pub(crate) share: f64,
    /// Share of all errors that have the value, from 0 to 1.
    pub(crate) overall_share: f64,
    /// The lift: `share` divided by `overall_share`.
    pub(crate) lift: f64,
}

/// Patterns and recommendations.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ErrorAnalysis {
    /// Values that are at least twice as frequent in a group as in all errors, in descending order of their lift.
    pub(crate) patterns: Vec<ErrorPattern>,
    /// Recommendations, in descending order of the number of errors.
    pub(crate) recommendations: Vec<ErrorRecommendation>,
}

/// A group, for its patterns.
#[derive(Clone, Debug)]
pub(super) struct GroupTotal {
    pub(super) id: ErrorGroupId,
    pub(super) code: String,
    pub(super) origin: ErrorOriginKind,
    pub(super) errors: i64,
}

/// The lift of a value in a group.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Lift {
    share: f64,
    overall_share: f64,
    factor: f64,
}

/// Returns the lift of a value: its share in the group divided by its share in all errors. Returns `None` without
/// enough evidence: fewer than 20 errors, or a lift below 2.
fn lift(errors: i64, group_errors: i64, value_errors: i64, all_errors: i64) -> Option<Lift> {
    if errors < MIN_ERRORS || group_errors <= 0 || value_errors <= 0 || all_errors <= 0 {
        return None;
    }
    let share = errors as f64 / group_errors as f64;
    let overall_share = value_errors as f64 / all_errors as f64;
    let lift = share / overall_share;
    (lift >= MIN_LIFT).then_some(Lift { share, overall_share, factor: lift })
}

/// Returns the patterns among the values of groups, in descending order of their lift.
pub(super) fn patterns(
    values: impl IntoIterator<Item = (PatternDimension, Vec<ValueRow>)>,
    groups: &[GroupTotal],
    all_errors: i64,
) -> Vec<ErrorPattern> {
    let mut patterns = Vec::new();
    for (dimension, rows) in values {
        for row in rows {
            let Some(group) = groups.iter().find(|group| group.id == row.group) else { continue };
            let Some(lift) = lift(row.errors, group.errors, row.all_errors, all_errors) else { continue };
            patterns.push(ErrorPattern {
                group: row.group,
                code: group.code.clone(),
                origin: group.origin,
                dimension,
                value: row.value,
                errors: row.errors,
                share: lift.share,
                overall_share: lift.overall_share,
                lift: lift.factor,
            });
        }
    }
    patterns.sort_by(|one, other| other.lift.total_cmp(&one.lift).then(other.errors.cmp(&one.errors)));
    patterns.truncate(MAX_PATTERNS);
    patterns
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn lift_is_the_ratio_of_the_shares() {
        let found = lift(80, 100, 100, 1_000).unwrap();
        assert!((found.share - 0.8).abs() < 1e-9 && (found.factor - 8.0).abs() < 1e-9, "{found:?}");
        for (errors, group, value, all, why) in [
            (19, 20, 19, 1_000, "too few errors"),
            (50, 100, 500, 1_000, "as frequent as in all errors"),
            (50, 100, 260, 1_000, "a lift below 2"),
            (50, 50, 50, 50, "no other errors"),
            (20, 0, 0, 0, "no errors"),
        ] {
            assert_eq!(lift(errors, group, value, all), None, "{why}");
        }
    }

    #[test]
    fn patterns_are_ordered_by_their_lift() {
        let id = |number| ErrorGroupId::from_uuid(Uuid::from_u128(number));
        let group = |number, errors| GroupTotal {
            id: id(number),
            code: "INTERNAL_ERROR".into(),
            origin: ErrorOriginKind::Request,
            errors,
        };
        let row = |number, value: &str, errors, all_errors| ValueRow {
            group: id(number),
            value: value.into(),
            errors,
            all_errors,
        };
        let values = [
            (PatternDimension::Release, vec![row(1, "1.2.0", 100, 200), row(2, "1.2.0", 50, 200)]),
            (PatternDimension::Operation, vec![row(1, "GET /a", 100, 100), row(3, "GET /b", 90, 90)]),
        ];
        let found = patterns(values, &[group(1, 100), group(2, 500)], 1_000);
        let found: Vec<_> = found.iter().map(|pattern| (pattern.value.as_str(), pattern.lift.round())).collect();
        assert_eq!(found, [("GET /a", 10.0), ("1.2.0", 5.0)]);
    }
}
