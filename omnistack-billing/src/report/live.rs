//! The usage of tenants for connected clients: the channels `usage:live` and `usage:test`.

use std::{collections::HashMap, time::Duration};

use omnistack_core::{
    BoxError, ShutdownToken,
    identity::TenantId,
    realtime::{RealtimeChannel, RealtimePublisher},
    usage::{DataEnvironment, meters},
};
use serde_json::Value;

use super::{UsageReports, store::UsageScope};

/// The time between two messages about the usage of a tenant.
const MESSAGE_INTERVAL: Duration = Duration::from_secs(1);

/// The publisher of usage that has changed. Cheap to clone.
#[derive(Clone)]
pub(super) struct LiveUsage {
    pub(super) reports: UsageReports,
    pub(super) realtime: RealtimePublisher,
}

/// The last published usage of each tenant; `null` if it could not be read.
type PublishedUsage = HashMap<(TenantId, DataEnvironment), Value>;

impl LiveUsage {
    /// Publishes what has changed until the app shuts down.
    pub(super) async fn run(&self, shutdown: ShutdownToken) -> Result<(), BoxError> {
        if self.realtime.is_enabled() {
            tokio::select! {
                () = self.publish_changes() => {}
                () = shutdown.cancelled() => {}
            }
        } else {
            shutdown.cancelled().await;
        }
        Ok(())
    }

    /// Publishes the usage of each tenant at most once in an interval, however often it changes.
    ///
    /// A tenant whose usage was published is looked at again after the interval: meanwhile, another process may have
    /// published numbers that it had read earlier, and then the newer ones must follow.
    async fn publish_changes(&self) {
        let changes = self.reports.ledger.changed_usage().follow();
        let mut published = PublishedUsage::new();
        loop {
            if published.is_empty() {
                changes.changed().await;
            }
            let mut scopes = changes.take();
            scopes.extend(published.keys().copied());
            let before = std::mem::take(&mut published);
            for scope in scopes {
                if let Some(usage) = self.publish(scope, before.get(&scope)).await {
                    published.insert(scope, usage);
                }
            }
            tokio::time::sleep(MESSAGE_INTERVAL).await;
        }
    }

    /// Publishes the usage of a tenant unless it is what was published before. Returns it if it is to be looked at
    /// again.
    async fn publish(
        &self,
        (tenant, environment): (TenantId, DataEnvironment),
        before: Option<&Value>,
    ) -> Option<Value> {
        let channel = RealtimeChannel::of_tenant(tenant, format!("usage:{environment}")).ok()?;
        if !self.realtime.has_channel(&channel) {
            return None;
        }
        let usage = match self.reports.current_period(UsageScope { tenant, environment }).await {
            // Each message would change it.
            Ok(usage) => serde_json::to_value(usage.without(meters::WEBSOCKET_MESSAGES)).ok()?,
            Err(error) => {
                tracing::debug!(target: "omnistack::usage", %tenant, %error, "the usage could not be sent to clients");
                return error.status().is_server_error().then_some(Value::Null);
            }
        };
        if before == Some(&usage) {
            return None;
        }
        if let Err(error) = self.realtime.publish(channel, &usage).await {
            tracing::debug!(target: "omnistack::usage", %tenant, %error, "the usage could not be sent to clients");
            return error.status().is_server_error().then_some(Value::Null);
        }
        Some(usage)
    }
}
