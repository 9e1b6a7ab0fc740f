//! Jobs as tower services, so that layers apply to them.

use std::{
    collections::HashMap,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::BoxFuture;
use tower::{Service, util::BoxCloneSyncService};

use super::{Job, JobCtx, JobError, JobId};

/// A leased job, as its handler gets it.
#[derive(Clone, Debug)]
pub struct JobRequest {
    /// What it is to do, as JSON.
    pub payload: String,
    /// The attempt.
    pub ctx: JobCtx,
}

/// The handler of one kind of job; what layers are put around.
pub type JobService = BoxCloneSyncService<JobRequest, (), JobError>;

/// Reads a job's payload and runs it.
struct Run<J: Job> {
    state: J::State,
}

impl<J: Job> Clone for Run<J> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone() }
    }
}

impl<J: Job> Service<JobRequest> for Run<J> {
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
                .map_err(|error| JobError::fatal(format!("the payload is no `{}` any more: {error}", J::NAME)))?;
            job.run(&state, &request.ctx).await
        })
    }
}

/// What the runner knows of one kind of job.
#[derive(Clone)]
pub(crate) struct Handler {
    pub(crate) name: &'static str,
    pub(super) queue: &'static str,
    pub(super) timeout: Duration,
    backoff: fn(u32) -> Duration,
    pub(crate) service: JobService,
}

impl Handler {
    pub(crate) fn new<J: Job>(state: J::State) -> Self {
        Self {
            name: J::NAME,
            queue: J::QUEUE,
            timeout: J::TIMEOUT,
            backoff: J::backoff,
            service: BoxCloneSyncService::new(Run::<J> { state }),
        }
    }
}

impl Handler {
    /// How long a failed attempt's job waits.
    pub(super) fn wait(&self, attempt: u32, id: JobId) -> Duration {
        wait(self.backoff, attempt, id.uuid().as_u128())
    }
}

/// How long something waits after a failed attempt, by what it says itself; that can't end the worker.
pub(crate) fn wait(backoff: fn(u32) -> Duration, attempt: u32, seed: u128) -> Duration {
    const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    let wait = std::panic::catch_unwind(move || backoff(attempt)).unwrap_or(Duration::from_secs(60));
    jittered(wait.min(LONGEST), seed, attempt)
}

/// A fifth more or less, by an id, whose low bits are random: nothing else need be drawn.
fn jittered(wait: Duration, seed: u128, attempt: u32) -> Duration {
    let drawn = seed.wrapping_mul(u128::from(attempt) | 1).rotate_right(attempt) % 401;
    wait * (800 + u32::try_from(drawn).unwrap_or(200)) / 1000
}

/// Handlers by name.
pub(super) type Handlers = HashMap<&'static str, Handler>;
