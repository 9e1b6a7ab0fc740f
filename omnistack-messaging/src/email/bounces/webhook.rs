//! Webhooks of the providers about bounces and complaints: how they are verified and described, and what they change.

use std::sync::Arc;

use async_trait::async_trait;
use axum::extract::State;
use futures_util::FutureExt as _;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;
use utoipa_axum::routes;

use super::{
    Suppressions,
    event::{self, SuppressionEvent},
    signature,
};
use omnistack_core::{
    clock::Clock,
    crypto::Sha256,
    http::{Error, ErrorEnvelope},
    jobs::JobError,
    module::{Api, Mount, Registry},
    webhook::{
        InboundWebhook, IncomingWebhook, SourceEvent, StandardHeaders, StandardSecret, WebhookHandler, WebhookInbox,
        WebhookOutcome, WebhookRejection, WebhookRequest, WebhookSource, WebhookTx,
    },
};

/// The name of Resend as a source of webhooks, and in `omni_email_events`.
const RESEND: &str = "resend";
/// The name of SendGrid as a source of webhooks, and in `omni_email_events`.
const SENDGRID: &str = "sendgrid";

/// Largest webhook body, in bytes: SendGrid sends batches of events up to this size, and Resend sends single
/// events.
const MAX_WEBHOOK_BODY_BYTES: u64 = 1024 * 1024;

/// A function that reads the events that suppress an address.
type ReadEvents = fn(&InboundWebhook) -> Result<Vec<SuppressionEvent>, serde_json::Error>;

/// The keys with which providers sign webhooks.
#[derive(Clone, Debug, Default)]
pub(in crate::email) struct WebhookKeys {
    resend: Option<StandardSecret>,
    sendgrid: Option<Arc<[u8]>>,
}

impl WebhookKeys {
    /// Adds Resend's signing secret. Returns `None` if it is not valid.
    pub(in crate::email) fn resend(mut self, secret: &str) -> Option<Self> {
        self.resend = Some(StandardSecret::parse(secret).ok()?);
        Some(self)
    }

    /// Adds SendGrid's verification key. Returns `None` if it is not valid.
    pub(in crate::email) fn sendgrid(mut self, key: &str) -> Option<Self> {
        self.sendgrid = Some(signature::sendgrid_key(key)?.into());
        Some(self)
    }
}

/// Registers the sources, handlers and routes of the providers whose keys are set.
pub(in crate::email) fn register(registry: &mut Registry, keys: WebhookKeys, suppressions: &Suppressions) {
    let mut api = Api::new();
    let clock = registry.clock();
    let handler = |provider, read: ReadEvents| SuppressionHandler {
        provider,
        read,
        clock: clock.clone(),
        suppressions: suppressions.clone(),
    };
    let has_keys = keys.resend.is_some() || keys.sendgrid.is_some();
    if let Some(secret) = keys.resend {
        let handler = handler(RESEND, event::resend);
        registry.webhook_source(RESEND, |_| Ok(ResendSource(secret))).webhook_handler(RESEND, "*", |_| Ok(handler));
        api = api.routes(routes!(resend));
    }
    if let Some(key) = keys.sendgrid {
        let handler = handler(SENDGRID, event::sendgrid);
        registry.webhook_source(SENDGRID, |_| Ok(SendGridSource(key))).webhook_handler(SENDGRID, "*", |_| Ok(handler));
        api = api.routes(routes!(sendgrid));
    }
    if has_keys {
        let mount = Mount::public("/email/webhooks").body_limit(MAX_WEBHOOK_BODY_BYTES);
        let mount = mount.without_idempotency().without_rate_limit();
        registry.routes(mount, api, |ctx| ctx.get::<WebhookInbox>());
    }
}

