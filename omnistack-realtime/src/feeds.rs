//! Feeds: events of the other modules as messages in channels of their tenants.
//!
//! | channel | messages |
//! |---|---|
//! | `usage` | a share of a limit of the plan is used |
//! | `usage:live`, `usage:test` | the usage of the billing period, by `omnistack-billing` |
//! | `webhooks` | an endpoint was disabled; `omnistack-webhooks` adds each attempt of a delivery |
//! | `files` | a file was uploaded, by `omnistack-storage` |
//! | `activity` | an entry in the tenant's audit log, by core |
//! | `job:ID` | the progress of a job, by core |
//! | `tenant` | a row of a resource has changed, by core, for resources that publish it |
//!
//! No client can subscribe to the channels before `tenant` until a rule of the app allows it, and nothing is kept until
//! then. Operators get the numbers of the dashboard in the channel `operators`, by `omnistack-observability`.

use omnistack_core::{
    events::Event,
    identity::TenantId,
    module::Registry,
    realtime::{RealtimeChannel, RealtimeMessage},
    usage_threshold::UsageThresholdReached,
    webhook::WebhookEndpointDisabled,
};
use serde::Serialize;

/// Registers the feeds of core's events.
pub(crate) fn register(registry: &mut Registry) {
    registry
        .publish_to_realtime("realtime.usage", |event: &UsageThresholdReached, _| message(event.tenant, "usage", event))
        .publish_to_realtime("realtime.webhooks", |event: &WebhookEndpointDisabled, _| {
            message(event.tenant, "webhooks", event)
        });
}

/// An event as clients see it.
#[derive(Serialize)]
struct FeedMessage<'a, E> {
    r#type: &'static str,
    data: &'a E,
}

fn message<E: Event>(tenant: TenantId, channel: &str, event: &E) -> Option<RealtimeMessage> {
    let channel = RealtimeChannel::of_tenant(tenant, channel).ok()?;
    RealtimeMessage::new(channel, &FeedMessage { r#type: E::NAME, data: event }).ok()
}
