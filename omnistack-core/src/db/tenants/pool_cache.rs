//! The pool of open tenant databases. Their number is limited, and none is closed while it is used.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use tokio::sync::OnceCell;

use super::{
    TenantDatabases,
    catalog::{self, CatalogState},
    lock, millis, tenant_deleted, unavailable,
};
use crate::{
    db::{Db, DbSettings, Error, ErrorKind, MigrateOptions, pools::Pools},
    id::TenantId,
};

/// A tenant database that is open or being opened.
pub(crate) struct CachedPool {
    tenant: TenantId,
    db: OnceCell<Db>,
    /// The database that is closed to make room for this one.
    evicted: Mutex<Option<Arc<CachedPool>>>,
    /// Number of current users.
    usage_count: AtomicUsize,
    /// Time of the last use, in milliseconds of the clock.
    last_used_ms: AtomicU64,
}

/// A guard that keeps a database from being closed.
struct UsageGuard {
    home: Arc<CachedPool>,
    databases: TenantDatabases,
}

/// A tenant database in use. It is not closed while this exists.
pub(crate) struct PoolLease {
    db: Db,
    ticket: UsageGuard,
}

/// A tenant database that is opened for a short time.
pub(crate) struct TemporaryPool {
    db: Db,
    lease: Option<PoolLease>,
}

impl TenantDatabases {
    /// Closes the databases that have not been used for `TENANT_DATABASE_IDLE`, and returns their number. The app
    /// calls it regularly.
    pub async fn close_idle(&self) -> usize {
        let before = self.now().saturating_sub(millis(self.0.idle));
        let mut idle = Vec::new();
        self.open().retain(|_, home| {
            let stays =
                home.usage_count.load(Ordering::SeqCst) > 0 || home.last_used_ms.load(Ordering::SeqCst) > before;
            if !stays {
                idle.push(Arc::clone(home));
            }
            stays
        });
        for home in &idle {
            home.close().await;
        }
        idle.len()
    }

    pub(crate) async fn close(&self) {
        let all: Vec<_> = self.open().drain().map(|(_, home)| home).collect();
        for home in all {
            home.close().await;
        }
    }

    /// Opens a tenant's database, if it is not open, and keeps it open while the lease exists. Fails if that
    /// takes longer than the acquire timeout, or if the tenant was deleted.
    pub(crate) async fn lease(&self, tenant: TenantId) -> Result<PoolLease, Error> {
        let within = self.0.database.acquire_timeout;
        let leased = tokio::time::timeout(within, self.open_for(tenant)).await;
        let leased = leased.unwrap_or_else(|_| {
            let text = "did not open in time; check that the server is up and TENANT_DATABASES_OPEN is high enough";
            Err(unavailable(tenant, text))
        });
        self.record_availability(tenant, leased.as_ref().err());
        leased
    }

    /// Records whether a tenant's database could be used.
    fn record_availability(&self, tenant: TenantId, error: Option<&Error>) {
        let mut away = lock(&self.0.unavailable);
        match error {
            None if away.is_empty() => {}
            None => _ = away.remove(&tenant),
            Some(error) if error.kind() == ErrorKind::NotFound => {}
            Some(_) => _ = away.insert(tenant),
        }
    }

    async fn open_for(&self, tenant: TenantId) -> Result<PoolLease, Error> {
        let ticket = loop {
            let freed = self.0.freed.notified();
            match self.reserve(tenant) {
                Some(ticket) => break ticket,
                None => freed.await,
            }
        };
        if let Some(db) = ticket.home.db.get().cloned() {
            return Ok(PoolLease { db, ticket });
        }
        // Runs separately, so that migrations continue if the caller gives up. One task opens the database, and
        // the other tasks wait for it. It uses a thread of its own, since the future of a migration can't move
        // between threads.
        let runtime = tokio::runtime::Handle::current();
        let opened = tokio::task::spawn_blocking(move || {
            let home = Arc::clone(&ticket.home);
            let db = runtime.block_on(home.db.get_or_try_init(|| ticket.databases.prepare(&home)))?.clone();
            Ok(PoolLease { db, ticket })
        });
        opened.await.map_err(|_| unavailable(tenant, "was not opened because the app is shutting down"))?
    }

    /// Reserves a place among the open databases. Returns `None` while all places are in use.
    fn reserve(&self, tenant: TenantId) -> Option<UsageGuard> {
        let mut open = self.open();
        let mut before = None;
        if !open.contains_key(&tenant) && open.len() >= self.0.max_open {
            let idle = open.values().filter(|home| home.usage_count.load(Ordering::SeqCst) == 0);
            let oldest = idle.min_by_key(|home| home.last_used_ms.load(Ordering::SeqCst))?.tenant;
            before = open.remove(&oldest);
        }
        let home = open.entry(tenant).or_insert_with(|| Arc::new(CachedPool::new(tenant, before)));
        home.last_used_ms.store(self.now(), Ordering::SeqCst);
        // Only increased from zero while the lock is held.
        home.usage_count.fetch_add(1, Ordering::SeqCst);
        Some(UsageGuard { home: Arc::clone(home), databases: self.clone() })
    }

