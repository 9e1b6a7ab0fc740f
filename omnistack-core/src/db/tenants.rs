//! A database for each tenant, beside the one of the app.
//!
//! With `TENANT_DATABASE_URL`, [`Db::tenant`] begins its transactions in a database of that tenant's own. It is made and
//! migrated when it is first asked for, kept open while it is used, and closed when others need the place. Every database
//! has the whole schema, so that modules know nothing of it.

mod names;
mod open;
mod place;
mod settings;

pub(crate) use open::{Lease, Visit};
pub use settings::TenantDatabaseSettings;

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;

use super::{Db, DbSettings, Error, ErrorKind, MigrationState, Migrations, Tx};
use crate::identity::TenantId;
use names::Standing;
use place::Place;

/// The databases of the tenants. Cheap to clone; [`Db::tenant_databases`] has them.
#[derive(Clone)]
pub struct TenantDatabases(Arc<Inner>);

struct Inner {
    /// Where the tenants' names are. Not routed.
    main: Db,
    place: Place,
    /// Of one of them.
    database: DbSettings,
    most: usize,
    idle: Duration,
    sweep: Duration,
    migrations: OnceLock<Vec<(&'static str, Migrations)>>,
    open: Mutex<HashMap<TenantId, Arc<open::Home>>>,
    /// Told when one of them is used by nobody.
    freed: Notify,
    /// Tenants of which something waits to be carried to where it belongs.
    waiting: Mutex<BTreeSet<TenantId>>,
    told: Notify,
    /// Tenants whose database could not be used when it was last asked for.
    away: Mutex<BTreeSet<TenantId>>,
}

impl Db {
    /// This database, with one beside it for each tenant: its [`tenant`](Self::tenant) begins in that. No I/O.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when `TENANT_DATABASE_URL` names no place for each tenant, or another kind of database.
    pub fn with_tenant_databases(mut self, own: &DbSettings, settings: &TenantDatabaseSettings) -> Result<Self, Error> {
        self.tenants = None;
        self.tenants = TenantDatabases::new(self.clone(), own, settings)?;
        self.routed = self.tenants.is_some();
        Ok(self)
    }

    /// The app's own database alone: [`tenant`](Self::tenant) then begins in it, whether or not tenants have databases. For
    /// what is about tenants and belongs to the app, as who is a member of which.
    pub fn main(&self) -> Self {
        Self { routed: false, ..self.clone() }
    }

    /// The tenants' own databases; none when they share this one.
    pub fn tenant_databases(&self) -> Option<&TenantDatabases> {
        self.tenants.as_ref()
    }

    /// Removes a tenant's database, if it has its own, once this transaction of the app's own database has committed: with every
    /// row, for good. Nothing begins in it from then on. Without databases of tenants it does nothing.
    ///
    /// It is removed by the app's background work; when that fails, as when the server is away, it is tried again.
    ///
    /// # Errors
    /// The database's.
    pub async fn drop_tenant_in(&self, tx: &mut Tx, tenant: TenantId) -> Result<(), Error> {
        let Some(databases) = self.tenants.clone() else { return Ok(()) };
        names::drop_in(tx, tenant, self.observers.clock.now()).await?;
        tx.on_commit(move || {
            databases.forget(tenant);
            databases.tell(tenant);
        });
        Ok(())
    }
}

impl TenantDatabases {
    fn new(main: Db, own: &DbSettings, settings: &TenantDatabaseSettings) -> Result<Option<Self>, Error> {
        let Some(place) = Place::new(main.dialect(), own, settings)? else { return Ok(None) };
        let mut database = own.clone();
        // One for what carries rows elsewhere, beside a request's.
        database.max_connections = settings.max_connections.max(2);
        Ok(Some(Self(Arc::new(Inner {
            main,
            place,
            database,
            most: usize::try_from(settings.open).unwrap_or(usize::MAX).max(1),
            idle: settings.idle,
            sweep: settings.sweep,
            migrations: OnceLock::new(),
            open: Mutex::default(),
            freed: Notify::new(),
            waiting: Mutex::default(),
            told: Notify::new(),
            away: Mutex::default(),
        }))))
    }

