//! What became of a call.

use std::{error::Error as StdError, fmt, time::Duration};

use super::{Error, Repeat};

/// Whether what was asked has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It happened.
    Success,
    /// It did not happen, for certain: nothing was sent, or the other side refused.
    Failed,
    /// It may have happened: the request was sent, and no answer that says so came back.
    Unknown,
}

impl Outcome {
    /// `success`, `failed` or `unknown`, as it stands in the log.
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

/// What a result means: its [`Outcome`], and what may be done about it.
///
/// ```
/// use omnistack_core::resilience::{Class, Repeat};
/// use std::time::Duration;
///
/// let declined = Class::failed();
/// let busy = Class::failed().retryable().retry_after(Duration::from_secs(2));
/// let lost = Class::unknown().retryable();
///
/// assert!(!declined.may_repeat(Repeat::Idempotent));
/// assert!(busy.may_repeat(Repeat::Never));
/// // Whether an unknown outcome may be repeated is not for the result to say.
/// assert!(!lost.may_repeat(Repeat::Never));
/// assert!(lost.may_repeat(Repeat::Idempotent));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Class {
    outcome: Outcome,
    retryable: bool,
    refused: bool,
    settled: bool,
    retry_after: Option<Duration>,
}

impl Class {
    const fn new(outcome: Outcome) -> Self {
        Self { outcome, retryable: false, refused: false, settled: false, retry_after: None }
    }

    /// It happened.
    pub const fn success() -> Self {
        Self::new(Outcome::Success)
    }

    /// It did not happen, and would not if tried again: a declined card, a request that is not valid.
    pub const fn failed() -> Self {
        Self::new(Outcome::Failed)
    }

    /// It may have happened. [`retryable`](Self::retryable) says whether trying again may help.
    pub const fn unknown() -> Self {
        Self::new(Outcome::Unknown)
    }

    /// It was refused on our side before anything was sent, so it says nothing about the other side's health. Failed, and
    /// retryable.
    pub const fn refused() -> Self {
        Self { retryable: true, refused: true, ..Self::new(Outcome::Failed) }
    }

    /// The same call may succeed later. Of an unknown outcome this is only half of the leave to repeat: the other half is
    /// the caller's, see [`Repeat`].
    pub const fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }

    /// Not before this much time has passed, as the other side asks.
    pub const fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// The answer speaks for every attempt of the call, not only for the last: the other side knows the idempotency key
    /// and has answered with what became of it. Without this, a failure after an attempt of unknown outcome leaves the
    /// call unknown.
    pub const fn settled(mut self) -> Self {
        self.settled = true;
        self
    }

    /// Whether it happened.
    pub const fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// Whether it was refused on our side before anything was sent.
    pub const fn is_refused(&self) -> bool {
        self.refused
    }

    /// Whether it failed, and may succeed later.
    pub const fn is_transient(&self) -> bool {
        self.retryable && matches!(self.outcome, Outcome::Failed)
    }

    /// How long the other side asks to wait.
    pub const fn wait(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whether another attempt is allowed and may help.
    pub const fn may_repeat(&self, repeat: Repeat) -> bool {
        match self.outcome {
            Outcome::Success => false,
            Outcome::Failed => self.retryable,
            Outcome::Unknown => self.retryable && !matches!(repeat, Repeat::Never),
        }
    }

    /// Whether this answer, the last, may stand although an earlier attempt's outcome is unknown.
    const fn settles(&self, repeat: Repeat) -> bool {
        match self.outcome {
            Outcome::Success | Outcome::Unknown => true,
            Outcome::Failed => self.settled || matches!(repeat, Repeat::ReadOnly),
        }
    }
}

/// What several attempts amount to: the last answer, unless it is a failure and an earlier attempt may have happened.
pub(super) fn amount<R>(unknown: Option<R>, last: R, class: &Class, repeat: Repeat) -> R {
    match unknown {
        Some(unknown) if !class.settles(repeat) => unknown,
        _ => last,
    }
}

/// An error that knows what it means. Errors of providers implement it, so that every policy judges them alike.
pub trait Classify {
    /// What it means.
    fn class(&self) -> Class;
}

impl<E: Classify + ?Sized> Classify for &E {
    fn class(&self) -> Class {
        (**self).class()
    }
}

/// What an [`Error`] of this room in it means, however deep. Any other error is [`Class::unknown`], which is never
/// wrong.
impl Classify for Box<dyn StdError + Send + Sync> {
    fn class(&self) -> Class {
        let mut cause: Option<&(dyn StdError + 'static)> = Some(self.as_ref());
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<Error>() {
                return error.class();
            }
            cause = error.source();
        }
        Class::unknown()
    }
}

/// Judges results. Closures do: `|result: Result<&T, &E>| Class`.
pub trait Classifier<T, E> {
    /// What the result means.
    fn classify(&self, result: Result<&T, &E>) -> Class;
}

impl<T, E, F: Fn(Result<&T, &E>) -> Class> Classifier<T, E> for F {
    fn classify(&self, result: Result<&T, &E>) -> Class {
        self(result)
    }
}

/// Every `Ok` is a success, and an error says itself what it means.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByError;

impl<T, E: Classify> Classifier<T, E> for ByError {
    fn classify(&self, result: Result<&T, &E>) -> Class {
        match result {
            Ok(_) => Class::success(),
            Err(error) => error.class(),
        }
    }
}
