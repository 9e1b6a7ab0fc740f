//! Relays outbox rows from the tenant databases to the app's database, and back.
//!
//! A transaction in a tenant database can't write to the app's database. The jobs, events and mails of such a
//! transaction are written to the `omni_tenant_outbox` of the same database with its rows, and relayed after the commit:
//! inserted into the app's database under the same id, which changes nothing if the row exists, and deleted from the
//! outbox only then. So a crash in between loses nothing and duplicates nothing. Audit entries about a tenant that a
//! transaction in the app's database records are relayed the other way, into the tenant's audit chain.

mod store;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use tokio::{sync::Mutex, time::Instant};

use async_trait::async_trait;

use crate::{
    BoxError, ShutdownToken,
    clock::Clock,
    db::{Db, Dialect, Error, ErrorKind, TemporaryPool, TenantDatabases, Tx},
    id::TenantId,
};
pub use store::{add_to_outbox, mark_received, unreadable_row};
pub(crate) use store::{has_rows, relay_to_tenant};

/// Tenants that are relayed concurrently.
const MAX_CONCURRENT_TENANTS: usize = 4;

/// Time for which a tenant database keeps the ids of received rows, so that a row that is sent again is ignored. It is
/// longer than any expected outage.
const INBOX_RETENTION: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The receiver of the outbox rows of one kind, which are relayed from a tenant database to the app's database or back.
/// A module registers its receivers with [`Registry::outbox_receiver`](crate::module::Registry::outbox_receiver).
#[async_trait]
pub trait OutboxReceiver: Send + Sync + 'static {
    /// Returns the name of the kind, which is stored with each row. It must not change.
    fn kind(&self) -> &'static str;

    /// Returns the database that receives the rows.
    fn destination(&self) -> OutboxDestination {
        OutboxDestination::App
    }

    /// Processes a row in a transaction of the receiving database. After a crash a row is relayed again, so that
    /// receiving a row twice must have the effect of receiving it once: insert under an id that is in the content, or
    /// call [`mark_received`].
    ///
    /// # Errors
    /// After an error, the row stays in the outbox and is relayed again later.
    async fn receive_in(&self, tx: &mut Tx, content: &str) -> Result<(), Error>;
}

/// The database that receives the outbox rows of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutboxDestination {
    /// The app's database.
    App,
    /// The database of the row's tenant.
    Tenant,
}

/// The receivers of an app, by kind.
type Receivers = Arc<[Arc<dyn OutboxReceiver>]>;

fn receiver<'a>(
    receivers: &'a Receivers,
    kind: &str,
    destination: OutboxDestination,
) -> Result<&'a Arc<dyn OutboxReceiver>, Error> {
    let found = receivers.iter().find(|known| known.kind() == kind && known.destination() == destination);
    found.ok_or_else(|| {
        unreadable_row(&format!("no module of this version of the app receives outbox rows of the kind `{kind}` here"))
    })
}

/// The outbox relay of an app with tenant databases. Cheap to clone.
#[derive(Clone)]
pub(crate) struct OutboxRelay {
    db: Db,
    databases: TenantDatabases,
    receivers: Receivers,
    clock: Clock,
    /// Locks by a hash of the tenant: one task at a time relays for a tenant.
    locks: Arc<[Mutex<()>; 64]>,
}

impl OutboxRelay {
    /// Creates a relay. Returns `None` if tenants share the app's database.
    pub(crate) fn new(db: &Db, clock: Clock, receivers: Vec<Arc<dyn OutboxReceiver>>) -> Option<Self> {
        let databases = db.tenant_databases()?.clone();
        let turns = Arc::new(std::array::from_fn(|_| Mutex::new(())));
        Some(Self { db: db.clone(), databases, receivers: receivers.into(), clock, locks: turns })
    }

    /// Relays until shutdown: at once after a commit in this process, and periodically for rows that other processes
    /// left.
    pub(crate) async fn run(&self, shutdown: ShutdownToken) -> Result<(), BoxError> {
        let mut next = Instant::now();
        while !shutdown.is_cancelled() {
            tokio::select! {
                () = shutdown.cancelled() => break,
                told = self.databases.outbox_notified() => self.relay_all(told).await,
                () = tokio::time::sleep_until(next) => {
                    if let Err(error) = self.sweep().await {
                        tracing::warn!(target: "omnistack::db", %error, "the tenant databases could not be swept; the next sweep retries");
                    }
                    self.databases.close_idle().await;
                    next = Instant::now() + self.databases.sweep();
                }
            }
        }
        Ok(())
    }

