//! Tenant databases: a separate database for each tenant, besides the app's own.
//!
//! With `TENANT_DATABASE_URL`, [`Db::tenant`] begins its transactions in the tenant's own database. The database
//! is created and migrated on first use, stays open while it is used, and is closed when the limit of open
//! databases is reached. Every database has the whole schema, so that modules need no special code.

mod catalog;
mod outbox_relay;
mod pool_cache;
mod provision;
mod settings;

pub use outbox_relay::{OutboxDestination, OutboxReceiver, add_to_outbox, mark_received, unreadable_row};
pub(crate) use outbox_relay::{OutboxRelay, has_rows as outbox_has_rows, relay_to_tenant};
pub(crate) use pool_cache::{PoolLease, TemporaryPool};
pub use settings::TenantDatabaseSettings;

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;

use super::{Db, DbSettings, Error, ErrorKind, MigrateOptions, MigrationState, Migrations, Tx};
use crate::id::TenantId;
use catalog::CatalogState;
use provision::Provisioner;

/// The databases of the tenants. Returned by [`Db::tenant_databases`]. Cheap to clone.
#[derive(Clone)]
pub struct TenantDatabases(Arc<TenantDatabasesInner>);

struct TenantDatabasesInner {
    /// The app's own database, which has the catalog of tenant databases. Not routed.
    app_database: Db,
    provisioner: Provisioner,
    /// Settings of each tenant database.
    database: DbSettings,
    max_open: usize,
    idle: Duration,
    sweep: Duration,
    migrations: OnceLock<Vec<(&'static str, Migrations)>>,
    cached: Mutex<HashMap<TenantId, Arc<pool_cache::CachedPool>>>,
    /// Notified when an open database is no longer in use.
    freed: Notify,
    /// Tenants whose outbox has rows to relay.
    tenants_to_relay: Mutex<BTreeSet<TenantId>>,
    outbox_notify: Notify,
    /// Tenants whose database could not be used at the last attempt.
    unavailable: Mutex<BTreeSet<TenantId>>,
}

impl Db {
    /// Adds tenant databases: [`tenant`](Self::tenant) then begins transactions in them. Does no I/O.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] if `TENANT_DATABASE_URL` has no placeholder for the tenant or names another
    /// kind of database.
    pub fn with_tenant_databases(mut self, own: &DbSettings, settings: &TenantDatabaseSettings) -> Result<Self, Error> {
        self.tenants = None;
        self.tenants = TenantDatabases::new(self.clone(), own, settings)?;
        self.routed = self.tenants.is_some();
        Ok(self)
    }

    /// Returns the app's own database without routing: [`tenant`](Self::tenant) then begins transactions in it,
    /// even if there are tenant databases. Use it for data about tenants that belongs to the app, such as
    /// memberships.
    pub fn app_database(&self) -> Self {
        Self { routed: false, ..self.clone() }
    }

    /// Returns the tenant databases, or `None` if tenants share this database.
    pub fn tenant_databases(&self) -> Option<&TenantDatabases> {
        self.tenants.as_ref()
    }

    /// Removes a tenant's database and all its rows after this transaction of the app's own database has
    /// committed. From then on, no transaction can begin in it. Does nothing if there are no tenant databases.
    ///
    /// The app's background work removes the database, and retries if that fails, such as while the server is
    /// unavailable.
    ///
    /// # Errors
    /// The errors of the database.
    pub async fn drop_tenant_in(&self, tx: &mut Tx, tenant: TenantId) -> Result<(), Error> {
        let Some(databases) = self.tenants.clone() else { return Ok(()) };
        catalog::mark_deleted_in(tx, tenant, self.observers.clock.now()).await?;
        tx.on_commit(move || {
            databases.evict(tenant);
            databases.notify_outbox(tenant);
        });
        Ok(())
    }
}

impl TenantDatabases {
    fn new(main: Db, own: &DbSettings, settings: &TenantDatabaseSettings) -> Result<Option<Self>, Error> {
        let Some(place) = Provisioner::new(main.dialect(), own, settings)? else { return Ok(None) };
        let mut database = own.clone();
        // One connection relays the outbox, besides that of a request.
        database.max_connections = settings.max_connections.max(2);
        // The standby is that of the app's database.
        database.replica_url = None;
        Ok(Some(Self(Arc::new(TenantDatabasesInner {
            app_database: main,
            provisioner: place,
            database,
            max_open: usize::try_from(settings.open).unwrap_or(usize::MAX).max(1),
            idle: settings.idle,
            sweep: settings.sweep,
            migrations: OnceLock::new(),
            cached: Mutex::default(),
            freed: Notify::new(),
            tenants_to_relay: Mutex::default(),
            outbox_notify: Notify::new(),
            unavailable: Mutex::default(),
        }))))
    }