/// Receive an event of Resend
///
/// A permanent bounce or a complaint suppresses the address of the recipient.
#[utoipa::path(post, path = "/resend", operation_id = "receive_resend_events", request_body = String, responses(
    (status = 204, description = "The event was accepted. Events that suppress no address are ignored."),
    (status = 400, body = ErrorEnvelope, description = "The signature is missing, wrong or too old."),
    (status = 422, body = ErrorEnvelope, description = "The body is not an event."),
))]
async fn resend(State(inbox): State<WebhookInbox>, request: IncomingWebhook) -> Result<StatusCode, Error> {
    inbox.receive(RESEND, None, request).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Receive events of SendGrid
///
/// Permanent bounces and complaints suppress the addresses of the recipients.
#[utoipa::path(post, path = "/sendgrid", operation_id = "receive_sendgrid_events", request_body = String, responses(
    (status = 204, description = "The events were accepted. Events that suppress no address are ignored."),
    (status = 400, body = ErrorEnvelope, description = "The signature is missing, wrong or too old."),
    (status = 422, body = ErrorEnvelope, description = "The body is not a list of events."),
))]
async fn sendgrid(State(inbox): State<WebhookInbox>, request: IncomingWebhook) -> Result<StatusCode, Error> {
    inbox.receive(SENDGRID, None, request).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Resend, which signs as Standard Webhooks specifies.
struct ResendSource(StandardSecret);

/// The parts of an event of Resend that describe it.
#[derive(Deserialize)]
struct ResendEnvelope {
    r#type: String,
    #[serde(default)]
    created_at: Value,
    #[serde(default)]
    data: Value,
}

#[async_trait]
impl WebhookSource for ResendSource {
    async fn verify(&self, request: &WebhookRequest<'_>) -> Result<(), WebhookRejection> {
        StandardHeaders::read(request.headers)?.verify(std::slice::from_ref(&self.0), request.body, request.now)
    }

    fn describe(&self, request: &WebhookRequest<'_>) -> Result<SourceEvent, WebhookRejection> {
        let id = StandardHeaders::read(request.headers)?.id;
        let ResendEnvelope { r#type, created_at, data } = request.json()?;
        // The mail of `email.…` events. Other events have an id of their own object.
        let object = ["email_id", "id"].into_iter().find_map(|name| data.get(name)?.as_str());
        let occurred_at = created_at.as_str().and_then(|time| time.parse().ok());
        Ok(SourceEvent::new(id, r#type).object(object).occurred_at(occurred_at))
    }

    fn sign(&self, request: &WebhookRequest<'_>) -> Option<HeaderMap> {
        self.0.sign_request(request)
    }
}

/// SendGrid. One request is a batch of events, which have ids of their own.
struct SendGridSource(Arc<[u8]>);

#[async_trait]
impl WebhookSource for SendGridSource {
    async fn verify(&self, request: &WebhookRequest<'_>) -> Result<(), WebhookRejection> {
        signature::verify_sendgrid(&self.0, request)
    }

    fn describe(&self, request: &WebhookRequest<'_>) -> Result<SourceEvent, WebhookRejection> {
        request.json::<Vec<IgnoredAny>>()?;
        Ok(SourceEvent::new(Sha256::digest(request.body).to_string(), "batch"))
    }
}

/// Verifies a request with a key of each provider, describes it, and reads the events, for fuzz targets.
pub(crate) fn parse_webhooks(key: &str, request: &WebhookRequest<'_>) {
    let parse = |source: &dyn WebhookSource, read: ReadEvents| {
        _ = source.verify(request).now_or_never();
        if let Ok(event) = source.describe(request) {
            _ = read(&InboundWebhook::new("fuzz", event, None, request));
        }
    };
    if let Ok(secret) = StandardSecret::parse(key) {
        parse(&ResendSource(secret), event::resend);
    }
    let key = signature::sendgrid_key(key).unwrap_or_default();
    parse(&SendGridSource(key.into()), event::sendgrid);
}

/// The handler that puts addresses on the suppression list.
struct SuppressionHandler {
    provider: &'static str,
    read: ReadEvents,
    clock: Clock,
    suppressions: Suppressions,
}

#[async_trait]
impl WebhookHandler for SuppressionHandler {
    async fn handle(&self, webhook: &InboundWebhook, tx: &mut WebhookTx<'_>) -> Result<WebhookOutcome, JobError> {
        let events = (self.read)(webhook).map_err(JobError::fatal)?;
        if events.is_empty() {
            return Ok(WebhookOutcome::Ignored);
        }
        let provider = self.provider;
        let added = super::apply_events_in(tx.get().await?, &self.clock, &self.suppressions, provider, &events).await?;
        tracing::info!(target: "omnistack::email", provider, added, "addresses were suppressed");
        Ok(WebhookOutcome::Processed)
    }
}
