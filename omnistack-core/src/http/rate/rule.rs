//! The rule, without clock or table.
//!
//! `redis/lua/rate.lua` is [`Terms::settle`] again. What is there is made of whole numbers below 2^53, which a number of Lua holds
//! exactly, so that both decide alike.

use std::time::Duration;

use super::{Algorithm, Rate};

/// The answer to "may it come?".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it may.
    pub allowed: bool,
    /// How many more may come at once.
    pub remaining: u32,
    /// How long until everything that was used is there again.
    pub reset: Duration,
    /// When refused, how long to wait.
    pub retry_after: Duration,
}

/// What time is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tick {
    /// In this process.
    Nano,
    /// In Redis and in the database.
    Micro,
}

impl Tick {
    const fn nanos(self) -> u64 {
        match self {
            Self::Nano => 1,
            Self::Micro => 1000,
        }
    }

    /// No time from now is further away, in ticks. (Of microseconds 71 years, so that a time of this century and two of these
    /// are less than 2^53.)
    const fn furthest(self) -> u64 {
        match self {
            Self::Nano => 1 << 61,
            Self::Micro => 1 << 51,
        }
    }

    fn of(self, time: Duration) -> u64 {
        u64::try_from(time.as_nanos() / u128::from(self.nanos())).unwrap_or(u64::MAX).clamp(1, self.furthest())
    }

    fn time(self, ticks: u64) -> Duration {
        Duration::from_nanos(ticks.saturating_mul(self.nanos()))
    }
}

/// A rate in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) tick: Tick,
    pub(crate) rule: Rule,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    Bucket {
        /// Ticks one request uses up.
        interval: u64,
        /// Ticks that may be used up at once.
        capacity: u64,
    },
    Sliding {
        quota: u64,
        /// Ticks in a unit.
        unit: u64,
        /// Units in the period. It times the quota is less than 2^53.
        span: u64,
    },
}

/// What is known of a key. Of one nobody has seen, zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// Of a bucket, when everything used is earned back; of a window, the number of the period.
    pub(crate) at: u64,
    /// Used in the period.
    pub(crate) used: u32,
    /// Used in the one before.
    pub(crate) before: u32,
}

/// A request that was counted, or was not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted {
    pub(crate) now: u64,
    pub(crate) allowed: bool,
    pub(crate) state: State,
}

/// A window, seen now.
struct View {
    period: u64,
    /// Units since it began.
    offset: u64,
    used: u64,
    before: u64,
    /// What still counts of those before, and those of this period.
    counted: u64,
}

impl Terms {
    pub(crate) fn new(rate: Rate, tick: Tick) -> Self {
        let window = tick.of(rate.window);
        let rule = match rate.algorithm {
            Algorithm::TokenBucket => {
                let interval = (window / u64::from(rate.quota.max(1))).max(1);
                let capacity = interval.saturating_mul(u64::from(rate.burst)).min(tick.furthest());
                Rule::Bucket { interval, capacity }
            }
            Algorithm::SlidingWindow => {
                let quota = u64::from(rate.quota);
                let small = |unit: &u64| (window / unit).checked_mul(quota).is_some_and(|product| product < 1 << 53);
                let unit = [1, 1_000, 1_000_000, 1_000_000_000].into_iter().find(small).unwrap_or(60_000_000_000);
                Rule::Sliding { quota, unit, span: (window / unit).max(1) }
            }
        };
        Self { tick, rule }
    }

    /// Ticks that requests of this cost use up.
    pub(crate) fn charge(&self, cost: u32) -> u64 {
        match self.rule {
            Rule::Bucket { interval, .. } => interval.saturating_mul(u64::from(cost)).min(self.tick.furthest()),
            Rule::Sliding { .. } => 0,
        }
    }

