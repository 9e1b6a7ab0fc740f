//! State machine of the circuit breaker, without a clock and without locks.

use std::time::Duration;

use super::{BreakerSample, BreakerSettings, BreakerState};

/// Number of slices of the rolling window.
const SLICES: usize = 10;

/// State machine of a breaker. The time is passed in, and must be monotonic.
#[derive(Debug)]
pub(super) struct BreakerMachine {
    settings: BreakerSettings,
    phase: Phase,
    /// Number of the current phase. Results of calls that were admitted in an earlier phase are not counted.
    generation: u64,
}

#[derive(Debug)]
enum Phase {
    Closed(RollingWindow),
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
pub(super) struct AdmittedCall(u64);

/// Change of state, to be logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StateChange {
    pub(super) from: BreakerState,
    pub(super) to: BreakerState,
    /// Number of calls in the window that caused the breaker to open.
    pub(super) calls: u32,
    pub(super) failures: u32,
}

impl BreakerMachine {
    pub(super) fn new(settings: BreakerSettings) -> Self {
        let phase = Phase::Closed(RollingWindow::new(settings.window));
        Self { settings, phase, generation: 0 }
    }

    pub(super) fn state(&self) -> BreakerState {
        match self.phase {
            Phase::Closed(_) => BreakerState::Closed,
            Phase::Open { .. } => BreakerState::Open,
            Phase::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// Admits a call. Otherwise returns the time until the next call may be admitted, if it is known.
    pub(super) fn admit(&mut self, now: Duration) -> (Result<AdmittedCall, Option<Duration>>, Option<StateChange>) {
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
        (Ok(AdmittedCall(self.generation)), change)
    }

    /// Counts the result of an admitted call.
    pub(super) fn record(&mut self, ticket: AdmittedCall, count: BreakerSample, now: Duration) -> Option<StateChange> {
        if ticket != AdmittedCall(self.generation) {
            return None;
        }
        match &mut self.phase {
            Phase::Closed(window) => {
                window.record(count, now);
                if count != BreakerSample::Failure {
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
                    BreakerSample::Failure => Some(self.open(now, (1, 1))),
                    BreakerSample::Ignored => None,
                    BreakerSample::Success => {
                        *passed += 1;
                        let closes = *passed >= self.settings.close_after;
                        closes.then(|| self.enter(Phase::Closed(RollingWindow::new(self.settings.window)), (0, 0)))
                    }
                }
            }
        }
    }

    fn open(&mut self, now: Duration, counted: (u32, u32)) -> StateChange {
        self.enter(Phase::Open { until: now + self.settings.open_for }, counted)
    }

    fn enter(&mut self, phase: Phase, (calls, failures): (u32, u32)) -> StateChange {
        let from = self.state();
        self.phase = phase;
        self.generation += 1;
        StateChange { from, to: self.state(), calls, failures }
    }
}

/// Counts of the rolling window; the oldest slice is dropped at a time.
#[derive(Debug)]
struct RollingWindow {
    /// Length of a slice in nanoseconds.
    width: u64,
    slices: [WindowSlice; SLICES],
}

#[derive(Clone, Copy, Debug, Default)]
struct WindowSlice {
    /// Number of the slice since the clock started.
    number: u64,
    calls: u32,
    failures: u32,
}

impl RollingWindow {
    fn new(length: Duration) -> Self {
        let nanoseconds = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        Self { width: (nanoseconds / SLICES as u64).max(1), slices: [WindowSlice::default(); SLICES] }
    }

    fn number(&self, now: Duration) -> u64 {
        u64::try_from(now.as_nanos()).unwrap_or(u64::MAX) / self.width
    }

    fn record(&mut self, count: BreakerSample, now: Duration) {
        if count == BreakerSample::Ignored {
            return;
        }
        let number = self.number(now);
        let slice = &mut self.slices[usize::try_from(number % SLICES as u64).unwrap_or(0)];
        if slice.number != number {
            *slice = WindowSlice { number, ..WindowSlice::default() };
        }
        slice.calls = slice.calls.saturating_add(1);
        slice.failures = slice.failures.saturating_add(u32::from(count == BreakerSample::Failure));
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
