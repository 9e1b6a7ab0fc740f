//! Jobs that are not enqueued yet, with their options.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{BatchId, EnqueueError, Job, JobId, store::hex};
use crate::{clock::Timestamp, id::Id, identity::TenantId, trace::TraceContext};

/// The priority of a job. It decides which of several due jobs starts first. Each step is worth a minute: a job
/// of low priority that is due more than two minutes earlier starts before one of high priority, so no job waits
/// forever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Starts as if it were due a minute earlier.
    High,
    /// Starts in the order of due times.
    #[default]
    Normal,
    /// Starts as if it were due a minute later.
    Low,
}

impl Priority {
    /// Returns the microseconds to add to the due time for the order.
    fn delay(self) -> i64 {
        const STEP: i64 = 60_000_000;
        match self {
            Self::High => -STEP,
            Self::Normal => 0,
            Self::Low => STEP,
        }
    }
}

/// When a job is due.
#[derive(Clone, Copy, Debug)]
enum DueTime {
    Now,
    At(Timestamp),
    After(Duration),
}

/// A job to enqueue, with options. Every [`Job`] converts to one without options.
///
/// ```
/// # use omnistack_core::jobs::{NewJob, Job, JobContext, JobError, Priority};
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct SendReceipt { order: u64 }
/// # #[async_trait::async_trait]
/// # impl Job for SendReceipt {
/// #     const NAME: &'static str = "send_receipt";
/// #     type State = ();
/// #     async fn run(self, _: &(), _: &JobContext) -> Result<(), JobError> { Ok(()) }
/// # }
/// use std::time::Duration;
///
/// let draft = NewJob::new(SendReceipt { order: 7 })
///     .unique("order-7")
///     .delay(Duration::from_secs(60))
///     .priority(Priority::High);
/// ```
#[derive(Debug)]
#[must_use = "a draft does nothing until it is enqueued"]
pub struct NewJob {
    name: &'static str,
    queue: String,
    payload: Result<String, serde_json::Error>,
    due: DueTime,
    priority: Priority,
    max_attempts: u32,
    timeout: Option<Duration>,
    unique: Option<(String, Option<Duration>)>,
    tenant: Option<TenantId>,
    trace: Option<TraceContext>,
}

impl NewJob {
    /// Creates a job that is due now, in the queue of its type.
    pub fn new<J: Job>(job: J) -> Self {
        Self {
            name: J::NAME,
            queue: J::QUEUE.into(),
            payload: serde_json::to_string(&job),
            due: DueTime::Now,
            priority: Priority::default(),
            max_attempts: J::MAX_ATTEMPTS,
            timeout: None,
            unique: None,
            tenant: None,
            trace: None,
        }
    }

