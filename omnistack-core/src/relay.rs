//! Relays outbox rows from the tenant databases to the app's database, and audit entries back.
//!
//! A transaction in a tenant database can't write to the app's database. The jobs, events and mails of such a
//! transaction are written to the `tenant_outbox` of the same database with its rows, and relayed after the commit:
//! inserted into the app's database under the same id, which changes nothing if the row exists, and deleted from the
//! outbox only then. So a crash in between loses nothing and duplicates nothing. Audit entries about a tenant that a
//! transaction in the app's database records are relayed the other way, into the tenant's audit chain.

mod store;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use tokio::{sync::Mutex, time::Instant};

use crate::{
    app::{BoxError, Shutdown},
    clock::Clock,
    db::{Db, Dialect, Error, ErrorKind, TenantDatabases, Visit},
    events::Events,
    identity::TenantId,
    jobs::Jobs,
};
pub(crate) use store::{Kind, deliver, put, received, unreadable, waits};

/// Tenants that are relayed concurrently.
const MAX_CONCURRENT_TENANTS: usize = 4;

/// How long a tenant database keeps the ids of received rows, so that a row that is sent again is ignored. It is
/// longer than any expected outage.
const INBOX_RETENTION: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The outbox relay of an app with tenant databases. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Relay {
    db: Db,
    databases: TenantDatabases,
    jobs: Jobs,
    events: Events,
    clock: Clock,
    /// Locks by a hash of the tenant: one task at a time relays for a tenant.
    turns: Arc<[Mutex<()>; 64]>,
}

impl Relay {
    /// Creates a relay. Returns `None` if tenants share the app's database.
    pub(crate) fn new(db: &Db, clock: Clock, jobs: Jobs, events: Events) -> Option<Self> {
        let databases = db.tenant_databases()?.clone();
        let turns = Arc::new(std::array::from_fn(|_| Mutex::new(())));
        Some(Self { db: db.clone(), databases, jobs, events, clock, turns })
    }

    /// Relays until shutdown: at once after a commit in this process, and periodically for rows that other processes
    /// left.
    pub(crate) async fn run(&self, shutdown: Shutdown) -> Result<(), BoxError> {
        let mut next = Instant::now();
        while !shutdown.is_cancelled() {
            tokio::select! {
                () = shutdown.cancelled() => break,
                told = self.databases.told() => self.carry_all(told).await,
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
        self.databases.drop_gone().await?;
        let waiting: BTreeSet<_> = store::waiting(self.databases.main()).await?.into_iter().collect();
        let all = self.databases.all().await?;
        futures_util::stream::iter(all.iter().copied())
            .for_each_concurrent(MAX_CONCURRENT_TENANTS, |tenant| {
                let waits = waiting.contains(&tenant);
                async move {
                    self.carry_or_warn(tenant).await;
                    if waits && let Err(error) = self.deliver(tenant).await {
                        tracing::warn!(target: "omnistack::db", %tenant, %error, "audit entries could not be relayed to a tenant database; the next sweep retries");
                    }
                }
            })
            .await;
        for tenant in waiting.iter().filter(|tenant| !all.contains(tenant)) {
            if self.databases.is_gone(*tenant).await? {
                store::keep(self.databases.main(), *tenant).await?;
            }
        }
        Ok(())
    }

    async fn carry_all(&self, tenants: BTreeSet<TenantId>) {
        let carry = |tenant| self.carry_or_warn(tenant);
        futures_util::stream::iter(tenants).for_each_concurrent(MAX_CONCURRENT_TENANTS, carry).await;
    }

    async fn carry_or_warn(&self, tenant: TenantId) {
        if let Err(error) = self.carry(tenant).await {
            tracing::warn!(target: "omnistack::db", %tenant, %error, "the outbox of a tenant database could not be relayed; the next sweep retries");
        }
    }

    /// Relays the outbox of a tenant database to the app's database.
    async fn carry(&self, tenant: TenantId) -> Result<(), Error> {
        if self.databases.is_gone(tenant).await? {
            return self.databases.drop_gone().await.map(drop);
        }
        let _turn = self.turn(tenant).lock().await;
        let visit = self.databases.visit(tenant).await?;
        let carried = self.carry_from(&visit).await;
        visit.end().await;
        match carried {
            // A database that was never migrated has no rows.
            Err(error) if error.kind() == ErrorKind::Schema => Ok(()),
            carried => carried,
        }
    }

    async fn carry_from(&self, visit: &Visit) -> Result<(), Error> {
        // One process at a time relays, so that rows stay in order.
        let mut turn = None;
        loop {
            let rows = store::first(visit.db()).await?;
            if rows.is_empty() {
                break;
            }
            if turn.is_none() && visit.db().dialect() == Dialect::Postgres {
                let mut tx = visit.db().begin().await?;
                store::take_turn(&mut tx).await?;
                turn = Some(tx);
                // The process that held the lock may have relayed these rows.
                continue;
            }
            // Rows may belong to the app as well as to the tenant.
            let mut tx = self.databases.main().all_tenants().begin().await?;
            for row in &rows {
                let content = row.content.as_str();
                match row.kind()? {
                    Kind::Jobs => self.jobs.carry_in(&mut tx, content).await?,
                    Kind::Events => self.events.carry_in(&mut tx, content).await?,
                    #[cfg(feature = "email")]
                    Kind::Mail => crate::email::carry_in(&mut tx, content).await?,
                    Kind::Audit => {
                        return Err(unreadable("an audit entry must not be in the outbox of a tenant database"));
                    }
                }
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
        store::tidy(visit.db(), self.clock.now(), INBOX_RETENTION).await
    }

    /// Relays audit entries that were recorded in the app's database into the tenant's audit chain.
    ///
    /// # Errors
    /// Fails if the app's or the tenant's database fails.
    pub(crate) async fn deliver(&self, tenant: TenantId) -> Result<(), Error> {
        let _turn = self.turn(tenant).lock().await;
        deliver(&self.db, self.databases.main(), tenant, self.clock.now()).await
    }

    fn turn(&self, tenant: TenantId) -> &Mutex<()> {
        &self.turns[usize::from(tenant.uuid().as_bytes()[15]) % self.turns.len()]
    }
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay").field("databases", &self.databases).finish_non_exhaustive()
    }
}
