//! The rate limit algorithms, without clock or table.
//!
//! `redis/lua/rate.lua` implements [`CompiledRate::settle`] as well. It uses integers below 2^53, which a Lua number
//! represents exactly, so that both decide the same.

use std::time::Duration;

use super::{Algorithm, Rate};

/// Decision of a rate limiter about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimitDecision {
    /// Whether the request is allowed.
    pub allowed: bool,
    /// Number of further requests that are allowed at once.
    pub remaining: u32,
    /// Time until the limit has fully recovered.
    pub reset: Duration,
    /// If the request is rejected, the time to wait before a retry.
    pub retry_after: Duration,
}

/// Unit of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeUnit {
    /// Nanoseconds, for counts in this process.
    Nano,
    /// Microseconds, for counts in Redis and in the database.
    Micro,
}

impl TimeUnit {
    const fn nanos(self) -> u64 {
        match self {
            Self::Nano => 1,
            Self::Micro => 1000,
        }
    }

    /// Longest time from now, in ticks. (For microseconds it is 71 years, so that a time of this century plus two of
    /// these is less than 2^53.)
    const fn max_ticks(self) -> u64 {
        match self {
            Self::Nano => 1 << 61,
            Self::Micro => 1 << 51,
        }
    }

    fn ticks(self, time: Duration) -> u64 {
        u64::try_from(time.as_nanos() / u128::from(self.nanos())).unwrap_or(u64::MAX).clamp(1, self.max_ticks())
    }

    fn duration(self, ticks: u64) -> Duration {
        Duration::from_nanos(ticks.saturating_mul(self.nanos()))
    }
}

/// A rate in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CompiledRate {
    pub(crate) tick: TimeUnit,
    pub(crate) rule: CompiledAlgorithm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CompiledAlgorithm {
    Bucket {
        /// Ticks that one request costs.
        interval: u64,
        /// Ticks that may be used at once.
        capacity: u64,
    },
    Sliding {
        quota: u64,
        /// Ticks per unit.
        unit: u64,
        /// Units per period. Multiplied by the quota it is less than 2^53.
        span: u64,
    },
}

/// State of a key. All fields are zero for a new key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RateState {
    /// The time at which a token bucket has fully recovered, or the number of the period of a sliding window.
    pub(crate) at: u64,
    /// Requests counted in the period.
    pub(crate) used: u32,
    /// Requests counted in the previous period.
    pub(crate) before: u32,
}

/// Result of counting a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CountResult {
    pub(crate) now: u64,
    pub(crate) allowed: bool,
    pub(crate) state: RateState,
}

/// A sliding window at a point in time.
struct WindowView {
    period: u64,
    /// Units since the period began.
    offset: u64,
    used: u64,
    before: u64,
    /// Requests that count: those of this period, and the part of the previous period that still counts.
    counted: u64,
}

impl CompiledRate {
    pub(crate) fn new(rate: Rate, tick: TimeUnit) -> Self {
        let window = tick.ticks(rate.window);
        let rule = match rate.algorithm {
            Algorithm::TokenBucket => {
                let interval = (window / u64::from(rate.quota.max(1))).max(1);
                let capacity = interval.saturating_mul(u64::from(rate.burst)).min(tick.max_ticks());
                CompiledAlgorithm::Bucket { interval, capacity }
            }
            Algorithm::SlidingWindow => {
                let quota = u64::from(rate.quota);
                let small = |unit: &u64| (window / unit).checked_mul(quota).is_some_and(|product| product < 1 << 53);
                let unit = [1, 1_000, 1_000_000, 1_000_000_000].into_iter().find(small).unwrap_or(60_000_000_000);
                CompiledAlgorithm::Sliding { quota, unit, span: (window / unit).max(1) }
            }
        };
        Self { tick, rule }
    }

    /// Returns the ticks that requests of this cost use.
    pub(crate) fn charge(&self, cost: u32) -> u64 {
        match self.rule {
            CompiledAlgorithm::Bucket { interval, .. } => {
                interval.saturating_mul(u64::from(cost)).min(self.tick.max_ticks())
            }
            CompiledAlgorithm::Sliding { .. } => 0,
        }
    }

