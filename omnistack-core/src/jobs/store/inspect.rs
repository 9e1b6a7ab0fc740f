//! Looking at jobs, and changing their fate by hand.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Store, finish::end_in_batch};
use crate::{
    clock::Timestamp,
    db::{Args, Error},
    id::Id,
    identity::TenantId,
    jobs::{BatchId, JobId},
};

/// Where a job is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// Not due yet.
    Scheduled,
    /// Waits for a worker.
    Ready,
    /// A worker has it.
    Running,
    /// Finished well.
    Done,
    /// A dead letter: failed for good.
    Dead,
    /// Given up by hand.
    Cancelled,
}

impl JobState {
    /// Every state, in the order of a life.
    pub const ALL: [Self; 6] = [Self::Scheduled, Self::Ready, Self::Running, Self::Done, Self::Dead, Self::Cancelled];

    /// As in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Done => "done",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }

    fn read(text: &str) -> Self {
        Self::ALL.into_iter().find(|state| state.as_str() == text).unwrap_or(Self::Dead)
    }
}

impl std::fmt::Display for JobState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for JobState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let state = Self::ALL.into_iter().find(|state| state.as_str() == text);
        state.ok_or_else(|| format!("`{text}` is none of scheduled, ready, running, done, dead, cancelled"))
    }
}

/// A job, as it is now.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct JobInfo {
    /// Its id.
    pub id: JobId,
    /// Its kind.
    pub name: String,
    /// Where it waits.
    pub queue: String,
    /// Where it is in its life.
    pub state: JobState,
    /// What it is to do, as JSON.
    #[schema(value_type = Object)]
    pub payload: serde_json::Value,
    /// Attempts begun.
    pub attempt: u32,
    /// Attempts there are at most.
    pub max_attempts: u32,
    /// Percent done, if it says so.
    pub progress: Option<u8>,
    /// What it says about itself.
    pub note: Option<String>,
    /// Why the last failed attempt did.
    pub error: Option<String>,
    /// The tenant it works for.
    pub tenant: Option<TenantId>,
    /// The trace it belongs to.
    pub trace: Option<String>,
    /// When it is or was due.
    pub run_at: Timestamp,
    /// When it was enqueued.
    pub created_at: Timestamp,
    /// When its last attempt began.
    pub started_at: Option<Timestamp>,
    /// When it finished.
    pub finished_at: Option<Timestamp>,
}

#[derive(sqlx::FromRow)]
struct Stored {
    id: JobId,
    name: String,
    queue: String,
    state: String,
    payload: String,
    attempt: i32,
    max_attempts: i32,
    progress: Option<i32>,
    note: Option<String>,
    error: Option<String>,
    tenant: Option<TenantId>,
    trace: Option<String>,
    run_at: i64,
    created_at: i64,
    started_at: Option<i64>,
    finished_at: Option<i64>,
}

impl From<Stored> for JobInfo {
    fn from(job: Stored) -> Self {
        Self {
            id: job.id,
            name: job.name,
            queue: job.queue,
            state: JobState::read(&job.state),
            payload: serde_json::from_str(&job.payload).unwrap_or(serde_json::Value::String(job.payload)),
            attempt: job.attempt.unsigned_abs(),
            max_attempts: job.max_attempts.unsigned_abs(),
            progress: job.progress.and_then(|progress| u8::try_from(progress).ok()),
            note: job.note,
            error: job.error,
            tenant: job.tenant,
            trace: job.trace,
            run_at: Timestamp::from_micros(job.run_at),
            created_at: Timestamp::from_micros(job.created_at),
            started_at: job.started_at.map(Timestamp::from_micros),
            finished_at: job.finished_at.map(Timestamp::from_micros),
        }
    }
}

/// One failed attempt.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct FailureInfo {
    /// Which, counted from 1.
    pub attempt: u32,
    /// When it failed.
    pub at: Timestamp,
    /// Why.
    pub error: String,
}

/// How a queue stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct QueueInfo {
    /// Its name.
    pub queue: String,
    /// Whether it is paused.
    pub paused: bool,
    /// Jobs by state.
    pub jobs: std::collections::BTreeMap<JobState, u64>,
}

/// Which jobs are meant. Empty, it means all.
#[derive(Clone, Debug, Default)]
pub struct JobFilter {
    /// In this state.
    pub state: Option<JobState>,
    /// Of this queue.
    pub queue: Option<String>,
    /// Of this name.
    pub name: Option<String>,
    /// Of this tenant.
    pub tenant: Option<TenantId>,
    /// This one.
    pub id: Option<JobId>,
}

