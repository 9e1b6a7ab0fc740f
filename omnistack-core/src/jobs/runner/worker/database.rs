//! The worker's calls to the database and their results.

use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::time::Instant;

use super::Worker;
use crate::{
    db::Error,
    jobs::{
        JobId,
        runner::{
            ServedQueue,
            attempt::{ends_to_tell, tell_ends},
            polling::Maintenance,
        },
        store::{FinishedAttempt, JobClaim, LeasedJob, LostLeases},
    },
};

/// Most jobs that one claim leases or one acknowledgement stores.
pub(crate) const MAX_BATCH: usize = 1000;

/// The result of a database call.
pub(crate) enum DbResult {
    Claimed(usize, usize, Result<Vec<LeasedJob>, Error>),
    Stored(Vec<FinishedAttempt>, Result<LostLeases, Error>),
    LeasesExtended(Vec<JobId>, Result<Vec<(JobId, bool)>, Error>),
    Maintained(Result<Maintenance, Error>),
}

pub(crate) type DbCall = Option<BoxFuture<'static, DbResult>>;

/// Waits for the result of a call. Never returns if no call is in progress.
pub(crate) async fn wait_for(saying: &mut DbCall) -> DbResult {
    match saying {
        Some(saying) => saying.await,
        None => std::future::pending().await,
    }
}

impl Worker {
    /// Returns the next claim, if there is one worth making: for a queue that may have jobs and has room for
    /// some. If there is a backlog, it waits until there is room for a quarter of the queue's concurrency, so
    /// that claims stay large. At each poll it claims as many jobs as there is room for.
    pub(crate) fn next_claim(&mut self) -> DbCall {
        let lanes = &self.runner.lanes;
        let room = |lane: usize| lanes[lane].concurrency.saturating_sub(self.load[lane]);
        let worth = |lane: &usize| {
            let enough = if self.backlog[*lane] { lanes[*lane].concurrency.min(MAX_BATCH).div_ceil(4) } else { 1 };
            self.may_have_jobs[*lane] && room(*lane) >= enough
        };
        let lane = (0..lanes.len()).find(worth)?;
        let limit = room(lane).min(MAX_BATCH);
        self.may_have_jobs[lane] = false;
        let claim = self.claim(lane, limit);
        Some(async move { DbResult::Claimed(lane, limit, claim.await) }.boxed())
    }

    pub(crate) fn claim(
        &self,
        lane: usize,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<LeasedJob>, Error>> + Send + 'static {
        let (runner, worker) = (self.runner.clone(), self.id);
        async move {
            let ServedQueue { queue, rate, .. } = &runner.lanes[lane];
            let claim =
                JobClaim { queue, names: &runner.names, worker, limit, lease: runner.settings.lease, rate: *rate };
            runner.jobs.store.claim(&claim).await
        }
    }

    /// Returns the next write: an extension of leases or the results of attempts.
    pub(crate) fn next_store(&mut self, beat: &mut Instant) -> DbCall {
        let store = self.runner.jobs.store.clone();
        let lease = self.runner.settings.lease;
        if *beat <= Instant::now() {
            *beat = Instant::now() + lease / 3;
            let held: Vec<_> = self.running_by_id.iter().map(|(id, job)| (JobId::from_uuid(*id), job.lease)).collect();
            if !held.is_empty() {
                let ids = held.iter().map(|(id, _)| *id).collect();
                return Some(async move { DbResult::LeasesExtended(ids, store.heartbeat(&held, lease).await) }.boxed());
            }
        }
        if self.finished.is_empty() {
            self.one_by_one = false;
            return None;
        }
        let most = if self.one_by_one { 1 } else { MAX_BATCH };
        let rest = self.finished.split_off(self.finished.len().min(most));
        let batch = std::mem::replace(&mut self.finished, rest);
        Some(
            async move {
                let stored = store.finish(&batch).await;
                DbResult::Stored(batch, stored)
            }
            .boxed(),
        )
    }

    /// Starts the periodic maintenance.
    pub(crate) fn maintain(&self) -> BoxFuture<'static, DbResult> {
        let (runner, upkeep) = (self.runner.clone(), self.upkeep.clone());
        async move { DbResult::Maintained(upkeep.run(&runner).await) }.boxed()
    }

    pub(crate) fn handle_result(&mut self, said: DbResult) {
        let trouble = match said {
            DbResult::Claimed(lane, limit, Ok(jobs)) => {
                self.backlog[lane] = jobs.len() == limit;
                self.may_have_jobs[lane] |= self.backlog[lane];
                self.start(lane, jobs);
                None
            }
            DbResult::Claimed(lane, _, Err(error)) => {
                self.may_have_jobs[lane] = true;
                Some(error)
            }
            DbResult::Stored(batch, Ok(lost)) => {
                let ends = ends_to_tell(&batch, &lost);
                if !ends.is_empty() {
                    // The next results are not held up by clients.
                    self.telling.spawn(tell_ends(ends));
                }
                for job in lost {
                    tracing::warn!(target: "omnistack::jobs", %job,
                        "ended after another worker took over its lease; not stored");
                }
                None
            }
            DbResult::Stored(batch, Err(error)) if !error.is_retryable() && batch.len() == 1 => {
                // The lease will expire, and the result of another attempt may be storable.
                tracing::error!(target: "omnistack::jobs", job = %batch[0].id, %error,
                    "the result of an attempt can't be stored");
                None
            }
            DbResult::Stored(batch, Err(error)) => {
                self.one_by_one = !error.is_retryable();
                self.finished.splice(0..0, batch);
                Some(error)
            }
            DbResult::LeasesExtended(asked, Ok(held)) => {
                self.stop_lost(&asked, &held);
                None
            }
            DbResult::Maintained(Ok(upkeep)) => {
                // Jobs may have become due.
                self.may_have_jobs.fill(true);
                self.upkeep = upkeep;
                None
            }
            DbResult::LeasesExtended(_, Err(error)) | DbResult::Maintained(Err(error)) => Some(error),
        };
        match trouble {
            Some(error) => {
                if self.outage.record_failure() {
                    tracing::error!(target: "omnistack::jobs", %error,
                        "the worker can't reach its database; will retry");
                }
            }
            None => {
                if self.outage.record_success() {
                    tracing::info!(target: "omnistack::jobs", "the worker can reach its database again");
                }
            }
        }
    }
}
