//! The handle to the ledger of usage.

use std::{fmt, sync::Arc};

use async_trait::async_trait;

use super::UsageEvent;
use crate::db::{Error, Tx};

/// A receiver of usage events: the contract of ledgers. Apps use [`UsageSink`].
#[async_trait]
pub trait UsageRecorder: Send + Sync + 'static {
    /// Adds an event to a counter in memory.
    fn count(&self, event: UsageEvent);

    /// Stores events in a transaction. An event that the ledger can't count, such as one of an unknown meter, is kept
    /// and reported by the ledger, and is no error. Two transactions that record events of a tenant by several calls,
    /// in different orders, must not wait for each other in a circle.
    ///
    /// # Errors
    /// The errors of the database.
    async fn record_in(&self, tx: &mut Tx, events: Vec<UsageEvent>) -> Result<(), Error>;
}

/// The app's ledger of usage. Cheap to clone. Without the module of the feature `billing`, events are only logged, at
/// debug level.
#[derive(Clone)]
pub struct UsageSink(Arc<dyn UsageRecorder>);

impl UsageSink {
    /// Creates a sink of this recorder.
    pub fn new(recorder: impl UsageRecorder) -> Self {
        Self(Arc::new(recorder))
    }

    /// Adds an event to a counter in memory, which is stored a few seconds later. A crash loses what is not stored yet.
    /// The id of the event has no effect.
    pub fn count(&self, event: UsageEvent) {
        self.0.count(event);
    }

    /// Stores events in a transaction: they count if it commits. Record late in the transaction: from the first call
    /// to the commit, all other transactions that record usage of the tenant wait. Because of that, a transaction can
    /// record events of a tenant by several calls in any order, without a deadlock.
    ///
    /// Pass the events of several tenants in one call, which locks the tenants in the order of their ids. With a call
    /// for each tenant, two transactions can wait for each other; the database then ends one of them.
    ///
    /// # Errors
    /// The errors of the database: [`ErrorKind::Conflict`](crate::db::ErrorKind::Conflict) if the database has ended
    /// the transaction because of a deadlock.
    pub async fn record_in(&self, tx: &mut Tx, events: impl IntoIterator<Item = UsageEvent>) -> Result<(), Error> {
        self.0.record_in(tx, events.into_iter().collect()).await
    }
}

impl Default for UsageSink {
    fn default() -> Self {
        Self::new(LogRecorder)
    }
}

impl fmt::Debug for UsageSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UsageSink")
    }
}

struct LogRecorder;

#[async_trait]
impl UsageRecorder for LogRecorder {
    fn count(&self, event: UsageEvent) {
        let UsageEvent { tenant, meter, quantity, .. } = event;
        tracing::debug!(target: "omnistack::usage", %tenant, %meter, %quantity);
    }

    async fn record_in(&self, _: &mut Tx, events: Vec<UsageEvent>) -> Result<(), Error> {
        for event in events {
            self.count(event);
        }
        Ok(())
    }
}
