//! Webhook routes for the providers' events about bounces and complaints.

use std::sync::Arc;

use axum::{body::Bytes, extract::State};
use http::{HeaderMap, StatusCode};
use utoipa_axum::routes;

use super::{Suppressions, event, signature};
use omnistack_core::{
    clock::Clock,
    crypto::HmacKey,
    db::Db,
    http::{Error, ErrorEnvelope},
    module::Api,
};

/// The keys with which providers sign webhooks.
#[derive(Clone, Debug, Default)]
pub(in crate::email) struct WebhookKeys {
    resend: Option<HmacKey>,
    sendgrid: Option<Arc<[u8]>>,
}

impl WebhookKeys {
    /// Adds Resend's signing secret. Returns `None` if it is not valid.
    pub(in crate::email) fn resend(mut self, secret: &str) -> Option<Self> {
        self.resend = Some(signature::standard_secret(secret)?);
        Some(self)
    }

    /// Adds SendGrid's verification key. Returns `None` if it is not valid.
    pub(in crate::email) fn sendgrid(mut self, key: &str) -> Option<Self> {
        self.sendgrid = Some(signature::sendgrid_key(key)?.into());
        Some(self)
    }
}

/// State of the webhook routes.
#[derive(Clone, Debug)]
pub(in crate::email) struct WebhookState {
    pub(in crate::email) keys: WebhookKeys,
    pub(in crate::email) db: Db,
    pub(in crate::email) clock: Clock,
    pub(in crate::email) suppressions: Suppressions,
}

/// Returns the routes of the providers whose keys are set. Returns `None` if there are none.
pub(in crate::email) fn routes(keys: &WebhookKeys) -> Option<Api<WebhookState>> {
    let mut api = Api::new();
    if keys.resend.is_some() {
        api = api.routes(routes!(resend));
    }
    if keys.sendgrid.is_some() {
        api = api.routes(routes!(sendgrid));
    }
    (keys.resend.is_some() || keys.sendgrid.is_some()).then_some(api)
}

fn invalid_signature() -> Error {
    Error::unauthorized("the signature is missing, wrong or too old")
}

fn malformed_event(error: serde_json::Error) -> Error {
    Error::bad_request("EVENT_MALFORMED", "the body is not a valid event of this provider").with_source(error)
}

/// Receive an event of Resend
///
/// A permanent bounce or a complaint suppresses the address of the recipient.
#[utoipa::path(post, path = "/resend", operation_id = "receive_resend_events", request_body = String, responses(
    (status = 204, description = "The event was processed. Events that suppress no address are ignored."),
    (status = 401, body = ErrorEnvelope, description = "The signature is missing, wrong or too old."),
))]
async fn resend(State(webhooks): State<WebhookState>, headers: HeaderMap, body: Bytes) -> Result<StatusCode, Error> {
    let key = webhooks.keys.resend.as_ref().ok_or_else(invalid_signature)?;
    let id = signature::standard(key, &headers, &body, webhooks.clock.now()).ok_or_else(invalid_signature)?;
    let event = event::resend(id, &body).map_err(malformed_event)?;
    apply_events(&webhooks, "resend", event.as_slice()).await
}

/// Receive events of SendGrid
///
/// Permanent bounces and complaints suppress the addresses of the recipients.
#[utoipa::path(post, path = "/sendgrid", operation_id = "receive_sendgrid_events", request_body = String, responses(
    (status = 204, description = "The events were processed. Events that suppress no address are ignored."),
    (status = 401, body = ErrorEnvelope, description = "The signature is missing, wrong or too old."),
))]
async fn sendgrid(State(webhooks): State<WebhookState>, headers: HeaderMap, body: Bytes) -> Result<StatusCode, Error> {
    let key = webhooks.keys.sendgrid.as_ref().ok_or_else(invalid_signature)?;
    if !signature::sendgrid(key, &headers, &body, webhooks.clock.now()) {
        return Err(invalid_signature());
    }
    let events = event::sendgrid(&body).map_err(malformed_event)?;
    apply_events(&webhooks, "sendgrid", &events).await
}

async fn apply_events(
    webhooks: &WebhookState,
    provider: &'static str,
    events: &[event::SuppressionEvent],
) -> Result<StatusCode, Error> {
    if !events.is_empty() {
        let WebhookState { db, clock, suppressions, .. } = webhooks;
        let added = super::apply_events(db, clock, suppressions, provider, events).await?;
        tracing::info!(target: "omnistack::email", provider, added, "addresses were suppressed");
    }
    Ok(StatusCode::NO_CONTENT)
}
