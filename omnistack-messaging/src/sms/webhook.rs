//! The webhook route for Twilio's delivery reports and opt-outs.

use axum::{
    body::Bytes,
    extract::{OriginalUri, State},
};
use http::{HeaderMap, StatusCode};
use reqwest::Url;
use secrecy::SecretString;
use utoipa_axum::routes;

use super::{PhoneNumber, SmsChannel, SmsSuppressions, signature::is_signed};
use crate::{
    outbox::{DeliveryReport, MessageId, MessageState, MessageStore},
    suppression::SuppressionReason,
};
use omnistack_core::{
    http::{Error, ErrorEnvelope},
    module::Api,
};

/// State of the webhook route.
#[derive(Clone, Debug)]
pub(super) struct TwilioWebhookState {
    pub(super) token: SecretString,
    /// The webhook's URL as Twilio uses it.
    pub(super) url: Url,
    pub(super) store: MessageStore<SmsChannel>,
    pub(super) suppressions: SmsSuppressions,
}

pub(super) fn routes() -> Api<TwilioWebhookState> {
    Api::new().routes(routes!(twilio))
}

/// Receive an event of Twilio
///
/// An event is a delivery report of a message, or a reply STOP or START of a number's owner.
#[utoipa::path(post, path = "/twilio", operation_id = "receive_twilio_events", request_body = String, responses(
    (status = 204, description = "The event was processed, or ignored if it changes nothing."),
    (status = 401, body = ErrorEnvelope, description = "The signature is missing or wrong."),
))]
async fn twilio(
    State(webhook): State<TwilioWebhookState>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, Error> {
    let parameters: Vec<(String, String)> = form_urlencoded::parse(&body).into_owned().collect();
    let given = headers.get("x-twilio-signature").and_then(|value| value.to_str().ok());
    let is_theirs = given.is_some_and(|given| is_signed(&webhook.token, &webhook.url, uri.query(), &parameters, given));
    if !is_theirs {
        return Err(Error::unauthorized("the signature is missing or wrong"));
    }
    let value = |name: &str| {
        let found = parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        found.filter(|value| !value.is_empty() && !value.contains('\0'))
    };
    let mut tx = webhook.store.all_tenants().begin().await?;
    if let (Some(wish), Some(from)) = (value("OptOutType"), number(value("From"))) {
        match wish {
            "STOP" => {
                _ = webhook.suppressions.add_in(&mut tx, &from, SuppressionReason::OptOut, Some("STOP")).await?;
            }
            "START" => _ = webhook.suppressions.remove_in(&mut tx, &from).await?,
            _ => {}
        }
    }
    let message = uri.query().and_then(message_id_from_query);
    if let (Some(sid), Some(state)) = (value("MessageSid"), value("MessageStatus").and_then(state)) {
        let code = value("ErrorCode").filter(|code| *code != "0" && code.len() <= 10);
        let told = DeliveryReport {
            message,
            provider: "twilio",
            provider_id: sid.chars().take(64).collect(),
            state,
            reason: code.map(|code| format!("Twilio error code {code}")),
        };
        let known = webhook.store.apply_report_in(&mut tx, &told).await?;
        if code == Some("21610") {
            let to = match message {
                Some(id) => webhook.store.recipient_in(&mut tx, id).await?,
                None => number(value("To")),
            };
            if let Some(to) = to {
                webhook.suppressions.add_in(&mut tx, &to, SuppressionReason::OptOut, told.reason.as_deref()).await?;
            }
        }
        tracing::debug!(target: "omnistack::sms", %state, known, "Twilio sent a delivery report");
    }
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

fn number(text: Option<&str>) -> Option<PhoneNumber> {
    text?.parse().ok()
}

/// Returns the outbox's id of the message, which is in the query of the URL given to Twilio.
fn message_id_from_query(query: &str) -> Option<MessageId> {
    let found = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "message");
    found.and_then(|(_, id)| id.parse().ok())
}

/// Maps Twilio's status of a message to a state. Returns `None` for a status that is not known.
fn state(status: &str) -> Option<MessageState> {
    match status {
        "accepted" | "scheduled" | "queued" | "sending" | "sent" => Some(MessageState::Sent),
        "delivered" | "read" => Some(MessageState::Delivered),
        "undelivered" | "failed" | "canceled" => Some(MessageState::Undelivered),
        _ => None,
    }
}