impl JobFilter {
    /// In this state.
    #[must_use]
    pub fn state(mut self, state: JobState) -> Self {
        self.state = Some(state);
        self
    }

    /// Just this job.
    pub fn id(id: JobId) -> Self {
        Self { id: Some(id), ..Self::default() }
    }

    /// Adds its conditions, each after an `and`.
    fn sql(&self, args: &mut Args) -> String {
        let mut sql = String::new();
        let mut and = |column: &str, number: usize| sql.push_str(&format!(" and {column} = ${number}"));
        if let Some(state) = self.state {
            and("state", args.push(state.as_str()));
        }
        if let Some(queue) = &self.queue {
            and("queue", args.push(queue.clone()));
        }
        if let Some(name) = &self.name {
            and("name", args.push(name.clone()));
        }
        if let Some(tenant) = self.tenant {
            and("tenant", args.push(tenant));
        }
        if let Some(id) = self.id {
            and("id", args.push(id));
        }
        sql
    }
}

const COLUMNS: &str =
    "id, name, queue, state, payload, attempt, max_attempts, progress, note, error, tenant, trace, run_at,
    created_at, started_at, finished_at";

/// Jobs one call changes at most in one transaction.
const AT_ONCE: i64 = 500;

impl Store {
    /// The newest jobs that match, those before `before` when it is given.
    pub(in crate::jobs) async fn list(
        &self,
        filter: &JobFilter,
        before: Option<JobId>,
        limit: u32,
    ) -> Result<Vec<JobInfo>, Error> {
        let mut args = Args::new(self.db.dialect());
        let mut sql = format!("select {COLUMNS} from jobs where true{}", filter.sql(&mut args));
        if let Some(before) = before {
            sql.push_str(&format!(" and id < ${}", args.push(before)));
        }
        sql.push_str(&format!(" order by id desc limit ${}", args.push(i64::from(limit))));
        let stored: Vec<Stored> = self.db.query(sqlx::AssertSqlSafe(sql)).args(args).fetch_all().await?;
        Ok(stored.into_iter().map(JobInfo::from).collect())
    }

    /// Its failed attempts, the first first.
    pub(in crate::jobs) async fn failures(&self, job: JobId) -> Result<Vec<FailureInfo>, Error> {
        let query = self.db.query("select attempt, at, error from job_failures where job = $1 order by attempt");
        let failures: Vec<(i32, i64, String)> = query.bind(job).fetch_all().await?;
        let info = |(attempt, at, error): (i32, i64, String)| FailureInfo {
            attempt: attempt.unsigned_abs(),
            at: Timestamp::from_micros(at),
            error,
        };
        Ok(failures.into_iter().map(info).collect())
    }

    /// Counts by queue and state. Reads every row of an index.
    pub(in crate::jobs) async fn queues(&self) -> Result<Vec<QueueInfo>, Error> {
        let counts = self.db.query("select queue, state, count(*) from jobs group by queue, state order by queue");
        let counts: Vec<(String, String, i64)> = counts.fetch_all().await?;
        let paused: Vec<(String, bool)> = self.db.query("select name, paused from job_queues").fetch_all().await?;
        let mut queues = std::collections::BTreeMap::<String, QueueInfo>::new();
        let empty = |queue: &str| QueueInfo { queue: queue.into(), paused: false, jobs: Default::default() };
        for (queue, paused) in paused {
            queues.entry(queue.clone()).or_insert_with(|| empty(&queue)).paused = paused;
        }
        for (queue, state, count) in counts {
            let info = queues.entry(queue.clone()).or_insert_with(|| empty(&queue));
            info.jobs.insert(JobState::read(&state), count.unsigned_abs());
        }
        Ok(queues.into_values().collect())
    }

    pub(in crate::jobs) async fn pause(&self, queue: &str, paused: bool) -> Result<(), Error> {
        let sql = "insert into job_queues (name, paused) values ($1, $2)
            on conflict (name) do update set paused = excluded.paused";
        self.db.query(sql).bind(queue.to_owned()).bind(paused).execute().await.map(drop)
    }

    /// Makes dead and cancelled jobs that match ready, with one attempt more than they have had; scheduled ones due at once.
    pub(in crate::jobs) async fn retry(&self, filter: &JobFilter) -> Result<u64, Error> {
        let set = "state = 'ready', run_at = $1, rank = $1, finished_at = null,
            max_attempts = case when attempt >= max_attempts then attempt + 1 else max_attempts end";
        self.each(filter, &["dead", "cancelled", "scheduled"], set, false).await
    }

