//! Connections to PostgreSQL, with a limit on every wait for an answer.
//!
//! A device on the way that takes bytes and loses them leaves both ends waiting for each other for ever, and TCP sees nothing
//! wrong: keepalive and a user timeout of the socket, which sqlx can't set, would see nothing either. So an answer has as
//! long as the server lets a statement run, and [`ANSWER_GRACE`]. A connection whose answer stayed out is closed, and so is
//! one that is not ready for the next statement [`RELEASE_LIMIT`] after its caller has let go of it.

use std::{io, time::Duration};

use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Postgres, SqlSafeStr, SqlStr,
    pool::PoolConnection,
    postgres::{PgArguments, PgConnectOptions, PgConnection, PgPool, PgPoolOptions},
};
use tokio::{
    runtime::Handle,
    sync::mpsc,
    time::{Instant, timeout, timeout_at},
};

use super::{DbSettings, Error, Record, query::send};

/// Idle longer than this, a connection is tried before it is handed out: a server that was restarted costs one reconnect
/// instead of one failed request, and a busy pool pays nothing.
const TRY_AFTER_IDLE: Duration = Duration::from_secs(2);
/// How long a connection that is tried has to answer.
const TRY_LIMIT: Duration = Duration::from_secs(2);
/// How much longer than `DATABASE_STATEMENT_TIMEOUT`, at which the server ends a statement, its answer may take.
const ANSWER_GRACE: Duration = Duration::from_secs(2);
/// How long a connection has to end what its caller dropped: the rest of a statement, and the rollback of a transaction.
const RELEASE_LIMIT: Duration = Duration::from_secs(2);

/// Waits for the future an expression makes of the connection of a [`PgLease`], within its limit.
macro_rules! answer {
    ($lease:expr, |$executor:ident| $run:expr) => {{
        let limit = $lease.limit();
        let answer = match $lease.connection() {
            Ok($executor) => $crate::db::query::within(limit, $run).await,
            Err(error) => Err(error),
        };
        $lease.note(answer)
    }};
}
pub(super) use answer;

/// The pool of one database. Cheap to clone.
#[derive(Clone)]
pub(super) struct PgDatabase {
    pool: PgPool,
    statement_timeout: Duration,
}

impl PgDatabase {
    pub(super) fn open(url: &str, settings: &DbSettings) -> Result<Self, Error> {
        let options: PgConnectOptions = url.parse().map_err(Error::unreadable_url)?;
        let statement_timeout = settings.statement_timeout;
        let timeout_ms = statement_timeout.as_millis().to_string();
        let options = options
            .application_name("omnistack")
            .options([
                ("statement_timeout", timeout_ms.as_str()),
                ("idle_in_transaction_session_timeout", "60000"),
                // The server's own socket: it ends the session of an app whose machine is gone within a minute.
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
                    // `false` closes it, and the pool opens another.
                    Ok(meta.idle_for < TRY_AFTER_IDLE
                        || matches!(timeout(TRY_LIMIT, connection.ping()).await, Ok(Ok(()))))
                })
            })
            .connect_lazy_with(options);
        Ok(Self { pool, statement_timeout })
    }

    pub(super) fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Takes a connection, within `DATABASE_ACQUIRE_TIMEOUT`.
    pub(super) async fn acquire(&self) -> sqlx::Result<PgLease> {
        let connection = self.pool.acquire().await?;
        let limit = answer_limit(self.statement_timeout);
        Ok(PgLease { connection: Some(connection), limit, is_in_transaction: false, is_broken: false })
    }

    /// Begins a transaction; `settings` is SQL that is run in the same round trip.
    pub(super) async fn begin(&self, writes: bool, settings: &str) -> sqlx::Result<PgLease> {
        let begin = if writes { "begin" } else { "begin read only" };
        let mut lease = self.acquire().await?;
        // Before the answer: a caller that is gone by then leaves a transaction to roll back.
        lease.is_in_transaction = true;
        lease.run(AssertSqlSafe(format!("{begin};{settings}"))).await?;
        Ok(lease)
    }
}

/// Returns how long an answer may take; `None` where the server lets statements run for ever.
fn answer_limit(statement_timeout: Duration) -> Option<Duration> {
    (!statement_timeout.is_zero()).then(|| statement_timeout + ANSWER_GRACE)
}

/// A connection that is given back to its pool when dropped, or closed if it is not ready within [`RELEASE_LIMIT`].
pub(super) struct PgLease {
    /// There until it is dropped.
    connection: Option<PoolConnection<Postgres>>,
    limit: Option<Duration>,
    is_in_transaction: bool,
    /// Whether an answer stayed out or could not be read: what comes next on it may be the answer of another statement.
    is_broken: bool,
}

impl PgLease {
    /// The connection, unless it is broken.
    pub(super) fn connection(&mut self) -> sqlx::Result<&mut PgConnection> {
        match &mut self.connection {
            Some(connection) if !self.is_broken => Ok(connection),
            _ => Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::NotConnected, "the connection was lost before"))),
        }
    }

    pub(super) fn limit(&self) -> Option<Duration> {
        self.limit
    }

    /// Notes what a result says about the connection, and returns it.
    pub(super) fn note<T>(&mut self, result: sqlx::Result<T>) -> sqlx::Result<T> {
        use sqlx::Error as E;
        self.is_broken |= matches!(result, Err(E::Io(_) | E::Tls(_) | E::Protocol(_)));
        result
    }

    /// Ends the transaction, by `commit` or `rollback`.
    pub(super) async fn end(mut self, sql: &'static str) -> sqlx::Result<()> {
        self.run(sql).await?;
        self.is_in_transaction = false;
        Ok(())
    }

    /// Lets the statements of the transaction run for so long; zero is for ever.
    pub(super) async fn set_statement_timeout(&mut self, limit: Duration) -> sqlx::Result<()> {
        self.run(AssertSqlSafe(format!("set local statement_timeout = {}", limit.as_millis()))).await?;
        self.limit = answer_limit(limit);
        Ok(())
    }

    /// Passes the rows of a statement on as they come.
    pub(super) async fn stream<T: Record>(
        &mut self,
        sql: SqlStr,
        args: PgArguments,
        rows: &mpsc::Sender<sqlx::Result<T>>,
    ) -> sqlx::Result<()> {
        let limit = self.limit;
        let read = send(sqlx::query_as_with(sql, args).fetch(self.connection()?), limit, rows).await;
        self.note(read)
    }

    async fn run(&mut self, sql: impl SqlSafeStr) -> sqlx::Result<()> {
        answer!(self, |connection| sqlx::raw_sql(sql).execute(connection)).map(drop)
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

/// Gives a connection back to its pool. sqlx would wait for it without a limit, and rolls back only what it knows to have
/// begun: not a `begin` that was dropped before its answer came.
async fn release(mut connection: PoolConnection<Postgres>, is_in_transaction: bool) {
    let deadline = Instant::now() + RELEASE_LIMIT;
    if is_in_transaction {
        let rollback = timeout_at(deadline, sqlx::raw_sql("rollback").execute(&mut *connection)).await;
        if !matches!(rollback, Ok(Ok(_))) {
            return close(connection);
        }
    }
    // What is still under way when time is up is closed with the future that has it.
    if timeout_at(deadline, connection.return_to_pool()).await.is_err() {
        tracing::warn!(target: "omnistack::db", limit = ?RELEASE_LIMIT,
            "a connection was not ready again in time after its statement was dropped, and is closed");
    }
}

/// Closes a connection without a word to the server. Its place in the pool is free at once.
fn close(connection: PoolConnection<Postgres>) {
    drop(connection.detach());
}
