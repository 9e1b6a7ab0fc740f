//! The two databases. Everything that knows there are two is in this file and `error.rs`.

#[cfg(feature = "sqlite")]
use std::str::FromStr as _;
#[cfg(feature = "sqlite")]
use std::time::Instant;
#[cfg(feature = "postgres")]
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

#[cfg(feature = "postgres")]
use futures_util::future::BoxFuture;
use secrecy::ExposeSecret as _;
#[cfg(feature = "postgres")]
use sqlx::SqlSafeStr as _;
#[cfg(feature = "postgres")]
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgPool, PgPoolOptions, Postgres};
#[cfg(feature = "sqlite")]
use sqlx::sqlite::{
    Sqlite, SqliteArguments, SqliteConnectOptions, SqliteConnection, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Transaction};

use super::{DbSettings, Error};

/// Which SQL a database speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// PostgreSQL.
    Postgres,
    /// SQLite.
    Sqlite,
}

/// Idle longer than this, a PostgreSQL connection is tried before it is handed out: a server that was restarted costs
/// one reconnect instead of one failed request, and a busy pool pays nothing.
#[cfg(feature = "postgres")]
const TRY_AFTER_IDLE: Duration = Duration::from_secs(2);

/// Steps of SQLite's virtual machine, less than a millisecond, after which a limit of time is looked at.
#[cfg(feature = "sqlite")]
const STEPS_BETWEEN_LOOKS: i32 = 10_000;

#[derive(Clone)]
pub(super) enum Pools {
    #[cfg(feature = "postgres")]
    Postgres(PgPool),
    #[cfg(feature = "sqlite")]
    Sqlite { read: SqlitePool, write: SqlitePool },
}

/// An open transaction.
pub(super) enum Open {
    #[cfg(feature = "postgres")]
    Postgres(Transaction<'static, Postgres>),
    #[cfg(feature = "sqlite")]
    Sqlite(Transaction<'static, Sqlite>),
}

/// A limit of time that holds until it is dropped. SQLite keeps it with the connection, which outlives the transaction.
#[derive(Default)]
pub(super) struct Limit {
    over: Arc<AtomicBool>,
}

impl Drop for Limit {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Where a statement runs, with its arguments in that database's form.
pub(super) enum Bound<'a> {
    #[cfg(feature = "postgres")]
    PostgresPool(&'a PgPool, PgArguments),
    #[cfg(feature = "postgres")]
    PostgresConnection(&'a mut PgConnection, PgArguments),
    #[cfg(feature = "sqlite")]
    SqlitePool(&'a SqlitePool, SqliteArguments),
    #[cfg(feature = "sqlite")]
    SqliteConnection(&'a mut SqliteConnection, SqliteArguments),
}

/// Runs one expression for whichever database a [`Bound`] is of, e.g.
/// `on!(bound, |executor, args| sqlx::query_with(sql, args).execute(executor).await)`.
macro_rules! on {
    ($bound:expr, |$executor:ident, $args:ident| $run:expr) => {
        match $bound {
            #[cfg(feature = "postgres")]
            $crate::db::driver::Bound::PostgresPool($executor, $args) => $run,
            #[cfg(feature = "postgres")]
            $crate::db::driver::Bound::PostgresConnection($executor, $args) => $run,
            #[cfg(feature = "sqlite")]
            $crate::db::driver::Bound::SqlitePool($executor, $args) => $run,
            #[cfg(feature = "sqlite")]
            $crate::db::driver::Bound::SqliteConnection($executor, $args) => $run,
        }
    };
}
pub(super) use on;

impl Pools {
    pub(super) fn open(settings: &DbSettings) -> Result<Self, Error> {
        let url = settings.url.expose_secret();
        match url.split(':').next() {
            #[cfg(feature = "postgres")]
            Some("postgres" | "postgresql") => open_postgres(url, settings).map(Self::Postgres),
            #[cfg(feature = "sqlite")]
            Some("sqlite") => open_sqlite(url, settings),
            #[cfg(not(feature = "postgres"))]
            Some("postgres" | "postgresql") => Err(not_compiled_in("postgres")),
            #[cfg(not(feature = "sqlite"))]
            Some("sqlite") => Err(not_compiled_in("sqlite")),
            _ => Err(Error::configuration("expected a postgres://… or sqlite:… URL")),
        }
    }

    pub(super) fn dialect(&self) -> Dialect {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => Dialect::Postgres,
            #[cfg(feature = "sqlite")]
            Self::Sqlite { .. } => Dialect::Sqlite,
        }
    }

    #[cfg(feature = "postgres")]
    #[cfg_attr(
        not(feature = "sqlite"),
        expect(clippy::unnecessary_wraps, reason = "none where there are two databases")
    )]
    pub(super) fn postgres(&self) -> Option<&PgPool> {
        match self {
            Self::Postgres(pool) => Some(pool),
            #[cfg(feature = "sqlite")]
            Self::Sqlite { .. } => None,
        }
    }

    #[cfg(feature = "sqlite")]
    #[cfg_attr(
        not(feature = "postgres"),
        expect(clippy::unnecessary_wraps, reason = "none where there are two databases")
    )]
    pub(super) fn sqlite_readers(&self) -> Option<&SqlitePool> {
        match self {
            Self::Sqlite { read, .. } => Some(read),
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => None,
        }
    }

    /// No arguments yet, on the pool this statement belongs to.
    pub(super) fn bound(&self, sql: &str) -> Bound<'_> {
        #[cfg(not(feature = "sqlite"))]
        let _ = sql;
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(pool) => Bound::PostgresPool(pool, PgArguments::default()),
            #[cfg(feature = "sqlite")]
            Self::Sqlite { read, write } => {
                let reads = sql.trim_start().get(..6).is_some_and(|verb| verb.eq_ignore_ascii_case("select"));
                Bound::SqlitePool(if reads { read } else { write }, SqliteArguments::default())
            }
        }
    }

    /// Begins a transaction; `settings` is SQL that PostgreSQL runs in the same round trip.
    pub(super) async fn begin(&self, writes: bool, settings: &str) -> Result<Open, Error> {
        #[cfg(not(feature = "postgres"))]
        let _ = settings;
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(pool) => {
                let begin = if writes { "begin" } else { "begin read only" };
                let sql = AssertSqlSafe(format!("{begin};{settings}")).into_sql_str();
                let connection = pool.acquire().await?;
                Ok(Open::Postgres(Begin(Some(Transaction::begin(connection, Some(sql)))).await?))
            }
            #[cfg(feature = "sqlite")]
            Self::Sqlite { read, write } => {
                let tx = if writes { write.begin_with("begin immediate").await? } else { read.begin().await? };
                Ok(Open::Sqlite(tx))
            }
        }
    }

    pub(super) async fn close(&self) {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(pool) => pool.close().await,
            #[cfg(feature = "sqlite")]
            Self::Sqlite { read, write } => {
                read.close().await;
                write.close().await;
            }
        }
    }
}

