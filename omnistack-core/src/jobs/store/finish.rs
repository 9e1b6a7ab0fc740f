//! Results of attempts: done, retried, dead, cancelled or released.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use super::{JobStore, hex, json};
use crate::{
    db::{Error, Sql, Tx},
    jobs::{BatchId, JobId, new_job::JobRow, progress_feed::ProgressFeed},
};

/// The result of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::jobs) enum AttemptResult {
    Done,
    /// Failed; to be retried at this time (microseconds).
    Retry {
        at: i64,
        error: String,
    },
    /// Not failed; to be run at this time (microseconds). The attempt is not counted.
    Snooze {
        at: i64,
    },
    Dead {
        error: String,
    },
    Cancelled,
}

impl AttemptResult {
    /// Returns the value of the label `status` of the metric `background_jobs_total`.
    pub(in crate::jobs) fn as_str(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Retry { .. } => "retry",
            Self::Snooze { .. } => "snoozed",
            Self::Dead { .. } => "dead",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The result of one attempt under one lease.
#[derive(Clone, Debug)]
pub(in crate::jobs) struct FinishedAttempt {
    pub(in crate::jobs) id: JobId,
    pub(in crate::jobs) lease: i32,
    pub(in crate::jobs) attempt: i32,
    pub(in crate::jobs) batch: Option<BatchId>,
    pub(in crate::jobs) outcome: AttemptResult,
    /// The feed that is told of the end after the result is stored.
    pub(in crate::jobs) feed: ProgressFeed,
}

/// Jobs that another worker has taken over meanwhile. Their results were not stored.
pub(in crate::jobs) type LostLeases = Vec<JobId>;

/// The parameters of one result in the statement.
#[derive(Serialize)]
struct FinishParameters<'a> {
    id: String,
    lease: i32,
    state: &'static str,
    /// When the job is due again, if it is.
    run_at: Option<i64>,
    error: Option<&'a str>,
    /// Number of attempts that are not counted.
    back: i32,
}

const FINISH: Sql = Sql {
    postgres: "update omni_jobs set state = case when omni_jobs.cancel and the.run_at is not null then 'cancelled' else the.state end,
    run_at = coalesce(the.run_at, omni_jobs.run_at),
    rank = coalesce(the.run_at - omni_jobs.run_at, 0) + omni_jobs.rank, attempt = omni_jobs.attempt - the.back,
    error = coalesce(the.error, omni_jobs.error), lease_until = null, worker = null, cancel = false,
    finished_at = case when the.run_at is null or omni_jobs.cancel then $2 end,
    unique_key = case when (the.run_at is null or omni_jobs.cancel) and (omni_jobs.unique_until is null or omni_jobs.unique_until <= $2) then null
        else omni_jobs.unique_key end
from json_to_recordset($1::json) as the(id text, lease integer, state text, run_at bigint, error text, back integer)
where omni_jobs.id = the.id::uuid and omni_jobs.lease = the.lease and omni_jobs.state = 'running'
returning omni_jobs.id, omni_jobs.state",
    sqlite: "update omni_jobs set
    state = case when omni_jobs.cancel and the.value ->> 'run_at' is not null then 'cancelled' else the.value ->> 'state' end,
    run_at = coalesce(the.value ->> 'run_at', omni_jobs.run_at),
    rank = coalesce((the.value ->> 'run_at') - omni_jobs.run_at, 0) + omni_jobs.rank, attempt = omni_jobs.attempt - (the.value ->> 'back'),
    error = coalesce(the.value ->> 'error', omni_jobs.error), lease_until = null, worker = null, cancel = false,
    finished_at = case when the.value ->> 'run_at' is null or omni_jobs.cancel then $2 end,
    unique_key = case when (the.value ->> 'run_at' is null or omni_jobs.cancel) and (omni_jobs.unique_until is null or omni_jobs.unique_until <= $2) then null
        else omni_jobs.unique_key end
from json_each($1) as the
where omni_jobs.id = unhex(the.value ->> 'id') and omni_jobs.lease = the.value ->> 'lease' and omni_jobs.state = 'running'
returning omni_jobs.id, omni_jobs.state",
};

const FAILURES: Sql = Sql {
    postgres: "insert into omni_job_failures (job, attempt, at, error)
select id::uuid, attempt, $2, error from json_to_recordset($1::json) as failed(id text, attempt integer, error text)
on conflict do nothing",
    sqlite: "insert into omni_job_failures (job, attempt, at, error)
select unhex(value ->> 'id'), value ->> 'attempt', $2, value ->> 'error' from json_each($1) where true
on conflict do nothing",
};

impl JobStore {
    /// Stores the results of attempts whose lease is still valid. Returns the other jobs.
    pub(in crate::jobs) async fn finish(&self, finished: &[FinishedAttempt]) -> Result<LostLeases, Error> {
        let now = self.clock.now().as_micros();
        // The common case is a single statement and needs no transaction.
        if finished.iter().all(|job| job.outcome == AttemptResult::Done && job.batch.is_none()) {
            let stored = update(self.db.query(FINISH), finished, now).await?;
            return Ok(lost(finished, &stored));
        }
        let mut tx = self.db.begin().await?;
        let lost = finish_in(&mut tx, finished, now).await?;
        tx.commit().await?;
        Ok(lost)
    }
}

/// Like [`Store::finish`], in an open transaction.
pub(super) async fn finish_in(tx: &mut Tx, finished: &[FinishedAttempt], now: i64) -> Result<LostLeases, Error> {
    #[derive(Serialize)]
    struct Failed<'a> {
        id: String,
        attempt: i32,
        error: &'a str,
    }
    let stored = update(tx.query(FINISH), finished, now).await?;
    let held: HashMap<_, _> = stored.iter().map(|(id, state)| (id.uuid(), state.as_str())).collect();
    let kept = || finished.iter().filter(|job| held.contains_key(&job.id.uuid()));
    let failed: Vec<_> = kept()
        .filter_map(|job| match &job.outcome {
            AttemptResult::Retry { error, .. } | AttemptResult::Dead { error } => {
                Some(Failed { id: hex(job.id.uuid()), attempt: job.attempt, error })
            }
            _ => None,
        })
        .collect();
    if !failed.is_empty() {
        tx.query(FAILURES).bind(json(&failed)).bind(now).execute().await?;
    }
    let mut batches: HashMap<_, (i32, i32)> = HashMap::new();
    for job in kept() {
        let state = held[&job.id.uuid()];
        let ended = state != "scheduled";
        if let (Some(batch), true) = (job.batch, ended) {
            let (count, failed) = batches.entry(batch.uuid()).or_default();
            *count += 1;
            *failed += i32::from(state != "done");
        }
    }
    for (batch, (ended, failed)) in batches {
        end_in_batch(tx, BatchId::from_uuid(batch), ended, failed, now).await?;
    }
    Ok(lost(finished, &stored))
}

