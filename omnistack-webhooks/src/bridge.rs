//! The bridge from providers to tenants: unified events, made of the webhooks of payment providers and app stores.
//!
//! A webhook that names a tenant, by its path or its payload, is translated to a unified event such as
//! `payment.succeeded`, and published to the endpoints of that tenant. So a tenant's program sees the same event from
//! every provider, also from the tenant's own accounts. A webhook without a counterpart, or without a tenant, is ignored.

mod event;
mod providers;
#[cfg(test)]
mod tests;

pub use event::{
    PaymentData, PaymentFailed, PaymentRefunded, PaymentSucceeded, SubscriptionCanceled, SubscriptionCreated,
    SubscriptionData, SubscriptionRenewed, SubscriptionUpdated,
};

use async_trait::async_trait;
use omnistack_core::{
    db::{self, Tx},
    jobs::JobError,
    module::Registry,
    webhook::{InboundWebhook, WebhookHandler, WebhookOutcome, WebhookPublisher, WebhookTx},
};

/// The sources whose webhooks have unified counterparts, each with its translation. Those whose names end with
/// `-account` are of the accounts of tenants, and come from the module of payments.
const TRANSLATIONS: [(&str, Translate); 8] = [
    ("stripe", providers::stripe),
    ("stripe-account", providers::stripe),
    ("paypal", providers::paypal),
    ("paypal-account", providers::paypal),
    ("razorpay", providers::razorpay),
    ("razorpay-account", providers::razorpay),
    ("apple", providers::apple),
    ("google-play", providers::google_play),
];

/// Translates a webhook. Returns `None` if it has no unified counterpart.
type Translate = fn(&InboundWebhook) -> Option<UnifiedEvent>;

pub(crate) fn register(registry: &mut Registry) {
    registry
        .webhook_event::<PaymentSucceeded>()
        .webhook_event::<PaymentFailed>()
        .webhook_event::<PaymentRefunded>()
        .webhook_event::<SubscriptionCreated>()
        .webhook_event::<SubscriptionRenewed>()
        .webhook_event::<SubscriptionUpdated>()
        .webhook_event::<SubscriptionCanceled>();
    for (source, translate) in TRANSLATIONS {
        registry.webhook_handler(source, "*", move |ctx| Ok(Bridge { translate, publisher: ctx.get()? }));
    }
}

/// Translates a webhook as one of each source, for fuzz targets.
pub(crate) fn translate_all(webhook: &InboundWebhook) {
    for (_, translate) in TRANSLATIONS {
        _ = translate(webhook);
    }
}

/// A unified event.
#[derive(Clone, Debug, PartialEq)]
enum UnifiedEvent {
    PaymentSucceeded(PaymentData),
    PaymentFailed(PaymentData),
    PaymentRefunded(PaymentData),
    SubscriptionCreated(SubscriptionData),
    SubscriptionRenewed(SubscriptionData),
    SubscriptionUpdated(SubscriptionData),
    SubscriptionCanceled(SubscriptionData),
}

impl UnifiedEvent {
    async fn publish_in(self, publisher: &WebhookPublisher, tx: &mut Tx, key: String) -> Result<(), db::Error> {
        let key = Some(key);
        match self {
            Self::PaymentSucceeded(data) => publisher.publish_once_in(tx, &PaymentSucceeded(data), key).await,
            Self::PaymentFailed(data) => publisher.publish_once_in(tx, &PaymentFailed(data), key).await,
            Self::PaymentRefunded(data) => publisher.publish_once_in(tx, &PaymentRefunded(data), key).await,
            Self::SubscriptionCreated(data) => publisher.publish_once_in(tx, &SubscriptionCreated(data), key).await,
            Self::SubscriptionRenewed(data) => publisher.publish_once_in(tx, &SubscriptionRenewed(data), key).await,
            Self::SubscriptionUpdated(data) => publisher.publish_once_in(tx, &SubscriptionUpdated(data), key).await,
            Self::SubscriptionCanceled(data) => publisher.publish_once_in(tx, &SubscriptionCanceled(data), key).await,
        }
    }
}

/// The handler that publishes unified events.
struct Bridge {
    translate: Translate,
    publisher: WebhookPublisher,
}

#[async_trait]
impl WebhookHandler for Bridge {
    async fn handle(&self, webhook: &InboundWebhook, tx: &mut WebhookTx<'_>) -> Result<WebhookOutcome, JobError> {
        if webhook.tenant.is_none() {
            return Ok(WebhookOutcome::Ignored);
        }
        let Some(event) = (self.translate)(webhook) else { return Ok(WebhookOutcome::Ignored) };
        // So that a replay of the webhook does not send the event again.
        let key = format!("{}:{}:{}", webhook.source, webhook.event.environment, webhook.event.id);
        event.publish_in(&self.publisher, tx.get().await?, key).await?;
        Ok(WebhookOutcome::Processed)
    }
}
