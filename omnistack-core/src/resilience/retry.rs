//! Trying again.

mod budget;
mod jitter;
mod layer;

pub use budget::Budget;
pub use jitter::Jitter;
pub use layer::RetryService;

use std::{sync::Arc, time::Duration};

use backon::{BackoffBuilder as _, ExponentialBuilder};
use tokio::time::Instant;

use super::{
    ByError, Class, Classifier, Classify as _, Error, Outcome, Repeat, Repeatable, outcome::amount, repeat::repeatable,
};

/// Tries a call again when that is safe and may help.
///
/// A failure that may pass is tried again after a delay. A call of **unknown** outcome is tried again only through
/// [`idempotent`](Self::idempotent), [`read_only`](Self::read_only) or [`repeating`](Self::repeating), which the caller adds
/// at the call: no setting of the policy does it.
///
/// | limit | |
/// |---|---|
/// | attempts | the first included |
/// | deadline | from the first attempt; the attempt that runs then is given up with [`Error::Timeout`], and no attempt begins that would have to wait past it |
/// | delay | 100 ms, doubled up to 10 s, of which a random share is waited ("full jitter") |
/// | `Retry-After` | waited in whole, with the delay on top, so that those who were told the same do not come together |
/// | budget | 50 retries at once, then one for every five calls; see [`Budget`] |
///
/// When it gives up, the result is the last one. One exception keeps outcomes true: after an attempt of unknown outcome, a
/// failure of a later attempt does not make the call failed, so the result is that of the unknown attempt, unless the failure
/// is [settled](Class::settled) or the call is read-only.
///
/// ```
/// use omnistack_core::resilience::{Class, Classify, Error, Retry};
/// use std::time::Duration;
///
/// # #[derive(Debug)]
/// enum MailError {
///     Busy,
///     Lost,
///     Policy(Error),
/// }
///
/// impl Classify for MailError {
///     fn class(&self) -> Class {
///         match self {
///             Self::Busy => Class::failed().retryable(),
///             Self::Lost => Class::unknown().retryable(),
///             Self::Policy(error) => error.class(),
///         }
///     }
/// }
/// # impl From<Error> for MailError { fn from(error: Error) -> Self { Self::Policy(error) } }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// // At most 3 attempts, within 10 seconds.
/// let retry = Retry::new(3, Duration::from_secs(10));
/// let mut answers = [Err(MailError::Busy), Err(MailError::Lost), Ok("sent")].into_iter();
/// let mut send = move || std::future::ready(answers.next().unwrap());
///
/// // A mail sent twice is two mails: what may have been sent is not sent again.
/// assert!(matches!(retry.run(&mut send).await, Err(MailError::Lost)));
///
/// // To a provider that keeps an idempotency key, twice is once.
/// assert_eq!(retry.idempotent().run(&mut send).await.unwrap(), "sent");
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Retry<C = ByError> {
    settings: Arc<Settings>,
    classifier: C,
}

#[derive(Clone, Debug)]
struct Settings {
    attempts: u32,
    deadline: Duration,
    first_delay: Duration,
    max_delay: Duration,
    jitter: Jitter,
    budget: Budget,
}

impl Retry {
    /// At most so many attempts, the first included and always made, all of them within the deadline. Calls are judged by
    /// their errors, which implement [`Classify`](super::Classify); [`classify`](Self::classify) judges otherwise.
    pub fn new(attempts: u32, deadline: Duration) -> Self {
        let settings = Settings {
            attempts: attempts.max(1),
            deadline,
            first_delay: Duration::from_millis(100),
            max_delay: Duration::from_secs(10),
            jitter: Jitter::full(),
            budget: Budget::default(),
        };
        Self { settings: Arc::new(settings), classifier: ByError }
    }
}

impl<C> Retry<C> {
    /// Waits up to `first` before the second attempt, twice as long before each further one, never longer than `max`.
    #[must_use]
    pub fn delays(self, first: Duration, max: Duration) -> Self {
        self.with(|settings| (settings.first_delay, settings.max_delay) = (first.min(max), max))
    }