    /// Counts a request, if it may come.
    pub(crate) fn settle(&self, now: u64, state: State, cost: u32) -> Counted {
        let (allowed, after) = match self.rule {
            Rule::Bucket { capacity, .. } => {
                let after = earned(now, state.at, capacity) + self.charge(cost);
                (after - now <= capacity, State { at: after, ..State::default() })
            }
            Rule::Sliding { quota, unit, span } => {
                let view = View::new(now, state, unit, span);
                let used = u32::try_from(view.used + u64::from(cost)).unwrap_or(u32::MAX);
                let before = u32::try_from(view.before).unwrap_or(u32::MAX);
                (view.counted + u64::from(cost) <= quota, State { at: view.period, used, before })
            }
        };
        Counted { now, allowed, state: if allowed { after } else { state } }
    }

    /// What that means for whoever asked.
    pub(crate) fn tell(&self, counted: Counted, cost: u32) -> Verdict {
        let Counted { now, allowed, state } = counted;
        let (remaining, reset, wait) = match self.rule {
            Rule::Bucket { interval, capacity } => {
                let used = earned(now, state.at, capacity) - now;
                let wait = (used + self.charge(cost)).saturating_sub(capacity);
                ((capacity - used) / interval, used, wait)
            }
            Rule::Sliding { quota, unit, span } => {
                let view = View::new(now, state, unit, span);
                // From the beginning of this period, and in units, as `now` rarely is.
                let since = now.saturating_sub(view.period * span * unit);
                let until = |units: u64| (units * unit).saturating_sub(since);
                let reset = match (view.used, view.before) {
                    (0, 0) => 0,
                    (0, _) => until(span),
                    _ => until(2 * span),
                };
                let wait = if allowed { 0 } else { until(view.room(quota, span, u64::from(cost))) };
                (quota.saturating_sub(view.counted), reset, wait)
            }
        };
        Verdict {
            allowed,
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
            reset: self.tick.time(reset),
            retry_after: if allowed { Duration::ZERO } else { self.tick.time(wait) },
        }
    }

    /// Whether a key's state says no more than that of one nobody has seen.
    pub(crate) fn at_rest(&self, now: u64, state: State) -> bool {
        match self.rule {
            Rule::Bucket { .. } => state.at <= now,
            Rule::Sliding { unit, span, .. } => {
                let view = View::new(now, state, unit, span);
                view.used == 0 && view.before == 0
            }
        }
    }

    /// How many of cost one may come now, when everything used is earned back at `at`.
    pub(crate) fn room(&self, now: u64, at: u64) -> u32 {
        self.tell(Counted { now, allowed: true, state: State { at, ..State::default() } }, 0).remaining
    }
}

/// When everything used is earned back, of a clock that may have been set back since.
fn earned(now: u64, at: u64, capacity: u64) -> u64 {
    at.clamp(now, now.saturating_add(capacity))
}

impl View {
    fn new(now: u64, state: State, unit: u64, span: u64) -> Self {
        let units = if unit == 1 { now } else { now / unit };
        let (mut period, mut offset) = (units / span, units % span);
        let (used, before) = if state.at == period {
            (state.used, state.before)
        } else if state.at.checked_add(1) == Some(period) {
            (0, state.used)
        } else if state.at == period + 1 {
            // The clock was set back a little: it stands still until it has caught up.
            (period, offset) = (state.at, 0);
            (state.used, state.before)
        } else {
            (0, 0)
        };
        let (used, before) = (u64::from(used), u64::from(before));
        let counted = if before == 0 { used } else { used + before.saturating_mul(span - offset).div_ceil(span) };
        Self { period, offset, used, before, counted }
    }

    /// The units after the beginning of this period from which a request of this cost may come.
    fn room(&self, quota: u64, span: u64, cost: u64) -> u64 {
        // Of so many, `count` may be left from which unit on?
        let fewer = |of: u64, count: u64| match of {
            0 => 0,
            _ => span - (count * span / of).min(span),
        };
        match quota.checked_sub(self.used + cost) {
            Some(count) => fewer(self.before, count).max(self.offset),
            // Not in this one. What costs more than the quota never may.
            None => span + fewer(self.used, quota.saturating_sub(cost)),
        }
    }
}
