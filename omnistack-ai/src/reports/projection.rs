//! The projection of the costs of the current month.

use omnistack_core::{
    clock::Timestamp,
    db::{Error, Tx},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::numbers::{self, SpendScope};
use crate::{accounting::BudgetPeriod, catalog::Cost};

/// The costs of the current month in UTC, and what they become at the same rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct AiProjection {
    /// The start of the month.
    month: Timestamp,
    /// The costs so far, in US dollars.
    cost: Cost,
    /// The costs of the whole month, if they grow as they did so far.
    projected_cost: Cost,
}

/// Returns the projection of the month of `now`, of the calls of a scope, whatever its period.
pub(super) async fn of_month(tx: &mut Tx, scope: &SpendScope, now: Timestamp) -> Result<AiProjection, Error> {
    let month = BudgetPeriod::Month.start(now);
    let end = BudgetPeriod::Month.end(month);
    let scope = SpendScope { from: month, until: end, ..*scope };
    let cost = numbers::total(tx, &scope).await?.cost();
    let projected_cost = Cost::from_pico(projected(cost.pico(), month, now, end));
    Ok(AiProjection { month, cost, projected_cost })
}

fn projected(pico: i64, start: Timestamp, now: Timestamp, end: Timestamp) -> i64 {
    let micros = |from: Timestamp, to: Timestamp| i128::from(to.as_micros()) - i128::from(from.as_micros());
    let passed = micros(start, now).max(1);
    let projected = i128::from(pico).saturating_mul(micros(start, end).max(passed)) / passed;
    // In the first moments of a month, a single call would become absurd: at most the largest amount.
    i64::try_from(projected).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_grow_as_they_did() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let (start, end) = (at("2030-01-01T00:00:00Z"), at("2030-02-01T00:00:00Z"));
        for (pico, now, expected) in [
            (1_000, "2030-01-16T12:00:00Z", 2_000),
            (1_000, "2030-02-01T00:00:00Z", 1_000),
            (0, "2030-01-01T00:00:00Z", 0),
            (i64::MAX, "2030-01-01T00:00:00Z", i64::MAX),
        ] {
            assert_eq!(projected(pico, start, at(now), end), expected, "{pico} {now}");
        }
    }
}