    /// Counts a request, if it is allowed.
    pub(crate) fn count(&self, now: u64, state: RateState, cost: u32) -> CountResult {
        let (allowed, after) = match self.rule {
            CompiledAlgorithm::Bucket { capacity, .. } => {
                let after = recovery_time(now, state.at, capacity) + self.charge(cost);
                (after - now <= capacity, RateState { at: after, ..RateState::default() })
            }
            CompiledAlgorithm::Sliding { quota, unit, span } => {
                let view = WindowView::new(now, state, unit, span);
                let used = u32::try_from(view.used + u64::from(cost)).unwrap_or(u32::MAX);
                let before = u32::try_from(view.before).unwrap_or(u32::MAX);
                (view.counted + u64::from(cost) <= quota, RateState { at: view.period, used, before })
            }
        };
        CountResult { now, allowed, state: if allowed { after } else { state } }
    }

    /// Returns the decision for the caller.
    pub(crate) fn decide(&self, counted: CountResult, cost: u32) -> RateLimitDecision {
        let CountResult { now, allowed, state } = counted;
        let (remaining, reset, wait) = match self.rule {
            CompiledAlgorithm::Bucket { interval, capacity } => {
                let used = recovery_time(now, state.at, capacity) - now;
                let wait = (used + self.charge(cost)).saturating_sub(capacity);
                ((capacity - used) / interval, used, wait)
            }
            CompiledAlgorithm::Sliding { quota, unit, span } => {
                let view = WindowView::new(now, state, unit, span);
                // Measured from the beginning of this period, and in units; `now` is rarely a multiple of a unit.
                let since = now.saturating_sub(view.period * span * unit);
                let until = |units: u64| (units * unit).saturating_sub(since);
                let reset = match (view.used, view.before) {
                    (0, 0) => 0,
                    (0, _) => until(span),
                    _ => until(2 * span),
                };
                let wait = if allowed { 0 } else { until(view.next_allowed(quota, span, u64::from(cost))) };
                (quota.saturating_sub(view.counted), reset, wait)
            }
        };
        RateLimitDecision {
            allowed,
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
            reset: self.tick.duration(reset),
            retry_after: if allowed { Duration::ZERO } else { self.tick.duration(wait) },
        }
    }

    /// Returns whether a key's state equals that of a new key.
    pub(crate) fn has_recovered(&self, now: u64, state: RateState) -> bool {
        match self.rule {
            CompiledAlgorithm::Bucket { .. } => state.at <= now,
            CompiledAlgorithm::Sliding { unit, span, .. } => {
                let view = WindowView::new(now, state, unit, span);
                view.used == 0 && view.before == 0
            }
        }
    }

    /// Returns how many requests with a cost of one are allowed now, if the bucket has fully recovered at `at`.
    pub(crate) fn remaining_at(&self, now: u64, at: u64) -> u32 {
        self.decide(CountResult { now, allowed: true, state: RateState { at, ..RateState::default() } }, 0).remaining
    }
}

/// Returns the time at which a bucket has fully recovered, limited in case the clock was set back.
fn recovery_time(now: u64, at: u64, capacity: u64) -> u64 {
    at.clamp(now, now.saturating_add(capacity))
}

impl WindowView {
    fn new(now: u64, state: RateState, unit: u64, span: u64) -> Self {
        let units = if unit == 1 { now } else { now / unit };
        let (mut period, mut offset) = (units / span, units % span);
        let (used, before) = if state.at == period {
            (state.used, state.before)
        } else if state.at.checked_add(1) == Some(period) {
            (0, state.used)
        } else if state.at == period + 1 {
            // The clock was set back a little: time stops until it has caught up.
            (period, offset) = (state.at, 0);
            (state.used, state.before)
        } else {
            (0, 0)
        };
        let (used, before) = (u64::from(used), u64::from(before));
        let counted = if before == 0 { used } else { used + before.saturating_mul(span - offset).div_ceil(span) };
        Self { period, offset, used, before, counted }
    }

    /// Returns the units after the beginning of this period from which a request of this cost is allowed.
    fn next_allowed(&self, quota: u64, span: u64, cost: u64) -> u64 {
        // Returns the unit from which at most `count` of `of` requests still count.
        let fewer = |of: u64, count: u64| match of {
            0 => 0,
            _ => span - (count * span / of).min(span),
        };
        match quota.checked_sub(self.used + cost) {
            Some(count) => fewer(self.before, count).max(self.offset),
            // Not in this period. A cost above the quota is never allowed.
            None => span + fewer(self.used, quota.saturating_sub(cost)),
        }
    }
}
