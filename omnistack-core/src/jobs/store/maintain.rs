//! Maintenance of jobs: scheduled jobs become due, leases expire, finished jobs are deleted.

use std::time::Duration;

use super::{
    JobStore,
    finish::{AttemptResult, FinishedAttempt, finish_in},
    hex, json,
};
use crate::{
    db::{Error, Sql},
    jobs::{BatchId, JobId, progress_feed::ProgressFeed},
};

/// Most rows that one statement changes, so that no other transaction waits long for it.
const MAX_ROWS_PER_STATEMENT: i64 = 1000;

const PROMOTE: Sql = Sql {
    postgres: "with due as (
    select id from omni_jobs where state = 'scheduled' and run_at <= $1 order by run_at limit $2 for update skip locked)
update omni_jobs set state = 'ready' from due where omni_jobs.id = due.id",
    sqlite: "update omni_jobs set state = 'ready'
where id in (select id from omni_jobs where state = 'scheduled' and run_at <= $1 order by run_at limit $2)",
};

/// Selects leases that end before a moment.
const SILENT: &str = "select id, lease, lease_until from omni_jobs where state = 'running' and lease_until < $1 order by lease_until limit $2";

/// Selects those of the leases that have not been extended since.
const EXPIRED: Sql = Sql {
    postgres: "select omni_jobs.id, name, omni_jobs.lease, attempt, max_attempts, batch, cancel
from json_to_recordset($1::json) as silent(id text, lease integer, until bigint)
join omni_jobs on omni_jobs.id = silent.id::uuid
where state = 'running' and omni_jobs.lease = silent.lease and lease_until = silent.until and lease_until < $2
for update of omni_jobs skip locked",
    sqlite: "select omni_jobs.id, name, lease, attempt, max_attempts, batch, cancel from json_each($1) as silent
join omni_jobs on omni_jobs.id = unhex(silent.value ->> 'id')
where state = 'running' and lease = silent.value ->> 'lease' and lease_until = silent.value ->> 'until'
    and lease_until < $2",
};

/// Deletes jobs of one state. The state is part of the text: a bound value would keep both databases from using a
/// partial index.
macro_rules! purge_sql {
    ($state:literal) => {
        Sql {
            postgres: concat!(
                "with old as (select id from omni_jobs where state = '",
                $state,
                "' and finished_at < $1 order by finished_at limit $2 for update skip locked),
failures as (delete from omni_job_failures using old where job = old.id)
delete from omni_jobs using old where omni_jobs.id = old.id"
            ),
            sqlite: concat!(
                "delete from omni_jobs where id in (select id from omni_jobs where state = '",
                $state,
                "' and finished_at < $1 order by finished_at limit $2)"
            ),
        }
    };
}

/// A lease that has expired or expires soon.
#[derive(Clone, Copy, Debug, crate::db::FromRow)]
pub(in crate::jobs) struct StalledLease {
    pub(in crate::jobs) id: JobId,
    pub(in crate::jobs) lease: i32,
    /// When the lease expires, by the clock of its worker.
    #[sqlx(rename = "lease_until")]
    pub(in crate::jobs) until: i64,
}

#[derive(crate::db::FromRow)]
struct Expired {
    id: JobId,
    name: String,
    lease: i32,
    attempt: i32,
    max_attempts: i32,
    batch: Option<BatchId>,
    cancel: bool,
}

impl JobStore {
    /// Makes scheduled jobs ready that are due, and returns their number.
    pub(in crate::jobs) async fn promote(&self) -> Result<u64, Error> {
        let now = self.clock.now().as_micros();
        let mut all = 0;
        loop {
            let promoted = self.db.query(PROMOTE).bind(now).bind(MAX_ROWS_PER_STATEMENT).execute().await?;
            all += promoted;
            if promoted < MAX_ROWS_PER_STATEMENT.unsigned_abs() {
                return Ok(all);
            }
        }
    }

