//! Connections to PostgreSQL, with a limit on every wait for a response.
//!
//! A network device that accepts bytes and loses them leaves both ends waiting for each other forever. TCP does
//! not notice: neither keepalive nor a user timeout of the socket, which sqlx can't set, would detect it. So a
//! response may take as long as the server lets a statement run, plus [`RESPONSE_GRACE`]. A connection without a
//! response in that time is closed, and so is a connection that is not ready for the next statement
//! [`RELEASE_LIMIT`] after its caller dropped it.

use std::{io, time::Duration};

use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Postgres, SqlSafeStr, SqlStr,
    pool::PoolConnection,
    postgres::{PgArguments, PgConnectOptions, PgConnection, PgPool, PgPoolOptions, PgTransactionManager},
};
use sqlx_core::transaction::TransactionManager as _;
use tokio::{
    runtime::Handle,
    sync::mpsc,
    time::{Instant, timeout, timeout_at},
};

use super::{DbSettings, Error, Record, query::send};

/// Idle time after which a connection is tested before use: a restarted server then costs a reconnect instead of
/// a failed request, and a busy pool has no extra cost.
const TEST_AFTER_IDLE: Duration = Duration::from_secs(2);
/// Timeout of the test of a connection.
const TEST_TIMEOUT: Duration = Duration::from_secs(2);
/// Time that the response may take beyond `DATABASE_STATEMENT_TIMEOUT`, after which the server ends a statement.
const RESPONSE_GRACE: Duration = Duration::from_secs(2);
/// Time that a dropped connection may take to finish: the rest of its statement, and the rollback of its
/// transaction.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);

/// Awaits the future that an expression creates from the connection of a [`PgLease`], within its limit.
macro_rules! await_response {
    ($lease:expr, |$executor:ident| $run:expr) => {{
        let limit = $lease.limit();
        let answer = match $lease.connection() {
            Ok($executor) => $crate::db::query::with_limit(limit, $run).await,
            Err(error) => Err(error),
        };
        $lease.record_outcome(answer)
    }};
}
pub(super) use await_response;

/// The pool of one database. Cheap to clone.
#[derive(Clone)]
pub(super) struct PgDatabase {
    pool: PgPool,
    statement_timeout: Duration,
}

impl PgDatabase {
    pub(super) fn open(url: &str, settings: &DbSettings) -> Result<Self, Error> {
        let options: PgConnectOptions = url.parse().map_err(Error::invalid_url)?;
        let statement_timeout = settings.statement_timeout;
        let timeout_ms = statement_timeout.as_millis().to_string();
        let options = options
            .application_name("omnistack")
            .options([
                ("statement_timeout", timeout_ms.as_str()),
                ("idle_in_transaction_session_timeout", "60000"),
                // For the server's socket: if the app's machine is gone, the server ends its session within a
                // minute.
                ("tcp_keepalives_idle", "30"),
                ("tcp_keepalives_interval", "10"),
                ("tcp_keepalives_count", "3"),
                ("tcp_user_timeout", "30000"),
            ])
            .disable_statement_logging();
        let pool = PgPoolOptions::new()
            .max_connections(settings.max_connections)
            .acquire_timeout(settings.acquire_timeout)
            .test_before_acquire(false)
            .before_acquire(|connection, meta| {
                Box::pin(async move {
                    // `false` closes the connection, and the pool opens another.
                    Ok(meta.idle_for < TEST_AFTER_IDLE
                        || matches!(timeout(TEST_TIMEOUT, connection.ping()).await, Ok(Ok(()))))
                })
            })
            .connect_lazy_with(options);
        Ok(Self { pool, statement_timeout })
    }

    /// Uses a pool that the app has opened.
    pub(super) fn from_pool(pool: PgPool, settings: &DbSettings) -> Self {
        Self { pool, statement_timeout: settings.statement_timeout }
    }

    pub(super) fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Takes a connection from the pool, within `DATABASE_ACQUIRE_TIMEOUT`.
    pub(super) async fn acquire(&self) -> sqlx::Result<PgLease> {
        let connection = self.pool.acquire().await?;
        let limit = response_limit(self.statement_timeout);
        Ok(PgLease {
            connection: Some(connection),
            limit,
            is_in_transaction: false,
            has_begun: false,
            is_broken: false,
        })
    }

    /// Begins a transaction and runs the SQL of `settings` in the same round trip. sqlx counts the transaction, so
    /// that `begin` on the connection that [`Tx::postgres`](super::Tx::postgres) lends is a savepoint.
    pub(super) async fn begin(&self, writes: bool, settings: &str) -> sqlx::Result<PgLease> {
        let begin = if writes { "begin" } else { "begin read only" };
        let begin = AssertSqlSafe(format!("{begin};{settings}")).into_sql_str();
        let mut lease = self.acquire().await?;
        // Set before the response: if the caller is dropped while it waits, the transaction must be rolled back.
        lease.is_in_transaction = true;
        await_response!(lease, |connection| PgTransactionManager::begin(connection, Some(begin)))?;
        lease.has_begun = true;
        Ok(lease)
    }
}

/// Returns how long a response may take, or `None` if the server lets statements run without a limit.
fn response_limit(statement_timeout: Duration) -> Option<Duration> {
    (!statement_timeout.is_zero()).then(|| statement_timeout + RESPONSE_GRACE)
}

