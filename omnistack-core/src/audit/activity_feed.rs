//! The activity feed of tenants: audit entries as messages to connected clients.

use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};

use super::AuditEntry;
use crate::{
    db::{self, Tx},
    realtime::{RealtimeChannel, RealtimePublisher, WeakRealtimePublisher},
};

/// The channel of the feed. A rule of the app decides who may subscribe.
const CHANNEL: &str = "activity";

/// The activity feed of an audit log. It begins when the app starts, because the module that delivers the messages may
/// need the audit log before. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct ActivityFeed(Arc<OnceLock<WeakRealtimePublisher>>);

/// The message about an entry. It leaves out the details, which fewer users may be allowed to read.
pub(super) struct ActivityMessage {
    realtime: RealtimePublisher,
    channel: RealtimeChannel,
    content: Value,
}

impl ActivityFeed {
    /// Begins the feed. Does nothing if it has begun.
    pub(super) fn begin(&self, realtime: &RealtimePublisher) {
        _ = self.0.set(realtime.downgrade());
    }

    /// Returns the message about an entry, or `None` if no client can get it.
    pub(super) fn message(&self, entry: &AuditEntry) -> Option<ActivityMessage> {
        let realtime = self.0.get()?.upgrade();
        let channel = RealtimeChannel::of_tenant(entry.tenant?, CHANNEL).ok()?;
        if !realtime.has_channel(&channel) {
            return None;
        }
        let AuditEntry { action, actor, resource, .. } = entry;
        let data = json!({ "action": action, "actor": actor, "resource": resource });
        Some(ActivityMessage { realtime, channel, content: json!({ "type": "activity.recorded", "data": data }) })
    }
}

impl ActivityMessage {
    /// Publishes the message with the transaction of its entry.
    pub(super) async fn publish_in(self, tx: &mut Tx) -> Result<(), db::Error> {
        self.realtime.publish_in(tx, self.channel, &self.content).await
    }
}
