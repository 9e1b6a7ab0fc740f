//! The attempts of deliveries, as connected clients see them.

use omnistack_core::realtime::{RealtimeChannel, RealtimePublisher};
use serde::Serialize;
use uuid::Uuid;

use crate::outbound::{
    retry::Verdict,
    store::deliveries::{AttemptOutcome, EndpointLease, FinishedAttempt},
};

/// Name of the channel.
const CHANNEL: &str = "webhooks";

/// The messages in the channel `webhooks` of the tenant, for apps with connected clients. Cheap to clone.
#[derive(Clone)]
pub(super) struct AttemptFeed(pub(super) RealtimePublisher);

/// A message of the channel.
#[derive(Serialize)]
struct AttemptMessage<'a> {
    r#type: &'static str,
    endpoint_id: Uuid,
    delivery_id: Uuid,
    attempt: i64,
    delivered: bool,
    status_code: Option<u16>,
    error: Option<&'a str>,
}

impl AttemptFeed {
    /// Sends a message for each attempt that was made. An error is only logged: the attempts are in the log of the
    /// endpoint.
    pub(super) async fn send(&self, lease: &EndpointLease, finished: &[FinishedAttempt]) {
        if finished.is_empty() || !self.0.is_enabled() {
            return;
        }
        let Ok(channel) = RealtimeChannel::of_tenant(lease.tenant_id, CHANNEL) else { return };
        for attempt in finished {
            let AttemptOutcome::Sent(result, _) = &attempt.outcome else { continue };
            let message = AttemptMessage {
                r#type: "webhook.attempted",
                endpoint_id: lease.id,
                delivery_id: attempt.delivery,
                attempt: attempt.number,
                delivered: result.verdict() == Verdict::Delivered,
                status_code: result.status,
                error: result.error.as_deref(),
            };
            if let Err(error) = self.0.publish(channel.clone(), &message).await {
                tracing::debug!(target: "omnistack::webhooks", endpoint = %lease.id, %error,
                    "an attempt could not be sent to connected clients");
                return;
            }
        }
    }
}
