//! The state machine of a service.
//!
//! | last state | result of the check | next state |
//! |---|---|---|
//! | healthy, degraded | success | healthy |
//! | healthy, degraded | slow success | degraded |
//! | healthy, degraded | first failure in a row | degraded |
//! | any | second failure in a row, or later | down |
//! | down | first success in a row | down |
//! | down | second success in a row | healthy; degraded if it is slow |
//!
//! A service that was never checked counts as healthy.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Number of failures in a row after which a service is down.
const FAILURES_UNTIL_DOWN: i64 = 2;
/// Number of successes in a row after which a service is no longer down.
const SUCCESSES_UNTIL_UP: i64 = 2;

/// State of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ServiceState {
    /// The last check succeeded.
    #[default]
    Healthy,
    /// The last check failed or was slow.
    Degraded,
    /// At least two checks failed in a row, and fewer than two have succeeded in a row since.
    Down,
}

impl ServiceState {
    /// Returns the name of the state as in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Down => "down",
        }
    }

    /// Parses the name of a state.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Healthy, Self::Degraded, Self::Down].into_iter().find(|state| state.as_str() == text)
    }

    /// Returns the value of the gauge `service_up`.
    pub(crate) const fn gauge_value(self) -> f64 {
        match self {
            Self::Healthy => 1.0,
            Self::Degraded => 0.5,
            Self::Down => 0.0,
        }
    }
}

/// Result of a check, as the state machine distinguishes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CheckOutcome {
    /// The check succeeded in time.
    Success,
    /// The check succeeded, but took long.
    SlowSuccess,
    /// The check failed.
    Failure,
}

/// State of a service with the counters that decide the next state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StateCounters {
    pub(crate) state: ServiceState,
    /// Number of failures since the last success.
    pub(crate) failures: i64,
    /// Number of successes since the last failure.
    pub(crate) successes: i64,
}

impl StateCounters {
    /// Returns the state and the counters after a check.
    pub(crate) fn after(self, outcome: CheckOutcome) -> Self {
        if outcome == CheckOutcome::Failure {
            let failures = self.failures.saturating_add(1);
            let is_down = self.state == ServiceState::Down || failures >= FAILURES_UNTIL_DOWN;
            let state = if is_down { ServiceState::Down } else { ServiceState::Degraded };
            return Self { state, failures, successes: 0 };
        }
        let successes = self.successes.saturating_add(1);
        let state = match outcome {
            _ if self.state == ServiceState::Down && successes < SUCCESSES_UNTIL_UP => ServiceState::Down,
            CheckOutcome::Success => ServiceState::Healthy,
            CheckOutcome::SlowSuccess | CheckOutcome::Failure => ServiceState::Degraded,
        };
        Self { state, failures: 0, successes }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        CheckOutcome::{self, Failure, SlowSuccess, Success},
        ServiceState::{self, Degraded, Down, Healthy},
        StateCounters,
    };

    #[test]
    fn states_follow_from_the_results() {
        let table: [(&[CheckOutcome], &[ServiceState]); 9] = [
            (&[Success, Success], &[Healthy, Healthy]),
            (&[Failure], &[Degraded]),
            (&[Failure, Success], &[Degraded, Healthy]),
            (&[Success, Failure, Failure, Failure], &[Healthy, Degraded, Down, Down]),
            (&[Failure, Failure, Success, Success], &[Degraded, Down, Down, Healthy]),
            // A failure between two successes does not end the outage.
            (&[Failure, Failure, Success, Failure, Success, Success], &[Degraded, Down, Down, Down, Down, Healthy]),
            (&[SlowSuccess, SlowSuccess, SlowSuccess, Success], &[Degraded, Degraded, Degraded, Healthy]),
            // A slow success ends a row of failures.
            (&[Failure, SlowSuccess, Failure, Failure], &[Degraded, Degraded, Degraded, Down]),
            (&[Failure, Failure, SlowSuccess, SlowSuccess, Success], &[Degraded, Down, Down, Degraded, Healthy]),
        ];
        for (outcomes, expected) in table {
            let mut counters = StateCounters::default();
            let states: Vec<_> = outcomes
                .iter()
                .map(|outcome| {
                    counters = counters.after(*outcome);
                    counters.state
                })
                .collect();
            assert_eq!(states, expected, "{outcomes:?}");
        }
    }

    #[test]
    fn names_are_parsed() {
        for state in [Healthy, Degraded, Down] {
            assert_eq!(ServiceState::parse(state.as_str()), Some(state));
        }
        assert_eq!(ServiceState::parse("unknown"), None);
    }
}
