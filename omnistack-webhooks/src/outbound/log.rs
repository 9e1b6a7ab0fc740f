//! The log of deliveries and messages, as tenants see it.

use omnistack_core::clock::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    endpoint::{WebhookDeliveryId, WebhookEndpointId},
    send::webhook_id,
    store::log::{AttemptRow, DeliveryRow, MessageRow},
};

/// The state of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = WebhookDeliveryState)]
pub(crate) enum DeliveryState {
    /// The next attempt is due at `next_at`, or when the endpoint is no longer paused.
    Pending,
    /// An attempt is being made.
    Sending,
    /// The endpoint has responded with 2xx.
    Delivered,
    /// The attempts are used up.
    Failed,
    /// The endpoint was disabled.
    Skipped,
}

impl DeliveryState {
    /// Returns the state as it is stored and shown.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Sending => "sending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }

    fn from_stored(text: &str) -> Self {
        let all = [Self::Pending, Self::Sending, Self::Delivered, Self::Failed];
        all.into_iter().find(|state| state.as_str() == text).unwrap_or(Self::Skipped)
    }
}

/// A message for an endpoint, and what became of it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct WebhookDelivery {
    /// The id of the delivery.
    #[schema(value_type = String, format = Uuid)]
    pub(crate) id: WebhookDeliveryId,
    /// The endpoint.
    #[schema(value_type = String, format = Uuid)]
    pub(crate) endpoint_id: WebhookEndpointId,
    /// The id of the message, as in the header `webhook-id`.
    pub(crate) webhook_id: String,
    /// The type of the event.
    pub(crate) r#type: String,
    /// The state.
    pub(crate) state: DeliveryState,
    /// The number of attempts since the delivery was created or last retried.
    pub(crate) attempt_count: u32,
    /// The time at which the next attempt is due; `null` if there is none.
    #[schema(required)]
    pub(crate) next_at: Option<Timestamp>,
    /// The status of the last response; `null` if there was none.
    #[schema(required)]
    pub(crate) status_code: Option<u16>,
    /// The error of the last attempt; `null` if there was none.
    #[schema(required)]
    pub(crate) error: Option<String>,
    /// The time at which the delivery was created.
    pub(crate) created_at: Timestamp,
    /// The time at which the delivery was delivered, failed or skipped; `null` before.
    #[schema(required)]
    pub(crate) finished_at: Option<Timestamp>,
}

impl From<DeliveryRow> for WebhookDelivery {
    fn from(row: DeliveryRow) -> Self {
        Self {
            id: row.id,
            endpoint_id: row.endpoint_id,
            webhook_id: webhook_id(row.message_id.uuid()),
            r#type: row.kind,
            state: DeliveryState::from_stored(&row.state),
            attempt_count: u32::try_from(row.attempts).unwrap_or(u32::MAX),
            next_at: row.next_at,
            status_code: status_code(row.status_code),
            error: row.error,
            created_at: row.created_at,
            finished_at: row.finished_at,
        }
    }
}

/// An attempt to send a delivery.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct WebhookAttempt {
    /// The time at which the attempt began.
    pub(crate) at: Timestamp,
    /// The duration, in milliseconds.
    pub(crate) duration_ms: f64,
    /// The status of the response; `null` if there was none.
    #[schema(required)]
    pub(crate) status_code: Option<u16>,
    /// The reason why the attempt failed without a complete response; `null` if there was one.
    #[schema(required)]
    pub(crate) error: Option<String>,
    /// The first 16 KiB of the response's body; `null` if there was no body.
    #[schema(required)]
    pub(crate) response: Option<String>,
}

impl From<AttemptRow> for WebhookAttempt {
    fn from(row: AttemptRow) -> Self {
        let AttemptRow { at, duration_ms, error, response, .. } = row;
        Self { at, duration_ms, status_code: status_code(row.status_code), error, response }
    }
}

/// A delivery with its message and its attempts.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct WebhookDeliveryDetails {
    #[serde(flatten)]
    pub(crate) delivery: WebhookDelivery,
    /// The body of the requests.
    #[schema(value_type = Object)]
    pub(crate) payload: Value,
    /// The newest 100 attempts, the oldest of them first.
    pub(crate) attempts: Vec<WebhookAttempt>,
}

/// An event that was published, with the number of its deliveries.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct WebhookMessageSummary {
    /// The id of the message, as in the header `webhook-id`.
    pub(crate) webhook_id: String,
    /// The type of the event.
    pub(crate) r#type: String,
    /// The time at which the event was published.
    pub(crate) created_at: Timestamp,
    /// The number of endpoints that receive the event.
    pub(crate) deliveries: u64,
    /// The number of those to which it was delivered.
    pub(crate) delivered: u64,
    /// The number of those whose attempts are used up.
    pub(crate) failed: u64,
    /// The number of those that were disabled.
    pub(crate) skipped: u64,
}

impl From<MessageRow> for WebhookMessageSummary {
    fn from(row: MessageRow) -> Self {
        let MessageRow { id, kind, created_at, deliveries, delivered, failed, skipped } = row;
        Self {
            webhook_id: webhook_id(id.uuid()),
            r#type: kind,
            created_at,
            deliveries: deliveries.unsigned_abs(),
            delivered: delivered.unsigned_abs(),
            failed: failed.unsigned_abs(),
            skipped: skipped.unsigned_abs(),
        }
    }
}

fn status_code(stored: Option<i64>) -> Option<u16> {
    stored.and_then(|code| u16::try_from(code).ok())
}
