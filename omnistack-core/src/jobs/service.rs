//! Jobs as tower services, so that layers can wrap them.

use std::{
    collections::HashMap,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::BoxFuture;
use tower::{Service, util::BoxCloneSyncService};

use super::{Job, JobContext, JobError, JobId};

/// A leased job, as passed to its handler.
#[derive(Clone, Debug)]
pub struct JobRequest {
    /// Payload as JSON.
    pub payload: String,
    /// Context of the attempt.
    pub ctx: JobContext,
}

/// The handler of one type of job, which layers wrap.
pub type JobService = BoxCloneSyncService<JobRequest, (), JobError>;

/// The service that deserializes the payload of a job and runs the job.
struct JobHandlerService<J: Job> {
    state: J::State,
}

impl<J: Job> Clone for JobHandlerService<J> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone() }
    }
}

impl<J: Job> Service<JobRequest> for JobHandlerService<J> {
    type Response = ();
    type Error = JobError;
    type Future = BoxFuture<'static, Result<(), JobError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), JobError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: JobRequest) -> Self::Future {
        let state = self.state.clone();
        Box::pin(async move {
            let job: J = serde_json::from_str(&request.payload)
                .map_err(|error| JobError::fatal(format!("the payload can't be read as `{}`: {error}", J::NAME)))?;
            job.run(&state, &request.ctx).await
        })
    }
}

/// The registered handler of one type of job.
#[derive(Clone)]
pub(crate) struct JobHandler {
    pub(crate) name: &'static str,
    pub(super) queue: &'static str,
    pub(super) timeout: Duration,
    backoff: fn(u32) -> Duration,
    pub(crate) service: JobService,
}

impl JobHandler {
    pub(crate) fn new<J: Job>(state: J::State) -> Self {
        Self {
            name: J::NAME,
            queue: J::QUEUE,
            timeout: J::TIMEOUT,
            backoff: J::backoff,
            service: BoxCloneSyncService::new(JobHandlerService::<J> { state }),
        }
    }
}

impl JobHandler {
    /// Returns the delay after a failed attempt, with jitter.
    pub(super) fn wait(&self, attempt: u32, id: JobId) -> Duration {
        jittered_backoff(self.backoff, attempt, id.uuid().as_u128())
    }
}

/// Returns the delay after a failed attempt, with jitter: that of `backoff`, at most a year. If `backoff` panics,
/// it is 60 seconds.
pub(crate) fn jittered_backoff(backoff: fn(u32) -> Duration, attempt: u32, seed: u128) -> Duration {
    const MAX_WAIT: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    let wait = std::panic::catch_unwind(move || backoff(attempt)).unwrap_or(Duration::from_secs(60));
    jittered(wait.min(MAX_WAIT), seed, attempt)
}

/// Adds or subtracts up to a fifth, derived from an id, whose low bits are random.
fn jittered(wait: Duration, seed: u128, attempt: u32) -> Duration {
    let drawn = seed.wrapping_mul(u128::from(attempt) | 1).rotate_right(attempt) % 401;
    wait * (800 + u32::try_from(drawn).unwrap_or(200)) / 1000
}

/// Handlers by name.
pub(super) type Handlers = HashMap<&'static str, JobHandler>;
