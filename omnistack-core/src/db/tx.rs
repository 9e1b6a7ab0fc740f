//! Transactions, and the database as one tenant sees it.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    Db, Dialect, Error, ErrorKind, IntoSql, SqlQuery,
    observe::Observers,
    pools::{OpenTransaction, StatementTimeoutGuard},
    tenants::PoolLease,
};
use crate::id::TenantId;

/// The rows a transaction sees.
#[derive(Clone, Copy, Debug)]
pub(super) enum TenantVisibility {
    /// Only tables without tenants.
    Unset,
    Tenant(TenantId),
    All,
}

/// A transaction. It is rolled back if it is dropped without [`commit`](Self::commit).
pub struct Tx {
    open: OpenTransaction,
    observers: Arc<Observers>,
    tenant: Option<TenantId>,
    commit_hooks: Vec<Box<dyn FnOnce() + Send>>,
    /// The reason why it must not commit.
    rollback_only: Option<&'static str>,
    /// Whether there are tenant databases.
    has_tenant_databases: bool,
    /// The tenant database the transaction is in, if any; kept open until the transaction ends.
    lease: Option<PoolLease>,
    /// Ends with the transaction, before the connection is used again.
    limit: Option<StatementTimeoutGuard>,
}

impl Tx {
    pub(super) async fn begin(db: &Db, scope: TenantVisibility, writes: bool) -> Result<Self, Error> {
        let lease = match (scope, &db.tenants) {
            (TenantVisibility::Tenant(tenant), Some(tenants)) if db.routed => tenants.lease(tenant).await?,
            _ => return Self::begin_here(db, scope, writes).await,
        };
        let tx = Self::begin_here(lease.db(), scope, writes).await?;
        Ok(Self { has_tenant_databases: true, lease: Some(lease), ..tx })
    }

    async fn begin_here(db: &Db, scope: TenantVisibility, writes: bool) -> Result<Self, Error> {
        let settings = match scope {
            TenantVisibility::Unset => String::new(),
            // The text of a UUID needs no quoting.
            TenantVisibility::Tenant(tenant) => format!("set local omnistack.tenant = '{tenant}'"),
            TenantVisibility::All => "set local omnistack.tenant = '*'".into(),
        };
        let tenant = match scope {
            TenantVisibility::Tenant(tenant) => Some(tenant),
            TenantVisibility::Unset | TenantVisibility::All => None,
        };
        let observers = Arc::clone(&db.observers);
        let watch = observers.start();
        let open = watch.finish("begin", db.pools.begin(writes, &settings).await)?;
        let split = db.tenants.is_some();
        Ok(Self {
            open,
            observers,
            tenant,
            commit_hooks: Vec::new(),
            rollback_only: None,
            has_tenant_databases: split,
            lease: None,
            limit: None,
        })
    }

    /// Returns the SQL dialect of the database.
    pub fn dialect(&self) -> Dialect {
        self.open.dialect()
    }

    /// Returns the tenant whose rows the transaction sees, or `None` if it is not limited to one.
    pub fn tenant(&self) -> Option<TenantId> {
        self.tenant
    }

