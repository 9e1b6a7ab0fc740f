//! Outcomes and classes of calls.

use std::{fmt, time::Duration};

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

/// Whether a call of unknown outcome may be repeated. Only the caller knows, so every call of a policy that
/// repeats states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetrySafety {
    /// A repetition has a further effect, such as a second charge or mail. A call of unknown outcome is not
    /// repeated.
    Never,
    /// A repetition has no further effect (RFC 9110, section 9.2.2): the call reads, sets a value, or has an
    /// idempotency key that the called service honors. A call of unknown outcome is repeated.
    Idempotent,
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
    settled: bool,
    retry_after: Option<Duration>,
}

impl Classification {
    const fn new(outcome: Outcome) -> Self {
        Self { outcome, retryable: false, settled: false, retry_after: None }
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

    /// Marks the result as retryable: the same call may succeed later. A call of unknown outcome is repeated
    /// only if it is also [idempotent](RetrySafety::Idempotent).
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
    /// knows the idempotency key and has responded with the outcome of the operation, or its response describes
    /// the current state. Without this, a failure after an attempt of unknown outcome leaves the outcome of the
    /// call unknown.
    pub const fn settled(mut self) -> Self {
        self.settled = true;
        self
    }

    /// Returns the outcome.
    pub const fn outcome(&self) -> Outcome {
        self.outcome
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
    pub const fn may_retry(&self, safety: RetrySafety) -> bool {
        match self.outcome {
            Outcome::Success => false,
            Outcome::Failed => self.retryable,
            Outcome::Unknown => self.retryable && matches!(safety, RetrySafety::Idempotent),
        }
    }

    /// Returns whether this result, of the last attempt, is the result of the call even if an earlier attempt
    /// has an unknown outcome.
    pub(super) const fn is_conclusive(&self) -> bool {
        self.settled || !matches!(self.outcome, Outcome::Failed)
    }
}

/// Error that can be classified. Errors of providers implement it, so that every policy treats them alike.
pub trait Classify {
    /// Returns the class of the error.
    fn class(&self) -> Classification;
}
