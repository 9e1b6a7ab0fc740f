//! What is told when somebody is gone for good.

use serde::{Deserialize, Serialize};

use super::{TenantId, UserId};
use crate::events::Event;

/// A tenant is gone for good: its time to be restored is over. It is published in the transaction that deletes the tenant,
/// by whoever keeps tenants, so that other modules can delete what is that tenant's.
///
/// It belongs to no tenant: nobody of that one is left to read it. So a subscriber has a job made that works within the
/// tenant.
///
/// ```
/// use omnistack_core::{app::Registry, db::Db, events::Enqueue, identity::{TenantDeleted, TenantId}};
/// use omnistack_core::jobs::{Job, JobCtx, JobError};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct ForgetNotes { tenant: TenantId }
///
/// #[async_trait::async_trait]
/// impl Job for ForgetNotes {
///     const NAME: &'static str = "notes.forget";
///     type State = Db;
///
///     async fn run(self, db: &Db, _: &JobCtx) -> Result<(), JobError> {
///         let mut tx = db.tenant(self.tenant).begin().await?;
///         tx.query("delete from notes where tenant_id = $1").bind(self.tenant).execute().await?;
///         Ok(tx.commit().await?)
///     }
/// }
///
/// fn register(registry: &mut Registry) {
///     registry.job::<ForgetNotes>(|ctx| ctx.get()).on("forget-notes", |ctx| {
///         Ok(Enqueue::new(ctx.get()?, |gone: TenantDeleted| ForgetNotes { tenant: gone.tenant }))
///     });
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TenantDeleted {
    /// Which.
    pub tenant: TenantId,
}

impl TenantDeleted {
    /// This one is gone.
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

/// A user is gone for good. As [`TenantDeleted`], which is published of the tenant of their own as well.
///
/// ```
/// use omnistack_core::{async_trait, app::Registry, identity::UserDeleted, jobs::JobError};
/// use omnistack_core::events::{Delivery, Subscriber};
///
/// /// Preferences are a user's, in no tenant.
/// struct ForgetPreferences;
///
/// #[async_trait]
/// impl Subscriber for ForgetPreferences {
///     type Event = UserDeleted;
///
///     async fn handle(&self, gone: UserDeleted, delivery: &mut Delivery) -> Result<(), JobError> {
///         let tx = delivery.tx().await?;
///         tx.query("delete from preferences where user_id = $1").bind(gone.user).execute().await?;
///         Ok(())
///     }
/// }
///
/// fn register(registry: &mut Registry) {
///     registry.on("forget-preferences", |_| Ok(ForgetPreferences));
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UserDeleted {
    /// Who.
    pub user: UserId,
}

impl UserDeleted {
    /// This one is gone.
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
