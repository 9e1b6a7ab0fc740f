//! A received webhook: as it is stored, and as tenants and operators see it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use omnistack_core::{
    clock::Timestamp,
    identity::TenantId,
    webhook::{DataEnvironment, InboundWebhook, SourceEvent, WebhookId, WebhookRequest, WebhookStatus},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::headers::{self, WebhookHeader};

/// The columns of [`InboxRow`].
pub(super) const ROW_COLUMNS: &str = "id, source, environment, event_id, kind, tenant_id, object, occurred_at, \
    received_at, status, attempts, duplicates, last_duplicate_at, replays, error, processed_at, processing_ms";

/// A row of the inbox without what was sent.
#[derive(Clone, Debug, omnistack_core::db::FromRow)]
pub(super) struct InboxRow {
    pub(super) id: WebhookId,
    pub(super) source: String,
    pub(super) environment: String,
    pub(super) event_id: String,
    pub(super) kind: String,
    pub(super) tenant_id: Option<TenantId>,
    pub(super) object: Option<String>,
    pub(super) occurred_at: Option<Timestamp>,
    pub(super) received_at: Timestamp,
    pub(super) status: String,
    pub(super) attempts: i64,
    pub(super) duplicates: i64,
    pub(super) last_duplicate_at: Option<Timestamp>,
    pub(super) replays: i64,
    pub(super) error: Option<String>,
    pub(super) processed_at: Option<Timestamp>,
    pub(super) processing_ms: Option<f64>,
}

impl InboxRow {
    /// Returns the status. One that a later release has written counts as failed.
    pub(super) fn status(&self) -> WebhookStatus {
        use WebhookStatus::{Failed, Ignored, Processed, Received};
        let known = [Received, Processed, Ignored, Failed];
        known.into_iter().find(|status| status.as_str() == self.status).unwrap_or(Failed)
    }

    /// Returns the environment. One that a later release has written counts as a test.
    pub(super) fn environment(&self) -> DataEnvironment {
        if self.environment == DataEnvironment::Live.as_str() { DataEnvironment::Live } else { DataEnvironment::Test }
    }

    /// Returns what the event is about: its object, or else the event itself.
    pub(super) fn subject(&self) -> &str {
        self.object.as_deref().unwrap_or(&self.event_id)
    }
}

/// The content that a provider has sent: the other columns of a row.
#[derive(Debug, omnistack_core::db::FromRow)]
pub(super) struct InboxContent {
    pub(super) url: String,
    pub(super) headers: String,
    pub(super) body: Vec<u8>,
}

/// A row of the inbox with what was sent.
#[derive(Debug, omnistack_core::db::FromRow)]
pub(super) struct StoredWebhook {
    #[sqlx(flatten)]
    pub(super) row: InboxRow,
    #[sqlx(flatten)]
    pub(super) content: InboxContent,
}

impl StoredWebhook {
    /// Returns the webhook as it was received.
    pub(super) fn to_inbound(&self) -> InboundWebhook {
        let Self { row, content } = self;
        let event = SourceEvent::new(row.event_id.clone(), row.kind.clone())
            .occurred_at(row.occurred_at)
            .environment(row.environment())
            .object(row.object.clone())
            .tenant(row.tenant_id);
        let headers = headers::from_json(&content.headers);
        let request =
            WebhookRequest { url: &content.url, headers: &headers, body: &content.body, now: row.received_at };
        InboundWebhook::new(row.source.clone(), event, row.tenant_id, &request)
    }
}

/// A received webhook of a tenant.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WebhookLogEntry {
    /// The id.
    id: WebhookId,
    /// The name of the source, such as `stripe`.
    source: String,
    /// Whether the event is real or a test.
    environment: DataEnvironment,
    /// The provider's id of the event.
    event_id: String,
    /// The type of the event, such as `invoice.paid`.
    r#type: String,
    /// `received`, `processed`, `ignored` or `failed`.
    status: WebhookStatus,
    /// The number of attempts to process it.
    attempts: u64,
    /// The number of times that the provider has sent it again.
    duplicates: u64,
    /// When the event occurred, if the provider states it.
    #[schema(required)]
    occurred_at: Option<Timestamp>,
    /// When it was received.
    received_at: Timestamp,
    /// When it was processed.
    #[schema(required)]
    processed_at: Option<Timestamp>,
}

