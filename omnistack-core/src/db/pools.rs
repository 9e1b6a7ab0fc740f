//! The pools of the two databases. Only this file and `error.rs` distinguish between the databases.

#[cfg(feature = "sqlite")]
use std::time::Instant;
use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use secrecy::ExposeSecret as _;
#[cfg(feature = "postgres")]
use sqlx::postgres::{PgArguments, PgConnection, PgPool};
#[cfg(feature = "sqlite")]
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteConnection, SqlitePool};

#[cfg(feature = "postgres")]
use super::postgres::{PgDatabase, PgLease};
#[cfg(feature = "sqlite")]
use super::sqlite::SqliteDatabase;
use super::{DbSettings, Error};

/// Steps of SQLite's virtual machine between two checks of the statement timeout. They take less than a
/// millisecond.
#[cfg(feature = "sqlite")]
const STEPS_BETWEEN_TIMEOUT_CHECKS: i32 = 10_000;

/// The SQL dialect of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// PostgreSQL.
    Postgres,
    /// SQLite.
    Sqlite,
}

impl Dialect {
    /// Returns the placeholder of the value with this number, where each value has one placeholder, in the order of the
    /// values. SQLite has a list of the placeholders with a number, and the driver searches it for each value, so that
    /// the time of a statement would grow with the square of their number.
    pub(super) fn next_placeholder(self, number: usize) -> Cow<'static, str> {
        match self {
            Self::Postgres => format!("${number}").into(),
            Self::Sqlite => "?".into(),
        }
    }
}

/// The pools of an app that was there before, for [`Db::from_pools`](super::Db::from_pools). They come from a `PgPool`
/// or a `SqlitePool`; a SQLite database that is written often has a pool for its one writer.
///
/// ```
/// use omnistack_core::db::AppPools;
/// # use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), sqlx::Error> {
/// # let folder = std::env::temp_dir();
/// let options = SqliteConnectOptions::new().filename(folder.join("shop.db")).journal_mode(SqliteJournalMode::Wal);
/// let write = SqlitePoolOptions::new().max_connections(1).connect_lazy_with(options.clone());
/// let read = SqlitePoolOptions::new().connect_lazy_with(options);
/// let pools = AppPools::Sqlite { write, read };
/// # let _ = pools;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum AppPools {
    /// The pool of a PostgreSQL database.
    #[cfg(feature = "postgres")]
    Postgres(PgPool),
    /// The pools of a SQLite database.
    #[cfg(feature = "sqlite")]
    Sqlite {
        /// The pool for transactions that write. With one connection, writers wait for each other in the pool; with
        /// more, they compete for SQLite's lock until its busy timeout.
        write: SqlitePool,
        /// The pool for statements that begin with `select`, and for reading transactions.
        read: SqlitePool,
    },
}

#[cfg(feature = "postgres")]
impl From<PgPool> for AppPools {
    fn from(pool: PgPool) -> Self {
        Self::Postgres(pool)
    }
}

/// Uses one pool for reading and writing.
#[cfg(feature = "sqlite")]
impl From<SqlitePool> for AppPools {
    fn from(pool: SqlitePool) -> Self {
        Self::Sqlite { write: pool.clone(), read: pool }
    }
}

#[derive(Clone)]
pub(crate) enum Pools {
    #[cfg(feature = "postgres")]
    Postgres(PgDatabase),
    #[cfg(feature = "sqlite")]
    Sqlite(SqliteDatabase),
}

