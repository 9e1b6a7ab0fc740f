//! Not asking one who can't answer.

mod layer;
mod machine;

pub use layer::{BreakerFuture, BreakerService};

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use super::{ByError, Class, Classifier, Error, Outcome};
use crate::{clock::Clock, failure::panic_text};
use machine::{Change, Machine, Ticket};

/// Whether calls go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// They do, and are counted.
    Closed,
    /// They are refused.
    Open,
    /// A few do, to see whether the other side is back.
    HalfOpen,
}

impl State {
    /// `closed`, `open` or `half_open`, as it stands in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a result says about the other side's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// It is well.
    Success,
    /// It is not.
    Failure,
    /// Nothing.
    Ignored,
}

impl Count {
    /// The usual reading. An unknown outcome and a failure that may pass are failures. A failure for good is a success: who
    /// refuses an invalid request is well. What was refused on our side says nothing.
    pub fn of(class: &Class) -> Self {
        match class.outcome() {
            _ if class.is_refused() => Self::Ignored,
            Outcome::Success => Self::Success,
            Outcome::Failed if !class.is_transient() => Self::Success,
            Outcome::Failed | Outcome::Unknown => Self::Failure,
        }
    }
}

/// When a [`Breaker`] opens and closes.
#[derive(Clone, Debug)]
pub struct BreakerSettings {
    /// How far back calls are counted, in tenths of it. 10 seconds.
    pub window: Duration,
    /// Calls in the window below which it stays closed, at least 1. 20.
    pub minimum_calls: u32,
    /// Share of failures at which it opens, between 0 and 1; any single failure opens it at 0. 0.5.
    pub failure_ratio: f64,
    /// How long it stays open. A probe that takes longer than this counts as lost, and another is let through. 30 seconds.
    pub open_for: Duration,
    /// Calls that may run at once while half-open, at least 1. 1.
    pub probes: u32,
    /// Successes while half-open that close it, at least 1. 1.
    pub close_after: u32,
    /// What counts as what. [`Count::of`].
    pub counts: fn(&Class) -> Count,
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
            counts: Count::of,
        }
    }
}

/// Refuses calls at once while the other side fails too often, and tries it again from time to time.
///
/// **Closed**, it lets calls through and counts them in a rolling window. When enough of them failed it **opens**: calls are
/// refused with [`Error::CircuitOpen`], and nothing is sent. After `open_for` the next call goes through as a probe, while
/// others are still refused: it is **half-open**. A probe that succeeds closes it, one that fails opens it again, and one
/// that is dropped or says nothing makes room for the next. Results of calls that began before the last change are not
/// counted.
///
/// Clones share the state, so one breaker serves every call to a peer, whatever it returns:
/// [`classify`](Self::classify) gives the same breaker with another classifier. A call takes a lock for two short moments
/// and holds none while it runs. Each change is logged once: opening as a warning, anything else for information.
///
/// ```
/// use omnistack_core::{clock::Clock, resilience::{Breaker, BreakerSettings, Error, State, Timeout}};
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
/// assert_eq!(breaker.state(), State::Open);
/// let refused = breaker.run(async { Ok::<_, Error>("not run") }).await;
/// assert!(matches!(refused, Err(Error::CircuitOpen { .. })));
/// # }
/// ```
#[derive(Clone)]
pub struct Breaker<C = ByError> {
    shared: Arc<Shared>,
    classifier: C,
}

/// Hears of changes.
type Hook = Arc<dyn Fn(State, State) + Send + Sync>;

struct Shared {
    name: Arc<str>,
    hooks: RwLock<Vec<Hook>>,
    clock: Clock,
    counts: fn(&Class) -> Count,
    machine: Mutex<Machine>,
}

impl Breaker {
    /// Closed. The name is for errors and the log. Settings out of range are brought to the nearest in it.
    pub fn new(name: &str, mut settings: BreakerSettings, clock: Clock) -> Self {
        settings.minimum_calls = settings.minimum_calls.max(1);
        settings.probes = settings.probes.max(1);
        settings.close_after = settings.close_after.max(1);
        // What is not a number opens it only when every call fails.
        settings.failure_ratio =
            if settings.failure_ratio.is_nan() { 1.0 } else { settings.failure_ratio.clamp(0.0, 1.0) };
        // A century, so that no sum overflows.
        settings.open_for = settings.open_for.min(Duration::from_secs(3_155_760_000));
        let (counts, machine) = (settings.counts, Mutex::new(Machine::new(settings)));
        Self {
            shared: Arc::new(Shared { name: name.into(), hooks: RwLock::default(), clock, counts, machine }),
            classifier: ByError,
        }
    }
}