impl Open {
    pub(super) fn dialect(&self) -> Dialect {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => Dialect::Postgres,
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => Dialect::Sqlite,
        }
    }

    pub(super) fn bound(&mut self) -> Bound<'_> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(tx) => Bound::PostgresConnection(tx, PgArguments::default()),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(tx) => Bound::SqliteConnection(tx, SqliteArguments::default()),
        }
    }

    /// Limits how long statements may take, until the transaction ends.
    pub(super) async fn limit_time(&mut self, timeout: Duration) -> Result<Limit, Error> {
        let limit = Limit::default();
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(tx) => {
                let set = AssertSqlSafe(format!("set local statement_timeout = {}", timeout.as_millis()));
                sqlx::query(set).execute(&mut **tx).await?;
            }
            #[cfg(feature = "sqlite")]
            Self::Sqlite(tx) => {
                let over = Arc::clone(&limit.over);
                #[expect(clippy::disallowed_methods, reason = "SQLite's thread is stopped in real time, as PostgreSQL is")]
                let end = Instant::now() + timeout;
                #[expect(clippy::disallowed_methods, reason = "SQLite's thread is stopped in real time, as PostgreSQL is")]
                let goes_on = move || over.load(Ordering::Relaxed) || Instant::now() < end;
                tx.lock_handle().await?.set_progress_handler(STEPS_BETWEEN_LOOKS, goes_on);
            }
        }
        Ok(limit)
    }

    pub(super) async fn commit(self) -> Result<(), Error> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(tx) => tx.commit().await?,
            #[cfg(feature = "sqlite")]
            Self::Sqlite(tx) => tx.commit().await?,
        }
        Ok(())
    }

    pub(super) async fn rollback(self) -> Result<(), Error> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(tx) => tx.rollback().await?,
            #[cfg(feature = "sqlite")]
            Self::Sqlite(tx) => tx.rollback().await?,
        }
        Ok(())
    }
}

#[cfg(not(all(feature = "postgres", feature = "sqlite")))]
fn not_compiled_in(feature: &str) -> Error {
    Error::configuration(format!("this build can't open such a URL; enable the cargo feature `{feature}`"))
}

