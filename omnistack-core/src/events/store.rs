//! The SQL statements of events.
//!
//! A delivery is one event for one subscriber. A lane is the unfinished deliveries of one subscriber with the
//! same key. Dispatchers claim lanes, so that deliveries that are held back cost a claim nothing, and a delivery
//! starts only after the one before it is finished. A lane without deliveries is removed. So that this does not
//! happen while a publisher is about to commit another delivery, both take the lock of the key: the publisher
//! until its transaction ends, the claim only if the lock is free.

mod change;
mod claim;
mod finish;
mod inspect;
mod publish;

pub(super) use claim::{Claim, Claimed};
pub(super) use finish::Outcome;
pub use inspect::{DeliveryFilter, DeliveryInfo, DeliveryState, SubscriberInfo};
pub(super) use publish::{Publish, Row, lock, lock_keys, publish};

use crate::{clock::Clock, db::Db};

/// The tables of events.
#[derive(Clone, Debug)]
pub(super) struct Store {
    pub(super) db: Db,
    pub(super) clock: Clock,
}
