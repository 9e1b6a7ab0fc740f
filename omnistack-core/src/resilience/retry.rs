//! Retries.

mod budget;
mod jitter;
mod layer;

pub use budget::RetryBudget;
pub use jitter::Jitter;
pub use layer::RetryService;

use std::{sync::Arc, time::Duration};

use backon::{BackoffBuilder as _, ExponentialBuilder};
use tokio::time::Instant;

use super::{
    Classification, Classifier, Classify as _, ClassifyByError, Error, Outcome, RepeatablePolicy, RetrySafety,
    outcome::combine_results, repeat::repeatable,
};

/// Retry policy: repeats a call if that is safe and may help.
///
/// A transient failure is retried after a delay. A call of **unknown** outcome is retried only through
/// [`idempotent`](Self::idempotent), [`read_only`](Self::read_only) or [`repeating`](Self::repeating), which
/// the caller adds at the call: no setting of the policy allows it.
///
/// | limit | |
/// |---|---|
/// | attempts | including the first one |
/// | deadline | from the first attempt; an attempt that runs at the deadline is given up with [`Error::Timeout`], and no attempt begins whose delay would exceed the deadline |
/// | delay | 100 ms, doubled up to 10 s; a random part of it is waited ("full jitter") |
/// | `Retry-After` | waited in full, with the delay added, so that clients that received the same value do not retry at the same time |
/// | budget | 50 retries at once, then one for every five calls; see [`RetryBudget`] |
///
/// When the policy gives up, it returns the last result, with one exception that keeps outcomes correct: if an
/// earlier attempt had an unknown outcome, a later failure does not mean that the call had no effect. The
/// result is then that of the attempt with the unknown outcome, unless the failure is [settled](Classification::settled)
/// or the call is read-only.
///
/// ```
/// use omnistack_core::resilience::{Classification, Classify, Error, Retry};
/// use std::time::Duration;
///
/// # #[derive(Debug)]
/// enum MailError {
///     Rejected,
///     Lost,
///     Policy(Error),
/// }
///
/// impl Classify for MailError {
///     fn class(&self) -> Classification {
///         match self {
///             Self::Rejected => Classification::failed().retryable(),
///             Self::Lost => Classification::unknown().retryable(),
///             Self::Policy(error) => error.class(),
///         }
///     }
/// }
/// # impl From<Error> for MailError { fn from(error: Error) -> Self { Self::Policy(error) } }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// // At most 3 attempts within 10 seconds.
/// let retry = Retry::new(3, Duration::from_secs(10));
/// let mut responses = [Err(MailError::Rejected), Err(MailError::Lost), Ok("sent")].into_iter();
/// let mut send = move || std::future::ready(responses.next().unwrap());
///
/// // A mail that may have been sent is not sent again.
/// assert!(matches!(retry.run(&mut send).await, Err(MailError::Lost)));
///
/// // The provider honors an idempotency key, so the call may be repeated.
/// assert_eq!(retry.idempotent().run(&mut send).await.unwrap(), "sent");
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Retry<C = ClassifyByError> {
    settings: Arc<RetrySettings>,
    classifier: C,
}

#[derive(Clone, Debug)]
struct RetrySettings {
    attempts: u32,
    deadline: Duration,
    first_delay: Duration,
    max_delay: Duration,
    jitter: Jitter,
    budget: RetryBudget,
}

impl Retry {
    /// Creates a policy with a number of attempts, including the first one, which is always made, and a
    /// deadline for all attempts together. Results are classified by their errors, which implement
    /// [`Classify`](super::Classify); [`classify`](Self::classify) uses a closure instead.
    pub fn new(attempts: u32, deadline: Duration) -> Self {
        let settings = RetrySettings {
            attempts: attempts.max(1),
            deadline,
            first_delay: Duration::from_millis(100),
            max_delay: Duration::from_secs(10),
            jitter: Jitter::full(),
            budget: RetryBudget::default(),
        };
        Self { settings: Arc::new(settings), classifier: ClassifyByError }
    }
}

impl<C> Retry<C> {
    /// Sets the delays: up to `first` before the second attempt, and twice as long before each further one, at
    /// most `max`.
    #[must_use]
    pub fn delays(self, first: Duration, max: Duration) -> Self {
        self.with(|settings| (settings.first_delay, settings.max_delay) = (first.min(max), max))
    }

    /// Sets the source of the random part of each delay.
    #[must_use]
    pub fn jitter(self, jitter: Jitter) -> Self {
        self.with(|settings| settings.jitter = jitter)
    }

    /// Takes retries from this budget, which can be shared with other policies.
    #[must_use]
    pub fn budget(self, budget: RetryBudget) -> Self {
        self.with(|settings| settings.budget = budget)
    }

    fn with(mut self, change: impl FnOnce(&mut RetrySettings)) -> Self {
        change(Arc::make_mut(&mut self.settings));
        self
    }