impl From<InboxRow> for WebhookLogEntry {
    fn from(row: InboxRow) -> Self {
        Self {
            id: row.id,
            environment: row.environment(),
            status: row.status(),
            source: row.source,
            event_id: row.event_id,
            r#type: row.kind,
            attempts: row.attempts.unsigned_abs(),
            duplicates: row.duplicates.unsigned_abs(),
            occurred_at: row.occurred_at,
            received_at: row.received_at,
            processed_at: row.processed_at,
        }
    }
}

/// A received webhook, as operators see it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReceivedWebhook {
    /// The id.
    id: WebhookId,
    /// The name of the source, such as `stripe`.
    source: String,
    /// Whether the event is real or a test.
    environment: DataEnvironment,
    /// The provider's id of the event.
    event_id: String,
    /// The type of the event, such as `invoice.paid`.
    r#type: String,
    /// The tenant that the path or the payload names.
    #[schema(required)]
    tenant: Option<TenantId>,
    /// The object that the event is about.
    #[schema(required)]
    object: Option<String>,
    /// When the event occurred, if the provider states it.
    #[schema(required)]
    occurred_at: Option<Timestamp>,
    /// When it was received.
    received_at: Timestamp,
    /// `received`, `processed`, `ignored` or `failed`.
    status: WebhookStatus,
    /// The number of attempts to process it.
    attempts: u64,
    /// The error of the last attempt, if it failed.
    #[schema(required)]
    error: Option<String>,
    /// When it was processed.
    #[schema(required)]
    processed_at: Option<Timestamp>,
    /// The duration of the last attempt, in milliseconds.
    #[schema(required)]
    processing_ms: Option<f64>,
    /// The number of times that the provider has sent it again.
    duplicates: u64,
    /// When the provider last sent it again.
    #[schema(required)]
    last_duplicate_at: Option<Timestamp>,
    /// The number of times that an operator has replayed it.
    replays: u64,
}

impl From<InboxRow> for ReceivedWebhook {
    fn from(row: InboxRow) -> Self {
        Self {
            id: row.id,
            environment: row.environment(),
            status: row.status(),
            source: row.source,
            event_id: row.event_id,
            r#type: row.kind,
            tenant: row.tenant_id,
            object: row.object,
            occurred_at: row.occurred_at,
            received_at: row.received_at,
            attempts: row.attempts.unsigned_abs(),
            error: row.error,
            processed_at: row.processed_at,
            processing_ms: row.processing_ms,
            duplicates: row.duplicates.unsigned_abs(),
            last_duplicate_at: row.last_duplicate_at,
            replays: row.replays.unsigned_abs(),
        }
    }
}

/// The form of a body in a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WebhookBodyEncoding {
    /// The body is text.
    Text,
    /// The body is not UTF-8, and shown in base64.
    Base64,
}

/// A received webhook with what the provider has sent.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReceivedWebhookDetails {
    /// The webhook.
    webhook: ReceivedWebhook,
    /// The URL that the provider called. Credentials in its query are replaced by `REDACTED`.
    url: String,
    /// The headers, without credentials.
    headers: Vec<WebhookHeader>,
    /// The body.
    body: String,
    /// The form of `body`.
    body_encoding: WebhookBodyEncoding,
}

impl From<StoredWebhook> for ReceivedWebhookDetails {
    fn from(stored: StoredWebhook) -> Self {
        let InboxContent { url, headers, body } = stored.content;
        let (body, body_encoding) = match String::from_utf8(body) {
            Ok(text) => (text, WebhookBodyEncoding::Text),
            Err(error) => (STANDARD.encode(error.as_bytes()), WebhookBodyEncoding::Base64),
        };
        Self { webhook: stored.row.into(), url, headers: headers::list(&headers), body, body_encoding }
    }
}
