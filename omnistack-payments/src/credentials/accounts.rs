//! The handle of accounts.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use omnistack_core::{
    audit::AuditLog,
    clock::{Clock, Timestamp},
    crypto::KeyRing,
    data_environment::DataEnvironment,
    db::Db,
    http::Error,
    identity::{Entitlements, TenantId},
    payment::PaymentProvider,
};

use super::{
    cache::{CACHE_TTL, MinuteCache},
    last_use::{self, LastUses},
    model::{AccountKey, TenantAccounts},
    sealed,
    store::{self, CredentialRow},
};
use crate::{
    service::{Credentials, PaymentService},
    settings::FAKE_SERVICE,
};

/// The accounts of tenants at payment services. It is in the [`Context`](omnistack_core::module::Context) of an app
/// with the module `Payments`. Cheap to clone.
///
/// A tenant without an account has one at the built-in service `fake`, for tests only. Accounts are kept in memory for
/// a minute: after a change by another replica, the previous account is used for as long.
#[derive(Clone)]
pub struct PaymentAccounts(pub(super) Arc<AccountParts>);

/// The dependencies of accounts.
pub(super) struct AccountParts {
    /// The app's own database, without tenant databases.
    pub(super) db: Db,
    pub(super) clock: Clock,
    pub(super) keys: KeyRing,
    pub(super) log: AuditLog,
    pub(super) entitlements: Entitlements,
    pub(super) services: Vec<Arc<dyn PaymentService>>,
    pub(super) cache: MinuteCache<TenantId, TenantAccounts>,
    pub(super) uses: LastUses,
}

/// An entry of the map of providers.
pub(super) type AccountEntry = ((String, DataEnvironment), Option<Arc<dyn PaymentProvider>>);

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

    /// Returns the provider of a tenant's account, which counts as a use of it. Returns `None` if the tenant has no
    /// account there in this environment.
    ///
    /// # Errors
    /// The errors of the database, and 503 `PAYMENT_ACCOUNT_UNUSABLE` if the stored credentials can't be used.
    pub async fn provider(
        &self,
        tenant: TenantId,
        service: &str,
        environment: DataEnvironment,
    ) -> Result<Option<Arc<dyn PaymentProvider>>, Error> {
        let provider = self.account(tenant, service, environment).await?;
        if provider.is_some() {
            self.note_use(tenant, service, environment);
        }
        Ok(provider)
    }

    /// Returns the provider of a tenant's account, without counting it as a use.
    ///
    /// # Errors
    /// Fails as [`provider`](Self::provider) does.
    pub(crate) async fn account(
        &self,
        tenant: TenantId,
        service: &str,
        environment: DataEnvironment,
    ) -> Result<Option<Arc<dyn PaymentProvider>>, Error> {
        self.of_tenant(tenant).await?.provider(service, environment)
    }

    /// Returns the names of the services whose accounts take payments of a tenant in this environment, sorted. A
    /// service that the tenant has switched to `test` takes no live payments.
    ///
    /// # Errors
    /// The errors of the database.
    pub async fn configured(&self, tenant: TenantId, environment: DataEnvironment) -> Result<Vec<String>, Error> {
        let accounts = self.of_tenant(tenant).await?;
        Ok(accounts.usable(environment).into_iter().map(|(service, _)| service.to_owned()).collect())
    }

    /// Returns the environment in which a tenant uses a service: the one it has switched to, or else `live` if it has
    /// an account there, or else `test`.
    ///
    /// # Errors
    /// The errors of the database.
    pub async fn active_environment(&self, tenant: TenantId, service: &str) -> Result<DataEnvironment, Error> {
        Ok(self.of_tenant(tenant).await?.active(service))
    }

    /// Returns the environment of payments that name none: `live` if an account of the tenant takes live payments, or
    /// else `test`.
    ///
    /// # Errors
    /// The errors of the database.
    pub async fn default_environment(&self, tenant: TenantId) -> Result<DataEnvironment, Error> {
        Ok(self.of_tenant(tenant).await?.default_environment())
    }

    /// Returns the time since which calls of a tenant to a service are made with its present credentials. Returns
    /// `None` if none are stored.
    pub(crate) async fn unchanged_since(
        &self,
        tenant: TenantId,
        service: &str,
        environment: DataEnvironment,
    ) -> Result<Option<Timestamp>, Error> {
        let accounts = self.of_tenant(tenant).await?;
        Ok(accounts.unchanged_since.get(&(service.to_owned(), environment)).copied())
    }

    /// Returns the accounts of a tenant.
    pub(crate) async fn of_tenant(&self, tenant: TenantId) -> Result<Arc<TenantAccounts>, Error> {
        let now = self.now();
        if let Some(found) = self.0.cache.get(&tenant, now) {
            return Ok(found);
        }
        let evictions = self.0.cache.evictions();
        let mut tx = self.0.db.tenant(tenant).begin_read().await?;
        let rows = store::list(&mut tx, tenant).await?;
        let switches = store::switches(&mut tx, tenant).await?;
        tx.commit().await?;
        let accounts = Arc::new(TenantAccounts {
            unchanged_since: rows.iter().map(unchanged_since).collect(),
            providers: rows.into_iter().filter_map(|row| self.connect(tenant, row)).collect(),
            switches: switches.into_iter().collect(),
            fake: self.connect_fake(tenant),
        });
        self.0.cache.insert(tenant, Arc::clone(&accounts), now, evictions);
        Ok(accounts)
    }

    /// Notes that an account is used. It is stored at most once a minute.
    pub(crate) fn note_use(&self, tenant: TenantId, service: &str, environment: DataEnvironment) {
        let (key, now) = (AccountKey { tenant, service: service.to_owned(), environment }, self.now());
        if self.0.uses.note(&key, now) {
            last_use::write(self.0.db.clone(), key, now);
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// Creates the provider of stored credentials: `None` in place of it if they can't be used. Returns `None` if the
    /// app no longer has the service.
    pub(super) fn connect(&self, tenant: TenantId, row: CredentialRow) -> Option<AccountEntry> {
        let service = self.service(&row.service)?;
        let environment = row.environment();
        let key = AccountKey { tenant, service: row.service, environment };
        let opened = sealed::open(&row.credentials, &self.0.keys, &key).map_err(|error| error.to_string());
        let provider = opened
            .and_then(|credentials| service.connect(environment, &credentials).map_err(|problem| problem.to_string()));
        let provider = provider.map_err(|error| {
            let name = key.service.as_str();
            tracing::warn!(target: "omnistack::payments", %tenant, service = name, %error, "an account is unusable");
        });
        Some(((key.service, environment), provider.ok()))
    }

    /// Creates the account of a tenant at the fake. Returns `None` if the app has no fake.
    fn connect_fake(&self, tenant: TenantId) -> Option<Arc<dyn PaymentProvider>> {
        let key = format!("fake_test_{tenant}").into();
        let credentials = Credentials(BTreeMap::from([("api_key".to_owned(), key)]));
        self.service(FAKE_SERVICE)?.connect(DataEnvironment::Test, &credentials).ok()
    }
}

/// Returns the account of a row, and the time since which calls are made with its credentials: for a minute after they
/// have replaced others, another replica may still have used those.
fn unchanged_since(row: &CredentialRow) -> ((String, DataEnvironment), Timestamp) {
    let delay = if row.updated_at == row.created_at { Duration::ZERO } else { CACHE_TTL };
    ((row.service.clone(), row.environment()), row.updated_at + delay)
}

impl fmt::Debug for PaymentAccounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PaymentAccounts")
    }
}
