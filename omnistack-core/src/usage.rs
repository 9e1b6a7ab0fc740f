//! What is counted, for plans and bills.

use std::{fmt, sync::Arc};

use async_trait::async_trait;

use crate::{clock::Timestamp, identity::TenantId};

/// So much of something, used by a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UsageEvent {
    /// Whose.
    pub tenant: TenantId,
    /// Of what: `storage_bytes`.
    pub meter: &'static str,
    /// How much; negative when something is given back.
    pub quantity: i64,
    /// When.
    pub at: Timestamp,
    /// Events with the same key count once, however often they are recorded.
    pub key: Option<String>,
}

impl UsageEvent {
    /// So much of a meter.
    pub fn new(tenant: TenantId, meter: &'static str, quantity: i64, at: Timestamp) -> Self {
        Self { tenant, meter, quantity, at, key: None }
    }

    /// Counted once for this key.
    pub fn once(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }
}

/// Counts usage. Must return at once; what it can't write now it keeps.
#[async_trait]
pub trait Meter: Send + Sync + 'static {
    /// Counts an event.
    async fn record(&self, event: UsageEvent);
}

/// The app's meter. Without billing, usage is only logged, at debug level.
#[derive(Clone)]
pub struct UsageSink(Arc<dyn Meter>);

impl UsageSink {
    /// Counted in this way.
    pub fn new(meter: impl Meter) -> Self {
        Self(Arc::new(meter))
    }

    /// Counts an event.
    pub async fn record(&self, event: UsageEvent) {
        self.0.record(event).await;
    }
}

impl Default for UsageSink {
    fn default() -> Self {
        Self::new(Logged)
    }
}

impl fmt::Debug for UsageSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UsageSink")
    }
}

struct Logged;

#[async_trait]
impl Meter for Logged {
    async fn record(&self, event: UsageEvent) {
        let UsageEvent { tenant, meter, quantity, .. } = event;
        tracing::debug!(target: "omnistack::usage", %tenant, meter, quantity);
    }
}
