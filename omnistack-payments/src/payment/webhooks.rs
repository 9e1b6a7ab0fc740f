//! Webhooks of providers, which become events of the app.

use async_trait::async_trait;
use omnistack_core::{
    events::Events,
    jobs::JobError,
    payment::PaymentProviders,
    webhook::{InboundWebhook, WebhookHandler, WebhookOutcome, WebhookTx},
};

use crate::credentials::{PaymentAccounts, account_of};

/// The handler that publishes a [`ProviderEvent`](omnistack_core::payment::ProviderEvent) for each webhook of a
/// provider that concerns payments, and that the app's own secret has verified. Its subscribers ask the provider for
/// the object afterwards, so that no transaction waits for a provider.
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
        // A webhook at the path of a tenant is of the tenant's account, if there is one.
        let of_tenant = match webhook.tenant {
            Some(tenant) => self.accounts.account(tenant, &webhook.source, webhook.event.environment).await,
            None => Ok(None),
        };
        let provider = match (of_tenant, own) {
            (Ok(Some(provider)), _) | (_, Some(provider)) => Some(provider),
            (Ok(None), None) => None,
            (Err(error), None) => return Err(error.into()),
        };
        let Some(event) = provider.and_then(|provider| provider.event(webhook)) else {
            return Ok(WebhookOutcome::Ignored);
        };
        self.events.publish_in(tx.get().await?, &event).await?;
        Ok(WebhookOutcome::Processed)
    }
}

/// The handler that publishes the events of tenants' own accounts, which their own secrets have verified.
pub(super) struct PublishAccountEvents {
    pub(super) service: &'static str,
    pub(super) accounts: PaymentAccounts,
    pub(super) events: Events,
}

#[async_trait]
impl WebhookHandler for PublishAccountEvents {
    async fn handle(&self, webhook: &InboundWebhook, tx: &mut WebhookTx<'_>) -> Result<WebhookOutcome, JobError> {
        let account = account_of(&webhook.url).filter(|(tenant, _)| webhook.tenant == Some(*tenant));
        let Some((tenant, environment)) = account else { return Ok(WebhookOutcome::Ignored) };
        let provider = self.accounts.provider(tenant, self.service, environment).await?;
        let Some(mut event) = provider.and_then(|provider| provider.event(webhook)) else {
            return Ok(WebhookOutcome::Ignored);
        };
        // Whatever the body states: the account's secret signs only for the account.
        (event.account, event.environment) = (Some(tenant), environment);
        self.events.publish_in(tx.get().await?, &event).await?;
        Ok(WebhookOutcome::Processed)
    }
}
