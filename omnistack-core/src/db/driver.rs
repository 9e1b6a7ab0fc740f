//! The two databases. Everything that knows there are two is in this file and `error.rs`.

#[cfg(feature = "sqlite")]
use std::str::FromStr as _;
use std::time::Duration;

use secrecy::ExposeSecret as _;
#[cfg(feature = "postgres")]
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgPool, PgPoolOptions, Postgres};
#[cfg(feature = "sqlite")]
use sqlx::sqlite::{
    Sqlite, SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
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
            #[cfg(not(all(feature = "postgres", feature = "sqlite")))]
            Some(scheme @ ("postgres" | "postgresql" | "sqlite")) => {
                let feature = if scheme == "sqlite" { "sqlite" } else { "postgres" };
                let message = format!("this build can't open {scheme}: URLs; enable the cargo feature `{feature}`");
                Err(Error::configuration(message))
            }
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
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(pool) => {
                let begin = if writes { "begin" } else { "begin read only" };
                let tx = pool.begin_with(AssertSqlSafe(format!("{begin};{settings}"))).await?;
                Ok(Open::Postgres(tx))
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
        _ => return Err(Error::configuration("DATABASE_SYNCHRONOUS is `full`, `normal` or `off`")),
    };
    let options = SqliteConnectOptions::from_str(url)
        .map_err(Error::from)?
        .create_if_missing(true)
        .foreign_keys(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        .busy_timeout(settings.statement_timeout.min(settings.acquire_timeout))
        .optimize_on_close(true, None)
        .disable_statement_logging();
    let pool = SqlitePoolOptions::new().acquire_timeout(settings.acquire_timeout).test_before_acquire(false);
    let in_memory = url.contains(":memory:") || url.contains("mode=memory");
    // A connection opens in about a millisecond; a database in memory lives as long as its only connection.
    let writer = pool.clone().max_connections(1).min_connections(u32::from(in_memory)).idle_timeout(None).max_lifetime(None);
    let write = writer.connect_lazy_with(options.clone());
    let read = if in_memory {
        write.clone()
    } else {
        // Not opened read-only: a reader may be the first to find the WAL files of a crash and has to recover them.
        let readers = pool.max_connections(settings.max_connections.max(1)).max_lifetime(None);
        readers.idle_timeout(Duration::from_secs(600)).connect_lazy_with(options.pragma("query_only", "on"))
    };
    Ok(Pools::Sqlite { read, write })
}