    /// Sets the queue.
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.queue = queue.into();
        self
    }

    /// Sets the earliest time at which the job starts.
    pub fn run_at(mut self, due: Timestamp) -> Self {
        self.due = DueTime::At(due);
        self
    }

    /// Sets the delay after which the job starts, counted from when it is enqueued.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.due = DueTime::After(delay);
        self
    }

    /// Sets the priority.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Sets the largest number of attempts; at least 1.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts.max(1);
        self
    }

    /// Sets the longest duration of an attempt.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Allows only one unfinished job with this name and key. While there is one, enqueuing returns its id.
    pub fn unique(mut self, key: impl Into<String>) -> Self {
        self.unique = Some((key.into(), None));
        self
    }

    /// Like [`unique`](Self::unique), and also for this duration from now even if the job is finished.
    pub fn unique_for(mut self, key: impl Into<String>, window: Duration) -> Self {
        self.unique = Some((key.into(), Some(window)));
        self
    }

    /// Sets the tenant of the job. Jobs can be filtered by it, and [`JobContext::tenant`](super::JobContext::tenant)
    /// returns it.
    pub fn tenant(mut self, tenant: TenantId) -> Self {
        self.tenant = Some(tenant);
        self
    }

    /// Sets the trace of the job, in place of the [current](TraceContext::current) one.
    pub fn trace(mut self, trace: TraceContext) -> Self {
        self.trace = Some(trace);
        self
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Sets the tenant of the event or transaction that causes the job, unless the job has a tenant.
    pub(crate) fn inherit(mut self, tenant: Option<TenantId>) -> Self {
        self.tenant = self.tenant.or(tenant);
        self
    }

    /// Returns the row to store. Fails if the payload, the queue's name or the unique key is too long, or the
    /// payload can't be serialized.
    pub(crate) fn into_row(self, now: Timestamp, batch: Option<BatchId>) -> Result<JobRow, EnqueueError> {
        let payload = self.payload.map_err(EnqueueError::Payload)?;
        if payload.len() > MAX_PAYLOAD_BYTES {
            return Err(EnqueueError::TooLarge { name: self.name, bytes: payload.len() });
        }
        let unique = self.unique.as_ref().map_or("", |(key, _)| key);
        if let Some(long) = [&self.queue, unique].into_iter().find(|key| key.len() > MAX_KEY_BYTES) {
            return Err(EnqueueError::KeyTooLong { name: self.name, bytes: long.len() });
        }
        let micros = |wait: Duration| i64::try_from(wait.as_micros()).unwrap_or(i64::MAX);
        let now = now.as_micros();
        let run_at = match self.due {
            DueTime::Now => now,
            DueTime::At(due) => due.as_micros(),
            DueTime::After(delay) => now.saturating_add(micros(delay)),
        };
        let (unique_key, window) = self.unique.unzip();
        let id = JobId::new(Timestamp::from_micros(now));
        let trace = self.trace.or_else(TraceContext::current);
        Ok(JobRow {
            id: hex(id.uuid()),
            job: id,
            name: self.name.into(),
            queue: self.queue,
            payload,
            state: if run_at > now { "scheduled" } else { "ready" }.into(),
            rank: run_at.saturating_add(self.priority.delay()),
            run_at,
            max_attempts: self.max_attempts.clamp(1, i32::MAX.unsigned_abs()),
            timeout: self.timeout.map(micros),
            unique_key,
            unique_until: window.flatten().map(|window| now.saturating_add(micros(window))),
            batch: batch.map(|batch: Id<_>| hex(batch.uuid())),
            tenant: self.tenant.map(|tenant| hex(tenant.uuid())),
            trace: trace.as_ref().map(|trace| trace.traceparent().to_owned()),
            trace_state: trace.and_then(|trace| trace.tracestate().map(str::to_owned)),
            created_at: now,
        })
    }
}

impl<J: Job> From<J> for NewJob {
    fn from(job: J) -> Self {
        Self::new(job)
    }
}

/// Most bytes of a payload. Store larger data in a file or a table, and its id in the job.
pub const MAX_PAYLOAD_BYTES: usize = 256 * 1024;

/// Most bytes of a queue's name or a unique key, which are indexed.
pub(crate) const MAX_KEY_BYTES: usize = 500;

/// The first row of a job, in the JSON that both databases insert from. Ids are 32 hex digits, which both
/// databases can read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct JobRow {
    #[serde(skip, default = "nil_id")]
    pub(crate) job: JobId,
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) queue: String,
    payload: String,
    pub(crate) state: String,
    rank: i64,
    run_at: i64,
    max_attempts: u32,
    timeout: Option<i64>,
    pub(crate) unique_key: Option<String>,
    unique_until: Option<i64>,
    batch: Option<String>,
    tenant: Option<String>,
    trace: Option<String>,
    trace_state: Option<String>,
    created_at: i64,
}

fn nil_id() -> JobId {
    Id::from_uuid(uuid::Uuid::nil())
}

impl JobRow {
    /// Makes the job due now, for the callback of a batch.
    pub(crate) fn due(mut self, now: Timestamp) -> Self {
        let now = now.as_micros();
        self.rank = now + (self.rank - self.run_at);
        (self.run_at, self.created_at, self.state) = (now, now, "ready".into());
        self
    }
}
