//! A job that is not enqueued yet, and how it is to be.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{BatchId, EnqueueError, Job, JobId, store::hex};
use crate::{clock::Timestamp, id::Id, identity::TenantId, trace::TraceContext};

/// Which of two jobs that are due goes first. Each step is worth a minute: one of low priority that has waited two minutes
/// longer goes before one of high priority, so nothing waits for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Before all others.
    High,
    /// As it comes.
    #[default]
    Normal,
    /// After others.
    Low,
}

impl Priority {
    /// Microseconds added to the time it is due.
    fn delay(self) -> i64 {
        const STEP: i64 = 60_000_000;
        match self {
            Self::High => -STEP,
            Self::Normal => 0,
            Self::Low => STEP,
        }
    }
}

/// When it is due.
#[derive(Clone, Copy, Debug)]
enum Due {
    Now,
    At(Timestamp),
    After(Duration),
}

/// A job to be enqueued, with options. Any [`Job`] is one without options.
///
/// ```
/// # use omnistack_core::jobs::{Draft, Job, JobCtx, JobError, Priority};
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct SendReceipt { order: u64 }
/// # #[async_trait::async_trait]
/// # impl Job for SendReceipt {
/// #     const NAME: &'static str = "send_receipt";
/// #     type State = ();
/// #     async fn run(self, _: &(), _: &JobCtx) -> Result<(), JobError> { Ok(()) }
/// # }
/// use std::time::Duration;
///
/// let draft = Draft::new(SendReceipt { order: 7 })
///     .unique("order-7")
///     .after(Duration::from_secs(60))
///     .priority(Priority::High);
/// ```
#[derive(Debug)]
#[must_use = "a draft does nothing until it is enqueued"]
pub struct Draft {
    name: &'static str,
    queue: String,
    payload: Result<String, serde_json::Error>,
    due: Due,
    priority: Priority,
    max_attempts: u32,
    timeout: Option<Duration>,
    unique: Option<(String, Option<Duration>)>,
    tenant: Option<TenantId>,
    trace: Option<TraceContext>,
}

impl Draft {
    /// Due now, in the job's own queue.
    pub fn new<J: Job>(job: J) -> Self {
        Self {
            name: J::NAME,
            queue: J::QUEUE.into(),
            payload: serde_json::to_string(&job),
            due: Due::Now,
            priority: Priority::default(),
            max_attempts: J::MAX_ATTEMPTS,
            timeout: None,
            unique: None,
            tenant: None,
            trace: None,
        }
    }

    /// In another queue.
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.queue = queue.into();
        self
    }

    /// Not before this moment.
    pub fn at(mut self, due: Timestamp) -> Self {
        self.due = Due::At(due);
        self
    }

    /// Not before this time has passed.
    pub fn after(mut self, delay: Duration) -> Self {
        self.due = Due::After(delay);
        self
    }

    /// Before or after others.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Begun this often at most, at least once.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts.max(1);
        self
    }

    /// Each attempt may take this long.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// At most one job of this name with this key that is not finished: while there is one, enqueuing gives back its id.
    pub fn unique(mut self, key: impl Into<String>) -> Self {
        self.unique = Some((key.into(), None));
        self
    }

    /// As [`unique`](Self::unique), and for this long from now even when it is finished.
    pub fn unique_for(mut self, key: impl Into<String>, window: Duration) -> Self {
        self.unique = Some((key.into(), Some(window)));
        self
    }

    /// On behalf of a tenant; the job can be found by it, and [`JobCtx::tenant`](super::JobCtx::tenant) says it.
    pub fn tenant(mut self, tenant: TenantId) -> Self {
        self.tenant = Some(tenant);
        self
    }

    /// The trace it belongs to, in place of the [current](TraceContext::current) one.
    pub fn trace(mut self, trace: TraceContext) -> Self {
        self.trace = Some(trace);
        self
    }

    /// With the tenant of what it comes from, unless it has its own.
    pub(crate) fn inherit(mut self, tenant: Option<TenantId>) -> Self {
        self.tenant = self.tenant.or(tenant);
        self
    }

    /// As it is stored.
    pub(super) fn into_row(self, now: Timestamp, batch: Option<BatchId>) -> Result<Row, EnqueueError> {
        let payload = self.payload.map_err(EnqueueError::Payload)?;
        if payload.len() > LARGEST_PAYLOAD {
            return Err(EnqueueError::TooLarge { name: self.name, bytes: payload.len() });
        }
        let unique = self.unique.as_ref().map_or("", |(key, _)| key);
        if let Some(long) = [&self.queue, unique].into_iter().find(|key| key.len() > LONGEST_KEY) {
            return Err(EnqueueError::KeyTooLong { name: self.name, bytes: long.len() });
        }
        let micros = |wait: Duration| i64::try_from(wait.as_micros()).unwrap_or(i64::MAX);
        let now = now.as_micros();
        let run_at = match self.due {
            Due::Now => now,
            Due::At(due) => due.as_micros(),
            Due::After(delay) => now.saturating_add(micros(delay)),
        };
        let (unique_key, window) = self.unique.unzip();
        let id = JobId::new(Timestamp::from_micros(now));
        let trace = self.trace.or_else(TraceContext::current);
        Ok(Row {
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

impl<J: Job> From<J> for Draft {
    fn from(job: J) -> Self {
        Self::new(job)
    }
}

/// A payload may have this many bytes. What is larger belongs into a file or a table, with its id in the job.
pub const LARGEST_PAYLOAD: usize = 256 * 1024;

/// Bytes of a queue's name or a unique key, which are indexed.
pub(crate) const LONGEST_KEY: usize = 500;

/// A job's first row, in the JSON both databases insert from. Ids are 32 hex digits, which both read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Row {
    #[serde(skip, default = "nobody")]
    pub(super) job: JobId,
    pub(super) id: String,
    pub(super) name: String,
    pub(super) queue: String,
    payload: String,
    pub(super) state: String,
    rank: i64,
    run_at: i64,
    max_attempts: u32,
    timeout: Option<i64>,
    pub(super) unique_key: Option<String>,
    unique_until: Option<i64>,
    batch: Option<String>,
    tenant: Option<String>,
    trace: Option<String>,
    trace_state: Option<String>,
    created_at: i64,
}

fn nobody() -> JobId {
    Id::from_uuid(uuid::Uuid::nil())
}

impl Row {
    /// Due now, whatever it was: for the callback of a batch.
    pub(super) fn due(mut self, now: Timestamp) -> Self {
        let now = now.as_micros();
        self.rank = now + (self.rank - self.run_at);
        (self.run_at, self.created_at, self.state) = (now, now, "ready".into());
        self
    }
}
