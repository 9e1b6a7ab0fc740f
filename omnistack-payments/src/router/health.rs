//! The health of accounts, from the results of their calls.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use omnistack_core::{clock::Timestamp, payment::PaymentError};
use serde::Serialize;
use utoipa::ToSchema;

use crate::credentials::AccountKey;

/// Number of parts of the window. The oldest part is dropped as a whole.
const WINDOW_PARTS: u32 = 10;
/// Largest number of accounts in memory.
const MAX_WATCHED_ACCOUNTS: usize = 10_000;

/// The rules by which an account counts as unhealthy.
#[derive(Clone, Copy, Debug)]
pub(super) struct HealthPolicy {
    /// The time over which the success rate is measured.
    pub(super) window: Duration,
    /// The number of consecutive calls without a conclusive response after which the account is avoided.
    pub(super) failures: u32,
    /// The time for which it is avoided.
    pub(super) cooldown: Duration,
}

/// The health of an account, as this process has seen it in the last minutes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct AccountHealth {
    /// The number of calls.
    pub calls: u64,
    /// The part of the calls, from 0 to 1, that the service answered conclusively; a decline is an answer. `None`
    /// without calls.
    #[schema(required)]
    pub success_rate: Option<f64>,
    /// The mean duration of a call in milliseconds. `None` without calls.
    #[schema(required)]
    pub mean_duration_ms: Option<u64>,
    /// The time until which the account is avoided because its last calls failed. `None` if it is not.
    #[schema(required)]
    pub avoided_until: Option<Timestamp>,
}

/// The health of all accounts, in memory.
#[derive(Debug)]
pub(super) struct HealthBoard {
    policy: HealthPolicy,
    accounts: Mutex<HashMap<AccountKey, CallHistory>>,
}

#[derive(Debug, Default)]
struct CallHistory {
    /// The oldest first.
    parts: VecDeque<CallCounts>,
    consecutive_failures: u32,
    avoided_until: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug)]
struct CallCounts {
    since: Timestamp,
    calls: u64,
    failures: u64,
    duration: Duration,
}

impl HealthBoard {
    pub(super) fn new(policy: HealthPolicy) -> Self {
        Self { policy, accounts: Mutex::default() }
    }

    /// Records the result of a call.
    pub(super) fn record(&self, key: AccountKey, error: Option<&PaymentError>, duration: Duration, now: Timestamp) {
        let failed = error.is_some_and(is_failure);
        let policy = self.policy;
        let mut accounts = self.lock();
        if accounts.len() >= MAX_WATCHED_ACCOUNTS && !accounts.contains_key(&key) {
            accounts.retain(|_, history| history.is_recent(policy.window, now));
            if accounts.len() >= MAX_WATCHED_ACCOUNTS {
                accounts.clear();
            }
        }
        let history = accounts.entry(key).or_default();
        history.count(policy.window, failed, duration, now);
        if !failed {
            (history.consecutive_failures, history.avoided_until) = (0, None);
            return;
        }
        history.consecutive_failures = history.consecutive_failures.saturating_add(1);
        if history.consecutive_failures >= policy.failures {
            // After the cooldown, a single failure is enough.
            history.avoided_until = Some(now + policy.cooldown);
        }
    }

