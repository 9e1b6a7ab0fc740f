//! The trait of jobs and the errors they return.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use serde::{Serialize, de::DeserializeOwned};

use super::JobContext;
use crate::BoxError;

/// Work that runs in the background: a serde struct that is stored in the database until it is done.
///
/// ```
/// use omnistack_core::jobs::{Job, JobContext, JobError};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Greet { name: String }
///
/// #[async_trait::async_trait]
/// impl Job for Greet {
///     const NAME: &'static str = "greet";
///     type State = ();
///
///     async fn run(self, _state: &(), _ctx: &JobContext) -> Result<(), JobError> {
///         println!("hello {}", self.name);
///         Ok(())
///     }
/// }
/// ```
///
/// A job may run more than once: for example, if its process dies after the work and before the acknowledgement.
/// So running it again must be harmless.
#[async_trait]
pub trait Job: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Stable name, unique among the app's jobs; stored with each job.
    const NAME: &'static str;
    /// Queue of the job, unless another one is set when it is enqueued.
    const QUEUE: &'static str = "default";
    /// Most attempts, including those that crashed.
    const MAX_ATTEMPTS: u32 = 10;
    /// Longest duration of an attempt.
    const TIMEOUT: Duration = Duration::from_secs(15 * 60);

    /// Dependencies of the job, created once when the app is built.
    type State: Clone + Send + Sync + 'static;

    /// Does the work.
    ///
    /// # Errors
    /// After any error the job is retried, after the [`backoff`](Self::backoff), until its attempts are used up.
    /// After [`JobError::fatal`] it is not retried.
    async fn run(self, state: &Self::State, ctx: &JobContext) -> Result<(), JobError>;

    /// Returns the delay after a failed attempt, counted from 1. Up to a fifth is added or subtracted, so that
    /// jobs that failed together are not retried together.
    fn backoff(attempt: u32) -> Duration {
        exponential_backoff(attempt)
    }
}

/// Returns 2 s, 4 s, 8 s and so on, up to an hour.
pub(crate) fn exponential_backoff(attempt: u32) -> Duration {
    Duration::from_secs(1 << attempt.min(12)).min(Duration::from_hours(1))
}

/// The error of an attempt, and whether the job is retried.
#[derive(Debug)]
pub struct JobError {
    pub(crate) kind: JobErrorKind,
    source: BoxError,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JobErrorKind {
    Retry,
    Fatal,
    Snooze(Duration),
}

impl JobError {
    /// Creates an error after which the job is retried, like any other error.
    pub fn retry(error: impl Into<BoxError>) -> Self {
        Self { kind: JobErrorKind::Retry, source: error.into() }
    }

    /// Creates an error after which the job is not retried: it becomes a dead letter.
    pub fn fatal(error: impl Into<BoxError>) -> Self {
        Self { kind: JobErrorKind::Fatal, source: error.into() }
    }

    /// Postpones the job without failing: it runs again after this time, and the attempt is not counted.
    pub fn snooze(after: Duration) -> Self {
        Self { kind: JobErrorKind::Snooze(after), source: "too early".into() }
    }

    /// Returns whether the job is retried.
    pub fn is_retryable(&self) -> bool {
        self.kind != JobErrorKind::Fatal
    }

    /// Returns whether the job is postponed, by [`snooze`](Self::snooze), and has not failed.
    pub fn is_snooze(&self) -> bool {
        matches!(self.kind, JobErrorKind::Snooze(_))
    }
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.source)?;
        let mut cause = self.source.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// Lets `?` convert errors in a job. For this reason, [`JobError`] does not implement
/// [`Error`](std::error::Error) itself.
impl<E: std::error::Error + Send + Sync + 'static> From<E> for JobError {
    fn from(error: E) -> Self {
        Self::retry(error)
    }
}
