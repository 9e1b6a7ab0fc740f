//! The port that receives webhooks.

use std::{fmt, net::IpAddr, sync::Arc};

use async_trait::async_trait;
use axum::{
    body::Bytes,
    extract::{FromRequest, OriginalUri, Request},
};
use http::{HeaderMap, Uri};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    http::{Error, layer::ClientAddr},
    id::Id,
    identity::TenantId,
};

/// A request of a provider that is not verified yet. It is an extractor of handlers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct IncomingWebhook {
    /// The path and the query.
    pub uri: Uri,
    /// The headers.
    pub headers: HeaderMap,
    /// The raw body.
    pub body: Bytes,
    /// The address of the client, by which requests that are not verified are limited. `None` if it is not known.
    pub client: Option<IpAddr>,
}

impl IncomingWebhook {
    /// Creates a request. Of the URI it keeps the path and the query: requests of HTTP/2 name a host too, which is not
    /// always that of `PUBLIC_URL`.
    pub fn new(uri: Uri, headers: HeaderMap, body: Bytes) -> Self {
        let uri = uri.into_parts().path_and_query.map(Uri::from).unwrap_or_default();
        Self { uri, headers, body, client: None }
    }
}

/// Fails with 413 `PAYLOAD_TOO_LARGE` if the body is larger than the route accepts, and with 400 `INCOMPLETE_BODY` if
/// it ended early.
impl<S: Send + Sync> FromRequest<S> for IncomingWebhook {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        let uri = match request.extensions().get::<OriginalUri>() {
            Some(OriginalUri(uri)) => uri.clone(),
            None => request.uri().clone(),
        };
        let headers = request.headers().clone();
        let client = request.extensions().get::<ClientAddr>().map(|client| client.0);
        let body = Bytes::from_request(request, state).await?;
        Ok(Self { client, ..Self::new(uri, headers, body) })
    }
}

/// Marker type of ids of webhooks: see [`WebhookId`].
#[derive(Clone, Copy, Debug)]
pub enum WebhookMarker {}

/// The id of a stored webhook.
pub type WebhookId = Id<WebhookMarker>;

/// The status of a received webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WebhookStatus {
    /// It is stored and waits to be processed.
    Received,
    /// It was processed.
    Processed,
    /// No handler was interested in it.
    Ignored,
    /// A handler has failed. It is tried again, unless its attempts are used up.
    Failed,
    /// It was received before.
    Duplicate,
}

impl WebhookStatus {
    /// Returns the status as it is stored and shown, such as `received`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Processed => "processed",
            Self::Ignored => "ignored",
            Self::Failed => "failed",
            Self::Duplicate => "duplicate",
        }
    }
}

impl fmt::Display for WebhookStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The response to a provider.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[non_exhaustive]
pub struct WebhookReceipt {
    /// The id of the stored webhook. Absent if webhooks are not stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    pub id: Option<WebhookId>,
    /// The status: `received`, `processed`, `ignored` or `duplicate`.
    pub status: WebhookStatus,
}

impl WebhookReceipt {
    /// Creates a response.
    pub const fn new(id: Option<WebhookId>, status: WebhookStatus) -> Self {
        Self { id, status }
    }
}

/// A receiver of the webhooks of all sources.
#[async_trait]
pub trait ReceiveWebhook: Send + Sync + 'static {
    /// Verifies a request, and stores or processes its event.
    ///
    /// # Errors
    /// 404 if there is no such source, and the errors of [`WebhookRejection`](super::WebhookRejection). After any other
    /// error the provider should send the request again.
    async fn receive(
        &self,
        source: &str,
        tenant: Option<TenantId>,
        request: IncomingWebhook,
    ) -> Result<WebhookReceipt, Error>;
}

/// The app's inbox for webhooks. It is in the [`Context`](crate::module::Context) of every app. Cheap to clone.
#[derive(Clone)]
pub struct WebhookInbox(Arc<dyn ReceiveWebhook>);

impl WebhookInbox {
    /// Creates an inbox.
    pub fn new(inbox: impl ReceiveWebhook) -> Self {
        Self(Arc::new(inbox))
    }

    /// Receives a request: verifies it, and stores or processes its event.
    ///
    /// # Errors
    /// Fails as [`ReceiveWebhook::receive`] does.
    pub async fn receive(
        &self,
        source: &str,
        tenant: Option<TenantId>,
        request: IncomingWebhook,
    ) -> Result<WebhookReceipt, Error> {
        self.0.receive(source, tenant, request).await
    }
}

impl fmt::Debug for WebhookInbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookInbox")
    }
}
