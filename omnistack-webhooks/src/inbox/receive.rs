//! The inbox that stores webhooks before it answers.

use std::{net::IpAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use omnistack_core::{
    clock::Clock,
    config::PublicUrl,
    http::Error,
    identity::TenantId,
    metrics::WEBHOOK_EVENTS,
    webhook::{
        InboundWebhook, IncomingWebhook, ReceiveWebhook, WebhookId, WebhookReceipt, WebhookRejection, WebhookRequest,
        WebhookSource, WebhookSources, WebhookStatus,
    },
};
use tokio::time::timeout;

use super::{failures::FailureLimits, headers, intake::Intake, store::InboxStore};

/// Longest time that the verification of a request may take. A source may have to load a key.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(10);
/// Status in metrics of a request that is rejected.
const REJECTED: &str = "rejected";

/// The parts of a [`DurableInbox`].
pub(super) struct DurableInboxParts {
    pub(super) sources: WebhookSources,
    pub(super) store: InboxStore,
    pub(super) intake: Intake,
    pub(super) public_url: PublicUrl,
    pub(super) failures: FailureLimits,
}

/// The inbox that verifies a request, stores it and answers. The stored webhook is processed afterwards. Cheap to
/// clone.
#[derive(Clone)]
pub(super) struct DurableInbox(Arc<DurableInboxParts>);

impl DurableInbox {
    pub(super) fn new(parts: DurableInboxParts) -> Self {
        Self(Arc::new(parts))
    }

    pub(super) fn sources(&self) -> &WebhookSources {
        &self.0.sources
    }

    pub(super) fn store(&self) -> &InboxStore {
        &self.0.store
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.0.store.clock
    }

    pub(super) fn public_url(&self) -> &PublicUrl {
        &self.0.public_url
    }

    /// Receives a request from a client address, if it is known.
    pub(super) async fn receive_from(
        &self,
        client: Option<IpAddr>,
        source: &str,
        tenant: Option<TenantId>,
        incoming: IncomingWebhook,
    ) -> Result<WebhookReceipt, Error> {
        let (name, source) = self.0.sources.get(source).ok_or_else(|| Error::not_found("the webhook source"))?;
        let url = format!("{}{}", self.0.public_url, incoming.uri);
        let IncomingWebhook { headers, body, .. } = &incoming;
        let request = WebhookRequest { url: &url, headers, body, now: self.clock().now() };
        // A call with the credentials of an account costs its owner, so it is limited before it is made.
        let is_limited_before = source.calls_provider_to_verify();
        let reserved = if is_limited_before {
            let reserved = self.0.failures.reserve(name, client, tenant).await;
            Some(reserved.inspect_err(|_| count_rejected(name))?)
        } else {
            None
        };
        let verified = self.verify(name, source.as_ref(), &request).await;
        if let Some(reserved) = reserved.filter(|_| verified.is_ok()) {
            reserved.give_back();
        }
        let webhook = match verified.and_then(|()| describe(name, source.as_ref(), tenant, &request)) {
            Ok(webhook) => webhook,
            Err(rejection) => {
                let client = (!is_limited_before).then_some(client);
                return Err(self.reject(name, client, rejection).await);
            }
        };
        let (event, received_at) = (webhook.event.clone(), webhook.received_at);
        let receipt = match self.0.intake.insert(webhook).await? {
            Some(id) => WebhookReceipt::new(Some(id), WebhookStatus::Received),
            None => {
                let id = self.0.store.count_duplicate(name, &event, received_at).await?;
                WebhookReceipt::new(id, WebhookStatus::Duplicate)
            }
        };
        WEBHOOK_EVENTS.counter([name, receipt.status.as_str()]).increment(1);
        Ok(receipt)
    }

    /// Stores a webhook that the provider has returned when asked for those that it could not deliver. Such a webhook
    /// counts as verified. Returns `None` if it was stored before.
    pub(super) async fn store_missed(
        &self,
        name: &'static str,
        source: &dyn WebhookSource,
        request: &WebhookRequest<'_>,
    ) -> Result<Option<WebhookId>, Error> {
        let webhook = describe(name, source, None, request)?;
        let stored = self.0.intake.insert(webhook).await?;
        if stored.is_some() {
            WEBHOOK_EVENTS.counter([name, WebhookStatus::Received.as_str()]).increment(1);
        }
        Ok(stored)
    }

    /// Verifies a request within a deadline.
    async fn verify(
        &self,
        name: &str,
        source: &dyn WebhookSource,
        request: &WebhookRequest<'_>,
    ) -> Result<(), WebhookRejection> {
        let verified = timeout(VERIFY_TIMEOUT, self.0.sources.verify(name, source, request)).await;
        verified.unwrap_or_else(|_| {
            let what = format!("the verification took longer than {VERIFY_TIMEOUT:?}");
            Err(WebhookRejection::Unavailable(what.into()))
        })
    }

    /// Counts a request that is rejected, and returns its response: 429 for the unverified requests of a client that
    /// has sent too many of them. Without `client`, the request was counted before it was verified.
    async fn reject(&self, source: &'static str, client: Option<Option<IpAddr>>, rejection: WebhookRejection) -> Error {
        count_rejected(source);
        if let (WebhookRejection::Unverified(_), Some(client)) = (&rejection, client)
            && let Err(error) = self.0.failures.count(source, client).await
        {
            return error;
        }
        tracing::warn!(target: "omnistack::webhooks", source, error = %rejection, "a webhook was rejected");
        rejection.into()
    }
}

#[async_trait]
impl ReceiveWebhook for DurableInbox {
    async fn receive(
        &self,
        source: &str,
        tenant: Option<TenantId>,
        request: IncomingWebhook,
    ) -> Result<WebhookReceipt, Error> {
        self.receive_from(request.client, source, tenant, request).await
    }
}

/// Returns the webhook in a verified request as it is stored: without credentials.
fn describe(
    name: &'static str,
    source: &dyn WebhookSource,
    tenant: Option<TenantId>,
    request: &WebhookRequest<'_>,
) -> Result<InboundWebhook, WebhookRejection> {
    let event = source.describe(request)?;
    event.validate()?;
    let headers = headers::without_credentials(request.headers, &source.secret_headers());
    let url = headers::redacted(request.url);
    let request = WebhookRequest { url: &url, headers: &headers, ..*request };
    Ok(InboundWebhook::new(name, event, tenant, &request))
}

fn count_rejected(source: &'static str) {
    WEBHOOK_EVENTS.counter([source, REJECTED]).increment(1);
}
