//! Webhooks of Twilio about delivery reports and opt-outs: how they are verified and described, and what they change.

use async_trait::async_trait;
use axum::extract::State;
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use reqwest::Url;
use secrecy::SecretString;
use utoipa_axum::routes;

use super::{
    PhoneNumber, SmsChannel, SmsSuppressions,
    signature::{is_signed, twilio_signature},
    twilio_event::TwilioEvent,
};
use crate::{
    outbox::{DeliveryReport, MessageId, MessageState, MessageStore},
    suppression::SuppressionReason,
};
use omnistack_core::{
    crypto::Sha256,
    http::{Error, ErrorEnvelope},
    jobs::JobError,
    module::{Api, Mount, Registry},
    webhook::{
        InboundWebhook, IncomingWebhook, SourceEvent, WebhookHandler, WebhookInbox, WebhookOutcome, WebhookRejection,
        WebhookRequest, WebhookSource, WebhookTx,
    },
};

/// The name of Twilio as a source of webhooks, and as the provider of messages.
const TWILIO: &str = "twilio";

/// Largest webhook body, in bytes. Twilio sends a few KiB.
const MAX_WEBHOOK_BODY_BYTES: u64 = 64 * 1024;

/// Largest length of an id of Twilio, in bytes. Its ids have 34.
const MAX_SID_BYTES: usize = 64;

/// Registers Twilio as a source, the handler of its webhooks and their route.
pub(super) fn register(registry: &mut Registry, source: TwilioSource, handler: TwilioHandler) {
    let mount = Mount::public("/sms/webhooks").body_limit(MAX_WEBHOOK_BODY_BYTES);
    let mount = mount.without_idempotency().without_rate_limit();
    let api = Api::new().routes(routes!(twilio));
    registry.webhook_source(TWILIO, |_| Ok(source)).webhook_handler(TWILIO, "*", |_| Ok(handler)).routes(
        mount,
        api,
        |ctx| ctx.get::<WebhookInbox>(),
    );
}