/// Counts jobs of a batch that have ended. Enqueues the callback after the last one.
pub(super) async fn end_in_batch(tx: &mut Tx, batch: BatchId, ended: i32, failed: i32, now: i64) -> Result<(), Error> {
    let count = "update omni_job_batches set pending = pending - $2, failed = failed + $3 where id = $1 returning pending, callback";
    let left: Option<(i32, Option<String>)> =
        tx.query(count).bind(batch).bind(ended).bind(failed).fetch_optional().await?;
    let Some((0, Some(callback))) = left else { return Ok(()) };
    // Only once, even if a job of the batch is retried by an operator and ends again.
    tx.query("update omni_job_batches set callback = null where id = $1").bind(batch).execute().await?;
    let row: Result<JobRow, _> = serde_json::from_str(&callback);
    match row {
        Ok(row) => _ = super::insert(tx, &[row.due(crate::clock::Timestamp::from_micros(now))], now).await?,
        Err(error) => {
            tracing::error!(target: "omnistack::jobs", %batch, %error, "the callback of a batch can't be parsed");
        }
    }
    Ok(())
}

async fn update(
    query: crate::db::SqlQuery<'_>,
    finished: &[FinishedAttempt],
    now: i64,
) -> Result<Vec<(JobId, String)>, Error> {
    let ends: Vec<_> = finished.iter().map(end).collect();
    query.bind(json(&ends)).bind(now).fetch_all().await
}

fn end(finished: &FinishedAttempt) -> FinishParameters<'_> {
    let (state, run_at, error, back) = match &finished.outcome {
        AttemptResult::Done => ("done", None, None, 0),
        AttemptResult::Retry { at, error } => ("scheduled", Some(*at), Some(error.as_str()), 0),
        AttemptResult::Snooze { at } => ("scheduled", Some(*at), None, 1),
        AttemptResult::Dead { error } => ("dead", None, Some(error.as_str()), 0),
        AttemptResult::Cancelled => ("cancelled", None, None, 0),
    };
    FinishParameters { id: hex(finished.id.uuid()), lease: finished.lease, state, run_at, error, back }
}

fn lost(finished: &[FinishedAttempt], stored: &[(JobId, String)]) -> LostLeases {
    if stored.len() == finished.len() {
        return Vec::new();
    }
    let held: HashSet<_> = stored.iter().map(|(id, _)| id.uuid()).collect();
    finished.iter().map(|job| job.id).filter(|id| !held.contains(&id.uuid())).collect()
}