    /// Creates a statement in this transaction.
    pub fn query(&mut self, sql: impl IntoSql) -> SqlQuery<'_> {
        SqlQuery::new(sql.into_sql(self.open.dialect()), self.open.bound(), &self.observers)
    }

    /// Lends the connection of a transaction in PostgreSQL, for statements of sqlx, such as those of `sqlx::query!`:
    /// they share the transaction with [`query`](Self::query) and with the calls whose names end with `_in`, such as
    /// [`Jobs::enqueue_in`](crate::jobs::Jobs::enqueue_in). Returns `None` on SQLite, and after the connection was lost.
    ///
    /// `begin` of sqlx is a savepoint here. If its future is dropped before it ends, sqlx rolls back the whole transaction,
    /// and all further calls fail. End the transaction only with [`commit`](Self::commit) or
    /// [`rollback`](Self::rollback), never by a statement `commit`. Observers don't see statements on the connection,
    /// and they wait for responses without a limit.
    ///
    /// ```
    /// use omnistack_core::{db::{self, Tx}, http::Error};
    ///
    /// async fn insert_order(tx: &mut Tx, item: &str) -> Result<(), Error> {
    ///     let connection = tx.postgres().ok_or_else(|| Error::internal("the app runs on PostgreSQL"))?;
    ///     let insert = sqlx::query("insert into orders (item) values ($1)").bind(item);
    ///     insert.execute(connection).await.map_err(db::Error::from)?;
    ///     Ok(())
    /// }
    /// ```
    #[cfg(feature = "postgres")]
    pub fn postgres(&mut self) -> Option<&mut sqlx::PgConnection> {
        self.open.postgres()
    }

    /// Lends the connection of a transaction in SQLite, as [`postgres`](Self::postgres) does. Returns `None` on
    /// PostgreSQL.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use omnistack_core::db::Db;
    /// # let db = Db::memory()?;
    /// # db.query("create table orders (item text not null)").execute().await?;
    /// let mut tx = db.begin().await?;
    /// let connection = tx.sqlite().ok_or("the app runs on SQLite")?;
    /// sqlx::query("insert into orders (item) values ($1)").bind("tea").execute(connection).await?;
    /// tx.rollback().await?;
    /// # let (left,): (i64,) = db.query("select count(*) from orders").fetch_one().await?;
    /// # assert_eq!(left, 0);
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "sqlite")]
    pub fn sqlite(&mut self) -> Option<&mut sqlx::SqliteConnection> {
        self.open.sqlite()
    }

    /// Sets the statement timeout from now on, in place of `DATABASE_STATEMENT_TIMEOUT`: on PostgreSQL for each
    /// statement, on SQLite for all statements together. Zero means no limit. A statement that takes longer fails
    /// with [`ErrorKind::Timeout`]. Do not use a longer `set local statement_timeout` instead: the limit on the
    /// wait for the response would end the statement earlier.
    ///
    /// # Errors
    /// The errors of the database.
    pub async fn set_statement_timeout(&mut self, timeout: Duration) -> Result<(), Error> {
        self.limit = Some(self.open.set_statement_timeout(timeout).await?);
        Ok(())
    }

    /// Makes the changes durable and visible, and calls the [`on_commit`](Self::on_commit) functions.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if the transaction is marked as rollback-only or conflicts with another
    /// transaction; the errors of the database.
    pub async fn commit(self) -> Result<(), Error> {
        if let Some(reason) = self.rollback_only {
            self.rollback().await?;
            return Err(Error::new(ErrorKind::Conflict, format!("not committed: {reason}").into()));
        }
        let watch = self.observers.start();
        watch.finish("commit", self.open.commit().await)?;
        self.commit_hooks.into_iter().for_each(|then| then());
        Ok(())
    }

    /// Registers a function that is called after the changes are durable and visible, and never otherwise. Use it
    /// to notify tasks that wait for the changes.
    pub fn on_commit(&mut self, then: impl FnOnce() + Send + 'static) {
        self.commit_hooks.push(Box::new(then));
    }

    /// Returns whether the transaction is in a tenant database. Rows that belong to the app are then written to
    /// that database's outbox, and relayed.
    pub fn in_tenant_database(&self) -> bool {
        self.lease.is_some()
    }

    /// Returns whether the transaction is in the app's own database while there are tenant databases.
    pub(crate) fn in_app_database(&self) -> bool {
        self.has_tenant_databases && self.lease.is_none()
    }

    /// Relays the tenant's outbox after the commit.
    pub(crate) fn relay_on_commit(&mut self) {
        if let (Some(lease), Some(tenant)) = (&self.lease, self.tenant) {
            let databases = lease.databases().clone();
            self.on_commit(move || databases.notify_outbox(tenant));
        }
    }

    /// Marks the transaction as rollback-only: [`commit`](Self::commit) rolls it back and fails. Use it for
    /// changes that must not become durable even if a caller ignores the error.
    pub(crate) fn mark_rollback_only(&mut self, reason: &'static str) {
        self.rollback_only = Some(reason);
    }

    /// Rolls back the changes.
    ///
    /// # Errors
    /// The errors of the database.
    pub async fn rollback(self) -> Result<(), Error> {
        let watch = self.observers.start();
        watch.finish("rollback", self.open.rollback().await)
    }
}

impl fmt::Debug for Tx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tx").field("dialect", &self.dialect()).finish_non_exhaustive()
    }
}

/// The database as one tenant, or an operator, sees it. Created by [`Db::tenant`] and [`Db::all_tenants`].
///
/// On PostgreSQL the tenant is set in the same round trip as `BEGIN`, until the transaction ends. The tables'
/// policies (`omnistack_visible(tenant_id)`) use it, so a query without a `where` clause returns no rows of other
/// tenants. SQLite has no policies: only the `where` clause isolates tenants there, which is why every query has
/// one. With tenant databases the transaction is in the tenant's database, which has no rows of other tenants.
#[derive(Debug)]
pub struct TenantScope<'a> {
    db: &'a Db,
    scope: TenantVisibility,
}

impl<'a> TenantScope<'a> {
    pub(super) fn new(db: &'a Db, scope: TenantVisibility) -> Self {
        Self { db, scope }
    }

    /// Begins a transaction that may write.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if no connection is available in time or the tenant database can't be opened;
    /// [`ErrorKind::NotFound`] if the tenant's database was removed.
    pub async fn begin(&self) -> Result<Tx, Error> {
        Tx::begin(self.db, self.scope, true).await
    }

    /// Begins a transaction that only reads. On SQLite it does not wait for the writer.
    ///
    /// # Errors
    /// Those of [`begin`](Self::begin).
    pub async fn begin_read(&self) -> Result<Tx, Error> {
        Tx::begin(self.db, self.scope, false).await
    }
}