/// Receive an event of Twilio
///
/// An event is a delivery report of a message, or a reply STOP or START of a number's owner.
#[utoipa::path(post, path = "/twilio", operation_id = "receive_twilio_events", request_body = String, responses(
    (status = 204, description = "The event was accepted. An event that changes nothing is ignored."),
    (status = 400, body = ErrorEnvelope, description = "The signature is missing or wrong."),
))]
async fn twilio(State(inbox): State<WebhookInbox>, request: IncomingWebhook) -> Result<StatusCode, Error> {
    inbox.receive(TWILIO, None, request).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Twilio, which signs the URL and the parameters of a form. Of a JSON body it signs the hash, in the URL.
pub(super) struct TwilioSource {
    pub(super) token: SecretString,
    /// The webhook's URL as Twilio uses it. It differs from that of the request if a proxy changes paths.
    pub(super) url: Url,
}

#[async_trait]
impl WebhookSource for TwilioSource {
    async fn verify(&self, request: &WebhookRequest<'_>) -> Result<(), WebhookRejection> {
        let missing = WebhookRejection::Unverified("the header X-Twilio-Signature is missing");
        let given = request.header("x-twilio-signature").ok_or(missing)?;
        let query = request.url.split_once('?').map(|(_, query)| format!("?{query}"));
        let configured = format!("{}{}", self.url, query.unwrap_or_default());
        let mut urls = vec![configured, request.url.to_owned()];
        urls.dedup();
        let event = TwilioEvent::read(request.url, request.body);
        let signed = is_signed(&self.token, &urls, event.signed_parameters(), given);
        signed.then_some(()).ok_or(WebhookRejection::Unverified("no signature matches"))
    }

    fn describe(&self, request: &WebhookRequest<'_>) -> Result<SourceEvent, WebhookRejection> {
        let event = TwilioEvent::read(request.url, request.body);
        let sid = event.sid().filter(|sid| sid.len() <= MAX_SID_BYTES);
        let kind = event.kind();
        let status = kind.rsplit('.').next().unwrap_or_default();
        // Twilio's header `I-Twilio-Idempotency-Token` is not signed, so that a repeated request could have another one.
        let id = sid.map_or_else(|| Sha256::digest(request.body).to_string(), |sid| format!("{sid}:{status}"));
        Ok(SourceEvent::new(id, kind).object(sid))
    }

    fn sign(&self, request: &WebhookRequest<'_>) -> Option<HeaderMap> {
        let event = TwilioEvent::read(request.url, request.body);
        let signature = twilio_signature(&self.token, request.url, event.signed_parameters())?;
        let header = (HeaderName::from_static("x-twilio-signature"), HeaderValue::try_from(signature).ok()?);
        Some(HeaderMap::from_iter([header]))
    }
}

/// Verifies a request, describes it, and reads what it reports, for fuzz targets.
///
/// # Panics
/// Panics if the description is not valid.
pub(crate) fn parse_webhooks(request: &WebhookRequest<'_>) {
    let Ok(url) = Url::parse(request.url) else { return };
    let source = TwilioSource { token: "token".into(), url };
    _ = source.verify(request).now_or_never();
    _ = source.sign(request);
    if let Ok(event) = source.describe(request) {
        assert!(event.validate().is_ok(), "{event:?}");
    }
    let event = TwilioEvent::read(request.url, request.body);
    _ = delivery_report(&event, message_id_from_query(request.url));
    _ = number(event.value("From"));
}

/// The handler that applies delivery reports and opt-outs.
pub(super) struct TwilioHandler {
    pub(super) store: MessageStore<SmsChannel>,
    pub(super) suppressions: SmsSuppressions,
}

#[async_trait]
impl WebhookHandler for TwilioHandler {
    async fn handle(&self, webhook: &InboundWebhook, _: &mut WebhookTx<'_>) -> Result<WebhookOutcome, JobError> {
        let event = TwilioEvent::read(&webhook.url, &webhook.body);
        let wish = event.value("OptOutType").filter(|wish| ["START", "STOP"].contains(wish));
        let wish = wish.zip(number(event.value("From")));
        let report = delivery_report(&event, message_id_from_query(&webhook.url));
        if wish.is_none() && report.is_none() {
            return Ok(WebhookOutcome::Ignored);
        }
        // A report may be about a message of any tenant, which the webhook's transaction does not see.
        let mut tx = self.store.all_tenants().begin().await?;
        match wish {
            Some(("STOP", from)) => {
                _ = self.suppressions.add_in(&mut tx, &from, SuppressionReason::OptOut, Some("STOP")).await?;
            }
            Some((_, from)) => _ = self.suppressions.remove_in(&mut tx, &from).await?,
            None => {}
        }
        if let Some(told) = report {
            let known = self.store.apply_report_in(&mut tx, &told).await?;
            if event.value("ErrorCode") == Some("21610") {
                let to = match told.message {
                    Some(id) => self.store.recipient_in(&mut tx, id).await?,
                    None => number(event.value("To")),
                };
                if let Some(to) = to {
                    let reason = told.reason.as_deref();
                    self.suppressions.add_in(&mut tx, &to, SuppressionReason::OptOut, reason).await?;
                }
            }
            tracing::debug!(target: "omnistack::sms", state = %told.state, known, "Twilio sent a delivery report");
        }
        tx.commit().await?;
        Ok(WebhookOutcome::Processed)
    }
}

/// Returns the delivery report in an event about the message with the outbox's id `message`.
fn delivery_report(event: &TwilioEvent, message: Option<MessageId>) -> Option<DeliveryReport> {
    let state = event.value("MessageStatus").and_then(state)?;
    let code = event.value("ErrorCode").filter(|code| *code != "0" && code.len() <= 10);
    Some(DeliveryReport {
        message,
        provider: TWILIO,
        provider_id: event.value("MessageSid")?.chars().take(MAX_SID_BYTES).collect(),
        state,
        reason: code.map(|code| format!("Twilio error code {code}")),
    })
}

fn number(text: Option<&str>) -> Option<PhoneNumber> {
    text?.parse().ok()
}

/// Returns the outbox's id of the message, which is in the query of the URL given to Twilio.
fn message_id_from_query(url: &str) -> Option<MessageId> {
    let (_, query) = url.split_once('?')?;
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
