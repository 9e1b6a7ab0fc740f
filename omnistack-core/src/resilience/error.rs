//! Errors that policies return in place of the call's result.

use std::{sync::Arc, time::Duration};

use http::{HeaderValue, StatusCode, header};

use super::{Classification, Classify, Outcome};
use crate::http::Error as HttpError;

/// Error of a policy, returned in place of the call's result. The variants are the kinds.
///
/// The error type of a call behind a policy is created from it (`E: From<resilience::Error>`), so it stays the
/// same through any number of policies. `Box<dyn Error + Send + Sync>` and [`CallError`] implement the
/// conversion.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No response arrived in time. The call may have taken effect: [`Outcome::Unknown`].
    #[error("no response within {after:?}")]
    Timeout {
        /// Time limit of the call.
        after: Duration,
    },
    /// The circuit breaker is open, because too many calls failed. Nothing was sent.
    #[error("the circuit breaker `{name}` is open")]
    CircuitOpen {
        /// Name of the breaker.
        name: Arc<str>,
        /// Time until the next call may be admitted, if it is known.
        retry_after: Option<Duration>,
    },
    /// The maximum numbers of calls already run and wait. Nothing was sent.
    #[error("the bulkhead `{name}` is full: all permits are taken, and {waiting} calls wait")]
    QueueFull {
        /// Name of the bulkhead.
        name: Arc<str>,
        /// Number of calls that may wait.
        waiting: usize,
    },
    /// No permit became free in time. Nothing was sent.
    #[error("the bulkhead `{name}` had no free permit within {waited:?}")]
    PermitTimeout {
        /// Name of the bulkhead.
        name: Arc<str>,
        /// Time that the call waited.
        waited: Duration,
    },
}

impl Error {
    /// Returns the outcome: [`Outcome::Unknown`] for a timeout, [`Outcome::Failed`] for all other errors.
    pub fn outcome(&self) -> Outcome {
        self.class().outcome()
    }

    /// Returns whether the same call may be retried even if it is not idempotent. After a timeout it may not.
    pub fn is_retryable(&self) -> bool {
        self.class().is_transient()
    }
}

impl Classify for Error {
    fn class(&self) -> Classification {
        match self {
            Self::Timeout { .. } => Classification::unknown().retryable(),
            Self::CircuitOpen { retry_after: Some(wait), .. } => Classification::rejected_locally().retry_after(*wait),
            Self::CircuitOpen { .. } | Self::QueueFull { .. } | Self::PermitTimeout { .. } => {
                Classification::rejected_locally()
            }
        }
    }
}

/// 504 `UPSTREAM_TIMEOUT` after a timeout, otherwise 503 `UPSTREAM_UNAVAILABLE` with `Retry-After`.
impl From<Error> for HttpError {
    fn from(error: Error) -> Self {
        if matches!(error, Error::Timeout { .. }) {
            let message = "an upstream service did not respond in time";
            return Self::new(StatusCode::GATEWAY_TIMEOUT, "UPSTREAM_TIMEOUT", message).with_source(error);
        }
        let wait = error.class().retry_delay().unwrap_or_default();
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Self::unavailable("UPSTREAM_UNAVAILABLE", "an upstream service is unavailable: try again later")
            .with_header(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)))
            .with_source(error)
    }
}

/// Error of a call whose own error type can't be created from [`Error`], for example because it belongs to
/// another crate.
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
    /// Error of the call.
    #[error(transparent)]
    Call(E),
    /// Error of a policy. It is also the source, so that it is found within errors that wrap this one.
    #[error("{0}")]
    Policy(#[from] Error),
}

impl<E: Classify> Classify for CallError<E> {
    fn class(&self) -> Classification {
        match self {
            Self::Call(error) => error.class(),
            Self::Policy(error) => error.class(),
        }
    }
}
