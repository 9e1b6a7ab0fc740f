//! Events of the final deletion of tenants and users.

use serde::{Deserialize, Serialize};

use crate::events::Event;
use crate::identity::{TenantId, UserId};

/// The event that a tenant was permanently deleted: the period in which it could be restored has ended. The
/// module that owns tenants publishes the event in the transaction that deletes the tenant, so that other modules
/// can delete the tenant's data.
///
/// The event belongs to no tenant, since the tenant no longer exists. A subscriber therefore enqueues a job that
/// works in the tenant's scope.
///
/// ```
/// use omnistack_core::{module::Registry, db::Db, events::{EnqueueJob, TenantDeleted}, identity::TenantId};
/// use omnistack_core::jobs::{Job, JobContext, JobError};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct PurgeNotes { tenant: TenantId }
///
/// #[async_trait::async_trait]
/// impl Job for PurgeNotes {
///     const NAME: &'static str = "notes.purge";
///     type State = Db;
///
///     async fn run(self, db: &Db, _: &JobContext) -> Result<(), JobError> {
///         let mut tx = db.tenant(self.tenant).begin().await?;
///         tx.query("delete from notes where tenant_id = $1").bind(self.tenant).execute().await?;
///         Ok(tx.commit().await?)
///     }
/// }
///
/// fn register(registry: &mut Registry) {
///     registry.job::<PurgeNotes>(|ctx| ctx.get()).subscribe("purge-notes", |ctx| {
///         Ok(EnqueueJob::new(ctx.get()?, |event: TenantDeleted| PurgeNotes { tenant: event.tenant }))
///     });
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TenantDeleted {
    /// The deleted tenant.
    pub tenant: TenantId,
}

impl TenantDeleted {
    /// Creates the event.
    pub fn new(tenant: TenantId) -> Self {
        Self { tenant }
    }
}

impl Event for TenantDeleted {
    const NAME: &'static str = "tenant.deleted";

    fn key(&self) -> String {
        self.tenant.to_string()
    }
}

/// The event that a user was permanently deleted. Published like [`TenantDeleted`]; a separate [`TenantDeleted`]
/// is published for the user's personal tenant.
///
/// ```
/// use omnistack_core::{module::Registry, events::UserDeleted, jobs::JobError, async_trait};
/// use omnistack_core::events::{Delivery, Subscriber};
///
/// /// Preferences belong to a user and to no tenant.
/// struct DeletePreferences;
///
/// #[async_trait]
/// impl Subscriber for DeletePreferences {
///     type Event = UserDeleted;
///
///     async fn handle(&self, event: UserDeleted, delivery: &mut Delivery) -> Result<(), JobError> {
///         let tx = delivery.tx().await?;
///         tx.query("delete from preferences where user_id = $1").bind(event.user).execute().await?;
///         Ok(())
///     }
/// }
///
/// fn register(registry: &mut Registry) {
///     registry.subscribe("delete-preferences", |_| Ok(DeletePreferences));
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UserDeleted {
    /// The deleted user.
    pub user: UserId,
}

impl UserDeleted {
    /// Creates the event.
    pub fn new(user: UserId) -> Self {
        Self { user }
    }
}

impl Event for UserDeleted {
    const NAME: &'static str = "user.deleted";

    fn key(&self) -> String {
        self.user.to_string()
    }
}
