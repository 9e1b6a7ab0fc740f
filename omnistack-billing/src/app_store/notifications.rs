//! The notifications of app stores, which arrive as webhooks.
//!
//! They are handled without the transaction of the webhook: the state of a purchase is stored by its version, so that a
//! notification which is handled twice, or late, changes nothing.

use std::time::Duration;

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use omnistack_core::{
    events::Events,
    jobs::JobError,
    webhook::{InboundWebhook, WebhookHandler, WebhookOutcome, WebhookRejection, WebhookTx},
};
use serde::Deserialize;

use super::{
    apple::{AppleNotification, ApplePurchase},
    events::RefundReviewRequested,
    google::{GooglePlayError, is_purchase_token},
    handle::{PurchaseOwner, StorePurchases, StoreRefreshError},
};

/// The type of product of a voided purchase that is a subscription.
const VOIDED_SUBSCRIPTION: i64 = 1;
/// Time for which Google waits for the app's answer about a refund.
const REVIEW_TIME: Duration = Duration::from_secs(24 * 60 * 60);
/// Largest length of the id of an order, in bytes.
const MAX_ORDER_BYTES: usize = 200;

/// The handler of notifications of the App Store.
pub(super) struct HandleAppleNotification(pub(super) StorePurchases);

#[derive(Deserialize)]
struct SignedNotification {
    #[serde(rename = "signedPayload")]
    signed_payload: String,
}

#[async_trait]
impl WebhookHandler for HandleAppleNotification {
    async fn handle(&self, webhook: &InboundWebhook, _: &mut WebhookTx<'_>) -> Result<WebhookOutcome, JobError> {
        // A test notification has no purchase.
        let Some(verifier) = self.0.verifier().filter(|_| webhook.event.kind != "TEST") else {
            return Ok(WebhookOutcome::Ignored);
        };
        let SignedNotification { signed_payload } = webhook.json()?;
        let verified = AppleNotification::verify(&signed_payload, webhook.received_at, verifier);
        let Some(notification) = verified.map_err(|rejection| match rejection {
            WebhookRejection::Unavailable(_) => JobError::retry(rejection),
            _ => JobError::fatal(rejection),
        })?
        else {
            return Ok(WebhookOutcome::Ignored);
        };
        let Some(ApplePurchase { state, token }) = notification.purchase(self.0.now()) else {
            return Ok(WebhookOutcome::Ignored);
        };
        let id = state.key.id.clone();
        let owner = PurchaseOwner { token, ..PurchaseOwner::default() };
        let applied = self.0.apply(state, owner).await.map_err(JobError::retry)?;
        Ok(outcome(applied.is_some(), "apple", &id))
    }
}

/// The handler of notifications of Google Play.
pub(super) struct HandleGoogleNotification {
    pub(super) purchases: StorePurchases,
    pub(super) events: Events,
}

/// A push request of Pub/Sub.
#[derive(Deserialize)]
struct PushRequest {
    message: PushMessage,
}

#[derive(Deserialize)]
struct PushMessage {
    #[serde(default)]
    data: String,
}

/// A notification. It has one of these, or another that is not about a subscription.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GoogleNotification {
    #[serde(default)]
    package_name: String,
    subscription_notification: Option<PurchaseNotification>,
    voided_purchase_notification: Option<PurchaseNotification>,
    pending_refund_review_notification: Option<RefundReview>,
}

/// A refund about which Google asks the app.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RefundReview {
    order_id: Option<String>,
    refund_reason: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PurchaseNotification {
    purchase_token: Option<String>,
    /// The type of product, which a notification of a voided purchase has.
    product_type: Option<i64>,
}

impl GoogleNotification {
    /// Reads the body of a push request.
    fn read(webhook: &InboundWebhook) -> Result<Self, JobError> {
        let PushRequest { message } = webhook.json()?;
        let data = STANDARD.decode(&message.data).map_err(JobError::fatal)?;
        serde_json::from_slice(&data).map_err(JobError::fatal)
    }

    /// Returns the token of the subscription that the notification is about.
    fn purchase_token(self) -> Option<String> {
        let voided = self.voided_purchase_notification;
        let voided = voided.filter(|voided| voided.product_type.is_none_or(|kind| kind == VOIDED_SUBSCRIPTION));
        self.subscription_notification.or(voided)?.purchase_token.filter(|token| is_purchase_token(token))
    }
}

#[async_trait]
impl WebhookHandler for HandleGoogleNotification {
    async fn handle(&self, webhook: &InboundWebhook, tx: &mut WebhookTx<'_>) -> Result<WebhookOutcome, JobError> {
        let Some(google) = self.purchases.google() else { return Ok(WebhookOutcome::Ignored) };
        let mut notification = GoogleNotification::read(webhook)?;
        if notification.package_name != google.package() {
            return Ok(WebhookOutcome::Ignored);
        }
        if let Some(RefundReview { order_id: Some(order), refund_reason }) =
            notification.pending_refund_review_notification.take().filter(has_order)
        {
            let respond_by = webhook.event.occurred_at.unwrap_or(webhook.received_at) + REVIEW_TIME;
            tracing::warn!(target: "omnistack::billing", order, %respond_by,
                "a customer of Google Play asks for a refund; Google waits for an answer of the app");
            let requested = RefundReviewRequested::new(order, refund_reason, respond_by);
            self.events.publish_in(tx.get().await?, &requested).await?;
            return Ok(WebhookOutcome::Processed);
        }
        let Some(token) = notification.purchase_token() else { return Ok(WebhookOutcome::Ignored) };
        match self.purchases.refresh_google(&token).await {
            Ok(is_known) => Ok(outcome(is_known, "google", webhook.event.object.as_deref().unwrap_or_default())),
            // It has ended long ago.
            Err(StoreRefreshError::Google(GooglePlayError::NotFound)) => Ok(WebhookOutcome::Ignored),
            Err(error) => Err(JobError::retry(error)),
        }
    }
}

fn has_order(review: &RefundReview) -> bool {
    review.order_id.as_ref().is_some_and(|order| (1..=MAX_ORDER_BYTES).contains(&order.len()) && !order.contains('\0'))
}

fn outcome(is_known: bool, store: &'static str, purchase: &str) -> WebhookOutcome {
    if is_known {
        return WebhookOutcome::Processed;
    }
    // A device sends it later, or it was bought without the token of a tenant. Google refunds it after three days.
    tracing::info!(target: "omnistack::billing", store, purchase, "a purchase belongs to no known tenant");
    WebhookOutcome::Ignored
}
