//! The state of an account at a provider.

use std::time::Duration;

use omnistack_core::clock::Timestamp;

/// The wait after the first rate limit of a provider that states no time. It doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait if the provider states no time.
const MAX_UNSTATED_WAIT: Duration = Duration::from_secs(32);
/// The longest wait that a provider can ask for.
const MAX_STATED_WAIT: Duration = Duration::from_secs(24 * 3_600);
/// The share of the wait that is added at random at most, in percent. Nothing is ever subtracted.
const MAX_JITTER_PERCENT: u64 = 10;
/// The time for which an account without money or with wrong credentials is called last.
const AVOIDED_FOR: Duration = Duration::from_secs(60);

/// The state of an account at a provider.
#[derive(Debug, Default)]
pub(super) struct AccountState {
    wait_until: Option<Timestamp>,
    avoided_until: Option<Timestamp>,
    /// The number of rate limits without a time since the last answer.
    unstated: u32,
}

impl AccountState {
    /// Records a rate limit, and returns the time for which the account is left alone from now on.
    pub(super) fn limited(&mut self, retry_after: Option<Duration>, now: Timestamp) -> Duration {
        let asked = match retry_after.filter(|wait| !wait.is_zero()) {
            Some(wait) => wait.min(MAX_STATED_WAIT),
            None => {
                // Those of one burst count once: the account is waiting already.
                if self.wait(now).is_none() {
                    self.unstated = self.unstated.saturating_add(1);
                }
                let doubled = 2_u32.saturating_pow(self.unstated.saturating_sub(1).min(10));
                FIRST_WAIT.saturating_mul(doubled).min(MAX_UNSTATED_WAIT)
            }
        };
        let micros = u64::try_from(asked.as_micros()).unwrap_or(u64::MAX);
        let most = micros / 100 * MAX_JITTER_PERCENT;
        let jitter = Duration::from_micros(rand::random::<u64>() % most.saturating_add(1));
        let wait = asked.saturating_add(jitter);
        self.wait_until(wait, now);
        wait
    }

    /// Leaves the account alone for a time, unless it waits longer already.
    pub(super) fn wait_until(&mut self, wait: Duration, now: Timestamp) {
        let until = now + wait.min(MAX_STATED_WAIT.saturating_mul(2));
        self.wait_until = Some(self.wait_until.map_or(until, |known| known.max(until)));
    }

    /// Calls the account last for a while.
    pub(super) fn avoid(&mut self, now: Timestamp) {
        self.avoided_until = Some(now + AVOIDED_FOR);
    }

    /// Records an answer. A wait goes on: the answer may be to a request that was sent before.
    pub(super) fn answered(&mut self) {
        (self.avoided_until, self.unstated) = (None, 0);
    }

    pub(super) fn wait(&self, now: Timestamp) -> Option<Duration> {
        self.wait_until.filter(|until| *until > now).map(|until| until.duration_since(now))
    }

    pub(super) fn is_avoided(&self, now: Timestamp) -> bool {
        self.avoided_until.is_some_and(|until| until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn the_stated_time_is_waited_in_full_and_hardly_longer() {
        for _ in 0..200 {
            let mut account = AccountState::default();
            let wait = account.limited(Some(Duration::from_secs(2)), at(0));
            assert!((Duration::from_secs(2)..=Duration::from_millis(2_200)).contains(&wait), "{wait:?}");
            assert_eq!((account.wait(at(0)), account.wait(at(3))), (Some(wait), None));
        }
    }

    #[test]
    fn the_longest_wait_counts() {
        let mut account = AccountState::default();
        account.limited(Some(Duration::from_secs(60)), at(0));
        account.limited(Some(Duration::from_secs(1)), at(10));
        assert!(account.wait(at(59)).is_some());
        account.answered();
        assert!(account.wait(at(59)).is_some(), "an answer does not end a wait");
        account.limited(Some(Duration::MAX), at(0));
        assert!(account.wait(at(0)).is_some_and(|wait| wait < MAX_STATED_WAIT * 2));
    }

    #[test]
    fn without_a_stated_time_the_wait_grows() {
        let mut account = AccountState::default();
        let mut now = 0;
        for seconds in [1, 2, 4, 8, 16, 32, 32, 32] {
            let wait = account.limited(None, at(now));
            let least = Duration::from_secs(seconds);
            assert!(wait >= least && wait <= least + least / 10, "{wait:?} for {seconds} s");
            now += 60;
        }
        account.answered();
        assert!(account.limited(Some(Duration::ZERO), at(now)) < Duration::from_secs(2));
        assert!(account.limited(None, at(now)) < Duration::from_secs(3));
        assert!(account.limited(None, at(now)) < Duration::from_secs(3), "those of one burst count once");
    }

    #[test]
    fn an_account_without_money_is_avoided_for_a_minute() {
        let mut account = AccountState::default();
        account.avoid(at(0));
        assert!(account.is_avoided(at(59)) && !account.is_avoided(at(60)) && account.wait(at(1)).is_none());
        account.avoid(at(100));
        account.answered();
        assert!(!account.is_avoided(at(101)));
    }
}
