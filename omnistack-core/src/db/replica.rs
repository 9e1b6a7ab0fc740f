//! A standby of the database, from which mounts that choose it read their lists.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use super::postgres::{PgDatabase, PgLease};

/// Time for which the result of a check counts.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Longest wait for the standby, after which the database itself is used.
const STANDBY_TIMEOUT: Duration = Duration::from_secs(1);

/// The age of the standby's rows in seconds: 0 if it has replayed all that it receives, otherwise the age of its
/// last transaction. Null if it is not known, as of a server that was promoted: it may no longer follow the database.
const LAG: &str = "select cast(case
        when not pg_is_in_recovery() then null
        when pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn()
            and exists (select from pg_stat_wal_receiver where pid is not null) then 0
        else extract(epoch from clock_timestamp() - pg_last_xact_replay_timestamp()) end as double precision)";

tokio::task_local! {
    /// Set while a request is handled whose lists may be read from the standby.
    static MAY_READ_STANDBY: ();
}

/// Runs the handler of a request, whose [`Db::begin_read`](super::Db::begin_read) and
/// [`TenantScope::begin_read`](super::TenantScope::begin_read) may begin on the standby of `DATABASE_REPLICA_URL`. Tasks
/// that it spawns read from the database itself.
pub(crate) async fn with_reads_from_replica<F: Future>(handler: F) -> F::Output {
    MAY_READ_STANDBY.scope((), handler).await
}

/// The pool of the standby.
pub(super) struct Replica {
    database: PgDatabase,
    max_lag: Duration,
    is_usable: AtomicBool,
    /// The time of the last check. Locked while a caller checks.
    checked: Mutex<Option<Instant>>,
}

impl Replica {
    pub(super) fn new(database: PgDatabase, max_lag: Duration) -> Self {
        Self { database, max_lag, is_usable: AtomicBool::new(false), checked: Mutex::default() }
    }

    /// Begins a transaction that only reads, if the request may read here and the standby is up to date.
    pub(super) async fn begin(&self, settings: &str) -> Option<PgLease> {
        let may_read = MAY_READ_STANDBY.try_with(|()| ()).is_ok();
        if !may_read || !self.check().await {
            return None;
        }
        match timeout(STANDBY_TIMEOUT, self.database.begin_here(false, settings)).await {
            Ok(Ok(lease)) => return Some(lease),
            Ok(Err(error)) => self.set_usable(false, &error.to_string()),
            Err(_) => self.set_usable(false, "it does not respond in time"),
        }
        None
    }

    pub(super) async fn close(&self) {
        self.database.pool().close().await;
    }

    /// Returns the result of the last check, which is at most a second old. One caller checks; the others use the last
    /// result meanwhile.
    async fn check(&self) -> bool {
        if let Ok(mut checked) = self.checked.try_lock()
            && checked.is_none_or(|at| at.elapsed() >= CHECK_INTERVAL)
        {
            match timeout(STANDBY_TIMEOUT, self.lag()).await {
                Ok(Ok(Some(lag))) if lag <= self.max_lag.as_secs_f64() => self.set_usable(true, ""),
                Ok(Ok(Some(lag))) => self.set_usable(false, &format!("its rows are {lag:.0} s old")),
                Ok(Ok(None)) => self.set_usable(false, "the age of its rows is not known"),
                Ok(Err(error)) => self.set_usable(false, &error.to_string()),
                Err(_) => self.set_usable(false, "it does not respond in time"),
            }
            *checked = Some(Instant::now());
        }
        self.is_usable.load(Ordering::SeqCst)
    }

    async fn lag(&self) -> sqlx::Result<Option<f64>> {
        let mut connection = self.database.acquire_without_limit().await?;
        let (lag,): (Option<f64>,) = sqlx::query_as(LAG).fetch_one(&mut *connection).await?;
        Ok(lag)
    }

    fn set_usable(&self, is_usable: bool, reason: &str) {
        let was_usable = self.is_usable.swap(is_usable, Ordering::SeqCst);
        if was_usable && !is_usable {
            tracing::warn!(target: "omnistack::db", reason, "lists are read from DATABASE_URL, not from its standby");
        } else if is_usable && !was_usable {
            tracing::info!(target: "omnistack::db", "lists are read from the standby of DATABASE_REPLICA_URL");
        }
    }
}
