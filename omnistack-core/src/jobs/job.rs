//! What a job is.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use serde::{Serialize, de::DeserializeOwned};

use super::JobCtx;
use crate::app::BoxError;

/// Work to be done later, kept in the database until it is: a serde struct that knows how to run.
///
/// ```
/// use omnistack_core::jobs::{Job, JobCtx, JobError};
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
///     async fn run(self, _state: &(), _ctx: &JobCtx) -> Result<(), JobError> {
///         println!("hello {}", self.name);
///         Ok(())
///     }
/// }
/// ```
///
/// A job may run more than once: when its process dies after the work and before the acknowledgement. So it must bear being
/// run again.
#[async_trait]
pub trait Job: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Unique among the app's jobs, and stable: it is stored with each.
    const NAME: &'static str;
    /// Where it waits, unless told otherwise when it is enqueued.
    const QUEUE: &'static str = "default";
    /// How often it is begun at most, crashes counted.
    const MAX_ATTEMPTS: u32 = 10;
    /// How long an attempt may take.
    const TIMEOUT: Duration = Duration::from_secs(15 * 60);

    /// What it needs, made once while the app is wired.
    type State: Clone + Send + Sync + 'static;

    /// Does the work.
    ///
    /// # Errors
    /// Any error is tried again later, by [`backoff`](Self::backoff), until the attempts are used up;
    /// [`JobError::fatal`] is not.
    async fn run(self, state: &Self::State, ctx: &JobCtx) -> Result<(), JobError>;

    /// How long to wait after a failed attempt, counted from 1; a fifth more or less is added, so that what failed together
    /// does not come back together.
    fn backoff(attempt: u32) -> Duration {
        exponential(attempt)
    }
}

/// 2 s, 4 s, 8 s … to an hour.
pub(crate) fn exponential(attempt: u32) -> Duration {
    Duration::from_secs(1 << attempt.min(12)).min(Duration::from_hours(1))
}

/// Why an attempt failed, and what is to happen.
#[derive(Debug)]
pub struct JobError {
    pub(crate) kind: Kind,
    source: BoxError,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Retry,
    Fatal,
    Snooze(Duration),
}

impl JobError {
    /// Tried again, as any other error is.
    pub fn retry(error: impl Into<BoxError>) -> Self {
        Self { kind: Kind::Retry, source: error.into() }
    }

    /// Not tried again: the job goes to the dead letters.
    pub fn fatal(error: impl Into<BoxError>) -> Self {
        Self { kind: Kind::Fatal, source: error.into() }
    }

    /// Not failed, only too early: run again after this time, without counting the attempt.
    pub fn snooze(after: Duration) -> Self {
        Self { kind: Kind::Snooze(after), source: "too early".into() }
    }

    /// Whether the job is tried again.
    pub fn is_retryable(&self) -> bool {
        self.kind != Kind::Fatal
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

/// So that `?` works in a job; not an [`Error`](std::error::Error) itself, for the same reason.
impl<E: std::error::Error + Send + Sync + 'static> From<E> for JobError {
    fn from(error: E) -> Self {
        Self::retry(error)
    }
}