    /// Draws the share of each delay from here.
    #[must_use]
    pub fn jitter(self, jitter: Jitter) -> Self {
        self.with(|settings| settings.jitter = jitter)
    }

    /// Takes retries from this budget, to share it with other policies.
    #[must_use]
    pub fn budget(self, budget: Budget) -> Self {
        self.with(|settings| settings.budget = budget)
    }

    fn with(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(Arc::make_mut(&mut self.settings));
        self
    }

    /// The same policy and budget, for calls whose results this closure judges: `|result: Result<&T, &E>| Class`.
    #[must_use]
    pub fn classify<T, E, F: Fn(Result<&T, &E>) -> Class>(&self, classifier: F) -> Retry<F> {
        Retry { settings: Arc::clone(&self.settings), classifier }
    }

    /// Makes the call, and makes it again after a failure that may pass. Never after an unknown outcome.
    pub async fn run<T, E, F>(&self, call: impl FnMut() -> F) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
        C: Classifier<T, E>,
        E: From<Error>,
    {
        self.attempts(Repeat::Never, call).await
    }

    async fn attempts<T, E, F>(&self, repeat: Repeat, mut call: impl FnMut() -> F) -> Result<T, E>
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
        settings.budget.put();
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
            let Next::Wait(delay) = next else {
                return amount(unknown, result, &class, repeat);
            };
            if class.outcome() == Outcome::Unknown {
                unknown = Some(result);
            }
            tokio::time::sleep(delay).await;
            attempt += 1;
        }
    }
}

/// What follows an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Another, after this long.
    Wait(Duration),
    /// None, and why.
    Stop(&'static str),
}

impl Settings {
    /// The longest each wait may be.
    fn delays(&self) -> impl Iterator<Item = Duration> + use<> {
        let exponential = ExponentialBuilder::new().with_min_delay(self.first_delay).with_max_delay(self.max_delay);
        exponential.without_max_times().build()
    }

    fn next(
        &self,
        class: &Class,
        repeat: Repeat,
        attempt: u32,
        left: Duration,
        delays: &mut impl Iterator<Item = Duration>,
    ) -> Next {
        match class.outcome() {
            Outcome::Success => return Next::Stop("it succeeded"),
            Outcome::Unknown if repeat == Repeat::Never => return Next::Stop("it may have happened"),
            _ if !class.may_repeat(repeat) => return Next::Stop("trying again would not help"),
            _ if attempt >= self.attempts => return Next::Stop("no attempts are left"),
            Outcome::Failed | Outcome::Unknown => {}
        }
        let seconds = delays.next().unwrap_or(self.max_delay).as_secs_f64() * self.jitter.share();
        let backoff = Duration::try_from_secs_f64(seconds).unwrap_or(self.max_delay);
        let delay = backoff.saturating_add(class.wait().unwrap_or_default());
        if delay >= left {
            return Next::Stop("the deadline is too near");
        }
        // Last, so that only a retry that is made is paid for.
        if self.budget.take() { Next::Wait(delay) } else { Next::Stop("the retry budget is spent") }
    }
}

fn log(attempt: u32, class: &Class, next: Next) {
    let outcome = class.outcome().as_str();
    match next {
        Next::Wait(delay) => {
            let wait_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
            tracing::debug!(attempt, outcome, wait_ms, "an attempt ended, another follows");
        }
        Next::Stop(reason) => tracing::debug!(attempt, outcome, reason, "an attempt ended, the last"),
    }
}

repeatable!(Retry);

impl<C> Repeatable<Retry<C>> {
    /// As [`Retry::run`], and makes the call again after an unknown outcome too.
    pub async fn run<T, E, F>(&self, call: impl FnMut() -> F) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
        C: Classifier<T, E>,
        E: From<Error>,
    {
        self.policy.attempts(self.repeat, call).await
    }
}