    /// Gives up jobs that match: those that wait at once, those that run as soon as their worker hears of it.
    pub(in crate::jobs) async fn cancel(&self, filter: &JobFilter) -> Result<u64, Error> {
        let waiting = self.each(
            filter,
            &["scheduled", "ready"],
            "state = 'cancelled', finished_at = $1, unique_key = null",
            true,
        );
        let waiting = waiting.await?;
        // The time is bound all the same: `each` binds it for every change.
        let running = self.each(filter, &["running"], "cancel = ($1 > 0)", false).await?;
        Ok(waiting + running)
    }

    /// Deletes finished jobs that match, dead letters too.
    pub(in crate::jobs) async fn discard(&self, filter: &JobFilter) -> Result<u64, Error> {
        let mut all = 0;
        for state in ["done", "dead", "cancelled"] {
            if filter.state.is_some_and(|wanted| wanted.as_str() != state) {
                continue;
            }
            let mut args = Args::new(self.db.dialect());
            let condition = filter.sql(&mut args);
            let sql = format!("delete from jobs where state = '{state}'{condition}");
            all += self.db.query(sqlx::AssertSqlSafe(sql)).args(args).execute().await?;
        }
        let orphans = "delete from job_failures where not exists (select 1 from jobs where id = job)";
        self.db.query(orphans).execute().await?;
        Ok(all)
    }

    /// Changes jobs in these states that match, some at a time; `ends` when that ends them for their batch.
    async fn each(&self, filter: &JobFilter, states: &[&str], set: &str, ends: bool) -> Result<u64, Error> {
        let now = self.clock.now().as_micros();
        let mut all = 0;
        for state in states {
            if filter.state.is_some_and(|wanted| wanted.as_str() != *state) {
                continue;
            }
            // Where a change leaves the state as it was, ids keep it from coming round again.
            let mut after = Id::from_uuid(Uuid::nil());
            loop {
                let mut tx = self.db.begin().await?;
                let mut args = Args::new(self.db.dialect());
                args.push(now);
                let condition = filter.sql(&mut args);
                let (from, limit) = (args.push(after), args.push(AT_ONCE));
                let select = format!(
                    "select id from jobs where state = '{state}'{condition} and id > ${from} order by id limit ${limit}"
                );
                let pair = |lock: &str| {
                    format!(
                        "update jobs set {set} where id in ({select}{lock}) and state = '{state}' returning id, batch"
                    )
                };
                let sql = match self.db.dialect() {
                    crate::db::Dialect::Postgres => pair(" for update skip locked"),
                    crate::db::Dialect::Sqlite => pair(""),
                };
                let changed: Vec<(JobId, Option<BatchId>)> =
                    tx.query(sqlx::AssertSqlSafe(sql)).args(args).fetch_all().await?;
                for (_, batch) in changed.iter().filter(|_| ends) {
                    if let Some(batch) = batch {
                        end_in_batch(&mut tx, *batch, 1, 1, now).await?;
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

    /// What a running job says of itself, under its lease.
    pub(in crate::jobs) async fn progress(
        &self,
        id: JobId,
        lease: i32,
        percent: u8,
        note: &str,
    ) -> Result<bool, Error> {
        let sql = "update jobs set progress = $3, note = $4 where id = $1 and lease = $2 and state = 'running'";
        let query = self.db.query(sql).bind(id).bind(lease).bind(i32::from(percent.min(100))).bind(note.to_owned());
        Ok(query.execute().await? == 1)
    }

    /// Opens a batch of so many jobs.
    pub(in crate::jobs) async fn open_batch(
        tx: &mut crate::db::Tx,
        batch: BatchId,
        jobs: usize,
        callback: Option<String>,
    ) -> Result<(), Error> {
        let sql = "insert into job_batches (id, pending, callback) values ($1, $2, $3)";
        tx.query(sql).bind(batch).bind(i32::try_from(jobs).unwrap_or(i32::MAX)).bind(callback).execute().await.map(drop)
    }

    /// Claims a tick of a cron for this process: true for exactly one of all replicas.
    pub(in crate::jobs) async fn claim_tick(tx: &mut crate::db::Tx, cron: &str, tick: i64) -> Result<bool, Error> {
        let sql = "insert into job_crons (name, last_tick) values ($1, $2)
            on conflict (name) do update set last_tick = excluded.last_tick where job_crons.last_tick < excluded.last_tick";
        Ok(tx.query(sql).bind(cron.to_owned()).bind(tick).execute().await? == 1)
    }

    /// The last tick any replica has claimed.
    pub(in crate::jobs) async fn last_tick(&self, cron: &str) -> Result<Option<i64>, Error> {
        let query = self.db.query("select last_tick from job_crons where name = $1").bind(cron.to_owned());
        Ok(query.fetch_optional::<(i64,)>().await?.map(|(tick,)| tick))
    }
}
