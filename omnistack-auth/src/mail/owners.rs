//! Mails to the owners of a tenant, about events of the tenant.

use omnistack_core::{
    db::Db,
    events::Delivery,
    identity::{TenantId, UserId},
    jobs::{JobError, Jobs},
    module::{Context, MissingDependency},
};

use super::AccountMail;
use crate::role;

/// Most owners of a tenant that get a mail.
const MAX_OWNERS_PER_MAIL: i64 = 20;

/// Enqueues mails to the owners of a tenant.
pub(super) struct OwnerMails {
    db: Db,
    jobs: Jobs,
}

impl OwnerMails {
    pub(super) fn from_context(ctx: &Context) -> Result<Self, MissingDependency> {
        // Members are in the main database, even if tenants have separate databases.
        Ok(Self { db: ctx.get::<Db>()?.app_database(), jobs: ctx.get()? })
    }

    /// Enqueues a mail to each owner of a tenant, in the transaction of the delivery of an event. `mail` creates it
    /// from the owner and the tenant's name.
    pub(super) async fn enqueue_in(
        &self,
        delivery: &mut Delivery,
        tenant: TenantId,
        mail: impl Fn(UserId, String) -> AccountMail + Send,
    ) -> Result<(), JobError> {
        // Read before the delivery's transaction begins: on SQLite it is the only one that can write.
        let mut tx = self.db.tenant(tenant).begin_read().await?;
        let sql = "select m.user_id, t.name from omni_members m join omni_tenants t on t.id = m.tenant_id \
                   where m.tenant_id = $1 and m.role = $2 order by m.created_at, m.user_id limit $3";
        let owners = tx.query(sql).bind(tenant).bind(role::OWNER).bind(MAX_OWNERS_PER_MAIL);
        let owners: Vec<(UserId, String)> = owners.fetch_all().await?;
        tx.commit().await?;
        let mails: Vec<_> = owners.into_iter().map(|(owner, tenant)| mail(owner, tenant)).collect();
        let enqueued = self.jobs.enqueue_all_in(delivery.tx().await?, mails).await;
        enqueued
            .map(drop)
            .map_err(|error| if error.is_retryable() { JobError::retry(error) } else { JobError::fatal(error) })
    }
}
