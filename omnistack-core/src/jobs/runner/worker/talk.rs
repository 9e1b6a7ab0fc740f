//! The worker's calls to the database and their results.

use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::time::Instant;

use super::Worker;
use crate::{
    db::Error,
    jobs::{
        JobId,
        runner::{Lane, wake::Upkeep},
        store::{Claim, Claimed, Finished, Lost},
    },
};

/// Most jobs that one claim leases or one acknowledgement stores.
pub(in crate::jobs::runner) const MAX_BATCH: usize = 1000;

/// The result of a database call.
pub(super) enum Said {
    Claimed(usize, usize, Result<Vec<Claimed>, Error>),
    Stored(Vec<Finished>, Result<Lost, Error>),
    Beaten(Vec<JobId>, Result<Vec<(JobId, bool)>, Error>),
    Kept(Result<Upkeep, Error>),
}

pub(super) type Saying = Option<BoxFuture<'static, Said>>;

/// Waits for the result of a call. Never returns if no call is in progress.
pub(super) async fn on(saying: &mut Saying) -> Said {
    match saying {
        Some(saying) => saying.await,
        None => std::future::pending().await,
    }
}

impl Worker {
    /// Returns the next claim, if there is one worth making: for a queue that may have jobs and has room for
    /// some. If there is a backlog, it waits until there is room for a quarter of the queue's concurrency, so
    /// that claims stay large. At each poll it claims as many jobs as there is room for.
    pub(super) fn next_claim(&mut self) -> Saying {
        let lanes = &self.runner.lanes;
        let room = |lane: usize| lanes[lane].concurrency.saturating_sub(self.load[lane]);
        let worth = |lane: &usize| {
            let enough = if self.backlog[*lane] { lanes[*lane].concurrency.min(MAX_BATCH).div_ceil(4) } else { 1 };
            self.wanted[*lane] && room(*lane) >= enough
        };
        let lane = (0..lanes.len()).find(worth)?;
        let limit = room(lane).min(MAX_BATCH);
        self.wanted[lane] = false;
        let claim = self.claim(lane, limit);
        Some(async move { Said::Claimed(lane, limit, claim.await) }.boxed())
    }

    pub(in crate::jobs::runner) fn claim(
        &self,
        lane: usize,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Claimed>, Error>> + Send + 'static {
        let (runner, worker) = (self.runner.clone(), self.id);
        async move {
            let Lane { queue, rate, .. } = &runner.lanes[lane];
            let claim = Claim { queue, names: &runner.names, worker, limit, lease: runner.settings.lease, rate: *rate };
            runner.jobs.store.claim(&claim).await
        }
    }

    /// Returns the next write: an extension of leases or the results of attempts.
    pub(super) fn next_store(&mut self, beat: &mut Instant) -> Saying {
        let store = self.runner.jobs.store.clone();
        let lease = self.runner.settings.lease;
        if *beat <= Instant::now() {
            *beat = Instant::now() + lease / 3;
            let held: Vec<_> = self.known.iter().map(|(id, job)| (JobId::from_uuid(*id), job.lease)).collect();
            if !held.is_empty() {
                let ids = held.iter().map(|(id, _)| *id).collect();
                return Some(async move { Said::Beaten(ids, store.heartbeat(&held, lease).await) }.boxed());
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
                Said::Stored(batch, stored)
            }
            .boxed(),
        )
    }

    /// Starts the periodic maintenance.
    pub(super) fn keep(&self) -> BoxFuture<'static, Said> {
        let (runner, upkeep) = (self.runner.clone(), self.upkeep.clone());
        async move { Said::Kept(upkeep.keep(&runner).await) }.boxed()
    }

    pub(super) fn hear(&mut self, said: Said) {
        let trouble = match said {
            Said::Claimed(lane, limit, Ok(jobs)) => {
                self.backlog[lane] = jobs.len() == limit;
                self.wanted[lane] |= self.backlog[lane];
                self.start(lane, jobs);
                None
            }
            Said::Claimed(lane, _, Err(error)) => {
                self.wanted[lane] = true;
                Some(error)
            }
            Said::Stored(_, Ok(lost)) => {
                for job in lost {
                    tracing::warn!(target: "omnistack::jobs", %job,
                        "ended after another worker took over its lease; not stored");
                }
                None
            }
            Said::Stored(batch, Err(error)) if !error.is_retryable() && batch.len() == 1 => {
                // The lease will expire, and the result of another attempt may be storable.
                tracing::error!(target: "omnistack::jobs", job = %batch[0].id, %error,
                    "the result of an attempt can't be stored");
                None
            }
            Said::Stored(batch, Err(error)) => {
                self.one_by_one = !error.is_retryable();
                self.finished.splice(0..0, batch);
                Some(error)
            }
            Said::Beaten(asked, Ok(held)) => {
                self.stop_lost(&asked, &held);
                None
            }
            Said::Kept(Ok(upkeep)) => {
                // Jobs may have become due.
                self.wanted.fill(true);
                self.upkeep = upkeep;
                None
            }
            Said::Beaten(_, Err(error)) | Said::Kept(Err(error)) => Some(error),
        };
        match trouble {
            Some(error) => {
                if self.trouble.begin() {
                    tracing::error!(target: "omnistack::jobs", %error,
                        "the worker can't reach its database; will retry");
                }
            }
            None => {
                if self.trouble.end() {
                    tracing::info!(target: "omnistack::jobs", "the worker can reach its database again");
                }
            }
        }
    }
}
