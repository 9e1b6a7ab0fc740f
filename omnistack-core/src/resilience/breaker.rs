//! Circuit breaker.

mod layer;
mod machine;

pub use layer::{BreakerFuture, BreakerService};

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use super::{Classification, Classifier, ClassifyByError, Error, Outcome};
use crate::{clock::Clock, run_error::panic_text};
use machine::{AdmittedCall, BreakerMachine, StateChange};

/// State of a circuit breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BreakerState {
    /// Calls are admitted, and their results are counted.
    Closed,
    /// Calls are rejected.
    Open,
    /// A few calls are admitted as probes, to find out whether the service has recovered.
    HalfOpen,
}

impl BreakerState {
    /// Returns the state as it appears in the log: `closed`, `open` or `half_open`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

impl fmt::Display for BreakerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Effect of a result on the measured health of the called service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerSample {
    /// The service is healthy.
    Success,
    /// The service is not healthy.
    Failure,
    /// The result says nothing about the service.
    Ignored,
}

impl BreakerSample {
    /// Returns the default count of a class. Unknown outcomes and transient failures are failures. A permanent
    /// failure is a success, because a service that rejects an invalid request is healthy. A rejection on our
    /// side is ignored.
    pub fn from_class(class: &Classification) -> Self {
        match class.outcome() {
            _ if class.is_rejected_locally() => Self::Ignored,
            Outcome::Success => Self::Success,
            Outcome::Failed if !class.is_transient() => Self::Success,
            Outcome::Failed | Outcome::Unknown => Self::Failure,
        }
    }
}

/// Settings of a [`Breaker`]: when it opens and closes.
#[derive(Clone, Debug)]
pub struct BreakerSettings {
    /// Length of the window in which calls are counted; it moves in tenths. Default: 10 seconds.
    pub window: Duration,
    /// Number of calls in the window below which the breaker stays closed, at least 1. Default: 20.
    pub minimum_calls: u32,
    /// Share of failures at which the breaker opens, between 0 and 1; at 0 a single failure opens it. Default:
    /// 0.5.
    pub failure_ratio: f64,
    /// Time for which the breaker stays open. A probe that takes longer than this is given up, and another one is
    /// admitted. Default: 30 seconds.
    pub open_for: Duration,
    /// Number of concurrent calls while the breaker is half-open, at least 1. Default: 1.
    pub probes: u32,
    /// Number of successes that close a half-open breaker, at least 1. Default: 1.
    pub close_after: u32,
    /// Function that counts a class. Default: [`BreakerSample::from_class`].
    pub sample: fn(&Classification) -> BreakerSample,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(10),
            minimum_calls: 20,
            failure_ratio: 0.5,
            open_for: Duration::from_secs(30),
            probes: 1,
            close_after: 1,
            sample: BreakerSample::from_class,
        }
    }
}

/// Circuit breaker policy: rejects calls immediately while too many of them fail, and probes the service from
/// time to time.
///
/// **Closed**, it admits calls and counts their results in a rolling window. If too many of them failed, it
/// **opens**: calls are rejected with [`Error::CircuitOpen`], and nothing is sent. After `open_for` the next
/// call is admitted as a probe, while other calls are still rejected: the breaker is **half-open**. A probe
/// that succeeds closes it, and one that fails opens it again. A probe that is dropped or ignored makes room
/// for the next one. Results of calls that began before the last change of state are not counted.
///
/// Clones share the state, so that one breaker serves all calls to a service, whatever type they return:
/// [`classify`](Self::classify) returns the same breaker with another classifier. A call takes a lock twice for
/// a short time, and holds none while it runs. Each change of state is logged once: opening as a warning, all
/// others as information.
///
/// ```
/// use omnistack_core::{clock::Clock, resilience::{Breaker, BreakerSettings, Error, BreakerState, Timeout}};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let settings = BreakerSettings { minimum_calls: 2, ..BreakerSettings::default() };
/// let breaker = Breaker::new("payments", settings, Clock::system());
/// let timeout = Timeout::new(Duration::from_millis(1));
///
/// for _ in 0..2 {
///     let lost: Result<(), Error> = breaker.run(timeout.run(std::future::pending())).await;
///     assert!(matches!(lost, Err(Error::Timeout { .. })));
/// }
/// assert_eq!(breaker.state(), BreakerState::Open);
/// let refused = breaker.run(async { Ok::<_, Error>("not run") }).await;
/// assert!(matches!(refused, Err(Error::CircuitOpen { .. })));
/// # }
/// ```
#[derive(Clone)]
pub struct Breaker<C = ClassifyByError> {
    shared: Arc<BreakerShared>,
    classifier: C,
}

/// Function called after each change of state.
type StateChangeHook = Arc<dyn Fn(BreakerState, BreakerState) + Send + Sync>;

struct BreakerShared {
    name: Arc<str>,
    hooks: RwLock<Vec<StateChangeHook>>,
    clock: Clock,
    counts: fn(&Classification) -> BreakerSample,
    machine: Mutex<BreakerMachine>,
}

impl Breaker {
    /// Creates a closed breaker. The name appears in errors and in the log. Settings that are out of range are
    /// clamped.
    pub fn new(name: &str, mut settings: BreakerSettings, clock: Clock) -> Self {
        settings.minimum_calls = settings.minimum_calls.max(1);
        settings.probes = settings.probes.max(1);
        settings.close_after = settings.close_after.max(1);
        // With NaN, the breaker opens only if every call fails.
        settings.failure_ratio =
            if settings.failure_ratio.is_nan() { 1.0 } else { settings.failure_ratio.clamp(0.0, 1.0) };
        // 100 years, so that no sum overflows.
        settings.open_for = settings.open_for.min(Duration::from_secs(3_155_760_000));
        let (counts, machine) = (settings.sample, Mutex::new(BreakerMachine::new(settings)));
        Self {
            shared: Arc::new(BreakerShared { name: name.into(), hooks: RwLock::default(), clock, counts, machine }),
            classifier: ClassifyByError,
        }
    }
}

