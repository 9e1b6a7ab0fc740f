//! All SQL of the queue's daily work: insert, claim, finish. Each method is one statement or one transaction, in batches.

mod change;
mod claim;
mod finish;
mod insert;
mod inspect;
mod maintain;
mod tick;

pub(super) use claim::{Claim, Claimed};
pub(super) use finish::{Finished, Lost, Outcome};
pub(super) use insert::{carry, insert};
pub use inspect::{FailureInfo, JobFilter, JobInfo, JobState, QueueInfo};
pub(super) use maintain::Silent;

use crate::{clock::Clock, db::Db};

/// The tables of the queue.
#[derive(Clone, Debug)]
pub(super) struct Store {
    pub(super) db: Db,
    pub(super) clock: Clock,
}

/// JSON of what can't fail to be JSON: lists of our own structs.
pub(crate) fn json<T: serde::Serialize>(values: &T) -> String {
    serde_json::to_string(values).unwrap_or_else(|_| "[]".into())
}

/// An id as both databases read it from JSON.
pub(crate) fn hex(id: uuid::Uuid) -> String {
    id.simple().to_string()
}