    /// Sets the migrations of all modules. Called once, after all modules have registered.
    pub(crate) fn set_migrations(&self, migrations: &[(&'static str, Migrations)]) {
        _ = self.0.migrations.set(migrations.to_vec());
    }

    /// Returns all tenants that have a database, ordered by id.
    ///
    /// # Errors
    /// The errors of the app's database.
    pub async fn all(&self) -> Result<Vec<TenantId>, Error> {
        catalog::all(&self.0.app_database).await
    }

    /// Returns the number of databases that are open in this process.
    pub fn open_count(&self) -> usize {
        self.open().len()
    }

    /// Returns the tenants whose database could not be used by this process at the last attempt.
    pub fn unavailable(&self) -> Vec<TenantId> {
        lock(&self.0.unavailable).iter().copied().collect()
    }

    /// Returns the URL template without its password: `postgres://app:…@host/app_{tenant}`.
    pub fn display_url(&self) -> String {
        self.0.provisioner.display_url()
    }

    /// Returns the URL of a tenant's database, for programs that copy databases.
    #[cfg(feature = "backup")]
    pub(crate) fn url(&self, tenant: TenantId) -> secrecy::SecretString {
        self.0.provisioner.url(tenant)
    }

    /// Creates an empty database for a tenant, to be filled from a backup. Uses an existing one.
    #[cfg(feature = "backup")]
    pub(crate) async fn create_empty(&self, tenant: TenantId) -> Result<(), Error> {
        self.0.provisioner.create(tenant).await
    }

    /// Returns whether a tenant has a database.
    ///
    /// # Errors
    /// The errors of the app's database.
    pub async fn has(&self, tenant: TenantId) -> Result<bool, Error> {
        Ok(catalog::state(&self.0.app_database, tenant).await? == CatalogState::Present)
    }

    /// Returns whether a tenant was deleted, so that no database is created for it any more.
    pub(crate) async fn is_deleted(&self, tenant: TenantId) -> Result<bool, Error> {
        Ok(catalog::state(&self.0.app_database, tenant).await? == CatalogState::Deleted)
    }

    /// Runs the missing migrations of all modules in a tenant's database and returns their number. Opening the
    /// database does the same.
    ///
    /// # Errors
    /// The errors of the database.
    pub async fn migrate(&self, tenant: TenantId) -> Result<usize, Error> {
        self.migrate_with(tenant, &MigrateOptions::new()).await
    }

    /// Runs the missing migrations as [`migrate`](Self::migrate) does, as the options say.
    ///
    /// # Errors
    /// Those of [`Db::migrate_all`].
    pub async fn migrate_with(&self, tenant: TenantId, options: &MigrateOptions) -> Result<usize, Error> {
        let visit = self.open_temporarily(tenant).await?;
        let ran = self.migrate_in(visit.db(), options).await;
        visit.end().await;
        ran
    }

    /// Returns the states of all migrations in a tenant's database. Only reads.
    ///
    /// # Errors
    /// The errors of the database.
    pub async fn migration_states(&self, tenant: TenantId) -> Result<Vec<MigrationState>, Error> {
        let visit = self.open_temporarily(tenant).await?;
        let mut states = Vec::new();
        let mut failed = None;
        for (module, migrations) in self.0.migrations.get().into_iter().flatten() {
            match visit.db().migration_states(module, migrations).await {
                Ok(of_module) => states.extend(of_module),
                Err(error) => failed = Some(error),
            }
        }
        visit.end().await;
        failed.map_or(Ok(states), Err)
    }

    async fn migrate_in(&self, db: &Db, options: &MigrateOptions) -> Result<usize, Error> {
        let all = self.0.migrations.get().map_or(&[][..], Vec::as_slice);
        Ok(db.migrate_all(all, options).await?.len())
    }

    /// Removes the databases of deleted tenants and returns their number.
    pub(crate) async fn drop_deleted(&self) -> Result<usize, Error> {
        let mut dropped = 0;
        for tenant in catalog::to_remove(&self.0.app_database).await? {
            self.evict(tenant);
            match self.0.provisioner.drop(tenant).await {
                Ok(()) => {
                    catalog::mark_removed(&self.0.app_database, tenant, self.0.app_database.observers.clock.now())
                        .await?;
                    dropped += 1;
                    tracing::info!(target: "omnistack::db", %tenant, "removed a tenant's database");
                }
                Err(error) => {
                    tracing::error!(target: "omnistack::db", %tenant, %error,
                        "a tenant's database could not be removed; will retry");
                }
            }
        }
        Ok(dropped)
    }

    /// Marks a tenant's outbox as having rows to relay.
    pub(crate) fn notify_outbox(&self, tenant: TenantId) {
        lock(&self.0.tenants_to_relay).insert(tenant);
        self.0.outbox_notify.notify_one();
    }

    /// Waits for and returns the tenants whose outbox has rows to relay.
    pub(crate) async fn outbox_notified(&self) -> BTreeSet<TenantId> {
        loop {
            let told = self.0.outbox_notify.notified();
            let waiting = std::mem::take(&mut *lock(&self.0.tenants_to_relay));
            if !waiting.is_empty() {
                return waiting;
            }
            told.await;
        }
    }

    pub(crate) fn app_database(&self) -> &Db {
        &self.0.app_database
    }

    pub(crate) fn sweep(&self) -> Duration {
        self.0.sweep
    }

    fn now(&self) -> u64 {
        millis(self.0.app_database.observers.clock.elapsed())
    }
}

impl fmt::Debug for TenantDatabases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantDatabases").field("at", &self.display_url()).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn unavailable(tenant: TenantId, what: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("the database of tenant {tenant} {what}").into())
}

fn tenant_deleted(tenant: TenantId) -> Error {
    Error::new(ErrorKind::NotFound, format!("tenant {tenant} was deleted, and so was its database").into())
}