    /// Relays all rows in both directions, and deletes the databases of deleted tenants. Skips a database that is
    /// unavailable.
    ///
    /// # Errors
    /// Fails if the app's database fails.
    pub(crate) async fn sweep(&self) -> Result<(), Error> {
        self.databases.drop_deleted().await?;
        let waiting: BTreeSet<_> = store::tenants_with_rows(self.databases.app_database()).await?.into_iter().collect();
        let all = self.databases.all().await?;
        futures_util::stream::iter(all.iter().copied())
            .for_each_concurrent(MAX_CONCURRENT_TENANTS, |tenant| {
                let waits = waiting.contains(&tenant);
                async move {
                    self.relay_or_warn(tenant).await;
                    if waits && let Err(error) = self.relay_to_tenant(tenant).await {
                        tracing::warn!(target: "omnistack::db", %tenant, %error, "rows could not be relayed to a tenant database; the next sweep retries");
                    }
                }
            })
            .await;
        for tenant in waiting.iter().filter(|tenant| !all.contains(tenant)) {
            if self.databases.is_deleted(*tenant).await? {
                for receiver in self.to_tenant() {
                    store::receive_for_deleted(self.databases.app_database(), *tenant, receiver.as_ref()).await?;
                }
            }
        }
        Ok(())
    }

    async fn relay_all(&self, tenants: BTreeSet<TenantId>) {
        let carry = |tenant| self.relay_or_warn(tenant);
        futures_util::stream::iter(tenants).for_each_concurrent(MAX_CONCURRENT_TENANTS, carry).await;
    }

    async fn relay_or_warn(&self, tenant: TenantId) {
        if let Err(error) = self.relay_outbox(tenant).await {
            tracing::warn!(target: "omnistack::db", %tenant, %error, "the outbox of a tenant database could not be relayed; the next sweep retries");
        }
    }

    /// Relays the outbox of a tenant database to the app's database.
    async fn relay_outbox(&self, tenant: TenantId) -> Result<(), Error> {
        if self.databases.is_deleted(tenant).await? {
            return self.databases.drop_deleted().await.map(drop);
        }
        let _turn = self.lock_of(tenant).lock().await;
        let visit = self.databases.open_temporarily(tenant).await?;
        let carried = self.relay_rows(&visit).await;
        visit.end().await;
        match carried {
            // A database that was never migrated has no rows.
            Err(error) if error.kind() == ErrorKind::Schema => Ok(()),
            carried => carried,
        }
    }

    async fn relay_rows(&self, visit: &TemporaryPool) -> Result<(), Error> {
        // One process at a time relays, so that rows stay in order.
        let mut turn = None;
        loop {
            let rows = store::first_rows(visit.db()).await?;
            if rows.is_empty() {
                break;
            }
            if turn.is_none() && visit.db().dialect() == Dialect::Postgres {
                let mut tx = visit.db().begin().await?;
                store::lock_relay(&mut tx).await?;
                turn = Some(tx);
                // The process that held the lock may have relayed these rows.
                continue;
            }
            // Rows may belong to the app as well as to the tenant.
            let mut tx = self.databases.app_database().all_tenants().begin().await?;
            for row in &rows {
                receiver(&self.receivers, &row.kind, OutboxDestination::App)?.receive_in(&mut tx, &row.content).await?;
            }
            tx.commit().await?;
            store::delete(visit.db(), &rows).await?;
            if rows.len() < store::BATCH_ROWS {
                break;
            }
        }
        if let Some(turn) = turn {
            turn.commit().await?;
        }
        store::delete_old_rows(visit.db(), self.clock.now(), INBOX_RETENTION).await
    }

    /// Relays the rows that wait in the app's database for the tenant.
    async fn relay_to_tenant(&self, tenant: TenantId) -> Result<(), Error> {
        let _turn = self.lock_of(tenant).lock().await;
        for receiver in self.to_tenant() {
            let app = self.databases.app_database();
            relay_to_tenant(&self.db, app, tenant, receiver.as_ref()).await?;
        }
        Ok(())
    }

    fn to_tenant(&self) -> impl Iterator<Item = &Arc<dyn OutboxReceiver>> {
        self.receivers.iter().filter(|receiver| receiver.destination() == OutboxDestination::Tenant)
    }

    fn lock_of(&self, tenant: TenantId) -> &Mutex<()> {
        &self.locks[usize::from(tenant.uuid().as_bytes()[15]) % self.locks.len()]
    }
}

impl std::fmt::Debug for OutboxRelay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OutboxRelay").field("databases", &self.databases).finish_non_exhaustive()
    }
}