    /// Opens the database and migrates it. Creates it if the tenant never had one.
    async fn prepare(&self, home: &CachedPool) -> Result<Db, Error> {
        let tenant = home.tenant;
        let before = lock(&home.evicted).take();
        if let Some(before) = before {
            before.close().await;
        }
        let known = match catalog::state(&self.0.app_database, tenant).await? {
            CatalogState::Deleted => return Err(tenant_deleted(tenant)),
            standing => standing == CatalogState::Present,
        };
        if known {
            self.0.provisioner.exists(tenant)?;
        } else {
            self.0.provisioner.create(tenant).await?;
        }
        let db = self.connect(tenant)?;
        let opened = async {
            db.ping().await.map_err(|error| map_missing(tenant, error))?;
            self.migrate_in(&db, &MigrateOptions::new()).await?;
            if !known && catalog::add(&self.0.app_database, tenant).await? == CatalogState::Deleted {
                return Err(tenant_deleted(tenant));
            }
            Ok(())
        };
        let Err(error) = opened.await else { return Ok(db) };
        db.close().await;
        if !known && error.kind() == ErrorKind::NotFound {
            // The removal of the tenant may have run before the database was created.
            self.0.provisioner.drop(tenant).await?;
        }
        Err(error)
    }

    fn connect(&self, tenant: TenantId) -> Result<Db, Error> {
        let settings = DbSettings { url: self.0.provisioner.url(tenant), ..self.0.database.clone() };
        let pools = Pools::open(&settings)?;
        Ok(Db { pools, observers: Arc::clone(&self.0.app_database.observers), tenants: None, routed: false })
    }

    /// Opens a tenant's database for a short time, unless it is already open. Does not migrate it and closes no
    /// other database.
    pub(crate) async fn open_temporarily(&self, tenant: TenantId) -> Result<TemporaryPool, Error> {
        let open = self.open().get(&tenant).is_some_and(|home| home.db.initialized());
        if open {
            let lease = self.lease(tenant).await?;
            return Ok(TemporaryPool { db: lease.db.clone(), lease: Some(lease) });
        }
        self.0.provisioner.exists(tenant)?;
        let db = self.connect(tenant)?;
        match db.ping().await {
            Ok(_) => Ok(TemporaryPool { db, lease: None }),
            Err(error) => {
                db.close().await;
                Err(map_missing(tenant, error))
            }
        }
    }

    /// Closes a tenant's database even if it is in use.
    pub(crate) fn evict(&self, tenant: TenantId) {
        lock(&self.0.unavailable).remove(&tenant);
        let home = self.open().remove(&tenant);
        if let (Some(home), Ok(runtime)) = (home, tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move { home.close().await });
        }
    }

    pub(crate) fn open(&self) -> MutexGuard<'_, HashMap<TenantId, Arc<CachedPool>>> {
        lock(&self.0.cached)
    }
}

impl CachedPool {
    fn new(tenant: TenantId, before: Option<Arc<Self>>) -> Self {
        let (users, used) = (AtomicUsize::new(0), AtomicU64::new(0));
        Self { tenant, db: OnceCell::new(), evicted: Mutex::new(before), usage_count: users, last_used_ms: used }
    }

    async fn close(&self) {
        if let Some(db) = self.db.get() {
            db.close().await;
        }
    }
}

impl PoolLease {
    pub(crate) fn db(&self) -> &Db {
        &self.db
    }

    /// Returns the databases, which are notified when a transaction has written to the tenant's outbox.
    pub(crate) fn databases(&self) -> &TenantDatabases {
        &self.ticket.databases
    }
}

impl Drop for UsageGuard {
    fn drop(&mut self) {
        self.home.usage_count.fetch_sub(1, Ordering::SeqCst);
        self.databases.0.freed.notify_one();
    }
}

impl TemporaryPool {
    pub(crate) fn db(&self) -> &Db {
        &self.db
    }

    pub(crate) async fn end(self) {
        if self.lease.is_none() {
            self.db.close().await;
        }
    }
}

/// Converts the error for a database that should exist, but doesn't. It is not created again, since it would be
/// empty.
fn map_missing(tenant: TenantId, error: Error) -> Error {
    match error.kind() {
        ErrorKind::Configuration => {
            unavailable(tenant, &format!("can't be opened ({error}); restore it, or create it if it may be empty"))
        }
        _ => error,
    }
}
