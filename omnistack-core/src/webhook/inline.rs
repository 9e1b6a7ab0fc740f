//! The inbox that processes a webhook before it answers.

use async_trait::async_trait;
use http::StatusCode;

use super::{
    InboundWebhook, IncomingWebhook, ReceiveWebhook, WebhookCatalogue, WebhookInbox, WebhookOutcome, WebhookPublisher,
    WebhookReceipt, WebhookRequest, WebhookSources, WebhookStatus, WebhookTx,
};
use crate::{
    clock::Clock,
    config::PublicUrl,
    db::Db,
    http::Error,
    identity::TenantId,
    jobs::JobError,
    module::{Module, Registry},
};

/// The module that provides the default inbox and the default publisher.
pub(crate) struct InlineModule(pub(crate) Db);

impl Module for InlineModule {
    fn name(&self) -> &'static str {
        "core"
    }

    fn register(&self, registry: &mut Registry) {
        let (db, sources) = (self.0.clone(), WebhookSources::default());
        registry.provide_default(sources.clone()).provide_default(WebhookCatalogue::default());
        registry.after_modules(move |registry| {
            if !registry.provides::<WebhookInbox>() {
                let (clock, public_url) = (registry.clock(), registry.public_url());
                registry.provide_default(WebhookInbox::new(InlineInbox { sources, db, clock, public_url }));
            }
            if !registry.provides::<WebhookPublisher>() {
                registry.provide_default(WebhookPublisher::disabled());
            }
        });
    }
}

struct InlineInbox {
    sources: WebhookSources,
    db: Db,
    clock: Clock,
    public_url: PublicUrl,
}

#[async_trait]
impl ReceiveWebhook for InlineInbox {
    async fn receive(
        &self,
        source: &str,
        tenant: Option<TenantId>,
        request: IncomingWebhook,
    ) -> Result<WebhookReceipt, Error> {
        let (name, source) = self.sources.get(source).ok_or_else(|| Error::not_found("the webhook source"))?;
        let url = format!("{}{}", self.public_url, request.uri);
        let request =
            WebhookRequest { url: &url, headers: &request.headers, body: &request.body, now: self.clock.now() };
        self.sources.verify(name, &*source, &request).await?;
        let event = source.describe(&request)?;
        event.validate()?;
        let webhook = InboundWebhook::new(name, event, tenant, &request);
        let mut tx = WebhookTx::begin_in(&self.db, webhook.tenant);
        let outcome = self.sources.handle(&webhook, &mut tx).await.map_err(failed)?;
        tx.commit().await?;
        Ok(WebhookReceipt::new(
            None,
            match outcome {
                WebhookOutcome::Processed => WebhookStatus::Processed,
                WebhookOutcome::Ignored => WebhookStatus::Ignored,
            },
        ))
    }
}

/// A repetition would not help after a fatal error, so the response tells the provider not to send the event again.
fn failed(error: JobError) -> Error {
    if error.is_retryable() {
        return Error::internal(error.to_string());
    }
    let message = "the webhook could not be processed; sending it again would not help";
    Error::new(StatusCode::UNPROCESSABLE_ENTITY, "WEBHOOK_UNPROCESSABLE", message).with_source(error.to_string())
}
