//! Outcomes and classes of calls.

use std::{error::Error as StdError, fmt, time::Duration};

use super::{Error, RetrySafety};

/// Outcome of a call: whether it took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The call took effect.
    Success,
    /// The call certainly had no effect: nothing was sent, or the called service rejected it.
    Failed,
    /// The call may have taken effect: the request was sent, and no conclusive response arrived.
    Unknown,
}

impl Outcome {
    /// Returns the outcome as it appears in the log: `success`, `failed` or `unknown`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Class of a result: its [`Outcome`], and whether and when the call may be repeated.
///
/// ```
/// use omnistack_core::resilience::{Classification, RetrySafety};
/// use std::time::Duration;
///
/// let declined = Classification::failed();
/// let busy = Classification::failed().retryable().retry_after(Duration::from_secs(2));
/// let lost = Classification::unknown().retryable();
///
/// assert!(!declined.may_retry(RetrySafety::Idempotent));
/// assert!(busy.may_retry(RetrySafety::Never));
/// // The result alone does not decide whether an unknown outcome may be repeated.
/// assert!(!lost.may_retry(RetrySafety::Never));
/// assert!(lost.may_retry(RetrySafety::Idempotent));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Classification {
    outcome: Outcome,
    retryable: bool,
    refused: bool,
    settled: bool,
    retry_after: Option<Duration>,
}

impl Classification {
    const fn new(outcome: Outcome) -> Self {
        Self { outcome, retryable: false, refused: false, settled: false, retry_after: None }
    }

    /// Creates the class of a call that took effect.
    pub const fn success() -> Self {
        Self::new(Outcome::Success)
    }

    /// Creates the class of a call that had no effect and would fail again, such as a declined card or an
    /// invalid request.
    pub const fn failed() -> Self {
        Self::new(Outcome::Failed)
    }

    /// Creates the class of a call that may have taken effect. [`retryable`](Self::retryable) adds that a retry
    /// may help.
    pub const fn unknown() -> Self {
        Self::new(Outcome::Unknown)
    }

    /// Creates the class of a call that was rejected on our side before anything was sent, so that the result
    /// says nothing about the health of the called service. Failed and retryable.
    pub const fn rejected_locally() -> Self {
        Self { retryable: true, refused: true, ..Self::new(Outcome::Failed) }
    }

    /// Marks the result as retryable: the same call may succeed later. A call of unknown outcome is repeated
    /// only if the caller also allows it, see [`RetrySafety`].
    pub const fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }

    /// Sets the minimum time before the next attempt, as requested by the called service.
    pub const fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Marks the result as valid for all attempts of the call, not only for the last one: the called service
    /// knows the idempotency key and has responded with the outcome of the operation. Without this, a failure
    /// after an attempt of unknown outcome leaves the outcome of the call unknown.
    pub const fn settled(mut self) -> Self {
        self.settled = true;
        self
    }

    /// Returns the outcome.
    pub const fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// Returns whether the call was rejected on our side before anything was sent.
    pub const fn is_rejected_locally(&self) -> bool {
        self.refused
    }

    /// Returns whether the call failed and may succeed later.
    pub const fn is_transient(&self) -> bool {
        self.retryable && matches!(self.outcome, Outcome::Failed)
    }

    /// Returns how long the called service asks to wait.
    pub const fn retry_delay(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Returns whether another attempt is allowed and may help.
    pub const fn may_retry(&self, repeat: RetrySafety) -> bool {
        match self.outcome {
            Outcome::Success => false,
            Outcome::Failed => self.retryable,
            Outcome::Unknown => self.retryable && !matches!(repeat, RetrySafety::Never),
        }
    }

    /// Returns whether this result, of the last attempt, is the result of the call even if an earlier attempt
    /// has an unknown outcome.
    const fn settles(&self, repeat: RetrySafety) -> bool {
        match self.outcome {
            Outcome::Success | Outcome::Unknown => true,
            Outcome::Failed => self.settled || matches!(repeat, RetrySafety::ReadOnly),
        }
    }
}

/// Returns the result of several attempts: the last one, unless it is a failure and an earlier attempt may have
/// taken effect.
pub(super) fn combine_results<R>(unknown: Option<R>, last: R, class: &Classification, repeat: RetrySafety) -> R {
    match unknown {
        Some(unknown) if !class.settles(repeat) => unknown,
        _ => last,
    }
}

/// Error that can be classified. Errors of providers implement it, so that every policy treats them alike.
pub trait Classify {
    /// Returns the class of the error.
    fn class(&self) -> Classification;
}

impl<E: Classify + ?Sized> Classify for &E {
    fn class(&self) -> Classification {
        (**self).class()
    }
}

/// Class of the first [`Error`] of this module in the chain of sources. All other errors are
/// [`Classification::unknown`], which is always safe.
impl Classify for Box<dyn StdError + Send + Sync> {
    fn class(&self) -> Classification {
        let mut cause: Option<&(dyn StdError + 'static)> = Some(self.as_ref());
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<Error>() {
                return error.class();
            }
            cause = error.source();
        }
        Classification::unknown()
    }
}

/// Classifier of results. Closures implement it: `|result: Result<&T, &E>| Class`.
pub trait Classifier<T, E> {
    /// Returns the class of the result.
    fn classify(&self, result: Result<&T, &E>) -> Classification;
}

impl<T, E, F: Fn(Result<&T, &E>) -> Classification> Classifier<T, E> for F {
    fn classify(&self, result: Result<&T, &E>) -> Classification {
        self(result)
    }
}

/// Classifier for which every `Ok` is a success, and errors provide their class.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClassifyByError;

impl<T, E: Classify> Classifier<T, E> for ClassifyByError {
    fn classify(&self, result: Result<&T, &E>) -> Classification {
        match result {
            Ok(_) => Classification::success(),
            Err(error) => error.class(),
        }
    }
}
