//! Carries what belongs to the app from the tenants' own databases to the app's, and what belongs to a tenant back.
//!
//! A transaction in a tenant's database can't write into the app's. What it enqueues, publishes or mails is put into the
//! `tenant_outbox` of its own database with its rows, and carried over after the commit: inserted under the same id, where it
//! changes nothing if it is there already, and only then deleted. So a crash in between loses nothing and doubles nothing.
//! Audit entries that the app's own transactions record of a tenant go the other way, into the tenant's chain.

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

/// Tenants seen to at once.
const AT_ONCE: usize = 4;

/// How long what was done is remembered: longer than anything is away for.
const REMEMBER: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The relay of an app whose tenants have databases of their own. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Relay {
    db: Db,
    databases: TenantDatabases,
    jobs: Jobs,
    events: Events,
    clock: Clock,
    /// By tenant, roughly: one at a time carries.
    turns: Arc<[Mutex<()>; 64]>,
}

impl Relay {
    /// None where tenants share the app's database.
    pub(crate) fn new(db: &Db, clock: Clock, jobs: Jobs, events: Events) -> Option<Self> {
        let databases = db.tenant_databases()?.clone();
        let turns = Arc::new(std::array::from_fn(|_| Mutex::new(())));
        Some(Self { db: db.clone(), databases, jobs, events, clock, turns })
    }

    /// Carries until told to end: at once what this process commits, and now and then what others have left behind.
    pub(crate) async fn run(&self, shutdown: Shutdown) -> Result<(), BoxError> {
        let mut next = Instant::now();
        while !shutdown.is_cancelled() {
            tokio::select! {
                () = shutdown.cancelled() => break,
                told = self.databases.told() => self.carry_all(told).await,
                () = tokio::time::sleep_until(next) => {
                    if let Err(error) = self.sweep().await {
                        tracing::warn!(target: "omnistack::db", %error, "tenants' databases could not be looked through");
                    }
                    self.databases.close_idle().await;
                    next = Instant::now() + self.databases.sweep();
                }
            }
        }
        Ok(())
    }

    /// Carries everything there is, in both directions, and removes the databases of tenants that are gone. A database that is
    /// away is passed over.
    ///
    /// # Errors
    /// The app's database's.
    pub(crate) async fn sweep(&self) -> Result<(), Error> {
        self.databases.drop_gone().await?;
        let waiting: BTreeSet<_> = store::waiting(self.databases.main()).await?.into_iter().collect();
        let all = self.databases.all().await?;
        futures_util::stream::iter(all.iter().copied())
            .for_each_concurrent(AT_ONCE, |tenant| {
                let waits = waiting.contains(&tenant);
                async move {
                    self.carry_or_warn(tenant).await;
                    if waits && let Err(error) = self.deliver(tenant).await {
                        tracing::warn!(target: "omnistack::db", %tenant, %error, "audit entries wait for a tenant's database");
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
        futures_util::stream::iter(tenants).for_each_concurrent(AT_ONCE, carry).await;
    }

    async fn carry_or_warn(&self, tenant: TenantId) {
        if let Err(error) = self.carry(tenant).await {
            tracing::warn!(target: "omnistack::db", %tenant, %error, "what waits in a tenant's database is carried over later");
        }
    }

    /// Carries what waits in a tenant's database to the app's.
    async fn carry(&self, tenant: TenantId) -> Result<(), Error> {
        if self.databases.is_gone(tenant).await? {
            return self.databases.drop_gone().await.map(drop);
        }
        let _turn = self.turn(tenant).lock().await;
        let visit = self.databases.visit(tenant).await?;
        let carried = self.carry_from(&visit).await;
        visit.end().await;
        match carried {
            // One that was never migrated so far has nothing.
            Err(error) if error.kind() == ErrorKind::Schema => Ok(()),
            carried => carried,
        }
    }

    async fn carry_from(&self, visit: &Visit) -> Result<(), Error> {
        // Of several processes one at a time, so that what is carried stays in order.
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
                // Whoever had it may have carried these.
                continue;
            }
            // What is carried may be the app's as well as the tenant's.
            let mut tx = self.databases.main().all_tenants().begin().await?;
            for row in &rows {
                let content = row.content.as_str();
                match row.kind()? {
                    Kind::Jobs => self.jobs.carry_in(&mut tx, content).await?,
                    Kind::Events => self.events.carry_in(&mut tx, content).await?,
                    #[cfg(feature = "email")]
                    Kind::Mail => crate::email::carry_in(&mut tx, content).await?,
                    Kind::Audit => return Err(unreadable("an audit entry is not carried to the app")),
                }
            }
            tx.commit().await?;
            store::delete(visit.db(), &rows).await?;
            if rows.len() < store::SOME {
                break;
            }
        }
        if let Some(turn) = turn {
            turn.commit().await?;
        }
        store::tidy(visit.db(), self.clock.now(), REMEMBER).await
    }

    /// Carries audit entries that were recorded in the app's database into the tenant's chain.
    ///
    /// # Errors
    /// Either database's.
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
