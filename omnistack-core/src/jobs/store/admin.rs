//! Changes of jobs by operators: pause, retry, cancel, delete.

use uuid::Uuid;

use super::{JobFilter, JobStore, finish::end_in_batch, hex, json};
use crate::{
    db::{Arguments, Dialect, Error, Sql},
    id::Id,
    jobs::{BatchId, JobId},
};

/// Most jobs changed in one transaction.
const MAX_JOBS_PER_TRANSACTION: i64 = 500;

const FAILURES: Sql = Sql {
    postgres: "delete from omni_job_failures using json_array_elements_text($1::json) as gone(id) where job = gone.id::uuid",
    sqlite: "delete from omni_job_failures where job in (select unhex(value) from json_each($1))",
};

impl JobStore {
    pub(crate) async fn pause(&self, queue: &str, paused: bool) -> Result<(), Error> {
        let sql = "insert into omni_job_queues (name, paused) values ($1, $2)
            on conflict (name) do update set paused = excluded.paused";
        self.db.query(sql).bind(queue.to_owned()).bind(paused).execute().await.map(drop)
    }

    /// Makes dead and cancelled jobs that match ready, with at least one attempt left, and scheduled jobs due
    /// now.
    pub(crate) async fn retry(&self, filter: &JobFilter) -> Result<u64, Error> {
        let set = "state = 'ready', rank = $1 + (rank - run_at), run_at = $1, finished_at = null,
            max_attempts = case when attempt >= max_attempts then attempt + 1 else max_attempts end";
        let finished = self.each(filter, &["dead", "cancelled"], set, -1).await?;
        Ok(finished + self.each(filter, &["scheduled"], set, 0).await?)
    }

    /// Cancels jobs that match: waiting jobs at once, running jobs at the next heartbeat of their worker.
    pub(crate) async fn cancel(&self, filter: &JobFilter) -> Result<u64, Error> {
        let waiting = self.each(
            filter,
            &["scheduled", "ready"],
            "state = 'cancelled', finished_at = $1, unique_key = case when unique_until > $1 then unique_key end",
            1,
        );
        let waiting = waiting.await?;
        // Uses the time only because `each` binds it for every change.
        let running = self.each(filter, &["running"], "cancel = ($1 > 0)", 0).await?;
        Ok(waiting + running)
    }

    /// Deletes finished jobs that match, including dead letters, and their failures, in several transactions.
    pub(crate) async fn discard(&self, filter: &JobFilter) -> Result<u64, Error> {
        // Only jobs that exist now, so that it ends even if more jobs are added meanwhile.
        let newest = self.db.query("select id from omni_jobs order by id desc limit 1").fetch_optional().await?;
        let Some((newest,)) = newest else { return Ok(0) };
        let mut all = 0;
        for state in ["done", "dead", "cancelled"] {
            if filter.state.is_some_and(|wanted| wanted.as_str() != state) {
                continue;
            }
            let mut after = Id::from_uuid(Uuid::nil());
            while let Some((last, deleted)) = self.discard_some(filter, state, after, newest).await? {
                all += deleted;
                after = last;
            }
        }
        Ok(all)
    }

    /// Deletes some jobs. Returns the last id and the number of deleted jobs, or `None` if there were none.
    async fn discard_some(
        &self,
        filter: &JobFilter,
        state: &str,
        after: JobId,
        newest: JobId,
    ) -> Result<Option<(JobId, u64)>, Error> {
        let mut args = Arguments::new(self.db.dialect());
        let condition = filter.sql(&mut args);
        let (from, to, limit) = (args.push(after), args.push(newest), args.push(MAX_JOBS_PER_TRANSACTION));
        let lock = if self.db.dialect() == Dialect::Postgres { " for update" } else { "" };
        let sql = format!(
            "delete from omni_jobs where state = '{state}' and id in (select id from omni_jobs where state = '{state}'{condition}
                and id > ${from} and id <= ${to} order by id limit ${limit}{lock}) returning id"
        );
        let mut tx = self.db.begin().await?;
        let deleted: Vec<(JobId,)> = tx.query(sqlx::AssertSqlSafe(sql)).args(args).fetch_all().await?;
        let Some(last) = deleted.iter().map(|(id,)| *id).max_by_key(|id| id.uuid()) else { return Ok(None) };
        let ids: Vec<_> = deleted.iter().map(|(id,)| hex(id.uuid())).collect();
        tx.query(FAILURES).bind(json(&ids)).execute().await?;
        tx.commit().await?;
        Ok(Some((last, u64::try_from(deleted.len()).unwrap_or(0))))
    }

    /// Changes jobs in these states that match, in several transactions. `ends` is the effect on the pending jobs
    /// of their batch: a job ends (1), is pending again (-1) or does not change (0).
    async fn each(&self, filter: &JobFilter, states: &[&str], set: &str, ends: i32) -> Result<u64, Error> {
        let now = self.clock.now().as_micros();
        let mut all = 0;
        for state in states {
            if filter.state.is_some_and(|wanted| wanted.as_str() != *state) {
                continue;
            }
            // If a change keeps the state, the ids ensure that no job is changed twice.
            let mut after = Id::from_uuid(Uuid::nil());
            loop {
                let mut tx = self.db.begin().await?;
                let mut args = Arguments::new(self.db.dialect());
                args.push(now);
                let condition = filter.sql(&mut args);
                let (from, limit) = (args.push(after), args.push(MAX_JOBS_PER_TRANSACTION));
                let select = format!(
                    "select id from omni_jobs where state = '{state}'{condition} and id > ${from} order by id limit ${limit}"
                );
                let pair = |lock: &str| {
                    format!(
                        "update omni_jobs set {set} where id in ({select}{lock}) and state = '{state}' returning id, batch"
                    )
                };
                // Waits for rows that a worker is updating. If they were skipped, they would not be changed.
                let sql = match self.db.dialect() {
                    Dialect::Postgres => pair(" for update"),
                    Dialect::Sqlite => pair(""),
                };
                let changed: Vec<(JobId, Option<BatchId>)> =
                    tx.query(sqlx::AssertSqlSafe(sql)).args(args).fetch_all().await?;
                for (_, batch) in changed.iter().filter(|_| ends != 0) {
                    if let Some(batch) = batch {
                        end_in_batch(&mut tx, *batch, ends, ends, now).await?;
                    }
                }
                tx.commit().await?;
                all += u64::try_from(changed.len()).unwrap_or(0);
                match changed.iter().map(|(id, _)| *id).max_by_key(|id: &JobId| id.uuid()) {
                    Some(last) => after = last,
                    None => break,
                }
            }
        }
        Ok(all)
    }
}
