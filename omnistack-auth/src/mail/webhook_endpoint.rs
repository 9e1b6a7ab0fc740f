//! The mail to the owners of a tenant whose webhook endpoint was disabled.

use async_trait::async_trait;
use omnistack_core::{
    db::{self, Db, Tx},
    email::Email,
    events::{Delivery, Subscriber},
    identity::{TenantId, UserId},
    jobs::{JobError, Jobs},
    module::Registry,
    webhook::{EndpointDisabledReason, WebhookEndpointDisabled, WebhookPublisher},
};
use omnistack_messaging::email::template::DisabledWebhook;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{AccountMail, AccountMailer, printable, verified_name};
use crate::{Error, role};

/// Name of the subscriber, which is stored with each delivery.
const SUBSCRIBER: &str = "auth.webhook_endpoint_disabled";

/// Most owners of a tenant that get the mail.
const MAX_OWNERS: i64 = 20;

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

/// Subscribes to the event, if the app sends webhooks to tenants.
pub(crate) fn register(registry: &mut Registry) {
    registry.after_modules(|registry| {
        if registry.provides::<WebhookPublisher>() {
            registry.subscribe(SUBSCRIBER, |ctx| {
                // Members are in the main database, even if tenants have separate databases.
                Ok(NotifyOwners { db: ctx.get::<Db>()?.app_database(), jobs: ctx.get()? })
            });
        }
    });
}

/// The subscriber that enqueues a mail to each owner of the tenant.
struct NotifyOwners {
    db: Db,
    jobs: Jobs,
}

#[async_trait]
impl Subscriber for NotifyOwners {
    type Event = WebhookEndpointDisabled;

    async fn handle(&self, event: WebhookEndpointDisabled, delivery: &mut Delivery) -> Result<(), JobError> {
        // Read before the delivery's transaction begins: on SQLite it is the only one that can write.
        let mut tx = self.db.tenant(event.tenant).begin_read().await?;
        let owners = owners(&mut tx, event.tenant).await?;
        tx.commit().await?;
        let WebhookEndpointDisabled { endpoint, host, reason, .. } = event;
        let mails = owners.into_iter().map(|(owner, tenant)| {
            let host = host.clone();
            AccountMail::WebhookEndpointDisabled(DisabledWebhookNotice { owner, tenant, endpoint, host, reason })
        });
        let enqueued = self.jobs.enqueue_all_in(delivery.tx().await?, mails).await;
        enqueued
            .map(drop)
            .map_err(|error| if error.is_retryable() { JobError::retry(error) } else { JobError::fatal(error) })
    }
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

/// Returns the owners of a tenant, each with the tenant's name.
async fn owners(tx: &mut Tx, tenant: TenantId) -> Result<Vec<(UserId, String)>, db::Error> {
    let sql = "select m.user_id, t.name from omni_members m join omni_tenants t on t.id = m.tenant_id \
               where m.tenant_id = $1 and m.role = $2 order by m.created_at, m.user_id limit $3";
    tx.query(sql).bind(tenant).bind(role::OWNER).bind(MAX_OWNERS).fetch_all().await
}
