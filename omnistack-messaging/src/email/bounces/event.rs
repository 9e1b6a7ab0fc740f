//! Webhook events of the providers, and which of them suppress an address.

use serde::Deserialize;

use crate::{email::Address, suppression::SuppressionReason};
use omnistack_core::webhook::InboundWebhook;

/// An event that suppresses an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SuppressionEvent {
    /// The provider's id of the event, unique at that provider.
    pub(super) id: String,
    pub(super) address: Address,
    pub(super) reason: SuppressionReason,
    pub(super) detail: Option<String>,
}

#[derive(Deserialize)]
struct ResendEvent {
    data: ResendData,
}

#[derive(Deserialize)]
struct ResendData {
    #[serde(default)]
    to: Vec<String>,
    bounce: Option<ResendBounce>,
}

#[derive(Deserialize)]
struct ResendBounce {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(rename = "subType", default)]
    sub_type: String,
    #[serde(default)]
    message: String,
}

/// Parses an event of Resend. Only `email.bounced` with a permanent bounce and `email.complained` suppress an
/// address; for other events it returns nothing. An event names all recipients of its mail; if there is more than
/// one, it is unknown which of them it concerns, and it returns nothing too.
pub(super) fn resend(webhook: &InboundWebhook) -> Result<Vec<SuppressionEvent>, serde_json::Error> {
    let (id, kind) = (webhook.event.id.as_str(), webhook.event.kind.as_str());
    if !["email.bounced", "email.complained"].contains(&kind) {
        return Ok(Vec::new());
    }
    let ResendEvent { data } = serde_json::from_slice(&webhook.body)?;
    let (reason, detail) = match (kind, data.bounce) {
        ("email.bounced", Some(bounce)) if bounce.kind.eq_ignore_ascii_case("permanent") => {
            (SuppressionReason::Bounce, Some(format!("{}: {}", bounce.sub_type, bounce.message)))
        }
        ("email.complained", _) => (SuppressionReason::Complaint, None),
        _ => return Ok(Vec::new()),
    };
    let [address] = data.to.as_slice() else {
        tracing::warn!(target: "omnistack::email", event = id, recipients = data.to.len(), "a bounce or complaint names several recipients and is ignored");
        return Ok(Vec::new());
    };
    let address: Option<Address> = address.parse().ok();
    let event = address.map(|address| SuppressionEvent { id: id.into(), address, reason, detail });
    Ok(event.into_iter().collect())
}

#[derive(Deserialize)]
struct SendGridEvent {
    event: String,
    #[serde(default)]
    email: String,
    #[serde(default)]
    sg_event_id: String,
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    reason: String,
}

/// Parses a batch of events of SendGrid. Only `bounce` of type `bounce` (not `blocked`, which is temporary) with a
/// permanent status (RFC 3463), and `spamreport`, suppress an address; other events are left out.
pub(super) fn sendgrid(webhook: &InboundWebhook) -> Result<Vec<SuppressionEvent>, serde_json::Error> {
    let events: Vec<SendGridEvent> = serde_json::from_slice(&webhook.body)?;
    let heeded = events.into_iter().filter_map(|event| {
        let reason = match event.event.as_str() {
            "bounce" if event.kind != "blocked" && !event.status.starts_with('4') => SuppressionReason::Bounce,
            "spamreport" => SuppressionReason::Complaint,
            _ => return None,
        };
        let address = event.email.parse().ok().filter(|_| !event.sg_event_id.is_empty())?;
        let detail = (!event.reason.is_empty()).then_some(event.reason);
        Some(SuppressionEvent { id: event.sg_event_id, address, reason, detail })
    });
    Ok(heeded.collect())
}
