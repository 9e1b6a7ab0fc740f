//! The numbers of messages, for metrics and for usage.

use std::{collections::HashMap, mem, sync::Mutex};

use metrics::{Counter, Gauge};
use omnistack_core::{
    clock::Timestamp,
    identity::TenantId,
    metrics::{NO_LABELS, WEBSOCKET_CONNECTIONS, WEBSOCKET_MESSAGES},
    usage::{UsageEvent, UsageSink, meters},
};

use super::lock;

/// The counts of connections and messages.
pub(super) struct MessageMeter {
    connections: Gauge,
    received: Counter,
    sent: Counter,
    usage: UsageSink,
    /// The messages to the clients of tenants that are not recorded yet.
    by_tenant: Mutex<HashMap<TenantId, u64>>,
}

impl MessageMeter {
    pub(super) fn new(usage: UsageSink) -> Self {
        Self {
            connections: WEBSOCKET_CONNECTIONS.gauge(NO_LABELS),
            received: WEBSOCKET_MESSAGES.counter(["in"]),
            sent: WEBSOCKET_MESSAGES.counter(["out"]),
            usage,
            by_tenant: Mutex::default(),
        }
    }

    pub(super) fn opened(&self) {
        self.connections.increment(1.0);
    }

    pub(super) fn ended(&self) {
        self.connections.decrement(1.0);
    }

    pub(super) fn received(&self) {
        self.received.increment(1);
    }

    pub(super) fn sent(&self, count: u64) {
        self.sent.increment(count);
    }

    /// Adds messages of channels to what the tenant has used.
    pub(super) fn used(&self, tenant: Option<TenantId>, count: u32) {
        if let Some(tenant) = tenant.filter(|_| count > 0) {
            *lock(&self.by_tenant).entry(tenant).or_default() += u64::from(count);
        }
    }

    /// Records what the tenants have used.
    pub(super) fn record(&self, now: Timestamp) {
        let by_tenant = mem::take(&mut *lock(&self.by_tenant));
        for (tenant, count) in by_tenant {
            self.usage.count(UsageEvent::new(tenant, meters::WEBSOCKET_MESSAGES, count, now));
        }
    }
}
