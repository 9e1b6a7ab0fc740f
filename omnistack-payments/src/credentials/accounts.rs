//! The handle of accounts.

use std::{fmt, sync::Arc};

use omnistack_core::{
    audit::AuditLog,
    clock::Clock,
    crypto::KeyRing,
    data_environment::DataEnvironment,
    db::Db,
    http::Error,
    identity::TenantId,
    payment::PaymentProvider,
};

use super::{cache::AccountCache, model::AccountKey, store};
use crate::{
    service::{Credentials, PaymentService},
    settings::FAKE_SERVICE,
};

/// The accounts of tenants at payment services. It is in the [`Context`](omnistack_core::module::Context) of an app
/// with the module `Payments`. Cheap to clone.
///
/// A tenant without an account has one at the built-in service `fake`, for tests only.
#[derive(Clone)]
pub struct PaymentAccounts(pub(super) Arc<AccountParts>);

/// The dependencies of accounts.
pub(super) struct AccountParts {
    /// The app's own database, without tenant databases.
    pub(super) db: Db,
    pub(super) clock: Clock,
    pub(super) keys: KeyRing,
    pub(super) log: AuditLog,
    pub(super) services: Vec<Arc<dyn PaymentService>>,
    pub(super) cache: AccountCache,
}

impl PaymentAccounts {
    pub(super) fn new(parts: AccountParts) -> Self {
        Self(Arc::new(parts))
    }

    /// Returns all services of the app.
    pub(crate) fn services(&self) -> &[Arc<dyn PaymentService>] {
        &self.0.services
    }

    /// Returns the service of a name. Returns `None` if the app has none.
    pub(crate) fn service(&self, name: &str) -> Option<&Arc<dyn PaymentService>> {
        self.0.services.iter().find(|service| service.name() == name)
    }

    /// Returns the provider of a tenant's account. Returns `None` if the tenant has no account there in this
    /// environment.
    ///
    /// It is kept for a minute: after a change by another replica, the previous account is used for as long.
    ///
    /// # Errors
    /// The errors of the database, and an internal error if the stored credentials can't be opened or are no longer
    /// accepted by the service.
    pub async fn provider(
        &self,
        tenant: TenantId,
        service: &str,
        environment: DataEnvironment,
    ) -> Result<Option<Arc<dyn PaymentProvider>>, Error> {
        todo_signature(self, tenant, service, environment)
    }

    /// Returns the names of the services at which a tenant has an account in this environment, sorted. Without an
    /// account, it is `fake` for tests.
    ///
    /// # Errors
    /// The errors of the database.
    pub async fn configured(&self, tenant: TenantId, environment: DataEnvironment) -> Result<Vec<String>, Error> {
        todo_signature(self, tenant, environment)
    }

    /// Returns the environment in which a tenant uses a service: the one it has switched to, or else `live` if it has
    /// an account there, or else `test`.
    ///
    /// # Errors
    /// The errors of the database.
    pub async fn active_environment(&self, tenant: TenantId, service: &str) -> Result<DataEnvironment, Error> {
        todo_signature(self, tenant, service)
    }
}