/// An open transaction.
pub(crate) enum OpenTransaction {
    #[cfg(feature = "postgres")]
    Postgres(PgLease),
    #[cfg(feature = "sqlite")]
    Sqlite(sqlx::Transaction<'static, Sqlite>),
}

/// A statement timeout that is in force until it is dropped. SQLite stores it with the connection, which outlives
/// the transaction.
#[derive(Default)]
pub(crate) struct StatementTimeoutGuard {
    is_over: Arc<AtomicBool>,
}

impl Drop for StatementTimeoutGuard {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// The pool or connection a statement runs on, with its arguments in the form of that database.
pub(crate) enum BoundStatement<'a> {
    #[cfg(feature = "postgres")]
    PostgresPool(&'a PgDatabase, PgArguments),
    #[cfg(feature = "postgres")]
    PostgresConnection(&'a mut PgLease, PgArguments),
    #[cfg(feature = "sqlite")]
    SqlitePool(&'a SqliteDatabase, &'a SqlitePool, SqliteArguments),
    #[cfg(feature = "sqlite")]
    SqliteConnection(&'a mut SqliteConnection, SqliteArguments),
}

impl BoundStatement<'_> {
    pub(super) fn dialect(&self) -> Dialect {
        match self {
            #[cfg(feature = "postgres")]
            Self::PostgresPool(..) | Self::PostgresConnection(..) => Dialect::Postgres,
            #[cfg(feature = "sqlite")]
            Self::SqlitePool(..) | Self::SqliteConnection(..) => Dialect::Sqlite,
        }
    }
}

/// Evaluates an expression on the arguments of a [`BoundStatement`], for either database.
macro_rules! arguments {
    ($bound:expr, |$args:ident| $run:expr) => {
        match $bound {
            #[cfg(feature = "postgres")]
            $crate::db::pools::BoundStatement::PostgresPool(_, $args) => $run,
            #[cfg(feature = "postgres")]
            $crate::db::pools::BoundStatement::PostgresConnection(_, $args) => $run,
            #[cfg(feature = "sqlite")]
            $crate::db::pools::BoundStatement::SqlitePool(_, _, $args) => $run,
            #[cfg(feature = "sqlite")]
            $crate::db::pools::BoundStatement::SqliteConnection(_, $args) => $run,
        }
    };
}
pub(crate) use arguments;

/// Awaits the future that an expression creates for either database of a [`BoundStatement`], e.g.
/// `run!(bound, |executor, args| sqlx::query_with(sql, args).execute(executor))`.
macro_rules! run {
    ($bound:expr, |$executor:ident, $args:ident| $run:expr) => {
        match $bound {
            #[cfg(feature = "postgres")]
            $crate::db::pools::BoundStatement::PostgresPool(database, $args) => match database.acquire().await {
                Ok(mut lease) => $crate::db::postgres::await_response!(lease, |$executor| $run),
                Err(error) => Err(error),
            },
            #[cfg(feature = "postgres")]
            $crate::db::pools::BoundStatement::PostgresConnection(lease, $args) => {
                $crate::db::postgres::await_response!(lease, |$executor| $run)
            }
            #[cfg(feature = "sqlite")]
            $crate::db::pools::BoundStatement::SqlitePool(database, $executor, $args) => {
                match database.check_file().await {
                    Ok(()) => $run.await,
                    Err(error) => Err(error),
                }
            }
            #[cfg(feature = "sqlite")]
            $crate::db::pools::BoundStatement::SqliteConnection($executor, $args) => $run.await,
        }
    };
}
pub(crate) use run;

impl Pools {
    pub(crate) fn open(settings: &DbSettings) -> Result<Self, Error> {
        let url = settings.url.expose_secret();
        if let Some(feature) = missing_feature(url) {
            let text = format!("this program is compiled without the feature `{feature}`, which opens such a URL");
            return Err(Error::configuration(text));
        }
        match url.split(':').next() {
            #[cfg(feature = "postgres")]
            Some("postgres" | "postgresql") => PgDatabase::open(url, settings).map(Self::Postgres),
            #[cfg(feature = "sqlite")]
            Some("sqlite") => SqliteDatabase::open(url, settings).map(Self::Sqlite),
            _ => Err(Error::configuration("expected a postgres://… or sqlite:… URL")),
        }
    }

    /// Uses the pools of an app.
    pub(crate) fn from_app(pools: AppPools, settings: &DbSettings) -> Self {
        #[cfg(not(feature = "postgres"))]
        let _ = settings;
        match pools {
            #[cfg(feature = "postgres")]
            AppPools::Postgres(pool) => Self::Postgres(PgDatabase::from_pool(pool, settings)),
            #[cfg(feature = "sqlite")]
            AppPools::Sqlite { write, read } => Self::Sqlite(SqliteDatabase::from_pools(write, read)),
        }
    }

    pub(crate) fn dialect(&self) -> Dialect {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => Dialect::Postgres,
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => Dialect::Sqlite,
        }
    }

    /// Returns the schema of `DATABASE_SCHEMA`.
    pub(crate) fn schema(&self) -> Option<&str> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(database) => database.schema(),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => None,
        }
    }

