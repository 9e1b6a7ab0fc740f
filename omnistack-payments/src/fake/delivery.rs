//! Events of the fake: their delivery to the app's own inbox, and the jobs that follow the clock.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Uri};
use omnistack_core::{
    crypto::Sha256,
    jobs::{Job, JobContext, JobError, NewJob},
    payment::ProviderEvent,
    webhook::{
        InboundWebhook, IncomingWebhook, SourceEvent, StandardHeaders, StandardSecret, WebhookInbox, WebhookRejection,
        WebhookRequest, WebhookSource,
    },
};
use serde::{Deserialize, Serialize};

use super::{
    FakeBank,
    objects::{FakeEvent, FakeObject as _},
};

/// Largest delay of an event that is sent out of order, in seconds.
const MAX_CHAOS_DELAY_SECONDS: u8 = 30;

/// Job: makes the changes of the fake that are due.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct AdvanceFakePayments {}

#[async_trait]
impl Job for AdvanceFakePayments {
    const NAME: &'static str = "payments.advance_fake";
    type State = FakeBank;

    async fn run(self, bank: &FakeBank, _: &JobContext) -> Result<(), JobError> {
        bank.advance(bank.inner().clock.now()).await?;
        Ok(())
    }
}

/// The state of the job that sends events.
#[derive(Clone)]
pub(super) struct FakeDelivery {
    pub(super) bank: FakeBank,
    pub(super) inbox: WebhookInbox,
}

/// Job: sends an event of the fake to the app's inbox.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct DeliverFakeEvent {
    event: String,
}

#[async_trait]
impl Job for DeliverFakeEvent {
    const NAME: &'static str = "payments.deliver_fake_event";
    type State = FakeDelivery;

    async fn run(self, state: &FakeDelivery, _: &JobContext) -> Result<(), JobError> {
        let inner = state.bank.inner();
        let sql = "select service, body from omni_fake_objects where kind = $1 and id = $2";
        let found = inner.db.query(sql).bind(FakeEvent::KIND).bind(self.event.as_str());
        let Some((service, body)): Option<(String, String)> = found.fetch_optional().await? else { return Ok(()) };
        let path = format!("/api/v1/public/webhooks/{service}");
        let uri: Uri = path.parse()?;
        let url = format!("{}{path}", inner.public_url);
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", HeaderValue::try_from(self.event.as_str())?);
        let request = WebhookRequest { url: &url, headers: &headers, body: body.as_bytes(), now: inner.clock.now() };
        let signed = inner.secret.sign_request(&request).unwrap_or_default();
        let webhook = IncomingWebhook::new(uri, signed, Bytes::from(body));
        state.inbox.receive(&service, None, webhook).await?;
        Ok(())
    }
}

/// Returns the jobs that send an event: one, or two that run out of order.
pub(super) fn event_jobs(event: &str, chaos: bool) -> Vec<NewJob> {
    let job = || NewJob::new(DeliverFakeEvent { event: event.into() });
    if !chaos {
        return vec![job()];
    }
    let hash = Sha256::digest(event);
    let seconds = hash.as_bytes().iter().take(2).map(|byte| u64::from(byte % MAX_CHAOS_DELAY_SECONDS));
    seconds.map(|seconds| job().delay(Duration::from_secs(seconds))).collect()
}

/// Returns what an event is about. Returns `None` if the body is no event of the fake.
pub(super) fn provider_event(provider: &str, webhook: &InboundWebhook) -> Option<ProviderEvent> {
    let event: FakeEvent = serde_json::from_slice(&webhook.body).ok()?;
    Some(ProviderEvent {
        provider: provider.to_owned(),
        id: event.id,
        kind: event.kind,
        object: event.object,
        reference: event.reference,
        environment: event.environment,
        occurred_at: Some(event.created),
        account: None,
    })
}

/// The source of the fake's webhooks. Only this process can sign them, so that samples are signed as those of a provider
/// whose key only the provider has.
#[derive(Debug)]
pub(super) struct FakeSource {
    pub(super) secret: StandardSecret,
}

#[async_trait]
impl WebhookSource for FakeSource {
    async fn verify(&self, request: &WebhookRequest<'_>) -> Result<(), WebhookRejection> {
        let headers = StandardHeaders::read(request.headers)?;
        headers.verify(std::slice::from_ref(&self.secret), request.body, request.now)
    }

    fn describe(&self, request: &WebhookRequest<'_>) -> Result<SourceEvent, WebhookRejection> {
        describe(request)
    }
}

/// Describes the event in a request.
pub(super) fn describe(request: &WebhookRequest<'_>) -> Result<SourceEvent, WebhookRejection> {
    let event: FakeEvent = request.json()?;
    Ok(SourceEvent::new(event.id, event.kind)
        .occurred_at(Some(event.created))
        .environment(event.environment)
        .object(Some(event.object.root())))
}