    /// Returns the time until the next scheduled job is due, or `None` if there is none.
    pub(in crate::jobs) async fn next_due(&self) -> Result<Option<Duration>, Error> {
        let next = self.db.query("select min(run_at) from omni_jobs where state = 'scheduled'");
        let (next,): (Option<i64>,) = next.fetch_one().await?;
        let now = self.clock.now().as_micros();
        Ok(next.map(|next| Duration::from_micros(u64::try_from(next - now).unwrap_or(0))))
    }

    /// Returns the jobs whose leases have expired or expire within this time.
    pub(in crate::jobs) async fn stalled_leases(&self, within: Duration) -> Result<Vec<StalledLease>, Error> {
        let until = self.clock.now().as_micros().saturating_add(i64::try_from(within.as_micros()).unwrap_or(i64::MAX));
        self.db.query(SILENT).bind(until).bind(10 * MAX_ROWS_PER_STATEMENT).fetch_all().await
    }

    /// Takes over jobs from workers that did not extend these leases because they crashed, froze or lost their
    /// connection. The attempts count. Leases that were extended since are skipped.
    pub(in crate::jobs) async fn rescue(
        &self,
        silent: &[StalledLease],
        wait: impl Fn(&str, u32, JobId) -> Duration,
    ) -> Result<usize, Error> {
        #[derive(serde::Serialize)]
        struct Named {
            id: String,
            lease: i32,
            until: i64,
        }
        let now = self.clock.now().as_micros();
        let mut all = 0;
        for silent in silent.chunks(usize::try_from(MAX_ROWS_PER_STATEMENT).unwrap_or(usize::MAX)) {
            let named =
                |silent: &StalledLease| Named { id: hex(silent.id.uuid()), lease: silent.lease, until: silent.until };
            let named: Vec<_> = silent.iter().map(named).collect();
            let mut tx = self.db.begin().await?;
            let expired: Vec<Expired> = tx.query(EXPIRED).bind(json(&named)).bind(now).fetch_all().await?;
            let finished: Vec<_> = expired.into_iter().map(|job| outcome_of_expired(job, now, &wait)).collect();
            if !finished.is_empty() {
                finish_in(&mut tx, &finished, now).await?;
            }
            tx.commit().await?;
            all += finished.len();
        }
        Ok(all)
    }

    /// Deletes finished jobs older than these durations, and returns their number.
    pub(in crate::jobs) async fn purge(&self, done: Duration, dead: Duration) -> Result<u64, Error> {
        let now = self.clock.now().as_micros();
        let mut all = 0;
        for (forget, after) in [(purge_sql!("done"), done), (purge_sql!("cancelled"), done), (purge_sql!("dead"), dead)]
        {
            let before = now.saturating_sub(i64::try_from(after.as_micros()).unwrap_or(i64::MAX));
            loop {
                let forgotten = self.db.query(forget).bind(before).bind(MAX_ROWS_PER_STATEMENT).execute().await?;
                all += forgotten;
                if forgotten < MAX_ROWS_PER_STATEMENT.unsigned_abs() {
                    break;
                }
            }
        }
        if all > 0 && self.db.dialect() == crate::db::Dialect::Sqlite {
            let orphans = "delete from omni_job_failures where not exists (select 1 from omni_jobs where id = job)";
            self.db.query(orphans).execute().await?;
        }
        let empty = "delete from omni_job_batches where pending = 0 and not exists (select 1 from omni_jobs where batch = omni_job_batches.id)";
        if all > 0 {
            self.db.query(empty).execute().await?;
        }
        Ok(all)
    }
}

fn outcome_of_expired(job: Expired, now: i64, wait: &impl Fn(&str, u32, JobId) -> Duration) -> FinishedAttempt {
    let error = format!("attempt {} ended without a result: its worker crashed or froze past its lease", job.attempt);
    let outcome = if job.cancel {
        AttemptResult::Cancelled
    } else if job.attempt >= job.max_attempts {
        AttemptResult::Dead { error }
    } else {
        let wait = wait(&job.name, job.attempt.unsigned_abs(), job.id);
        AttemptResult::Retry { at: now.saturating_add(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX)), error }
    };
    let Expired { id, lease, attempt, batch, .. } = job;
    FinishedAttempt { id, lease, attempt, batch, outcome, feed: ProgressFeed::default() }
}
