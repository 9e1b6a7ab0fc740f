//! The rate limits of a model at a provider, as its responses have stated them.

use std::time::Duration;

use omnistack_core::clock::Timestamp;

use crate::provider::{RateLimitLevel, RateLimitLevels};

/// The share of a limit that is left to calls under way and to other replicas: one in this number.
const MARGIN_SHARE: u64 = 20;
/// The time for which the level of a limit is believed if the provider does not say when the limit is renewed.
const UNSTATED_RENEWAL: Duration = Duration::from_secs(60);
/// The longest time until a renewal that a provider is believed. Limits of requests per day exist.
const MAX_RENEWAL: Duration = Duration::from_secs(24 * 60 * 60);

/// The rate limits of a model at a provider.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StatedLimits {
    requests: Option<WatchedLimit>,
    tokens: Option<WatchedLimit>,
}

/// A rate limit, and what was used of it since it was stated.
#[derive(Clone, Copy, Debug)]
struct WatchedLimit {
    level: RateLimitLevel,
    stated_at: Timestamp,
    used_since: u64,
}

impl StatedLimits {
    /// Records what a response has stated.
    pub(super) fn state(&mut self, levels: &RateLimitLevels, now: Timestamp) {
        let watched = |level: RateLimitLevel| WatchedLimit { level, stated_at: now, used_since: 0 };
        self.requests = levels.requests.map(watched).or(self.requests);
        self.tokens = levels.tokens.map(watched).or(self.tokens);
    }

    /// Records that a call begins, which needs so many tokens.
    pub(super) fn begin_call(&mut self, tokens: u64) {
        for (limit, needed) in [(&mut self.requests, 1), (&mut self.tokens, tokens)] {
            if let Some(limit) = limit {
                limit.used_since = limit.used_since.saturating_add(needed);
            }
        }
    }

    /// Returns whether a call that needs so many tokens may be more than the provider accepts now.
    pub(super) fn are_nearly_used_up(&self, tokens: u64, now: Timestamp) -> bool {
        let limits = [(self.requests, 1), (self.tokens, tokens)];
        limits.into_iter().any(|(limit, needed)| limit.is_some_and(|limit| limit.is_nearly_used_up(needed, now)))
    }

    /// Returns the requests and the tokens that are left. `None` if that is not known.
    pub(super) fn left(&self, now: Timestamp) -> (Option<u64>, Option<u64>) {
        let left = |limit: Option<WatchedLimit>| limit.and_then(|limit| limit.left(now));
        (left(self.requests), left(self.tokens))
    }
}

impl WatchedLimit {
    /// Returns what is left, or `None` after the limit was renewed in full.
    fn left(&self, now: Timestamp) -> Option<u64> {
        let RateLimitLevel { remaining, limit, renewed_after } = self.level;
        let whole = renewed_after.unwrap_or(UNSTATED_RENEWAL).min(MAX_RENEWAL).as_micros();
        let passed = now.duration_since(self.stated_at).as_micros();
        if passed >= whole {
            return None;
        }
        // Providers renew their limits little by little.
        let used = limit.unwrap_or(remaining).saturating_sub(remaining);
        let renewed = u64::try_from(u128::from(used) * passed / whole).unwrap_or(u64::MAX);
        Some(remaining.saturating_add(renewed).saturating_sub(self.used_since))
    }

    fn is_nearly_used_up(&self, needed: u64, now: Timestamp) -> bool {
        let margin = self.level.limit.unwrap_or(0) / MARGIN_SHARE;
        self.left(now).is_some_and(|left| left < needed.saturating_add(margin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn minute(remaining: u64, limit: u64) -> RateLimitLevel {
        RateLimitLevel::new(remaining).limit(limit).renewed_after(Duration::from_secs(60))
    }

    #[test]
    fn a_limit_is_nearly_used_up_before_it_is_reached() {
        let levels = RateLimitLevels::default();
        for (levels, tokens, seconds, expected) in [
            (levels, 1_000_000, 0, false),
            (levels.requests(minute(6, 100)), 1, 0, false),
            (levels.requests(minute(5, 100)), 1, 0, true),
            // A second renews a sixtieth of what was used.
            (levels.requests(minute(5, 100)), 1, 1, false),
            (levels.requests(minute(0, 100)), 1, 60, false),
            (levels.requests(RateLimitLevel::new(1)), 1, 0, false),
            (levels.requests(RateLimitLevel::new(0)), 1, 59, true),
            (levels.requests(RateLimitLevel::new(0)), 1, 60, false),
            (levels.requests(RateLimitLevel::new(0).renewed_after(Duration::MAX)), 1, 86_399, true),
            (levels.requests(RateLimitLevel::new(0).renewed_after(Duration::MAX)), 1, 86_400, false),
            (levels.tokens(minute(3_000, 10_000)), 2_500, 0, false),
            (levels.tokens(minute(3_000, 10_000)), 2_501, 0, true),
        ] {
            let mut limits = StatedLimits::default();
            limits.state(&levels, at(0));
            assert_eq!(limits.are_nearly_used_up(tokens, at(seconds)), expected, "{levels:?} {tokens} {seconds}");
        }
    }

    #[test]
    fn calls_that_begin_count_until_the_next_response() {
        let mut limits = StatedLimits::default();
        limits.begin_call(5);
        assert_eq!(limits.left(at(0)), (None, None));
        limits.state(&RateLimitLevels::default().requests(minute(2, 2)).tokens(minute(100, 100)), at(0));
        limits.begin_call(40);
        assert_eq!(limits.left(at(0)), (Some(1), Some(60)));
        limits.begin_call(70);
        assert_eq!(limits.left(at(0)), (Some(0), Some(0)));
        limits.state(&RateLimitLevels::default().requests(minute(1, 2)), at(0));
        assert_eq!(limits.left(at(0)), (Some(1), Some(0)), "a response with one limit says nothing of the other");
        assert_eq!(limits.left(at(60)), (None, None));
    }
}
