//! All SQL of events.
//!
//! A delivery is one event for one subscriber. A lane is one key of one subscriber with deliveries that are not over: it is what
//! dispatchers claim, so that a claim costs nothing for what is held back, and no delivery is looked at before the one ahead of it
//! is over. A lane without deliveries is removed. Lest that happens while a publisher is about to commit one more, both take
//! the key's lock: the publisher until it ends, the claim only if it gets it at once.

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
