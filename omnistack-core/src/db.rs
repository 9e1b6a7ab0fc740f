//! One handle over PostgreSQL and SQLite, and one SQL text for both.
//!
//! Both databases accept `$1` placeholders, `ON CONFLICT` and `RETURNING`, so a query is written once. Values are bound
//! from Rust, times and ids included, never computed by the database, which is where dialects part.
//!
//! ```
//! use omnistack_core::db::{Db, DbSettings};
//! use omnistack_core::config::Config;
//!
//! #[derive(sqlx::FromRow)]
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
//! Where dialects truly differ the text is a pair, [`Sql`], beside its only use. Work for one tenant goes through
//! [`Db::tenant`]: on PostgreSQL the tenant is set for the transaction and row-level security enforces it. With
//! `TENANT_DATABASE_URL` each tenant has a database of its own, and `Db::tenant` begins in that one.
//!
//! **SQLite** runs in WAL mode with one writing connection and several reading ones. A statement that begins with
//! `select` goes to a reader, any other to the writer, and [`Db::begin`] is a `BEGIN IMMEDIATE`. So inside a
//! transaction use the transaction: a write through the `Db` beside it waits for itself until the acquire timeout.

#[cfg(not(any(feature = "postgres", feature = "sqlite")))]
compile_error!("omnistack-core needs a database: enable the feature `sqlite` or `postgres`");

mod driver;
mod error;
mod migrate;
mod observe;
#[cfg(feature = "postgres")]
mod postgres;
mod query;
mod settings;
#[cfg(feature = "sqlite")]
mod sqlite;
mod tenants;
mod tx;
mod value;

pub use driver::Dialect;
pub use error::{Error, ErrorKind};
pub(crate) use migrate::version as migration_version;
pub use migrate::{Migration, MigrationState, Migrations};
pub use observe::{QueryEvent, QueryObserver};
pub use query::{IntoSql, Query, Sql};
pub use settings::DbSettings;
pub(crate) use tenants::Visit;
pub use tenants::{TenantDatabaseSettings, TenantDatabases};
pub use tx::{TenantDb, Tx};
pub use value::{Args, Record, Value};

use std::{fmt, sync::Arc, time::Duration};

use crate::{clock::Clock, identity::TenantId};
use driver::Pools;
use observe::Observers;
use tx::Scope;

/// The app's database. Cheap to clone; every clone shares the same pools.
#[derive(Clone)]
pub struct Db {
    pools: Pools,
    observers: Arc<Observers>,
    tenants: Option<TenantDatabases>,
    /// Whether tenants' work goes to their own databases.
    routed: bool,
}

impl Db {
    /// Prepares the pools of a database. Connects when first used, so it does no I/O; must be called within a Tokio
    /// runtime.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when the URL can't be read or names a database that is not compiled in.
    pub fn open(settings: &DbSettings, clock: Clock) -> Result<Self, Error> {
        let observers = Arc::new(Observers::new(clock, settings.slow_query));
        Ok(Self { pools: Pools::open(settings)?, observers, tenants: None, routed: false })
    }

    /// A private SQLite database in memory that is gone with its last clone.
    #[cfg(feature = "sqlite")]
    pub fn memory() -> Result<Self, Error> {
        let config = crate::config::Config::from_pairs([("DATABASE_URL", "sqlite::memory:")]);
        let settings = config.section().map_err(|problems| Error::configuration(problems[0].to_string()))?;
        Self::open(&settings, Clock::system())
    }

    /// Which SQL it speaks.
    pub fn dialect(&self) -> Dialect {
        self.pools.dialect()
    }

    /// A statement, run on its own.
    pub fn query(&self, sql: impl IntoSql) -> Query<'_> {
        let sql = sql.into_sql(self.dialect());
        let bound = self.pools.bound(sql.as_str());
        Query::new(sql, bound, &self.observers)
    }

    /// Begins a transaction that may write.
    pub async fn begin(&self) -> Result<Tx, Error> {
        Tx::begin(self, Scope::Unset, true).await
    }

    /// Begins a transaction that only reads, and sees one state of the database throughout on SQLite.
    pub async fn begin_read(&self) -> Result<Tx, Error> {
        Tx::begin(self, Scope::Unset, false).await
    }

    /// The database as one tenant sees it: its own, where each has one.
    pub fn tenant(&self, tenant: TenantId) -> TenantDb<'_> {
        TenantDb::new(self, Scope::Tenant(tenant))
    }

    /// The database with the rows of every tenant visible: for billing runs, exports and operators. Say why at the
    /// call. Where tenants have databases of their own it has none of the rows there: go from one to the next by
    /// [`tenant_databases`](Self::tenant_databases).
    pub fn all_tenants(&self) -> TenantDb<'_> {
        TenantDb::new(self, Scope::All)
    }

    /// The pool of a PostgreSQL database, for what only PostgreSQL has (`LISTEN`, `COPY`). A connection of it has no tenant,
    /// so row-level security hides tenants' rows, and its answers are waited for without a limit; none on SQLite.
    #[cfg(feature = "postgres")]
    pub fn postgres(&self) -> Option<&sqlx::PgPool> {
        self.pools.postgres()
    }

    /// The reading connections of a SQLite database; none on PostgreSQL.
    #[cfg(feature = "sqlite")]
    pub fn sqlite_readers(&self) -> Option<&sqlx::SqlitePool> {
        self.pools.sqlite_readers()
    }

    /// Adds an observer of every statement, e.g. for metrics or traces.
    pub fn observe(&self, observer: impl QueryObserver) {
        self.observers.add(observer);
    }

    /// Asks the database for an answer and returns how long it took.
    pub async fn ping(&self) -> Result<Duration, Error> {
        let before = self.observers.clock.elapsed();
        self.query("select 1").execute().await?;
        Ok(self.observers.clock.elapsed().saturating_sub(before))
    }

    /// Fails when the database takes no writes: a disk without room under SQLite, a PostgreSQL server that only reads. For the
    /// check of readiness.
    pub async fn check_writes(&self) -> Result<(), Error> {
        match self.dialect() {
            // Numbering a transaction is what a server that only reads refuses.
            Dialect::Postgres => self.query("select pg_current_xact_id()::text").execute().await.map(drop),
            Dialect::Sqlite => {
                let mut tx = self.begin().await?;
                let (version,): (i64,) = tx.query("pragma user_version").fetch_one().await?;
                // As it was: what counts is that the commit is written.
                tx.query(sqlx::AssertSqlSafe(format!("pragma user_version = {version}"))).execute().await?;
                tx.commit().await
            }
        }
    }

    /// The server's own name and version.
    pub async fn version(&self) -> Result<String, Error> {
        let (version,): (String,) = self
            .query(Sql { postgres: "select version()", sqlite: "select 'SQLite ' || sqlite_version()" })
            .fetch_one()
            .await?;
        Ok(version.split(" on ").next().unwrap_or_default().to_owned())
    }

    /// Waits for running statements and closes every connection, tenants' databases included.
    pub async fn close(&self) {
        if let Some(tenants) = &self.tenants {
            Box::pin(tenants.close()).await;
        }
        self.pools.close().await;
    }
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Db").field("dialect", &self.dialect()).finish_non_exhaustive()
    }
}
