//! PostgreSQL and SQLite behind one handle, with one SQL text for both.
//!
//! Both databases accept `$1` placeholders, `ON CONFLICT` and `RETURNING`, so a query is written once. Values,
//! including times and ids, are bound from Rust and not computed by the database, because the dialects differ
//! there.
//!
//! ```
//! use omnistack_core::db::{Db, DbSettings};
//! use omnistack_core::config::Config;
//!
//! #[derive(omnistack_core::db::FromRow)]
//! struct Planet { name: String, moons: i64 }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), omnistack_core::db::Error> {
//! let db = Db::memory()?;
//! db.query("create table planets (name text not null, moons bigint not null)").execute().await?;
//! db.query("insert into planets (name, moons) values ($1, $2)").bind("Mars").bind(2_i64).execute().await?;
//!
//! let mut tx = db.begin().await?;
//! tx.query("update planets set moons = moons + 1").execute().await?;
//! tx.rollback().await?;
//!
//! let mars: Planet = db.query("select name, moons from planets where name = $1").bind("Mars").fetch_one().await?;
//! assert_eq!((mars.name.as_str(), mars.moons), ("Mars", 2));
//! # Ok(())
//! # }
//! ```
//!
//! Where the dialects differ, the text is a pair, [`Sql`], next to its only use. Work for one tenant goes through
//! [`Db::tenant`]: on PostgreSQL it sets the tenant for the transaction, and row-level security enforces it. With
//! `TENANT_DATABASE_URL` each tenant has a separate database, and `Db::tenant` begins transactions in it.
//!
//! **SQLite** runs in WAL mode with one writing connection and several reading ones. A statement that starts with
//! `select` uses a reader, any other statement the writer, and [`Db::begin`] is a `BEGIN IMMEDIATE`. While a
//! transaction is open, use only the transaction: a write through the `Db` waits for that transaction until the
//! acquire timeout.

#[cfg(not(any(feature = "postgres", feature = "sqlite")))]
compile_error!("omnistack-core needs a database: enable the feature `sqlite` or `postgres`");

mod bulk;
#[doc(hidden)]
pub mod column_type;
#[cfg(feature = "postgres")]
mod columns;
mod error;
mod group_commit;
mod migrate;
mod observe;
mod pools;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "postgres")]
pub(crate) mod postgres_hosts;
mod query;
#[cfg(feature = "postgres")]
mod replica;
mod row_security;
mod settings;
#[cfg(feature = "postgres")]
mod slow_start;
#[cfg(feature = "sqlite")]
mod sqlite;
mod statement_group;
mod tenants;
mod tx;
mod value;

pub use bulk::BulkInsert;
pub use error::{Error, ErrorKind};
pub use group_commit::{GroupCommit, GroupCommitError, Submission};
pub(crate) use migrate::version as migration_version;
pub use migrate::{
    MigrateOptions, Migration, MigrationState, Migrations, PlannedMigration, PlannedStatement, RollbackGuide,
    TableLock, TableLockMode,
};
pub use observe::{QueryEvent, QueryObserver};
pub(crate) use pools::missing_feature;
pub use pools::{AppPools, Dialect};
pub use query::{IntoSql, Sql, SqlQuery};
#[cfg(feature = "postgres")]
pub(crate) use replica::with_reads_from_replica;
pub use row_security::UnprotectedTable;
pub(crate) use row_security::unprotected_tables;
pub use settings::{DbSettings, SchemaName};
/// Derives sqlx's trait `FromRow`, which reads a struct from a row by the names of its columns. The expansion names the
/// crate `sqlx`, so a crate that uses this macro depends on `sqlx`; it needs no feature of it.
pub use sqlx_macros::FromRow;
pub use statement_group::StatementGroup;
pub use tenants::{
    OutboxDestination, OutboxReceiver, TenantDatabaseSettings, TenantDatabases, add_to_outbox, mark_received,
    unreadable_row,
};
pub(crate) use tenants::{OutboxRelay, TemporaryPool, outbox_has_rows, relay_to_tenant};
pub use tx::{TenantScope, Tx};
pub use value::{Arguments, BindValue, Record};

