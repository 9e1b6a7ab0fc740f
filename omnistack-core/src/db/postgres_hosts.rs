//! Several PostgreSQL hosts in one URL, as in `postgres://app:…@db1,db2/acme`: finds the one that accepts writes, and
//! finds it again after a failover.
//!
//! A promotion begins a new timeline. If several hosts accept writes (split brain), the one with the newest timeline is
//! the primary: when a connection is opened, and from time to time while connections are used, all hosts are asked for
//! their timeline. A process that knows a timeline uses no server with an older one, also if it can't reach the newer
//! one.
//!
//! The timelines of another cluster, such as one that `pg_upgrade` has created, say nothing about those of the known one.
//! Its servers are used if none of the known cluster accepts writes.

use std::{
    cmp::Reverse,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use sqlx::{
    ConnectOptions as _, Connection as _,
    postgres::{PgConnectOptions, PgConnection, PgPool},
};
use tokio::{
    sync::OnceCell,
    time::{Instant, sleep, timeout},
};

use super::Error;

/// Time that a host has to say whether it accepts writes.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause between two searches in the background.
const SEARCH_PAUSE: Duration = Duration::from_millis(250);
/// Time after which the hosts are searched again while connections are used, because a standby may have been promoted
/// although the primary still responds.
const SEARCH_INTERVAL: Duration = Duration::from_secs(5);
/// Time for which the timelines of all hosts count when a connection is opened.
const ASK_INTERVAL: Duration = Duration::from_secs(1);
/// Time that a new connection waits for the timelines of the other hosts.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);

/// Returns the options of each host of a URL, in order.
pub(crate) fn parse(url: &str) -> Result<Vec<PgConnectOptions>, Error> {
    let options = |url: &str| url.parse::<PgConnectOptions>().map_err(Error::invalid_url);
    let Some((scheme, rest)) = url.split_once("://") else { return Ok(vec![options(url)?]) };
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (user, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
    if !hosts.contains(',') {
        return Ok(vec![options(url)?]);
    }
    let path = without_session_attributes(path)?;
    hosts.split(',').map(|host| options(&format!("{scheme}://{user}{host}{path}"))).collect()
}

/// Returns the path and query of a URL without libpq's `target_session_attrs`: it is always the host that accepts writes.
fn without_session_attributes(path: &str) -> Result<String, Error> {
    let Some((path, query)) = path.split_once('?') else { return Ok(path.to_owned()) };
    let mut kept = Vec::new();
    for parameter in query.split('&') {
        match parameter.strip_prefix("target_session_attrs=") {
            None => kept.push(parameter),
            Some("read-write" | "primary") => {}
            Some(other) => {
                return Err(Error::configuration(format!(
                    "has `target_session_attrs={other}`: leave it out, the app always uses the host that accepts writes"
                )));
            }
        }
    }
    Ok(if kept.is_empty() { path.to_owned() } else { format!("{path}?{}", kept.join("&")) })
}

/// Connects to the host that accepts writes, or to the only one. Of several, to the one that was promoted last.
pub(crate) async fn connect(hosts: &[PgConnectOptions]) -> sqlx::Result<PgConnection> {
    if let [only] = hosts {
        return only.connect().await;
    }
    let found = join_all(hosts.iter().map(probe)).await;
    let writable = hosts.iter().zip(found).filter_map(|(options, primary)| Some((options, primary?)));
    match writable.rev().max_by_key(|(_, primary)| primary.timeline) {
        Some((options, _)) => options.connect().await,
        None => Err(not_writable()),
    }
}

/// The data of a server that accepts writes. Zero stands for what a server does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Primary {
    /// The system identifier of its cluster. Standbys have that of their primary.
    cluster: i64,
    /// The number of its timeline in the history of the cluster.
    timeline: u32,
}

impl Primary {
    /// Returns whether both are of the same cluster, as far as that is known.
    fn is_of_cluster(self, other: Self) -> bool {
        self.cluster == 0 || other.cluster == 0 || self.cluster == other.cluster
    }
}

/// The hosts of a pool, and which of them new connections go to.
pub(super) struct PgHosts {
    all: Vec<PgConnectOptions>,
    current: AtomicUsize,
    /// The newest timeline that was seen, and its cluster.
    newest: Mutex<Primary>,
    /// The time at which the hosts were last asked for their timelines. Locked while they are asked.
    asked: tokio::sync::Mutex<Option<Instant>>,
    /// The time at which another host, or a newer timeline, was last found. Connections that were open then are closed.
    changed: Mutex<Option<Instant>>,
    first_search: OnceCell<()>,
    /// Locked while a search in the background runs, and for a pause after it.
    searching: tokio::sync::Mutex<()>,
}

impl PgHosts {
    /// Creates the hosts of a pool that connects to the first one.
    pub(super) fn new(all: Vec<PgConnectOptions>) -> Self {
        Self {
            all,
            current: AtomicUsize::new(0),
            newest: Mutex::default(),
            asked: tokio::sync::Mutex::default(),
            changed: Mutex::default(),
            first_search: OnceCell::new(),
            searching: tokio::sync::Mutex::default(),
        }
    }

    /// Searches before the first connection is used.
    pub(super) async fn search_first(&self, pool: &PgPool) {
        self.first_search.get_or_init(|| self.search(pool)).await;
    }

    /// Returns whether the hosts were not asked for so long that a primary that still responds may have been replaced.
    pub(super) fn is_search_due(&self) -> bool {
        let asked = self.asked.try_lock();
        asked.is_ok_and(|asked| asked.is_none_or(|at| at.elapsed() >= SEARCH_INTERVAL))
    }

    /// Searches in the background, unless another search runs or has just ended: callers also ask for it when the pool is
    /// merely busy, and each search connects to every host.
    pub(super) fn spawn_search(self: &Arc<Self>, pool: &PgPool) {
        let (hosts, pool) = (Arc::clone(self), pool.clone());
        tokio::spawn(async move {
            let Ok(_searching) = hosts.searching.try_lock() else { return };
            hosts.search(&pool).await;
            sleep(SEARCH_PAUSE).await;
        });
    }

    /// Finds the host that accepts writes, and lets new connections go there.
    async fn search(&self, pool: &PgPool) {
        let known = *self.newest();
        let mut asked = self.asked.lock().await;
        let found = self.ask_all().await;
        *asked = Some(Instant::now());
        drop(asked);
        let current = self.current.load(Ordering::SeqCst);
        let writable = found.iter().enumerate().filter_map(|(at, primary)| Some((at, (*primary)?)));
        let rank = |(at, primary): &(usize, Primary)| {
            (primary.is_of_cluster(known), primary.timeline, *at == current, Reverse(*at))
        };
        let Some((at, primary)) = writable.max_by_key(rank) else { return };
        // If it is not of the known cluster, no server of that accepts writes.
        self.change_cluster(primary);
        if !self.accepts(primary) {
            return;
        }
        if at != current {
            self.current.store(at, Ordering::SeqCst);
            pool.set_connect_options(self.all[at].clone());
            self.close_open_connections();
            tracing::warn!(target: "omnistack::db", host = self.all[at].get_host(), port = self.all[at].get_port(),
                "connects to another host of DATABASE_URL, which accepts writes");
        }
    }

    /// Returns the timeline of each host that accepts writes, and remembers the newest one.
    async fn ask_all(&self) -> Vec<Option<Primary>> {
        join_all(self.all.iter().map(|options| self.ask(options))).await
    }

    async fn ask(&self, options: &PgConnectOptions) -> Option<Primary> {
        let primary = probe(options).await?;
        self.remember(primary);
        Some(primary)
    }

    fn newest(&self) -> MutexGuard<'_, Primary> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a timeline of the known cluster, and returns the newest one before. If it is newer, a server was promoted,
    /// and what is open leads to the server that it replaces.
    fn remember(&self, primary: Primary) -> Primary {
        let mut newest = self.newest();
        let before = *newest;
        if primary.timeline > before.timeline && primary.is_of_cluster(before) {
            *newest = primary;
            if before.timeline != 0 {
                self.close_open_connections();
            }
        }
        before
    }

    /// Forgets the timelines of the known cluster if a server is of another one.
    fn change_cluster(&self, primary: Primary) {
        let mut newest = self.newest();
        if !primary.is_of_cluster(*newest) {
            *newest = primary;
            self.close_open_connections();
        }
    }

    /// Lets all connections that are open now be closed when they are not used any more.
    fn close_open_connections(&self) {
        *self.changed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Returns whether a connection of this age was open when another host or a newer timeline was found.
    pub(super) fn is_outdated(&self, age: Duration) -> bool {
        let changed = *self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        changed.is_some_and(|changed| age > changed.elapsed())
    }

    /// Fails if the server of a new connection accepts no writes, or was replaced by a promoted one.
    pub(super) async fn check(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        let Some(primary) = identify(connection).await? else { return Err(not_writable()) };
        let mut asked = self.asked.lock().await;
        if asked.is_none_or(|at| at.elapsed() >= ASK_INTERVAL) {
            // What responds in time counts; the next search waits longer.
            _ = timeout(ASK_TIMEOUT, self.ask_all()).await;
            *asked = Some(Instant::now());
        }
        drop(asked);
        let newest = self.remember(primary);
        if self.accepts(primary) { Ok(()) } else { Err(replaced(primary, newest)) }
    }

    /// Returns whether a server with this timeline may be used.
    fn accepts(&self, primary: Primary) -> bool {
        let newest = *self.newest();
        primary.timeline == 0 || (primary.is_of_cluster(newest) && primary.timeline >= newest.timeline)
    }
}

fn not_writable() -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(io::ErrorKind::NotConnected, "no host of DATABASE_URL accepts writes"))
}

