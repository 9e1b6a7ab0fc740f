//! Retries.

use std::{iter, time::Duration};

use tokio::time::{Instant, sleep};

use super::{Classify, Outcome, RetrySafety};

/// Delay before the first retry.
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// Longest delay, without its random part.
const MAX_DELAY: Duration = Duration::from_secs(10);

/// Retry policy: repeats a call if that is safe and may help.
///
/// A transient failure is retried after a delay. A call of **unknown** outcome is retried only if the caller
/// states that it is [idempotent](RetrySafety::Idempotent).
///
/// | limit | |
/// |---|---|
/// | retries | attempts after the first one |
/// | time | from the start of the first attempt; no retry begins later. A running attempt is not ended: it needs a time limit of its own |
/// | delay | 100 ms before the first retry, doubled for each further one up to 10 s, plus a random part of up to the same length |
/// | `Retry-After` | waited in full, with the delay added, so that clients that received the same value do not retry at the same time |
///
/// The result is that of the last attempt, with one exception that keeps outcomes correct: if an earlier
/// attempt had an unknown outcome, a later failure does not mean that the call had no effect. The result is then
/// that of the attempt with the unknown outcome, unless the failure is
/// [settled](super::Classification::settled).
///
/// ```
/// use omnistack_core::resilience::{Classification, Classify, Retry, RetrySafety};
/// use std::time::Duration;
///
/// # #[derive(Debug)]
/// enum MailError {
///     Rejected,
///     Lost,
/// }
///
/// impl Classify for MailError {
///     fn class(&self) -> Classification {
///         match self {
///             Self::Rejected => Classification::failed().retryable(),
///             Self::Lost => Classification::unknown().retryable(),
///         }
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// // At most 2 retries, which begin within 10 seconds.
/// let retry = Retry::new(2, Duration::from_secs(10));
/// let mut responses = [Err(MailError::Rejected), Err(MailError::Lost), Ok("sent")].into_iter();
/// let mut send = move || std::future::ready(responses.next().unwrap());
///
/// // A mail that may have been sent is not sent again.
/// assert!(matches!(retry.run(RetrySafety::Never, &mut send).await, Err(MailError::Lost)));
///
/// // The mail has an idempotency key that the provider honors.
/// assert_eq!(retry.run(RetrySafety::Idempotent, &mut send).await.unwrap(), "sent");
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    retries: usize,
    within: Duration,
}

impl Retry {
    /// Creates a policy that makes at most `retries` attempts after the first one, and begins none of them later
    /// than `within` after the start of the first.
    pub const fn new(retries: usize, within: Duration) -> Self {
        Self { retries, within }
    }

    /// Makes the call, and repeats it after a transient failure, and also after an unknown outcome if the call is
    /// [idempotent](RetrySafety::Idempotent).
    ///
    /// # Errors
    ///
    /// Fails as the last attempt does. If an earlier attempt has an unknown outcome and the last failure is not
    /// [settled](super::Classification::settled), fails as the earlier one does.
    pub async fn run<T, E, F>(&self, safety: RetrySafety, mut call: impl FnMut() -> F) -> Result<T, E>
    where
        E: Classify,
        F: Future<Output = Result<T, E>>,
    {
        let started = Instant::now();
        let doubled = iter::successors(Some(FIRST_DELAY), |delay| Some((*delay * 2).min(MAX_DELAY)));
        let mut delays = doubled.take(self.retries).map(|delay| delay + delay.mul_f64(rand::random()));
        let mut unknown = None;
        loop {
            let error = match call().await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let class = error.class();
            let delay = if class.may_retry(safety) { delays.next() } else { None };
            let delay = delay.map(|delay| delay.saturating_add(class.retry_delay().unwrap_or_default()));
            let Some(delay) = delay.filter(|delay| started.elapsed().saturating_add(*delay) <= self.within) else {
                return Err(unknown.filter(|_| !class.is_conclusive()).unwrap_or(error));
            };
            let outcome = class.outcome();
            tracing::debug!(outcome = outcome.as_str(), ?delay, "the call is repeated");
            if outcome == Outcome::Unknown {
                unknown = Some(error);
            }
            sleep(delay).await;
        }
    }
}