    /// What every database is to have; said once, when every module has registered.
    pub(crate) fn know(&self, migrations: &[(&'static str, Migrations)]) {
        _ = self.0.migrations.set(migrations.to_vec());
    }

    /// Every tenant that has a database, by id.
    ///
    /// # Errors
    /// The app's database's.
    pub async fn all(&self) -> Result<Vec<TenantId>, Error> {
        names::all(&self.0.main).await
    }

    /// How many are open in this process.
    pub fn open_count(&self) -> usize {
        self.open().len()
    }

    /// Those that could not be used when they were last asked for, by this process.
    pub fn away(&self) -> Vec<TenantId> {
        lock(&self.0.away).iter().copied().collect()
    }

    /// Where they are, without a password: `postgres://app:…@host/app_{tenant}`.
    pub fn display_url(&self) -> String {
        self.0.place.display_url()
    }

    /// Whether a tenant has a database now.
    ///
    /// # Errors
    /// The app's database's.
    pub async fn has(&self, tenant: TenantId) -> Result<bool, Error> {
        Ok(names::standing(&self.0.main, tenant).await? == Standing::Known)
    }

    /// Whether a tenant is gone, so that it gets no database any more.
    pub(crate) async fn is_gone(&self, tenant: TenantId) -> Result<bool, Error> {
        Ok(names::standing(&self.0.main, tenant).await? == Standing::Gone)
    }

    /// Runs what is missing of every module's migrations in a tenant's database, and returns how many there were. It is what
    /// opening it does as well.
    ///
    /// # Errors
    /// The database's.
    pub async fn migrate(&self, tenant: TenantId) -> Result<usize, Error> {
        let visit = self.visit(tenant).await?;
        let ran = self.migrate_in(visit.db()).await;
        visit.end().await;
        ran
    }

    /// Which migrations a tenant's database has; changes nothing.
    ///
    /// # Errors
    /// The database's.
    pub async fn migration_states(&self, tenant: TenantId) -> Result<Vec<MigrationState>, Error> {
        let visit = self.visit(tenant).await?;
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

    async fn migrate_in(&self, db: &Db) -> Result<usize, Error> {
        let mut ran = 0;
        for (module, migrations) in self.0.migrations.get().into_iter().flatten() {
            ran += db.migrate(module, migrations).await?.len();
        }
        Ok(ran)
    }

    /// Removes the databases of tenants that are gone; returns how many.
    pub(crate) async fn drop_gone(&self) -> Result<usize, Error> {
        let mut dropped = 0;
        for tenant in names::leaving(&self.0.main).await? {
            self.forget(tenant);
            match self.0.place.drop(tenant).await {
                Ok(()) => {
                    names::left(&self.0.main, tenant, self.0.main.observers.clock.now()).await?;
                    dropped += 1;
                    tracing::info!(target: "omnistack::db", %tenant, "a tenant's database is removed");
                }
                Err(error) => {
                    tracing::error!(target: "omnistack::db", %tenant, %error, "a tenant's database could not be removed; it is tried again");
                }
            }
        }
        Ok(dropped)
    }

    /// Something of a tenant's waits to be carried.
    pub(crate) fn tell(&self, tenant: TenantId) {
        lock(&self.0.waiting).insert(tenant);
        self.0.told.notify_one();
    }

    /// Those something waits of; waits until there is one.
    pub(crate) async fn told(&self) -> BTreeSet<TenantId> {
        loop {
            let told = self.0.told.notified();
            let waiting = std::mem::take(&mut *lock(&self.0.waiting));
            if !waiting.is_empty() {
                return waiting;
            }
            told.await;
        }
    }

    pub(crate) fn main(&self) -> &Db {
        &self.0.main
    }

    pub(crate) fn sweep(&self) -> Duration {
        self.0.sweep
    }

    fn now(&self) -> u64 {
        millis(self.0.main.observers.clock.elapsed())
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

fn gone(tenant: TenantId) -> Error {
    Error::new(ErrorKind::NotFound, format!("tenant {tenant} is gone, and its database with it").into())
}
