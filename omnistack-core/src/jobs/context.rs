//! The context of a running job.

use super::{JobId, progress_feed::ProgressFeed, store::JobStore};
use crate::{identity::TenantId, trace::TraceContext};

/// The current attempt of a job.
#[derive(Clone, Debug)]
pub struct JobContext {
    pub(super) id: JobId,
    pub(super) name: String,
    pub(super) attempt: u32,
    pub(super) max_attempts: u32,
    pub(super) lease: i32,
    pub(super) tenant: Option<TenantId>,
    pub(super) trace: Option<TraceContext>,
    pub(super) store: JobStore,
    pub(super) feed: ProgressFeed,
}

impl JobContext {
    /// Returns the id of the job. It is the same in all attempts, so it can serve as an idempotency key for calls
    /// to providers.
    pub fn id(&self) -> JobId {
        self.id
    }

    /// Returns the name of the job.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the number of the attempt, counted from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Returns whether the job becomes a dead letter if this attempt fails.
    pub fn is_last_attempt(&self) -> bool {
        self.attempt >= self.max_attempts
    }

    /// Returns the tenant the job was enqueued for.
    pub fn tenant(&self) -> Option<TenantId> {
        self.tenant
    }

    /// Returns the trace the job was enqueued in. It is the [current](TraceContext::current) trace while the job
    /// runs.
    pub fn trace(&self) -> Option<&TraceContext> {
        self.trace.as_ref()
    }

    /// Stores the progress of the job: a percentage up to 100, and a note. Operators see both. Returns `false` if
    /// another worker has taken over the job, so that this attempt should stop. Returns `true` if the database
    /// can't be reached.
    ///
    /// With the feature `realtime`, connected clients of the job's tenant see it in the channel `job:ID`, if a rule of
    /// the app lets them subscribe to it. They get `{"job", "state", "percent", "note"}`, with the state `running`:
    /// each new percentage at once, and notes at most four times a second. A last message, after the result is stored,
    /// has the last note, and the state in which the attempt has ended: `done`, `retry`, `snoozed` or `dead`.
    pub async fn progress(&self, percent: u8, note: &str) -> bool {
        let is_leased = self.store.progress(self.id, self.lease, percent, note).await.unwrap_or(true);
        if is_leased {
            self.feed.progress(percent.min(100), note).await;
        }
        is_leased
    }
}