use std::{fmt, sync::Arc, time::Duration};

use crate::{clock::Clock, id::TenantId};
use observe::Observers;
use pools::Pools;
use tx::TenantVisibility;

/// The tables of jobs, events, the audit log, maintenance and tenant databases, for use without an [`App`](crate::app::App), which
/// includes them. Their history is `core`: `db.migrate("core", CORE_MIGRATIONS)`. Under another name they would run
/// again when the database is used with an `App` later.
pub const CORE_MIGRATIONS: Migrations = crate::migrations!["0001_core", "0002_maintenance"];

/// The app's database. Cheap to clone; all clones share the same pools.
#[doc(alias("multi-tenant", "row-level security"))]
#[derive(Clone)]
pub struct Db {
    pools: Pools,
    observers: Arc<Observers>,
    tenants: Option<TenantDatabases>,
    /// Whether tenants' transactions begin in tenant databases.
    routed: bool,
}

impl Db {
    /// Creates the pools of a database. Does no I/O: connections are opened when first used. Must be called
    /// within a Tokio runtime.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] if the URL can't be parsed or names a database that is not compiled in.
    pub fn open(settings: &DbSettings, clock: Clock) -> Result<Self, Error> {
        let pools = Pools::open(settings)?;
        let observers = Arc::new(Observers::new(clock, pools.dialect(), settings.slow_query));
        Ok(Self { pools, observers, tenants: None, routed: false })
    }

