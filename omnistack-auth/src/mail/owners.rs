//! Mails to the owners of a tenant, about events of the tenant.

use async_trait::async_trait;
use omnistack_core::{
    db::Db,
    events::{Delivery, Event, Subscriber},
    identity::{TenantId, UserId},
    jobs::{JobError, Jobs},
    module::Registry,
};

use super::AccountMail;
use crate::role;

/// Most owners of a tenant that get a mail.
const MAX_OWNERS_PER_MAIL: i64 = 20;

/// Mails the owners of a tenant about an event, if a module provides the `P` that causes such events. `subscriber` is
/// the name that is stored with each delivery, `tenant` returns the tenant of the event, and `mail` creates the mail to
/// an owner from the name of the tenant, or returns `None` if the event causes no mails.
pub(super) fn mail_owners<P: 'static, E: Event>(
    registry: &mut Registry,
    subscriber: &'static str,
    tenant: fn(&E) -> TenantId,
    mail: fn(&E, UserId, String) -> Option<AccountMail>,
) {
    registry.after_modules(move |registry| {
        if registry.provides::<P>() {
            registry.subscribe(subscriber, move |ctx| {
                // Members are in the main database, even if tenants have separate databases.
                Ok(OwnerMailSubscriber { db: ctx.get::<Db>()?.app_database(), jobs: ctx.get()?, tenant, mail })
            });
        }
    });
}

/// The subscriber that enqueues a mail to each owner of a tenant.
struct OwnerMailSubscriber<E> {
    db: Db,
    jobs: Jobs,
    tenant: fn(&E) -> TenantId,
    mail: fn(&E, UserId, String) -> Option<AccountMail>,
}

#[async_trait]
impl<E: Event> Subscriber for OwnerMailSubscriber<E> {
    type Event = E;

    async fn handle(&self, event: E, delivery: &mut Delivery) -> Result<(), JobError> {
        let tenant = (self.tenant)(&event);
        // Read before the delivery's transaction begins: on SQLite it is the only one that can write.
        let mut tx = self.db.tenant(tenant).begin_read().await?;
        let sql = "select m.user_id, t.name from omni_members m join omni_tenants t on t.id = m.tenant_id \
                   where m.tenant_id = $1 and m.role = $2 order by m.created_at, m.user_id limit $3";
        let owners = tx.query(sql).bind(tenant).bind(role::OWNER).bind(MAX_OWNERS_PER_MAIL);
        let owners: Vec<(UserId, String)> = owners.fetch_all().await?;
        tx.commit().await?;
        let mails = owners.into_iter().filter_map(|(owner, tenant)| (self.mail)(&event, owner, tenant));
        let mails: Vec<_> = mails.collect();
        if mails.is_empty() {
            return Ok(());
        }
        let enqueued = self.jobs.enqueue_all_in(delivery.tx().await?, mails).await;
        enqueued
            .map(drop)
            .map_err(|error| if error.is_retryable() { JobError::retry(error) } else { JobError::fatal(error) })
    }
}
