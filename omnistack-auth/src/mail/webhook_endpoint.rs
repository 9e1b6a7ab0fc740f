//! The mail to the owners of a tenant whose webhook endpoint was disabled.

use omnistack_core::{
    db::Tx,
    email::Email,
    identity::UserId,
    module::Registry,
    webhook::{EndpointDisabledReason, WebhookEndpointDisabled, WebhookPublisher},
};
use omnistack_messaging::email::template::DisabledWebhook;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{AccountMail, AccountMailer, owners::mail_owners, printable, verified_name};
use crate::Error;

/// Name of the subscriber, which is stored with each delivery.
const SUBSCRIBER: &str = "auth.webhook_endpoint_disabled";

/// The notice to an owner of a tenant that the app has disabled a webhook endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DisabledWebhookNotice {
    owner: UserId,
    /// The name of the tenant.
    tenant: String,
    endpoint: Uuid,
    host: String,
    reason: EndpointDisabledReason,
}

/// Mails the owners, if the app sends webhooks to tenants.
pub(crate) fn register(registry: &mut Registry) {
    mail_owners::<WebhookPublisher, WebhookEndpointDisabled>(
        registry,
        SUBSCRIBER,
        |event| event.tenant,
        |event, owner, tenant| {
            let WebhookEndpointDisabled { endpoint, host, reason, .. } = event.clone();
            Some(AccountMail::WebhookEndpointDisabled(DisabledWebhookNotice { owner, tenant, endpoint, host, reason }))
        },
    );
}

impl AccountMailer {
    /// Composes the notice. Returns `None` if the owner's account is gone or disabled, or has no email address.
    pub(super) async fn webhook_endpoint_disabled(
        &self,
        tx: &mut Tx,
        notice: DisabledWebhookNotice,
    ) -> Result<Option<Email>, Error> {
        let DisabledWebhookNotice { owner, tenant, endpoint, host, reason } = notice;
        let Some(account) = self.account(tx, owner).await? else { return Ok(None) };
        // A member has entered the host, and another one the name of the team.
        let template = DisabledWebhook {
            name: verified_name(&account),
            tenant: printable(&tenant),
            host: printable(&host),
            endpoint: endpoint.to_string(),
            gone: reason == EndpointDisabledReason::Gone,
        };
        self.compose_to_account(&account, &template)
    }
}