/// sqlx rolls back only what it knows to have begun. A `begin` dropped while it waits for its answer would hand the next
/// caller a connection with an open transaction and its tenant, so it is finished, and then rolled back, on its own.
#[cfg(feature = "postgres")]
struct Begin(Option<BoxFuture<'static, sqlx::Result<Transaction<'static, Postgres>>>>);

#[cfg(feature = "postgres")]
impl Future for Begin {
    type Output = sqlx::Result<Transaction<'static, Postgres>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(begin) = &mut self.0 else { return Poll::Pending };
        let result = ready!(begin.as_mut().poll(context));
        self.0 = None;
        Poll::Ready(result)
    }
}

#[cfg(feature = "postgres")]
impl Drop for Begin {
    fn drop(&mut self) {
        if let (Some(begin), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(begin);
        }
    }
}

#[cfg(feature = "postgres")]
fn open_postgres(url: &str, settings: &DbSettings) -> Result<PgPool, Error> {
    let options: PgConnectOptions = url.parse().map_err(Error::from)?;
    let timeout = settings.statement_timeout.as_millis().to_string();
    let options = options
        .application_name("omnistack")
        .options([("statement_timeout", timeout.as_str()), ("idle_in_transaction_session_timeout", "60000")])
        .disable_statement_logging();
    Ok(PgPoolOptions::new()
        .max_connections(settings.max_connections)
        .acquire_timeout(settings.acquire_timeout)
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                use sqlx::Connection as _;
                // An error means the connection is dead: the pool drops it and opens another.
                Ok(meta.idle_for < TRY_AFTER_IDLE || connection.ping().await.is_ok())
            })
        })
        .connect_lazy_with(options))
}

#[cfg(feature = "sqlite")]
fn open_sqlite(url: &str, settings: &DbSettings) -> Result<Pools, Error> {
    let synchronous = match settings.synchronous.as_str() {
        "full" => SqliteSynchronous::Full,
        "normal" => SqliteSynchronous::Normal,
        "off" => SqliteSynchronous::Off,
        _ => {
            return Err(Error::configuration("DATABASE_SYNCHRONOUS is `full`, `normal` or `off`"));
        }
    };
    let options = SqliteConnectOptions::from_str(url)
        .map_err(Error::from)?
        .create_if_missing(true)
        .foreign_keys(true)
        .synchronous(synchronous)
        .busy_timeout(settings.statement_timeout.min(settings.acquire_timeout))
        .optimize_on_close(true, None)
        .disable_statement_logging();
    let in_memory = url.contains(":memory:") || url.contains("mode=memory");
    let pool = SqlitePoolOptions::new().acquire_timeout(settings.acquire_timeout).test_before_acquire(false);
    // A connection opens in about a millisecond; a database in memory lives as long as its only connection.
    let writer = pool
        .clone()
        .max_connections(1)
        .min_connections(u32::from(in_memory))
        .idle_timeout(None)
        .max_lifetime(None)
        // When the disk is full SQLite ends the transaction by itself. sqlx goes on believing in it and would refuse every
        // one after it on this connection, so another is opened; one in memory can't be, for it is the database.
        .before_acquire(move |connection, _| {
            Box::pin(async move { Ok(in_memory || !sqlx::Connection::is_in_transaction(connection)) })
        })
        .after_connect(|connection, _| Box::pin(write_ahead(connection, "off")));
    // Negative, it is in KiB. Taken as pages are read: with SQLite's own 2 MiB, a large table's indexes would be read from the
    // file again for each batch of writes.
    let write = writer.connect_lazy_with(options.clone().pragma("cache_size", "-16384"));
    let read = if in_memory {
        write.clone()
    } else {
        // Not opened read-only: a reader may be the first to find the WAL files of a crash and has to recover them.
        let readers = pool.max_connections(settings.max_connections.max(1)).max_lifetime(None);
        let readers = readers.after_connect(|connection, _| Box::pin(write_ahead(connection, "on")));
        readers.idle_timeout(Duration::from_mins(10)).connect_lazy_with(options)
    };
    Ok(Pools::Sqlite { read, write })
}

/// Turns to WAL mode, for which SQLite needs the file alone and doesn't wait: of two that open a new database at once, one is
/// refused and has to ask again.
#[cfg(feature = "sqlite")]
async fn write_ahead(connection: &mut SqliteConnection, query_only: &'static str) -> sqlx::Result<()> {
    for attempt in 1.. {
        match sqlx::query("pragma journal_mode = wal").execute(&mut *connection).await {
            Err(sqlx::Error::Database(error)) if attempt < 500 && error.code().as_deref() == Some("5") => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            turned => {
                turned?;
                break;
            }
        }
    }
    let query_only = AssertSqlSafe(format!("pragma query_only = {query_only}"));
    sqlx::query(query_only).execute(connection).await.map(drop)
}