/// A connection that returns to its pool when dropped. It is closed if it is not ready within [`RELEASE_LIMIT`].
pub(super) struct PgLease {
    /// `None` only while it is dropped.
    connection: Option<PoolConnection<Postgres>>,
    limit: Option<Duration>,
    is_in_transaction: bool,
    /// Whether `begin` had its response.
    has_begun: bool,
    /// Whether a response did not arrive or could not be read: the next response may belong to another statement.
    is_broken: bool,
}

impl PgLease {
    /// Returns the connection, or an error if it is broken or its transaction has ended.
    pub(super) fn connection(&mut self) -> sqlx::Result<&mut PgConnection> {
        // If `begin` on a lent connection is dropped before its response, sqlx does not roll back to a savepoint, but the
        // whole transaction: further statements would not be part of one.
        let depth = self.connection.as_deref().map(PgTransactionManager::get_transaction_depth);
        let is_lost = self.is_broken || (self.has_begun && depth == Some(0));
        match &mut self.connection {
            Some(connection) if !is_lost => Ok(connection),
            _ => Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::NotConnected, "the connection was lost"))),
        }
    }

    pub(super) fn limit(&self) -> Option<Duration> {
        self.limit
    }

    /// Marks the connection as broken if the result says so, and returns the result.
    pub(super) fn record_outcome<T>(&mut self, result: sqlx::Result<T>) -> sqlx::Result<T> {
        use sqlx::Error as E;
        self.is_broken |= matches!(result, Err(E::Io(_) | E::Tls(_) | E::Protocol(_)));
        result
    }

    /// Commits the transaction.
    pub(super) async fn commit(mut self) -> sqlx::Result<()> {
        await_response!(self, |connection| commit(connection))?;
        self.is_in_transaction = false;
        Ok(())
    }

    /// Rolls the transaction back.
    pub(super) async fn rollback(mut self) -> sqlx::Result<()> {
        await_response!(self, |connection| roll_back(connection))?;
        self.is_in_transaction = false;
        Ok(())
    }

    /// Sets the timeout of the transaction's statements. Zero means no limit.
    pub(super) async fn set_statement_timeout(&mut self, limit: Duration) -> sqlx::Result<()> {
        self.run(AssertSqlSafe(format!("set local statement_timeout = {}", limit.as_millis()))).await?;
        self.limit = response_limit(limit);
        Ok(())
    }

    /// Sends the rows of a statement to a channel as they arrive.
    pub(super) async fn stream<T: Record>(
        &mut self,
        sql: SqlStr,
        args: PgArguments,
        rows: &mpsc::Sender<sqlx::Result<T>>,
    ) -> sqlx::Result<()> {
        let limit = self.limit;
        let read = send(sqlx::query_as_with(sql, args).fetch(self.connection()?), limit, rows).await;
        self.record_outcome(read)
    }

    async fn run(&mut self, sql: impl SqlSafeStr) -> sqlx::Result<()> {
        await_response!(self, |connection| sqlx::raw_sql(sql).execute(connection)).map(drop)
    }
}

impl Drop for PgLease {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        match Handle::try_current() {
            Ok(runtime) if !self.is_broken => _ = runtime.spawn(release(connection, self.is_in_transaction)),
            _ => close(connection),
        }
    }
}

/// Returns a connection to its pool. sqlx waits for the connection without a limit, and rolls back only
/// transactions it knows of: not one whose `begin` was dropped before its response arrived.
async fn release(mut connection: PoolConnection<Postgres>, is_in_transaction: bool) {
    let deadline = Instant::now() + RELEASE_TIMEOUT;
    if is_in_transaction {
        let rollback = timeout_at(deadline, roll_back(&mut connection)).await;
        if !matches!(rollback, Ok(Ok(()))) {
            return close(connection);
        }
    }
    // On a timeout the connection is closed together with the dropped future.
    if timeout_at(deadline, connection.return_to_pool()).await.is_err() {
        tracing::warn!(target: "omnistack::db", limit = ?RELEASE_TIMEOUT,
            "a connection was closed because it was not ready in time after its statement was dropped");
    }
}

/// Commits the transaction of a connection, with savepoints that were neither released nor rolled back.
async fn commit(connection: &mut PgConnection) -> sqlx::Result<()> {
    while PgTransactionManager::get_transaction_depth(connection) > 0 {
        PgTransactionManager::commit(connection).await?;
    }
    Ok(())
}

/// Rolls back the transaction of a connection, with its savepoints.
async fn roll_back(connection: &mut PgConnection) -> sqlx::Result<()> {
    // sqlx does not count a transaction whose `begin` was dropped before its response arrived.
    if PgTransactionManager::get_transaction_depth(connection) == 0 {
        return sqlx::raw_sql("rollback").execute(&mut *connection).await.map(drop);
    }
    while PgTransactionManager::get_transaction_depth(connection) > 0 {
        PgTransactionManager::rollback(connection).await?;
    }
    Ok(())
}

/// Closes a connection without notifying the server. Its place in the pool is free at once.
fn close(connection: PoolConnection<Postgres>) {
    drop(connection.detach());
}
