//! Usage events, for quotas and billing.

use std::{fmt, sync::Arc};

use async_trait::async_trait;

use crate::{clock::Timestamp, id::TenantId};

/// An amount that a tenant has used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UsageEvent {
    /// The tenant that used it.
    pub tenant: TenantId,
    /// Name of the measured quantity, such as `storage_bytes`.
    pub meter: &'static str,
    /// Amount used; negative if it was given back.
    pub quantity: i64,
    /// Time of use.
    pub at: Timestamp,
    /// Idempotency key: events with the same key count once, however often they are recorded.
    pub key: Option<String>,
}

impl UsageEvent {
    /// Creates an event without an idempotency key.
    pub fn new(tenant: TenantId, meter: &'static str, quantity: i64, at: Timestamp) -> Self {
        Self { tenant, meter, quantity, at, key: None }
    }

    /// Sets the idempotency key.
    pub fn with_idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }
}

/// Receives usage events. An implementation must return at once and queue what it can't write immediately.
#[async_trait]
pub trait Meter: Send + Sync + 'static {
    /// Records an event.
    async fn record(&self, event: UsageEvent);
}

/// The app's usage meter. Without billing, usage is only logged, at debug level.
#[derive(Clone)]
pub struct UsageSink(Arc<dyn Meter>);

impl UsageSink {
    /// Creates a sink on a meter.
    pub fn new(meter: impl Meter) -> Self {
        Self(Arc::new(meter))
    }

    /// Records an event.
    pub async fn record(&self, event: UsageEvent) {
        self.0.record(event).await;
    }
}

impl Default for UsageSink {
    fn default() -> Self {
        Self::new(LogMeter)
    }
}

impl fmt::Debug for UsageSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UsageSink")
    }
}

struct LogMeter;

#[async_trait]
impl Meter for LogMeter {
    async fn record(&self, event: UsageEvent) {
        let UsageEvent { tenant, meter, quantity, .. } = event;
        tracing::debug!(target: "omnistack::usage", %tenant, meter, quantity);
    }
}
