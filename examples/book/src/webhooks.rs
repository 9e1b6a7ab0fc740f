//! A module that receives the webhooks of a courier, and offers an event to tenants.

use omnistack::{
    SecretString,
    http::HeaderName,
    prelude::*,
    webhook::{InboundWebhook, WebhookEvent, WebhookHandler, WebhookOutcome, WebhookPublisher, WebhookTx},
    webhooks::GenericSource,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

omnistack::settings! {
    /// Settings of the parcels module.
    pub struct CourierSettings {
        /// The secret with which the courier signs its webhooks. Without it, the app has no source `courier`.
        pub secret: Option<SecretString> = "COURIER_SECRET";
    }
}

// ANCHOR: event
/// A parcel was delivered.
#[derive(Debug, Serialize, ToSchema)]
pub struct ParcelDelivered {
    /// The courier's number of the parcel.
    pub parcel: String,
}

impl WebhookEvent for ParcelDelivered {
    const TYPE: &'static str = "parcel.delivered";
    const DESCRIPTION: &'static str = "The courier has handed a parcel to its recipient.";

    fn example() -> Self {
        Self { parcel: "P-7".to_owned() }
    }
}
// ANCHOR_END: event

// ANCHOR: register
/// The parcels module.
#[derive(Debug)]
pub struct Parcels;

impl Module for Parcels {
    fn name(&self) -> &'static str {
        "parcels"
    }

    fn register(&self, registry: &mut Registry) {
        registry.webhook_event::<ParcelDelivered>();
        let Some(settings) = registry.config::<CourierSettings>() else {
            return;
        };
        let Some(secret) = settings.secret else {
            return;
        };
        match GenericSource::new(HeaderName::from_static("x-courier-signature"), [secret]) {
            Ok(source) => {
                let source = source.id_path("id").object_path("parcel").time_path("at");
                registry
                    .webhook_source("courier", move |_| Ok(source))
                    .webhook_handler("courier", "parcel.*", |ctx| Ok(PublishDelivery(ctx.get()?)));
            }
            Err(error) => {
                registry.report_problem(format!("`COURIER_SECRET`: {error}"), "set it to the secret of the courier");
            }
        }
    }
}
// ANCHOR_END: register

// ANCHOR: handler
/// The body of the courier's events.
#[derive(Deserialize)]
struct CourierEvent {
    parcel: String,
}

/// The handler that publishes each delivery to the tenant's own endpoints.
struct PublishDelivery(WebhookPublisher);

#[async_trait]
impl WebhookHandler for PublishDelivery {
    async fn handle(&self, webhook: &InboundWebhook, tx: &mut WebhookTx<'_>) -> Result<WebhookOutcome, JobError> {
        if webhook.event.kind != "parcel.delivered" {
            return Ok(WebhookOutcome::Ignored);
        }
        let CourierEvent { parcel } = webhook.json()?;
        // An operator may replay the webhook, and the tenant must not receive the event twice.
        let key = format!("courier:{}", webhook.event.id);
        self.0.publish_once_in(tx.get().await?, &ParcelDelivered { parcel }, Some(key)).await?;
        Ok(WebhookOutcome::Processed)
    }
}
// ANCHOR_END: handler
