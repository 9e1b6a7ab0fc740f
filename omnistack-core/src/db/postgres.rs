//! Connections to PostgreSQL, with a limit on every wait for a response.
//!
//! A network device that accepts bytes and loses them leaves both ends waiting for each other forever. TCP does
//! not notice: neither keepalive nor a user timeout of the socket, which sqlx can't set, would detect it. So a
//! response may take as long as the server lets a statement run, plus [`RESPONSE_GRACE`]. A connection without a
//! response in that time is closed, and so is a connection that is not ready for the next statement
//! [`RELEASE_LIMIT`] after its caller dropped it.

use std::{
    io,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use secrecy::ExposeSecret as _;
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Postgres, SqlSafeStr, SqlStr,
    pool::PoolConnection,
    postgres::{PgArguments, PgConnectOptions, PgConnection, PgPool, PgPoolOptions, PgTransactionManager},
};
use sqlx_core::transaction::TransactionManager as _;
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, mpsc},
    time::{Instant, timeout, timeout_at},
};

use super::{
    DbSettings, Error, Record,
    postgres_hosts::{self, PgHosts},
    query::send,
    replica::Replica,
    slow_start::SlowStart,
};

/// Idle time after which a connection is tested before use: a restarted server then costs a reconnect instead of
/// a failed request, and a busy pool has no extra cost. A connection that was idle when another one was lost is tested
/// at once.
const TEST_AFTER_IDLE: Duration = Duration::from_secs(2);
/// Timeout of the test of a connection.
const TEST_TIMEOUT: Duration = Duration::from_secs(2);
/// Time that the response may take beyond `DATABASE_STATEMENT_TIMEOUT`, after which the server ends a statement.
const RESPONSE_GRACE: Duration = Duration::from_secs(2);
/// Time that a dropped connection may take to finish: the rest of its statement, and the rollback of its
/// transaction.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);

/// Wait for a connection after which another host of `DATABASE_URL` is looked for.
const SEARCH_AFTER_WAIT: Duration = Duration::from_millis(300);

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
    migration_lock_timeout: Duration,
    schema: Option<Arc<str>>,
    losses: Losses,
    /// `None` if the URL has one host.
    hosts: Option<Arc<PgHosts>>,
    standby: Option<Arc<Replica>>,
    slow_start: Option<SlowStart>,
}

impl PgDatabase {
    pub(super) fn open(url: &str, settings: &DbSettings) -> Result<Self, Error> {
        let mut database = Self::connect_lazily(postgres_hosts::parse(url)?, settings)?;
        database.slow_start = SlowStart::new(settings.max_connections, settings.slow_start, settings.acquire_timeout);
        if let Some(url) = &settings.replica_url {
            let hosts = postgres_hosts::parse(url.expose_secret())?;
            if hosts.len() > 1 {
                return Err(Error::configuration("has a DATABASE_REPLICA_URL with several hosts: name one standby"));
            }
            let standby = Self::connect_lazily(hosts, settings)?;
            database.standby = Some(Arc::new(Replica::new(standby, settings.replica_max_lag)));
        }
        Ok(database)
    }

    /// Creates the pool of the host that accepts writes, or of the only one.
    fn connect_lazily(hosts: Vec<PgConnectOptions>, settings: &DbSettings) -> Result<Self, Error> {
        let schema: Option<Arc<str>> = settings.schema.as_ref().map(|schema| schema.as_str().into());
        let all: Vec<_> = hosts.into_iter().map(|options| session(options, settings, schema.as_deref())).collect();
        let Some(first) = all.first().cloned() else { return Err(Error::configuration("names no host")) };
        let hosts = (all.len() > 1).then(|| Arc::new(PgHosts::new(all)));
        let mut pool = PgPoolOptions::new()
            .max_connections(settings.max_connections)
            .acquire_timeout(settings.acquire_timeout)
            .test_before_acquire(false);
        if let Some(hosts) = hosts.clone() {
            pool = pool.after_connect(move |connection, _| {
                let hosts = Arc::clone(&hosts);
                Box::pin(async move { hosts.check(connection).await })
            });
        }
        let losses = Losses::default();
        let (own_hosts, own_losses) = (hosts.clone(), losses.clone());
        let pool = pool
            .before_acquire(move |connection, meta| {
                let is_outdated = own_hosts.as_ref().is_some_and(|hosts| hosts.is_outdated(meta.age));
                let is_trusted = meta.idle_for < TEST_AFTER_IDLE && !own_losses.any_within(meta.idle_for);
                Box::pin(async move {
                    // `false` closes the connection, and the pool opens another.
                    Ok(!is_outdated
                        && (is_trusted || matches!(timeout(TEST_TIMEOUT, connection.ping()).await, Ok(Ok(())))))
                })
            })
            .connect_lazy_with(first);
        Ok(Self {
            pool,
            statement_timeout: settings.statement_timeout,
            migration_lock_timeout: settings.migration_lock_timeout,
            schema,
            losses,
            hosts,
            standby: None,
            slow_start: None,
        })
    }