    /// Returns the same policy with the same budget, for calls whose results the closure classifies: `|result:
    /// Result<&T, &E>| Class`.
    #[must_use]
    pub fn classify<T, E, F: Fn(Result<&T, &E>) -> Classification>(&self, classifier: F) -> Retry<F> {
        Retry { settings: Arc::clone(&self.settings), classifier }
    }

    /// Makes the call and retries it after transient failures, but not after an unknown outcome.
    ///
    /// # Errors
    ///
    /// Fails as the last attempt does, or with [`Error::Timeout`] if the deadline ends an attempt.
    pub async fn run<T, E, F>(&self, call: impl FnMut() -> F) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
        C: Classifier<T, E>,
        E: From<Error>,
    {
        self.run_attempts(RetrySafety::Never, call).await
    }

    async fn run_attempts<T, E, F>(&self, repeat: RetrySafety, mut call: impl FnMut() -> F) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
        C: Classifier<T, E>,
        E: From<Error>,
    {
        let settings = &*self.settings;
        let started = Instant::now();
        let mut delays = settings.delays();
        let mut unknown = None;
        let mut attempt = 1;
        settings.budget.deposit();
        loop {
            let left = settings.deadline.saturating_sub(started.elapsed());
            let (result, class) = match tokio::time::timeout(left, call()).await {
                Ok(result) => {
                    let class = self.classifier.classify(result.as_ref());
                    (result, class)
                }
                Err(_) => {
                    let error = Error::Timeout { after: settings.deadline };
                    let class = error.class();
                    (Err(error.into()), class)
                }
            };
            let left = settings.deadline.saturating_sub(started.elapsed());
            let next = settings.next(&class, repeat, attempt, left, &mut delays);
            log(attempt, &class, next);
            let RetryDecision::Wait(delay) = next else {
                return combine_results(unknown, result, &class, repeat);
            };
            if class.outcome() == Outcome::Unknown {
                unknown = Some(result);
            }
            tokio::time::sleep(delay).await;
            attempt += 1;
        }
    }
}

/// Decision after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RetryDecision {
    /// Another attempt after a delay.
    Wait(Duration),
    /// No further attempt, for a reason.
    Stop(&'static str),
}

impl RetrySettings {
    /// Returns the upper limits of the delays.
    fn delays(&self) -> impl Iterator<Item = Duration> + use<> {
        let exponential = ExponentialBuilder::new().with_min_delay(self.first_delay).with_max_delay(self.max_delay);
        exponential.without_max_times().build()
    }

    fn next(
        &self,
        class: &Classification,
        repeat: RetrySafety,
        attempt: u32,
        left: Duration,
        delays: &mut impl Iterator<Item = Duration>,
    ) -> RetryDecision {
        match class.outcome() {
            Outcome::Success => return RetryDecision::Stop("it succeeded"),
            Outcome::Unknown if repeat == RetrySafety::Never => return RetryDecision::Stop("the outcome is unknown"),
            _ if !class.may_retry(repeat) => return RetryDecision::Stop("trying again would not help"),
            _ if attempt >= self.attempts => return RetryDecision::Stop("no attempts are left"),
            Outcome::Failed | Outcome::Unknown => {}
        }
        let seconds = delays.next().unwrap_or(self.max_delay).as_secs_f64() * self.jitter.share();
        let backoff = Duration::try_from_secs_f64(seconds).unwrap_or(self.max_delay);
        let delay = backoff.saturating_add(class.retry_delay().unwrap_or_default());
        if delay >= left {
            return RetryDecision::Stop("the deadline is too near");
        }
        // Last, so that the budget is charged only for retries that are made.
        if self.budget.withdraw() {
            RetryDecision::Wait(delay)
        } else {
            RetryDecision::Stop("the retry budget is spent")
        }
    }
}

fn log(attempt: u32, class: &Classification, next: RetryDecision) {
    let outcome = class.outcome().as_str();
    match next {
        RetryDecision::Wait(delay) => {
            let wait_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
            tracing::debug!(attempt, outcome, wait_ms, "the attempt ended and is retried");
        }
        RetryDecision::Stop(reason) => {
            tracing::debug!(attempt, outcome, reason, "the attempt ended and is not retried");
        }
    }
}

repeatable!(Retry);

impl<C> RepeatablePolicy<Retry<C>> {
    /// Makes the call and retries it like [`Retry::run`], and also after an unknown outcome if the caller
    /// allows it.
    ///
    /// # Errors
    ///
    /// Fails as [`Retry::run`] does. If no attempt succeeds and one has an unknown outcome, fails as that
    /// attempt does.
    pub async fn run<T, E, F>(&self, call: impl FnMut() -> F) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
        C: Classifier<T, E>,
        E: From<Error>,
    {
        self.policy.run_attempts(self.repeat, call).await
    }
}