    /// Uses the pools that an app has already, so that its own statements and those of OmniStack share connections,
    /// and by [`Tx::postgres`] and [`Tx::sqlite`] also transactions. Does no I/O. The pools keep their options; of the
    /// settings, only `DATABASE_STATEMENT_TIMEOUT`, `DATABASE_SLOW_QUERY` and, for migrations,
    /// `DATABASE_MIGRATION_LOCK_TIMEOUT` and `DATABASE_LARGE_TABLE` count.
    ///
    /// - PostgreSQL: workers of jobs and events each keep one connection of the pool to be notified. A connection whose
    ///   response takes two seconds longer than `DATABASE_STATEMENT_TIMEOUT` is closed: set the same
    ///   `statement_timeout` in the options of the pool, so that the server ends the statement first. The role must not
    ///   be a superuser, for whom row-level security does not apply.
    /// - SQLite: the options should have `journal_mode(SqliteJournalMode::Wal)`. See [`AppPools`] for a separate
    ///   writer.
    ///
    /// ```
    /// use omnistack_core::{clock::Clock, db::{CORE_MIGRATIONS, Db, DbSettings}};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use sqlx::sqlite::SqlitePoolOptions;
    /// # let pool = SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await?;
    /// // `pool` is the pool of the app.
    /// let db = Db::from_pools(pool, &DbSettings::default(), Clock::system());
    /// db.migrate("core", CORE_MIGRATIONS).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_pools(pools: impl Into<AppPools>, settings: &DbSettings, clock: Clock) -> Self {
        let pools = Pools::from_app(pools.into(), settings);
        let observers = Arc::new(Observers::new(clock, pools.dialect(), settings.slow_query));
        Self { pools, observers, tenants: None, routed: false }
    }

    /// Creates a private SQLite database in memory. It is deleted with its last clone.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] if the default settings can't be used.
    #[cfg(feature = "sqlite")]
    pub fn memory() -> Result<Self, Error> {
        let config = crate::config::Config::from_pairs([("DATABASE_URL", "sqlite::memory:")]);
        let settings = config.read_settings().map_err(|problems| Error::configuration(problems[0].to_string()))?;
        Self::open(&settings, Clock::system())
    }

    /// Returns the SQL dialect of the database.
    pub fn dialect(&self) -> Dialect {
        self.pools.dialect()
    }

    /// Returns the schema of `DATABASE_SCHEMA`, or `None` if it is not set or the database is SQLite.
    pub fn schema(&self) -> Option<&str> {
        self.pools.schema()
    }

    /// Creates a statement that runs outside a transaction.
    pub fn query(&self, sql: impl IntoSql) -> SqlQuery<'_> {
        let sql = sql.into_sql(self.dialect());
        let bound = self.pools.bound(sql.as_str());
        SqlQuery::new(sql, bound, &self.observers)
    }

    /// Begins a transaction that may write.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if no connection is available in time.
    pub async fn begin(&self) -> Result<Tx, Error> {
        Tx::begin(self, TenantVisibility::Unset, true).await
    }

    /// Begins a transaction that only reads. On SQLite it sees one state of the database throughout.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if no connection is available in time.
    pub async fn begin_read(&self) -> Result<Tx, Error> {
        Tx::begin(self, TenantVisibility::Unset, false).await
    }

    /// Returns the database as one tenant sees it. With tenant databases, it is the tenant's own.
    pub fn tenant(&self, tenant: TenantId) -> TenantScope<'_> {
        TenantScope::new(self, TenantVisibility::Tenant(tenant))
    }

    /// Returns the database with the rows of all tenants visible, for billing runs, exports and operators. State
    /// the reason in a comment at the call. With tenant databases it has none of the rows in them: visit each
    /// through [`tenant_databases`](Self::tenant_databases).
    pub fn all_tenants(&self) -> TenantScope<'_> {
        TenantScope::new(self, TenantVisibility::All)
    }

    /// Returns the pool of a PostgreSQL database, for what only PostgreSQL has (`LISTEN`, `COPY`), or `None` on
    /// SQLite. Its connections have no tenant, so row-level security hides tenants' rows, and they wait for
    /// responses without a limit.
    #[cfg(feature = "postgres")]
    pub fn postgres(&self) -> Option<&sqlx::PgPool> {
        self.pools.postgres()
    }

    /// Returns the pool of reading connections of a SQLite database, or `None` on PostgreSQL.
    #[cfg(feature = "sqlite")]
    pub fn sqlite_readers(&self) -> Option<&sqlx::SqlitePool> {
        self.pools.sqlite_readers()
    }

    /// Adds an observer of all statements, for metrics or traces.
    pub fn observe(&self, observer: impl QueryObserver) {
        self.observers.add(observer);
    }

    /// Runs `select 1` and returns how long it took.
    ///
    /// # Errors
    /// The error of the statement, such as [`ErrorKind::Unavailable`].
    pub async fn ping(&self) -> Result<Duration, Error> {
        let before = self.observers.clock.elapsed();
        self.query("select 1").execute().await?;
        Ok(self.observers.clock.elapsed().saturating_sub(before))
    }

    /// Checks that the database accepts writes, for readiness.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the disk is full (SQLite) or the server is read-only (PostgreSQL).
    pub async fn check_writes(&self) -> Result<(), Error> {
        match self.dialect() {
            // A read-only server refuses to assign a transaction id.
            Dialect::Postgres => self.query("select pg_current_xact_id()::text").execute().await.map(drop),
            Dialect::Sqlite => {
                let mut tx = self.begin().await?;
                let (version,): (i64,) = tx.query("pragma user_version").fetch_one().await?;
                // The version does not change; only the commit matters.
                tx.query(sqlx::AssertSqlSafe(format!("pragma user_version = {version}"))).execute().await?;
                tx.commit().await
            }
        }
    }

    /// Returns the name and version of the server.
    ///
    /// # Errors
    /// The error of the statement, such as [`ErrorKind::Unavailable`].
    pub async fn version(&self) -> Result<String, Error> {
        let (version,): (String,) = self
            .query(Sql { postgres: "select version()", sqlite: "select 'SQLite ' || sqlite_version()" })
            .fetch_one()
            .await?;
        Ok(version.split(" on ").next().unwrap_or_default().to_owned())
    }

    /// Waits for running statements and closes all connections, including those to tenant databases.
    pub async fn close(&self) {
        if let Some(tenants) = &self.tenants {
            Box::pin(tenants.close()).await;
        }
        self.pools.close().await;
    }
}

/// Runs the handler of a request. Only PostgreSQL has standbys that it may read from.
#[cfg(not(feature = "postgres"))]
pub(crate) async fn with_reads_from_replica<F: Future>(handler: F) -> F::Output {
    handler.await
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Db").field("dialect", &self.dialect()).finish_non_exhaustive()
    }
}