    /// Returns the health of an account.
    pub(super) fn of(&self, key: &AccountKey, now: Timestamp) -> AccountHealth {
        let accounts = self.lock();
        accounts.get(key).map(|history| history.summary(self.policy.window, now)).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AccountKey, CallHistory>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns whether an error says that the account does not work, in contrast to an answer about one payment.
const fn is_failure(error: &PaymentError) -> bool {
    matches!(error, PaymentError::Unavailable { .. } | PaymentError::Unknown { .. } | PaymentError::Unauthorized { .. })
}

impl CallHistory {
    fn count(&mut self, window: Duration, failed: bool, duration: Duration, now: Timestamp) {
        let length = window / WINDOW_PARTS;
        self.parts.retain(|part| now.duration_since(part.since) < window);
        match self.parts.back_mut() {
            Some(last) if now.duration_since(last.since) < length => last.add(failed, duration),
            _ => {
                let mut part = CallCounts { since: now, calls: 0, failures: 0, duration: Duration::ZERO };
                part.add(failed, duration);
                self.parts.push_back(part);
            }
        }
    }

    fn is_recent(&self, window: Duration, now: Timestamp) -> bool {
        self.parts.back().is_some_and(|last| now.duration_since(last.since) < window)
    }

    fn summary(&self, window: Duration, now: Timestamp) -> AccountHealth {
        let (mut calls, mut failures, mut duration) = (0_u64, 0_u64, Duration::ZERO);
        for part in self.parts.iter().filter(|part| now.duration_since(part.since) < window) {
            calls += part.calls;
            failures += part.failures;
            duration += part.duration;
        }
        let mean = duration.as_millis().checked_div(u128::from(calls));
        AccountHealth {
            calls,
            success_rate: (calls > 0).then(|| ratio(calls - failures, calls)),
            mean_duration_ms: mean.map(|mean| u64::try_from(mean).unwrap_or(u64::MAX)),
            avoided_until: self.avoided_until.filter(|until| *until > now),
        }
    }
}

impl CallCounts {
    fn add(&mut self, failed: bool, duration: Duration) {
        self.calls += 1;
        self.failures += u64::from(failed);
        self.duration += duration;
    }
}

/// Returns `part / whole` in steps of a ten-thousandth. `whole` is not zero.
fn ratio(part: u64, whole: u64) -> f64 {
    let steps = part.saturating_mul(10_000) / whole;
    f64::from(u32::try_from(steps).unwrap_or(u32::MAX)) / 10_000.0
}

#[cfg(test)]
mod tests {
    use omnistack_core::{
        data_environment::DataEnvironment,
        id::Id,
        payment::{DeclineReason, PaymentError},
    };
    use uuid::Uuid;

    use super::*;

    const WINDOW: Duration = Duration::from_secs(300);

    fn board() -> HealthBoard {
        HealthBoard::new(HealthPolicy { window: WINDOW, failures: 3, cooldown: Duration::from_secs(30) })
    }

    fn key() -> AccountKey {
        let tenant = Id::from_uuid(Uuid::nil());
        AccountKey { tenant, service: "stripe".into(), environment: DataEnvironment::Live }
    }

    fn time(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn unknown() -> PaymentError {
        PaymentError::Unknown { message: "timed out".into() }
    }

    #[test]
    fn the_success_rate_is_that_of_the_window() {
        let board = board();
        for second in 0..4 {
            let error = (second == 0).then(unknown);
            board.record(key(), error.as_ref(), Duration::from_millis(100), time(second));
        }
        let health = board.of(&key(), time(4));
        assert_eq!((health.calls, health.success_rate, health.mean_duration_ms), (4, Some(0.75), Some(100)));
        assert_eq!(board.of(&key(), time(300)), AccountHealth::default());
    }

    #[test]
    fn an_account_is_avoided_after_consecutive_failures_until_it_answers() {
        let board = board();
        let record = |error: Option<PaymentError>, second| {
            board.record(key(), error.as_ref(), Duration::ZERO, time(second));
            board.of(&key(), time(second)).avoided_until
        };
        let declined =
            PaymentError::Declined { reason: DeclineReason::InsufficientFunds, code: None, message: "no money".into() };
        assert_eq!(record(Some(unknown()), 0), None);
        assert_eq!(record(Some(unknown()), 1), None);
        assert_eq!(record(Some(declined), 2), None, "a decline is an answer");
        assert_eq!(record(Some(unknown()), 3), None);
        assert_eq!(record(Some(unknown()), 4), None);
        assert_eq!(record(Some(unknown()), 5), Some(time(35)));
        assert_eq!(board.of(&key(), time(35)).avoided_until, None);
        assert_eq!(record(Some(unknown()), 40), Some(time(70)), "a single failure is enough after the cooldown");
        assert_eq!(record(None, 41), None);
        assert_eq!(record(Some(unknown()), 42), None);
    }
}
