//! The handle to the ledger of usage.

use std::{fmt, sync::Arc};

use async_trait::async_trait;

use super::UsageEvent;
use crate::db::{Error, Tx};

/// Receives usage events: the contract of ledgers. Apps use [`UsageSink`].
#[async_trait]
pub trait UsageRecorder: Send + Sync + 'static {
    /// Adds an event to a counter in memory.
    fn count(&self, event: UsageEvent);

    /// Stores events in a transaction. An event that the ledger can't count, such as one of an unknown meter, is kept
    /// and reported by the ledger, and is no error.
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

    /// Stores events in a transaction: they count if it commits. Pass all events of a transaction at once, before
    /// work that takes long, because other transactions of the tenant that record usage wait for the commit.
    ///
    /// # Errors
    /// The errors of the database.
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
