//! Queries about jobs.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::JobStore;
use crate::{
    clock::Timestamp,
    db::{Arguments, Error},
    identity::TenantId,
    jobs::JobId,
};

/// The state of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// Waiting for its due time.
    Scheduled,
    /// Due and waiting for a worker.
    Ready,
    /// Leased by a worker.
    Running,
    /// Finished successfully.
    Done,
    /// A dead letter: failed permanently.
    Dead,
    /// Cancelled by an operator or the app.
    Cancelled,
}

impl JobState {
    /// All states, in the order in which a job reaches them.
    pub const ALL: [Self; 6] = [Self::Scheduled, Self::Ready, Self::Running, Self::Done, Self::Dead, Self::Cancelled];

    /// Returns the name of the state as in JSON.
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
        state.ok_or_else(|| format!("`{text}` is not one of scheduled, ready, running, done, dead, cancelled"))
    }
}

/// The current state of a job.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct JobInfo {
    /// Id of the job.
    pub id: JobId,
    /// Name of the job.
    pub name: String,
    /// Queue of the job.
    pub queue: String,
    /// State of the job.
    pub state: JobState,
    /// Payload of the job, as JSON.
    #[schema(value_type = Object)]
    pub payload: serde_json::Value,
    /// Number of attempts that have started.
    pub attempt: u32,
    /// Most attempts.
    pub max_attempts: u32,
    /// Progress in percent, if the job reports it.
    #[schema(required)]
    pub progress: Option<u8>,
    /// The note last reported by the job.
    #[schema(required)]
    pub note: Option<String>,
    /// The error of the last failed attempt.
    #[schema(required)]
    pub error: Option<String>,
    /// Tenant of the job.
    #[schema(required)]
    pub tenant: Option<TenantId>,
    /// Trace of the job, as a W3C `traceparent`.
    #[schema(required)]
    pub trace: Option<String>,
    /// When the job is or was due.
    pub run_at: Timestamp,
    /// When the job was enqueued.
    pub created_at: Timestamp,
    /// When the last attempt started.
    #[schema(required)]
    pub started_at: Option<Timestamp>,
    /// When the job finished.
    #[schema(required)]
    pub finished_at: Option<Timestamp>,
}

#[derive(crate::db::FromRow)]
struct JobInfoRow {
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

impl From<JobInfoRow> for JobInfo {
    fn from(job: JobInfoRow) -> Self {
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

/// A failed attempt.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct FailureInfo {
    /// Number of the attempt, counted from 1.
    pub attempt: u32,
    /// When the attempt failed.
    pub at: Timestamp,
    /// The error of the attempt.
    pub error: String,
}

/// The state of a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct QueueInfo {
    /// Name of the queue.
    pub queue: String,
    /// Whether the queue is paused.
    pub paused: bool,
    /// Number of jobs by state; each is counted up to 10,000.
    pub jobs: BTreeMap<JobState, u64>,
}

/// A filter of jobs. A job matches if it matches all fields that are set; an empty filter matches all jobs.
#[derive(Clone, Debug, Default)]
pub struct JobFilter {
    /// State of the jobs.
    pub state: Option<JobState>,
    /// Queue of the jobs.
    pub queue: Option<String>,
    /// Name of the jobs.
    pub name: Option<String>,
    /// Tenant of the jobs.
    pub tenant: Option<TenantId>,
    /// Id of a single job.
    pub id: Option<JobId>,
}

impl JobFilter {
    /// Limits the filter to a state.
    #[must_use]
    pub fn state(mut self, state: JobState) -> Self {
        self.state = Some(state);
        self
    }

    /// Creates a filter that matches one job.
    pub fn id(id: JobId) -> Self {
        Self { id: Some(id), ..Self::default() }
    }

    /// Returns whether an index covers a filtered column together with the state.
    fn is_indexed_by_state(&self) -> bool {
        self.queue.is_some() || self.name.is_some() || self.tenant.is_some()
    }