impl<C> Breaker<C> {
    /// Returns the same breaker, for calls whose results the closure classifies: `|result: Result<&T, &E>|
    /// Class`.
    pub fn classify<T, E, F: Fn(Result<&T, &E>) -> Classification>(&self, classifier: F) -> Breaker<F> {
        Breaker { shared: Arc::clone(&self.shared), classifier }
    }

    /// Returns the state. An open breaker becomes half-open only when a call arrives after `open_for`.
    pub fn state(&self) -> BreakerState {
        self.shared.machine.lock().unwrap_or_else(PoisonError::into_inner).state()
    }

    /// Returns the name of the breaker.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Adds a function that is called after each change of state, with the old and the new state, in the task
    /// whose call caused the change: for metrics. It must not block. The order of changes in quick succession
    /// is not guaranteed; [`state`](Self::state) returns the current state. Every clone of the breaker calls
    /// all functions, no matter to which clone they were added.
    ///
    /// ```
    /// use omnistack_core::{clock::Clock, resilience::{Breaker, BreakerSettings}};
    ///
    /// let breaker = Breaker::new("payments", BreakerSettings::default(), Clock::system())
    ///     .on_change(|from, to| println!("payments: {from} to {to}"));
    /// # let _ = breaker;
    /// ```
    #[must_use]
    pub fn on_change(self, hook: impl Fn(BreakerState, BreakerState) + Send + Sync + 'static) -> Self {
        self.shared.hooks.write().unwrap_or_else(PoisonError::into_inner).push(Arc::new(hook));
        self
    }

    /// Admits one call, for calls that are not a single future; otherwise use [`run`](Self::run).
    ///
    /// # Errors
    ///
    /// Fails with [`Error::CircuitOpen`] if the breaker rejects the call.
    pub fn acquire(&self) -> Result<BreakerPermit, Error> {
        let shared = &self.shared;
        let (admitted, change) = {
            let mut machine = shared.machine.lock().unwrap_or_else(PoisonError::into_inner);
            machine.admit(shared.clock.elapsed())
        };
        shared.notify(change);
        match admitted {
            Ok(ticket) => Ok(BreakerPermit { shared: Arc::clone(shared), ticket: Some(ticket) }),
            Err(retry_after) => Err(Error::CircuitOpen { name: Arc::clone(&shared.name), retry_after }),
        }
    }

    /// Makes the call and counts its result. If the breaker is open, the call is not polled.
    ///
    /// # Errors
    ///
    /// Fails with [`Error::CircuitOpen`] if the breaker rejects the call; otherwise fails as the call does.
    pub async fn run<T, E>(&self, call: impl Future<Output = Result<T, E>>) -> Result<T, E>
    where
        C: Classifier<T, E>,
        E: From<Error>,
    {
        let permit = self.acquire()?;
        let result = call.await;
        permit.finish(&self.classifier.classify(result.as_ref()));
        result
    }
}

impl BreakerShared {
    fn record(&self, ticket: AdmittedCall, count: BreakerSample) {
        let change = {
            let mut machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
            machine.record(ticket, count, self.clock.elapsed())
        };
        self.notify(change);
    }

    /// Logs a change and calls the hooks. No lock may be held: hooks may use the breaker.
    fn notify(&self, change: Option<StateChange>) {
        let Some(change) = change else { return };
        self.log(&change);
        let hooks = self.hooks.read().unwrap_or_else(PoisonError::into_inner).clone();
        for hook in hooks {
            // The caller may be a `Permit` that is dropped because its call panicked, so a second panic would
            // abort.
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| hook(change.from, change.to))) {
                let panic = panic_text(panic.as_ref());
                tracing::error!(breaker = &*self.name, panic, "a change hook of the circuit breaker panicked");
            }
        }
    }

    fn log(&self, StateChange { from, to, calls, failures }: &StateChange) {
        let (breaker, from) = (&*self.name, from.as_str());
        match to {
            BreakerState::Open => tracing::warn!(breaker, from, calls, failures, "the circuit breaker opened"),
            BreakerState::HalfOpen => tracing::info!(breaker, from, "the circuit breaker admits a probe"),
            BreakerState::Closed => tracing::info!(breaker, from, "the circuit breaker closed"),
        }
    }
}

/// Permission for one call. If it is dropped without [`finish`](Self::finish), the call is not counted, and a
/// probe makes room for the next one.
#[must_use = "a call that is not finished is not counted"]
pub struct BreakerPermit {
    shared: Arc<BreakerShared>,
    ticket: Option<AdmittedCall>,
}

impl BreakerPermit {
    /// Counts the result of the call.
    pub fn finish(mut self, class: &Classification) {
        let count = (self.shared.counts)(class);
        if let Some(ticket) = self.ticket.take() {
            self.shared.record(ticket, count);
        }
    }
}

impl Drop for BreakerPermit {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.shared.record(ticket, BreakerSample::Ignored);
        }
    }
}

impl fmt::Debug for BreakerPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("breaker", &self.shared.name).finish_non_exhaustive()
    }
}

impl<C> fmt::Debug for Breaker<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaker").field("name", &self.shared.name).field("state", &self.state()).finish_non_exhaustive()
    }
}
