//! What a policy answers in place of the call.

use std::{sync::Arc, time::Duration};

use http::{HeaderValue, StatusCode, header};

use super::{Class, Classify, Outcome};
use crate::http::Error as HttpError;

/// Why a policy gave no answer of the call itself. The variants are the kinds.
///
/// The error type of a call that goes through a policy is made from it (`E: From<resilience::Error>`), so it stays the
/// same through any number of policies. `Box<dyn Error + Send + Sync>` and [`CallError`] are made from it as they are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No answer came in time. What was asked may have happened: [`Outcome::Unknown`].
    #[error("no answer came within {after:?}")]
    Timeout {
        /// How long it was waited for.
        after: Duration,
    },
    /// The other side fails too often to be asked now; nothing was sent.
    #[error("the circuit breaker `{name}` is open")]
    CircuitOpen {
        /// Which breaker.
        name: Arc<str>,
        /// When the next call may be let through, if that is known.
        retry_after: Option<Duration>,
    },
    /// Too many calls run and wait already; nothing was sent.
    #[error("the bulkhead `{name}` is full: every place is taken, and {waiting} wait")]
    Full {
        /// Which bulkhead.
        name: Arc<str>,
        /// How many may wait.
        waiting: usize,
    },
    /// No place came free in time; nothing was sent.
    #[error("the bulkhead `{name}` had no place within {waited:?}")]
    NoPlace {
        /// Which bulkhead.
        name: Arc<str>,
        /// How long it was waited for.
        waited: Duration,
    },
}

impl Error {
    /// [`Outcome::Unknown`] for a timeout, [`Outcome::Failed`] for everything else.
    pub fn outcome(&self) -> Outcome {
        self.class().outcome()
    }

    /// Whether the same call may be tried again without asking whether it is idempotent. After a timeout it may not.
    pub fn is_retryable(&self) -> bool {
        self.class().is_transient()
    }
}

impl Classify for Error {
    fn class(&self) -> Class {
        match self {
            Self::Timeout { .. } => Class::unknown().retryable(),
            Self::CircuitOpen { retry_after: Some(wait), .. } => Class::refused().retry_after(*wait),
            Self::CircuitOpen { .. } | Self::Full { .. } | Self::NoPlace { .. } => Class::refused(),
        }
    }
}

/// 504 after a timeout, 503 with `Retry-After` otherwise.
impl From<Error> for HttpError {
    fn from(error: Error) -> Self {
        if matches!(error, Error::Timeout { .. }) {
            let message = "a service this needs did not answer in time";
            return Self::new(StatusCode::GATEWAY_TIMEOUT, "UPSTREAM_TIMEOUT", message).cause(error);
        }
        let wait = error.class().wait().unwrap_or_default();
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Self::unavailable("UPSTREAM_UNAVAILABLE", "a service this needs is not available now")
            .header(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)))
            .cause(error)
    }
}

/// The error of a call whose own error type can't be made from [`Error`], one of another crate for instance.
///
/// ```
/// use omnistack_core::resilience::{CallError, Timeout};
/// use std::{io, time::Duration};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let read = async { Err::<(), _>(io::Error::from(io::ErrorKind::ConnectionRefused)) };
/// let timed = Timeout::new(Duration::from_secs(2)).run(async { read.await.map_err(CallError::Call) }).await;
/// assert!(matches!(timed, Err(CallError::Call(error)) if error.kind() == io::ErrorKind::ConnectionRefused));
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError<E> {
    /// The call's own.
    #[error(transparent)]
    Call(E),
    /// A policy's. It is the source too, so that it is found in whatever wraps it.
    #[error("{0}")]
    Policy(#[from] Error),
}

impl<E: Classify> Classify for CallError<E> {
    fn class(&self) -> Class {
        match self {
            Self::Call(error) => error.class(),
            Self::Policy(error) => error.class(),
        }
    }
}
