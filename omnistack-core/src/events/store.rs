//! The SQL statements of events.
//!
//! A delivery is one event for one subscriber. A lane is the unfinished deliveries of one subscriber with the
//! same key. Dispatchers claim lanes, so that deliveries that are held back cost a claim nothing, and a delivery
//! starts only after the one before it is finished. A lane without deliveries is removed. So that this does not
//! happen while a publisher is about to commit another delivery, both take the lock of the key: the publisher
//! until its transaction ends, the claim only if the lock is free.

mod admin;
mod claim;
mod finish;
mod publish;
mod query;

pub(super) use claim::{ClaimedDelivery, DeliveryClaim};
pub(super) use finish::FailedDelivery;
pub(super) use publish::{EventRow, PublishBatch, lock_keys, lock_number, publish};
pub use query::{DeliveryFilter, DeliveryInfo, DeliveryState, SubscriberInfo};

use crate::{clock::Clock, db::Db};

/// The tables of events.
#[derive(Clone, Debug)]
pub(super) struct EventStore {
    pub(super) db: Db,
    pub(super) clock: Clock,
}