impl<C> Breaker<C> {
    /// The same breaker, for calls whose results this closure judges: `|result: Result<&T, &E>| Class`.
    pub fn classify<T, E, F: Fn(Result<&T, &E>) -> Class>(&self, classifier: F) -> Breaker<F> {
        Breaker { shared: Arc::clone(&self.shared), classifier }
    }

    /// Whether calls go through. Open until a call comes after the time is up: that one makes it half-open.
    pub fn state(&self) -> State {
        self.shared.machine.lock().unwrap_or_else(PoisonError::into_inner).state()
    }

    /// The name it was given.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Calls this after each change, with the states before and after it, in the task whose call made the change: for metrics.
    /// It must not block. Of changes that follow each other at once the order may be lost; [`state`](Self::state) says what
    /// holds now. Every clone of the breaker tells everybody who listens, whatever clone they asked.
    ///
    /// ```
    /// use omnistack_core::{clock::Clock, resilience::{Breaker, BreakerSettings}};
    ///
    /// let breaker = Breaker::new("payments", BreakerSettings::default(), Clock::system())
    ///     .on_change(|from, to| println!("payments: {from} to {to}"));
    /// # let _ = breaker;
    /// ```
    #[must_use]
    pub fn on_change(self, hook: impl Fn(State, State) + Send + Sync + 'static) -> Self {
        self.shared.hooks.write().unwrap_or_else(PoisonError::into_inner).push(Arc::new(hook));
        self
    }

    /// Asks to make one call. For calls that are not one future; otherwise see [`run`](Self::run).
    ///
    /// # Errors
    /// [`Error::CircuitOpen`].
    pub fn admit(&self) -> Result<Permit, Error> {
        let shared = &self.shared;
        let (admitted, change) = {
            let mut machine = shared.machine.lock().unwrap_or_else(PoisonError::into_inner);
            machine.admit(shared.clock.elapsed())
        };
        shared.tell(change);
        match admitted {
            Ok(ticket) => Ok(Permit { shared: Arc::clone(shared), ticket: Some(ticket) }),
            Err(retry_after) => Err(Error::CircuitOpen { name: Arc::clone(&shared.name), retry_after }),
        }
    }

    /// Makes the call and counts its result; while open, it is not polled.
    ///
    /// # Errors
    /// [`Error::CircuitOpen`].
    pub async fn run<T, E>(&self, call: impl Future<Output = Result<T, E>>) -> Result<T, E>
    where
        C: Classifier<T, E>,
        E: From<Error>,
    {
        let permit = self.admit()?;
        let result = call.await;
        permit.finish(&self.classifier.classify(result.as_ref()));
        result
    }
}

impl Shared {
    fn settle(&self, ticket: Ticket, count: Count) {
        let change = {
            let mut machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
            machine.settle(ticket, count, self.clock.elapsed())
        };
        self.tell(change);
    }

    /// With no lock held: who listens may ask the breaker.
    fn tell(&self, change: Option<Change>) {
        let Some(change) = change else { return };
        self.log(&change);
        let hooks = self.hooks.read().unwrap_or_else(PoisonError::into_inner).clone();
        for hook in hooks {
            // It may be a `Permit` that is dropped because the call panicked.
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| hook(change.from, change.to))) {
                let panic = panic_text(panic.as_ref());
                tracing::error!(breaker = &*self.name, panic, "who listens to the circuit breaker panicked");
            }
        }
    }

    fn log(&self, Change { from, to, calls, failures }: &Change) {
        let (breaker, from) = (&*self.name, from.as_str());
        match to {
            State::Open => tracing::warn!(breaker, from, calls, failures, "the circuit breaker opened"),
            State::HalfOpen => tracing::info!(breaker, from, "the circuit breaker lets a probe through"),
            State::Closed => tracing::info!(breaker, from, "the circuit breaker closed"),
        }
    }
}

/// The leave to make one call. Dropped without [`finish`](Self::finish), the call says nothing about the other side, and
/// its place is free for the next.
#[must_use = "a call that is not finished is not counted"]
pub struct Permit {
    shared: Arc<Shared>,
    ticket: Option<Ticket>,
}

impl Permit {
    /// Counts what became of the call.
    pub fn finish(mut self, class: &Class) {
        let count = (self.shared.counts)(class);
        if let Some(ticket) = self.ticket.take() {
            self.shared.settle(ticket, count);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.shared.settle(ticket, Count::Ignored);
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("breaker", &self.shared.name).finish_non_exhaustive()
    }
}

impl<C> fmt::Debug for Breaker<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaker").field("name", &self.shared.name).field("state", &self.state()).finish_non_exhaustive()
    }
}
