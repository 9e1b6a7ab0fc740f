//! Webhooks of providers, which become events of the app.

use async_trait::async_trait;
use omnistack_core::{
    events::Events,
    jobs::JobError,
    payment::PaymentProviders,
    webhook::{InboundWebhook, WebhookHandler, WebhookOutcome, WebhookTx},
};

use crate::credentials::PaymentAccounts;

/// The handler that publishes a [`ProviderEvent`](omnistack_core::payment::ProviderEvent) for each webhook of a
/// provider that concerns payments. Its subscribers ask the provider for the object afterwards, so that no transaction
/// waits for a provider.
pub(super) struct PublishProviderEvents {
    /// The app's own accounts.
    pub(super) providers: PaymentProviders,
    pub(super) accounts: PaymentAccounts,
    pub(super) events: Events,
}

#[async_trait]
impl WebhookHandler for PublishProviderEvents {
    async fn handle(&self, webhook: &InboundWebhook, tx: &mut WebhookTx<'_>) -> Result<WebhookOutcome, JobError> {
        let own = self.providers.get(&webhook.source).cloned();
        let provider = match (own, webhook.tenant) {
            (Some(provider), _) => Some(provider),
            (None, Some(tenant)) => self.accounts.provider(tenant, &webhook.source, webhook.event.environment).await?,
            (None, None) => None,
        };
        let Some(event) = provider.and_then(|provider| provider.event(webhook)) else {
            return Ok(WebhookOutcome::Ignored);
        };
        self.events.publish_in(tx.get().await?, &event).await?;
        Ok(WebhookOutcome::Processed)
    }
}