    /// Uses a pool that the app has opened. Its own options say where its connections go, and their `search_path`.
    pub(super) fn from_pool(pool: PgPool, settings: &DbSettings) -> Self {
        Self {
            pool,
            statement_timeout: settings.statement_timeout,
            migration_lock_timeout: settings.migration_lock_timeout,
            schema: None,
            losses: Losses::default(),
            hosts: None,
            standby: None,
            slow_start: None,
        }
    }

    pub(super) fn pool(&self) -> &PgPool {
        &self.pool
    }

    pub(super) fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    pub(super) fn migration_lock_timeout(&self) -> Duration {
        self.migration_lock_timeout
    }

    pub(super) async fn close(&self) {
        if let Some(standby) = &self.standby {
            standby.close().await;
        }
        self.pool.close().await;
    }

    /// Takes a connection from the pool, within `DATABASE_ACQUIRE_TIMEOUT`.
    pub(super) async fn acquire(&self) -> sqlx::Result<PgLease> {
        let permit = match &self.slow_start {
            Some(slow_start) => Some(slow_start.acquire().await?),
            None => None,
        };
        let connection = self.acquire_without_limit().await;
        if let Some(slow_start) = &self.slow_start {
            slow_start.record(connection.is_ok());
        }
        Ok(PgLease {
            connection: Some(connection?),
            limit: response_limit(self.statement_timeout),
            is_in_transaction: false,
            has_begun: false,
            is_broken: false,
            losses: self.losses.clone(),
            _permit: permit,
        })
    }

    /// Takes a connection from the pool, within `DATABASE_ACQUIRE_TIMEOUT`, for statements that may take any time.
    pub(super) async fn acquire_without_limit(&self) -> sqlx::Result<PoolConnection<Postgres>> {
        let Some(hosts) = &self.hosts else { return self.pool.acquire().await };
        hosts.search_first(&self.pool).await;
        let mut acquiring = pin!(self.pool.acquire());
        // The pool tries again until its timeout, and goes to another host as soon as one is found.
        loop {
            let acquired = timeout(SEARCH_AFTER_WAIT, &mut acquiring).await;
            if !matches!(acquired, Ok(Ok(_))) || hosts.is_search_due() {
                hosts.spawn_search(&self.pool);
            }
            if let Ok(acquired) = acquired {
                return acquired;
            }
        }
    }

    /// Begins a transaction and runs the SQL of `settings` in the same round trip. One that only reads begins on the
    /// standby, if the request may read there. sqlx counts the transaction, so that `begin` on the connection that
    /// [`Tx::postgres`](super::Tx::postgres) lends is a savepoint.
    pub(super) async fn begin(&self, writes: bool, settings: &str) -> sqlx::Result<PgLease> {
        if !writes
            && let Some(standby) = &self.standby
            // Boxed, because few transactions need its space.
            && let Some(lease) = Box::pin(standby.begin(settings)).await
        {
            return Ok(lease);
        }
        self.begin_here(writes, settings).await
    }

    /// Begins a transaction in this database, and not on its standby.
    pub(super) async fn begin_here(&self, writes: bool, settings: &str) -> sqlx::Result<PgLease> {
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

/// Returns the options of a host with the settings of a session.
fn session(options: PgConnectOptions, settings: &DbSettings, schema: Option<&str>) -> PgConnectOptions {
    let timeout_ms = settings.statement_timeout.as_millis().to_string();
    let options = options
        .application_name("omnistack")
        .options([
            ("statement_timeout", timeout_ms.as_str()),
            ("idle_in_transaction_session_timeout", "60000"),
            // For the server's socket: if the app's machine is gone, the server ends its session within a minute.
            ("tcp_keepalives_idle", "30"),
            ("tcp_keepalives_interval", "10"),
            ("tcp_keepalives_count", "3"),
            ("tcp_user_timeout", "30000"),
        ])
        .disable_statement_logging();
    match schema {
        // Tables of the app in `public` are found too.
        Some(schema) => options.options([("search_path", format!("\"{schema}\",public"))]),
        None => options,
    }
}

/// Returns how long a response may take, or `None` if the server lets statements run without a limit.
fn response_limit(statement_timeout: Duration) -> Option<Duration> {
    (!statement_timeout.is_zero()).then(|| statement_timeout + RESPONSE_GRACE)
}

/// The time at which a connection of a pool was last lost.
#[derive(Clone, Default)]
struct Losses(Arc<Mutex<Option<Instant>>>);

impl Losses {
    fn record(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Returns whether a connection was lost in the last `duration`.
    fn any_within(&self, duration: Duration) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|at| at.elapsed() <= duration)
    }
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
    losses: Losses,
    /// Its place in the slow start. It is free when the lease ends.
    _permit: Option<OwnedSemaphorePermit>,
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
        if let Err(error) = &result {
            self.is_broken |= matches!(error, E::Io(_) | E::Tls(_) | E::Protocol(_));
            if self.is_broken || ends_session(error) {
                self.losses.record();
            }
        }
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

/// Returns whether the server says that it shuts down, or has ended the session after a crash of another one.
fn ends_session(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| matches!(&*code, "57P01" | "57P02"))
}

/// Closes a connection without notifying the server. Its place in the pool is free at once.
fn close(connection: PoolConnection<Postgres>) {
    drop(connection.detach());
}
