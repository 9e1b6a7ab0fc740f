//! Where providers tell of bounces and complaints.

use std::sync::Arc;

use axum::{body::Bytes, extract::State};
use http::{HeaderMap, StatusCode};
use utoipa_axum::routes;

use super::{Suppressions, event, signature};
use crate::{
    app::Api,
    clock::Clock,
    crypto::HmacKey,
    http::{Error, ErrorEnvelope},
};

/// Who may tell, and how that is known.
#[derive(Clone, Debug, Default)]
pub(in crate::email) struct Keys {
    resend: Option<HmacKey>,
    sendgrid: Option<Arc<[u8]>>,
}

impl Keys {
    /// With Resend's signing secret.
    pub(in crate::email) fn resend(mut self, secret: &str) -> Option<Self> {
        self.resend = Some(signature::standard_secret(secret)?);
        Some(self)
    }

    /// With SendGrid's verification key.
    pub(in crate::email) fn sendgrid(mut self, key: &str) -> Option<Self> {
        self.sendgrid = Some(signature::sendgrid_key(key)?.into());
        Some(self)
    }
}

/// What the handlers need.
#[derive(Clone, Debug)]
pub(in crate::email) struct Webhooks {
    pub(in crate::email) keys: Keys,
    pub(in crate::email) suppressions: Suppressions,
    pub(in crate::email) clock: Clock,
}

/// The routes of those providers whose keys are known.
pub(in crate::email) fn routes(keys: &Keys) -> Option<Api<Webhooks>> {
    let mut api = Api::new();
    if keys.resend.is_some() {
        api = api.routes(routes!(resend));
    }
    if keys.sendgrid.is_some() {
        api = api.routes(routes!(sendgrid));
    }
    (keys.resend.is_some() || keys.sendgrid.is_some()).then_some(api)
}

fn not_theirs() -> Error {
    Error::unauthorized("the signature is missing, wrong or too old")
}

fn unreadable(error: serde_json::Error) -> Error {
    Error::bad_request("UNREADABLE_EVENT", "the events can't be read").cause(error)
}

/// Takes what Resend tells of a mail.
#[utoipa::path(post, path = "/resend", operation_id = "receive_resend_events", request_body = String, responses(
    (status = 204, description = "It was heeded, or says nothing about an address."),
    (status = 401, body = ErrorEnvelope, description = "The signature is missing, wrong or too old."),
))]
async fn resend(State(webhooks): State<Webhooks>, headers: HeaderMap, body: Bytes) -> Result<StatusCode, Error> {
    let key = webhooks.keys.resend.as_ref().ok_or_else(not_theirs)?;
    let id = signature::standard(key, &headers, &body, webhooks.clock.now()).ok_or_else(not_theirs)?;
    let event = event::resend(id, &body).map_err(unreadable)?;
    heed(&webhooks.suppressions, "resend", event.as_slice()).await
}

/// Takes what SendGrid tells of mails.
#[utoipa::path(post, path = "/sendgrid", operation_id = "receive_sendgrid_events", request_body = String, responses(
    (status = 204, description = "They were heeded, as far as they say something about an address."),
    (status = 401, body = ErrorEnvelope, description = "The signature is missing, wrong or too old."),
))]
async fn sendgrid(State(webhooks): State<Webhooks>, headers: HeaderMap, body: Bytes) -> Result<StatusCode, Error> {
    let key = webhooks.keys.sendgrid.as_ref().ok_or_else(not_theirs)?;
    if !signature::sendgrid(key, &headers, &body, webhooks.clock.now()) {
        return Err(not_theirs());
    }
    let events = event::sendgrid(&body).map_err(unreadable)?;
    heed(&webhooks.suppressions, "sendgrid", &events).await
}

async fn heed(
    suppressions: &Suppressions,
    provider: &'static str,
    events: &[event::Event],
) -> Result<StatusCode, Error> {
    if !events.is_empty() {
        let added = suppressions.heed(provider, events).await?;
        tracing::info!(target: "omnistack::email", provider, added, "addresses no mail is sent to any more");
    }
    Ok(StatusCode::NO_CONTENT)
}