    #[cfg(feature = "postgres")]
    #[cfg_attr(
        not(feature = "sqlite"),
        expect(clippy::unnecessary_wraps, reason = "none where there are two databases")
    )]
    pub(crate) fn postgres(&self) -> Option<&PgPool> {
        match self {
            Self::Postgres(database) => Some(database.pool()),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => None,
        }
    }

    #[cfg(feature = "sqlite")]
    #[cfg_attr(
        not(feature = "postgres"),
        expect(clippy::unnecessary_wraps, reason = "none where there are two databases")
    )]
    pub(crate) fn sqlite_readers(&self) -> Option<&SqlitePool> {
        match self {
            Self::Sqlite(database) => Some(&database.read),
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => None,
        }
    }

    /// Returns the pool a statement runs on, without arguments.
    pub(crate) fn bound(&self, sql: &str) -> BoundStatement<'_> {
        #[cfg(not(feature = "sqlite"))]
        let _ = sql;
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(database) => BoundStatement::PostgresPool(database, PgArguments::default()),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(database) => {
                let reads = sql.trim_start().get(..6).is_some_and(|verb| verb.eq_ignore_ascii_case("select"));
                let pool = if reads { &database.read } else { &database.write };
                BoundStatement::SqlitePool(database, pool, SqliteArguments::default())
            }
        }
    }

    /// Begins a transaction. PostgreSQL runs the SQL of `settings` in the same round trip.
    pub(crate) async fn begin(&self, writes: bool, settings: &str) -> Result<OpenTransaction, Error> {
        #[cfg(not(feature = "postgres"))]
        let _ = settings;
        Ok(match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(database) => OpenTransaction::Postgres(database.begin(writes, settings).await?),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(database) => OpenTransaction::Sqlite(database.begin(writes).await?),
        })
    }

    pub(crate) async fn close(&self) {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(database) => database.close().await,
            #[cfg(feature = "sqlite")]
            Self::Sqlite(database) => database.close().await,
        }
    }
}

impl OpenTransaction {
    pub(crate) fn dialect(&self) -> Dialect {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => Dialect::Postgres,
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => Dialect::Sqlite,
        }
    }

    pub(crate) fn bound(&mut self) -> BoundStatement<'_> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(lease) => BoundStatement::PostgresConnection(lease, PgArguments::default()),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(tx) => BoundStatement::SqliteConnection(tx, SqliteArguments::default()),
        }
    }

    /// Returns the connection to PostgreSQL. Returns `None` for SQLite, and if the connection was lost.
    #[cfg(feature = "postgres")]
    pub(crate) fn postgres(&mut self) -> Option<&mut PgConnection> {
        match self {
            Self::Postgres(lease) => lease.connection().ok(),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => None,
        }
    }

    /// Returns the connection to SQLite. Returns `None` for PostgreSQL.
    #[cfg(feature = "sqlite")]
    #[cfg_attr(
        not(feature = "postgres"),
        expect(clippy::unnecessary_wraps, reason = "none where there are two databases")
    )]
    pub(crate) fn sqlite(&mut self) -> Option<&mut SqliteConnection> {
        match self {
            Self::Sqlite(tx) => Some(tx),
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => None,
        }
    }

    /// Limits the duration of statements until the transaction ends. Zero means no limit.
    pub(crate) async fn set_statement_timeout(&mut self, timeout: Duration) -> Result<StatementTimeoutGuard, Error> {
        let limit = StatementTimeoutGuard::default();
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(lease) => lease.set_statement_timeout(timeout).await?,
            #[cfg(feature = "sqlite")]
            Self::Sqlite(tx) => {
                let over = Arc::clone(&limit.is_over);
                #[expect(
                    clippy::disallowed_methods,
                    reason = "SQLite's thread is stopped in real time, as PostgreSQL is"
                )]
                let end = Instant::now() + timeout;
                #[expect(
                    clippy::disallowed_methods,
                    reason = "SQLite's thread is stopped in real time, as PostgreSQL is"
                )]
                let goes_on = move || timeout.is_zero() || over.load(Ordering::Relaxed) || Instant::now() < end;
                tx.lock_handle().await?.set_progress_handler(STEPS_BETWEEN_TIMEOUT_CHECKS, goes_on);
            }
        }
        Ok(limit)
    }

    pub(crate) async fn commit(self) -> Result<(), Error> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(lease) => lease.commit().await?,
            #[cfg(feature = "sqlite")]
            Self::Sqlite(tx) => tx.commit().await?,
        }
        Ok(())
    }

    pub(crate) async fn rollback(self) -> Result<(), Error> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(lease) => lease.rollback().await?,
            #[cfg(feature = "sqlite")]
            Self::Sqlite(tx) => tx.rollback().await?,
        }
        Ok(())
    }
}

/// Returns the feature that opens a URL, if this program is compiled without it.
pub(crate) fn missing_feature(url: &str) -> Option<&'static str> {
    match url.split(':').next() {
        Some("postgres" | "postgresql") if !cfg!(feature = "postgres") => Some("postgres"),
        Some("sqlite") if !cfg!(feature = "sqlite") => Some("sqlite"),
        _ => None,
    }
}
