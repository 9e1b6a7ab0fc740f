//! Transactions, and the database as one tenant sees it.

use std::{fmt, sync::Arc, time::Duration};

use super::{Db, Dialect, Error, ErrorKind, IntoSql, Query, driver::Open, observe::Observers, tenants::Lease};
use crate::identity::TenantId;

/// Whose rows a transaction sees.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scope {
    /// No tenant's: tables without one only.
    Unset,
    Tenant(TenantId),
    All,
}

/// A transaction. Dropped without [`commit`](Self::commit), it is rolled back.
pub struct Tx {
    open: Open,
    observers: Arc<Observers>,
    tenant: Option<TenantId>,
    committed: Vec<Box<dyn FnOnce() + Send>>,
    /// Why it must not commit.
    doomed: Option<&'static str>,
    /// Whether tenants have databases of their own.
    split: bool,
    /// The tenant's own database, if it is in that; kept open until the end.
    lease: Option<Lease>,
}

impl Tx {
    pub(super) async fn begin(db: &Db, scope: Scope, writes: bool) -> Result<Self, Error> {
        let lease = match (scope, &db.tenants) {
            (Scope::Tenant(tenant), Some(tenants)) if db.routed => tenants.lease(tenant).await?,
            _ => return Self::begin_here(db, scope, writes).await,
        };
        let tx = Self::begin_here(lease.db(), scope, writes).await?;
        Ok(Self { split: true, lease: Some(lease), ..tx })
    }

    async fn begin_here(db: &Db, scope: Scope, writes: bool) -> Result<Self, Error> {
        let settings = match scope {
            Scope::Unset => String::new(),
            // A UUID's text needs no quoting.
            Scope::Tenant(tenant) => format!("set local omnistack.tenant = '{tenant}'"),
            Scope::All => "set local omnistack.tenant = '*'".into(),
        };
        let tenant = match scope {
            Scope::Tenant(tenant) => Some(tenant),
            Scope::Unset | Scope::All => None,
        };
        let observers = Arc::clone(&db.observers);
        let watch = observers.watch();
        let open = watch.ended("begin", db.pools.begin(writes, &settings).await)?;
        let split = db.tenants.is_some();
        Ok(Self { open, observers, tenant, committed: Vec::new(), doomed: None, split, lease: None })
    }

    /// Which SQL it speaks.
    pub fn dialect(&self) -> Dialect {
        self.open.dialect()
    }

    /// Whose rows it sees, if it is one tenant's.
    pub fn tenant(&self) -> Option<TenantId> {
        self.tenant
    }

    /// A statement in this transaction.
    pub fn query(&mut self, sql: impl IntoSql) -> Query<'_> {
        Query::new(sql.into_sql(self.open.dialect()), self.open.bound(), &self.observers)
    }

    /// Lets each statement of this transaction run for so long on PostgreSQL, in place of `DATABASE_STATEMENT_TIMEOUT`; zero
    /// is for ever. SQLite has no such limit. A `set local statement_timeout` that is longer would be cut short by the limit
    /// on the wait for its answer.
    pub async fn set_statement_timeout(&mut self, limit: Duration) -> Result<(), Error> {
        match &mut self.open {
            #[cfg(feature = "postgres")]
            Open::Postgres(lease) => lease.set_statement_timeout(limit).await?,
            #[cfg(feature = "sqlite")]
            Open::Sqlite(_) => _ = limit,
        }
        Ok(())
    }

    /// Makes its changes durable and visible.
    pub async fn commit(self) -> Result<(), Error> {
        if let Some(reason) = self.doomed {
            self.rollback().await?;
            return Err(Error::new(ErrorKind::Conflict, format!("not committed: {reason}").into()));
        }
        let watch = self.observers.watch();
        watch.ended("commit", self.open.commit().await)?;
        self.committed.into_iter().for_each(|then| then());
        Ok(())
    }

    /// Calls this when the changes are durable and visible; never when they are not. For waking whoever waits for them.
    pub fn on_commit(&mut self, then: impl FnOnce() + Send + 'static) {
        self.committed.push(Box::new(then));
    }

    /// Whether it is in a tenant's own database. What belongs to the app is put into the outbox there then, and carried over.
    pub(crate) fn is_apart(&self) -> bool {
        self.lease.is_some()
    }

    /// Whether it is in the app's own database while tenants have others.
    pub(crate) fn is_main(&self) -> bool {
        self.split && self.lease.is_none()
    }

    /// Once it has committed, what is in the tenant's outbox is carried over.
    pub(crate) fn carry_on_commit(&mut self) {
        if let (Some(lease), Some(tenant)) = (&self.lease, self.tenant) {
            let databases = lease.databases().clone();
            self.on_commit(move || databases.tell(tenant));
        }
    }

    /// From here on it can only be rolled back: [`commit`](Self::commit) does that and fails. For what must not be durable
    /// even when a caller overlooks the error that said so.
    pub(crate) fn doom(&mut self, reason: &'static str) {
        self.doomed = Some(reason);
    }

    /// Forgets its changes.
    pub async fn rollback(self) -> Result<(), Error> {
        let watch = self.observers.watch();
        watch.ended("rollback", self.open.rollback().await)
    }
}

impl fmt::Debug for Tx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tx").field("dialect", &self.dialect()).finish_non_exhaustive()
    }
}

/// The database as one tenant, or an operator, sees it. Made by [`Db::tenant`].
///
/// On PostgreSQL the tenant rides with `BEGIN` in one round trip and lasts until the transaction ends; the policies
/// of the tables (`omnistack_visible(tenant_id)`) use it, so a query that forgets its `where` returns nothing of
/// others'. SQLite has no such policies: there the `where` alone isolates, which is why every query has one. Where each
/// tenant has a database of its own, the transaction is in that, and nobody else's rows are there.
#[derive(Debug)]
pub struct TenantDb<'a> {
    db: &'a Db,
    scope: Scope,
}

impl<'a> TenantDb<'a> {
    pub(super) fn new(db: &'a Db, scope: Scope) -> Self {
        Self { db, scope }
    }

    /// Begins a transaction that may write.
    pub async fn begin(&self) -> Result<Tx, Error> {
        Tx::begin(self.db, self.scope, true).await
    }

    /// Begins a transaction that only reads; on SQLite it does not wait for the writer.
    pub async fn read(&self) -> Result<Tx, Error> {
        Tx::begin(self.db, self.scope, false).await
    }
}