    /// Returns the conditions, each preceded by `and`, and binds their values.
    pub(crate) fn sql(&self, args: &mut Arguments) -> String {
        let mut sql = String::new();
        if let Some(state) = self.state {
            // The state is part of the text, so that its own index can be used.
            _ = write!(sql, " and state = '{state}'");
        }
        let mut and = |column: &str, number: usize| _ = write!(sql, " and {column} = ${number}");
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

/// Most jobs that are counted for one queue and state.
const MAX_COUNTED_JOBS: i64 = 10_000;

/// Reads one entry of an index for each queue, and a limited count for each of its states. `between` and the order make
/// PostgreSQL use the index. Without them, it reads the whole table for a state that no job has.
const COUNTS: &str = "with recursive queues (queue) as (
    select min(queue) from omni_jobs
    union all
    select (select min(omni_jobs.queue) from omni_jobs where omni_jobs.queue > queues.queue) from queues where queue is not null),
states (state) as (values ('scheduled'), ('ready'), ('running'), ('done'), ('dead'), ('cancelled'))
select queue, state, (select count(*) from (select 1 from omni_jobs
    where omni_jobs.queue = queues.queue and omni_jobs.state between states.state and states.state
    order by omni_jobs.state limit $1) as counted)
from queues cross join states where queue is not null order by queue";

const COLUMNS: &str =
    "id, name, queue, state, payload, attempt, max_attempts, progress, note, error, tenant, trace, run_at,
    created_at, started_at, finished_at";

impl JobStore {
    /// Returns the newest jobs that match; with `before`, only jobs older than that one.
    pub(crate) async fn list(
        &self,
        filter: &JobFilter,
        before: Option<JobId>,
        limit: u32,
    ) -> Result<Vec<JobInfo>, Error> {
        let mut args = Arguments::new(self.db.dialect());
        let mut condition = filter.sql(&mut args);
        if let Some(before) = before {
            _ = write!(condition, " and id < ${}", args.push(before));
        }
        let limit = args.push(i64::from(limit));
        let newest = |condition: &str| {
            format!("select {COLUMNS} from omni_jobs where true{condition} order by id desc limit ${limit}")
        };
        let sql = if filter.state.is_some() || !filter.is_indexed_by_state() {
            newest(&condition)
        } else {
            // Reads the newest jobs of each state from an index, and sorts them.
            let states = JobState::ALL.map(|state| {
                format!("select * from ({}) as {state}", newest(&format!("{condition} and state = '{state}'")))
            });
            format!("{} order by id desc limit ${limit}", states.join(" union all "))
        };
        let stored: Vec<JobInfoRow> = self.db.query(sqlx::AssertSqlSafe(sql)).args(args).fetch_all().await?;
        Ok(stored.into_iter().map(JobInfo::from).collect())
    }

    /// Returns the failed attempts of a job, oldest first.
    pub(crate) async fn failures(&self, job: JobId) -> Result<Vec<FailureInfo>, Error> {
        let query = self.db.query("select attempt, at, error from omni_job_failures where job = $1 order by attempt");
        let failures: Vec<(i32, i64, String)> = query.bind(job).fetch_all().await?;
        let info = |(attempt, at, error): (i32, i64, String)| FailureInfo {
            attempt: attempt.unsigned_abs(),
            at: Timestamp::from_micros(at),
            error,
        };
        Ok(failures.into_iter().map(info).collect())
    }

    /// Counts jobs by queue and state, each up to [`MAX_COUNTED_JOBS`].
    pub(crate) async fn queues(&self) -> Result<Vec<QueueInfo>, Error> {
        let counts = self.db.query(COUNTS).bind(MAX_COUNTED_JOBS);
        let counts: Vec<(String, String, i64)> = counts.fetch_all().await?;
        let counts = counts.into_iter().filter(|(_, _, count)| *count > 0);
        let paused: Vec<(String, bool)> = self.db.query("select name, paused from omni_job_queues").fetch_all().await?;
        let mut queues = BTreeMap::<String, QueueInfo>::new();
        let empty = |queue: &str| QueueInfo { queue: queue.into(), paused: false, jobs: BTreeMap::new() };
        for (queue, paused) in paused {
            queues.entry(queue.clone()).or_insert_with(|| empty(&queue)).paused = paused;
        }
        for (queue, state, count) in counts {
            let info = queues.entry(queue.clone()).or_insert_with(|| empty(&queue));
            info.jobs.insert(JobState::read(&state), count.unsigned_abs());
        }
        Ok(queues.into_values().collect())
    }
}
