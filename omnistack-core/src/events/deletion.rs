//! Events of the final deletion of tenants and users.

use serde::{Deserialize, Serialize};

use crate::events::Event;
use crate::identity::{TenantId, UserId};

/// The event that a tenant was permanently deleted: the period in which it could be restored has ended. The
/// module that owns tenants publishes the event in the transaction that deletes the tenant, so that other modules
/// can delete the tenant's data.
///
/// Core subscribes to it and deletes the tenant's rows in the tables of resources and in those that modules declare:
///
/// ```
/// # use omnistack_core::module::Registry;
/// fn register(registry: &mut Registry) {
///     registry.tenant_tables(["invoices", "invoice_lines"]);
/// }
/// ```
///
/// The event belongs to no tenant, since the tenant no longer exists. With tenant databases
/// [`Db::tenant`](crate::db::Db::tenant) fails for the deleted tenant: a subscriber of its own uses
/// [`Db::app_database`](crate::db::Db::app_database).
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
