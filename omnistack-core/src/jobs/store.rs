//! The SQL statements of the queue. Each method is one statement or one transaction, and works in batches.

mod admin;
mod claim;
mod finish;
mod insert;
mod maintain;
mod query;
mod tick;

pub(super) use claim::{JobClaim, LeasedJob};
pub(super) use finish::{AttemptResult, FinishedAttempt, LostLeases};
pub(super) use insert::{insert, insert_relayed};
pub(super) use maintain::StalledLease;
pub use query::{FailureInfo, JobFilter, JobInfo, JobState, QueueInfo};

use crate::{clock::Clock, db::Db};

/// The tables of the queue.
#[derive(Clone, Debug)]
pub(super) struct JobStore {
    pub(super) db: Db,
    pub(super) clock: Clock,
}

/// Serializes values that can always be serialized as JSON, such as lists of plain structs.
pub(crate) fn json<T: serde::Serialize>(values: &T) -> String {
    serde_json::to_string(values).unwrap_or_else(|_| "[]".into())
}

/// Returns an id in the form that both databases can read from JSON.
pub(crate) fn hex(id: uuid::Uuid) -> String {
    id.simple().to_string()
}
