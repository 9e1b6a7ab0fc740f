//! Webhooks that the accounts of tenants send.
//!
//! Each account has a URL of its own, `…/webhooks/{source}/{tenant}?environment={environment}`, and only the secret
//! that is stored with its credentials verifies what arrives there. The app's own secrets don't.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use omnistack_core::{
    data_environment::DataEnvironment,
    identity::TenantId,
    webhook::{SourceEvent, WebhookRejection, WebhookRequest, WebhookSource},
};

use super::accounts::PaymentAccounts;
use crate::service::PaymentService;

/// Returns the account that the URL of a webhook names. Without an environment, it is the live one.
pub(crate) fn account_of(url: &str) -> Option<(TenantId, DataEnvironment)> {
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let tenant = path.rsplit('/').next()?.parse().ok()?;
    let environment = match query.split('&').find_map(|pair| pair.strip_prefix("environment=")) {
        Some(text) => text.parse().ok()?,
        None => DataEnvironment::Live,
    };
    Some((tenant, environment))
}

/// The webhooks of the accounts of tenants at a service.
pub(super) struct AccountWebhooks {
    pub(super) service: Arc<dyn PaymentService>,
    pub(super) accounts: PaymentAccounts,
}

impl fmt::Debug for AccountWebhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AccountWebhooks").field(&self.service.name()).finish()
    }
}

fn account_in(request: &WebhookRequest<'_>) -> Result<(TenantId, DataEnvironment), WebhookRejection> {
    account_of(request.url).ok_or(WebhookRejection::Unverified("the URL names no tenant, or no known environment"))
}

#[async_trait]
impl WebhookSource for AccountWebhooks {
    async fn verify(&self, request: &WebhookRequest<'_>) -> Result<(), WebhookRejection> {
        let (tenant, environment) = account_in(request)?;
        let account = self.accounts.account(tenant, self.service.name(), environment).await;
        let account = account.map_err(|error| WebhookRejection::Unavailable(error.to_string().into()))?;
        let account = account.ok_or(WebhookRejection::Unverified("the tenant has no account in this environment"))?;
        account.verify_webhook(request).await
    }

    fn calls_provider_to_verify(&self) -> bool {
        self.service.calls_to_verify_webhooks()
    }

    /// Describes the event. Its id and its object are those of the account: an event of a tenant is no repetition of that
    /// of another tenant, and does not wait for it.
    fn describe(&self, request: &WebhookRequest<'_>) -> Result<SourceEvent, WebhookRejection> {
        let (tenant, environment) = account_in(request)?;
        let mut event = self.service.describe_webhook(request)?;
        event.id = format!("{tenant}:{}", event.id);
        event.object = event.object.map(|object| format!("{tenant}:{object}"));
        (event.tenant, event.environment) = (Some(tenant), environment);
        Ok(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_tenant_and_an_environment() {
        let tenant = "0197a1b0-0000-7000-8000-000000000001";
        let url = |rest: &str| format!("https://app.example/api/v1/public/webhooks/stripe-account{rest}");
        for (rest, expected) in [
            (format!("/{tenant}"), Some(DataEnvironment::Live)),
            (format!("/{tenant}?environment=live"), Some(DataEnvironment::Live)),
            (format!("/{tenant}?a=b&environment=test"), Some(DataEnvironment::Test)),
            (format!("/{tenant}?environment=staging"), None),
            (format!("/{tenant}?environment="), None),
            (format!("/{tenant}/"), None),
            (String::new(), None),
        ] {
            let found = account_of(&url(&rest));
            assert_eq!(found.map(|(_, environment)| environment), expected, "{rest}");
            assert!(found.is_none_or(|(found, _)| found.to_string() == tenant));
        }
    }
}