fn replaced(primary: Primary, newest: Primary) -> sqlx::Error {
    let text = if primary.is_of_cluster(newest) {
        format!(
            "a host of DATABASE_URL accepts writes on timeline {}, but was replaced by a server on timeline {}: stop it. If \
             its data was restored from a backup, restart the app",
            primary.timeline, newest.timeline
        )
    } else {
        "a host of DATABASE_URL belongs to another cluster than the server in use: stop one of them".to_owned()
    };
    sqlx::Error::Io(io::Error::new(io::ErrorKind::NotConnected, text))
}

/// Returns the timeline of a host that accepts writes.
async fn probe(options: &PgConnectOptions) -> Option<Primary> {
    let probing = async {
        let mut connection = options.connect().await?;
        let primary = identify(&mut connection).await;
        _ = connection.close().await;
        primary
    };
    timeout(PROBE_TIMEOUT, probing).await.ok()?.ok()?
}

/// Returns the cluster and the timeline of a server that accepts writes, and `None` of a standby.
async fn identify(connection: &mut PgConnection) -> sqlx::Result<Option<Primary>> {
    let is_standby = sqlx::query_as("select pg_is_in_recovery()");
    let (is_standby,): (bool,) = is_standby.fetch_one(&mut *connection).await?;
    if is_standby {
        return Ok(None);
    }
    // A hosted service, or an administrator, can withdraw the right to ask for either.
    let segment = sqlx::query_as("select substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)");
    let segment: sqlx::Result<(String,)> = segment.fetch_one(&mut *connection).await;
    let timeline = segment.ok().and_then(|(timeline,)| u32::from_str_radix(&timeline, 16).ok()).unwrap_or(0);
    let cluster = sqlx::query_as("select system_identifier from pg_control_system()");
    let cluster: sqlx::Result<(i64,)> = cluster.fetch_one(connection).await;
    Ok(Some(Primary { cluster: cluster.map_or(0, |(cluster,)| cluster), timeline }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_may_have_several_hosts() {
        for (url, expected) in [
            ("postgres://app:p%40ss@db1/acme", vec![("db1", 5432)]),
            ("postgres://app:secret@db1,db2:6432/acme?sslmode=disable", vec![("db1", 5432), ("db2", 6432)]),
            ("postgresql://db1:1,[::1]:2/acme?target_session_attrs=read-write", vec![("db1", 1), ("[::1]", 2)]),
        ] {
            let all = parse(url).unwrap();
            let hosts: Vec<_> = all.iter().map(|options| (options.get_host(), options.get_port())).collect();
            assert_eq!(hosts, expected, "{url}");
            assert!(all.iter().all(|options| options.get_database() == Some("acme")), "{url}");
        }
        for url in ["postgres://db1,db2:many/acme", "postgres://db1,db2/acme?target_session_attrs=standby"] {
            assert!(parse(url).is_err(), "{url}");
        }
    }
}
