//! What a running job knows of itself.

use super::{JobId, store::Store};
use crate::{identity::TenantId, trace::TraceContext};

/// The attempt a job is in.
#[derive(Clone, Debug)]
pub struct JobCtx {
    pub(super) id: JobId,
    pub(super) name: String,
    pub(super) attempt: u32,
    pub(super) max_attempts: u32,
    pub(super) lease: i32,
    pub(super) tenant: Option<TenantId>,
    pub(super) trace: Option<TraceContext>,
    pub(super) store: Store,
}

impl JobCtx {
    /// The job's id: the same in each attempt, and so an idempotency key for what it calls.
    pub fn id(&self) -> JobId {
        self.id
    }

    /// The job's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which attempt this is, counted from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Whether a failure of this attempt ends the job.
    pub fn is_last_attempt(&self) -> bool {
        self.attempt >= self.max_attempts
    }

    /// The tenant it was enqueued for.
    pub fn tenant(&self) -> Option<TenantId> {
        self.tenant
    }

    /// The trace it was enqueued in; [current](TraceContext::current) while it runs.
    pub fn trace(&self) -> Option<&TraceContext> {
        self.trace.as_ref()
    }

    /// Says how far it is: percent, and a note for people. False when the lease is another's by now and the work is better
    /// given up; a database that can't be reached is no reason to.
    pub async fn progress(&self, percent: u8, note: &str) -> bool {
        self.store.progress(self.id, self.lease, percent, note).await.unwrap_or(true)
    }
}
