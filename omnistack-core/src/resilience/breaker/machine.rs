//! State machine of the circuit breaker, without a clock and without locks.

use std::time::Duration;

use super::{BreakerSettings, Count, State};

/// Number of slices of the rolling window.
const SLICES: usize = 10;

/// State machine of a breaker. The time is passed in, and must be monotonic.
#[derive(Debug)]
pub(super) struct Machine {
    settings: BreakerSettings,
    phase: Phase,
    /// Number of the current phase. Results of calls that were admitted in an earlier phase are not counted.
    generation: u64,
}

#[derive(Debug)]
enum Phase {
    Closed(Window),
    Open {
        until: Duration,
    },
    HalfOpen {
        running: u32,
        passed: u32,
        /// Time at which the newest probe is given up.
        lost: Duration,
    },
}

/// An admitted call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket(u64);

/// Change of state, to be logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) from: State,
    pub(super) to: State,
    /// Number of calls in the window that caused the breaker to open.
    pub(super) calls: u32,
    pub(super) failures: u32,
}

impl Machine {
    pub(super) fn new(settings: BreakerSettings) -> Self {
        let phase = Phase::Closed(Window::new(settings.window));
        Self { settings, phase, generation: 0 }
    }

    pub(super) fn state(&self) -> State {
        match self.phase {
            Phase::Closed(_) => State::Closed,
            Phase::Open { .. } => State::Open,
            Phase::HalfOpen { .. } => State::HalfOpen,
        }
    }

    /// Admits a call. Otherwise returns the time until the next call may be admitted, if it is known.
    pub(super) fn admit(&mut self, now: Duration) -> (Result<Ticket, Option<Duration>>, Option<Change>) {
        let mut change = None;
        match self.phase {
            Phase::Open { until } if now < until => return (Err(Some(until.saturating_sub(now))), None),
            Phase::Open { .. } => {
                change = Some(self.enter(Phase::HalfOpen { running: 0, passed: 0, lost: now }, (0, 0)));
            }
            Phase::Closed(_) | Phase::HalfOpen { .. } => {}
        }
        if let Phase::HalfOpen { running, lost, .. } = &mut self.phase {
            if *running >= self.settings.probes {
                if now < *lost {
                    // It is not known how long the probe will take.
                    return (Err(None), change);
                }
                // Probes that hang must not block the breaker forever: their results no longer count.
                self.generation += 1;
                *running = 0;
            }
            *running += 1;
            *lost = now + self.settings.open_for;
        }
        (Ok(Ticket(self.generation)), change)
    }

    /// Counts the result of an admitted call.
    pub(super) fn settle(&mut self, ticket: Ticket, count: Count, now: Duration) -> Option<Change> {
        if ticket != Ticket(self.generation) {
            return None;
        }
        match &mut self.phase {
            Phase::Closed(window) => {
                window.record(count, now);
                if count != Count::Failure {
                    return None;
                }
                let (calls, failures) = window.totals(now);
                let opens = calls >= self.settings.minimum_calls
                    && f64::from(failures) >= self.settings.failure_ratio * f64::from(calls);
                opens.then(|| self.open(now, (calls, failures)))
            }
            // No call of this phase runs.
            Phase::Open { .. } => None,
            Phase::HalfOpen { running, passed, .. } => {
                *running = running.saturating_sub(1);
                match count {
                    Count::Failure => Some(self.open(now, (1, 1))),
                    Count::Ignored => None,
                    Count::Success => {
                        *passed += 1;
                        let closes = *passed >= self.settings.close_after;
                        closes.then(|| self.enter(Phase::Closed(Window::new(self.settings.window)), (0, 0)))
                    }
                }
            }
        }
    }

    fn open(&mut self, now: Duration, counted: (u32, u32)) -> Change {
        self.enter(Phase::Open { until: now + self.settings.open_for }, counted)
    }

    fn enter(&mut self, phase: Phase, (calls, failures): (u32, u32)) -> Change {
        let from = self.state();
        self.phase = phase;
        self.generation += 1;
        Change { from, to: self.state(), calls, failures }
    }
}

/// Counts of the rolling window; the oldest slice is dropped at a time.
#[derive(Debug)]
struct Window {
    /// Length of a slice in nanoseconds.
    width: u64,
    slices: [Slice; SLICES],
}

#[derive(Clone, Copy, Debug, Default)]
struct Slice {
    /// Number of the slice since the clock started.
    number: u64,
    calls: u32,
    failures: u32,
}

impl Window {
    fn new(length: Duration) -> Self {
        let nanoseconds = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        Self { width: (nanoseconds / SLICES as u64).max(1), slices: [Slice::default(); SLICES] }
    }

    fn number(&self, now: Duration) -> u64 {
        u64::try_from(now.as_nanos()).unwrap_or(u64::MAX) / self.width
    }

    fn record(&mut self, count: Count, now: Duration) {
        if count == Count::Ignored {
            return;
        }
        let number = self.number(now);
        let slice = &mut self.slices[usize::try_from(number % SLICES as u64).unwrap_or(0)];
        if slice.number != number {
            *slice = Slice { number, ..Slice::default() };
        }
        slice.calls = slice.calls.saturating_add(1);
        slice.failures = slice.failures.saturating_add(u32::from(count == Count::Failure));
    }

    fn totals(&self, now: Duration) -> (u32, u32) {
        let number = self.number(now);
        let recent = self.slices.iter().filter(|slice| slice.number + SLICES as u64 > number);
        recent.fold((0, 0), |(calls, failures), slice| {
            (calls.saturating_add(slice.calls), failures.saturating_add(slice.failures))
        })
    }
}

#[cfg(test)]
mod tests;
