//! Changes of accounts, told to all replicas.
//!
//! A change gets a number, in the order of the commits. The replica that makes it evicts the tenant when the
//! transaction has committed, and publishes its id. Messages can be lost, so each replica also compares the number of
//! the last change with the one it knows.

use std::{sync::atomic::Ordering, time::Duration};

use omnistack_core::{
    BoxError, ShutdownToken,
    db::{self, Tx},
    identity::TenantId,
};
use tokio::sync::broadcast::error::RecvError;

use super::{handle::BillingAccounts, store};

/// The topic of changes; a message is the id of a tenant.
const TOPIC: &str = "omnistack:billing";
/// The interval at which a replica looks for changes of which it received no message.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// The maximum number of tenants that are evicted one by one; after more changes, all are.
const MAX_EVICTED_TENANTS: usize = 10_000;

impl BillingAccounts {
    /// Evicts the tenants whose accounts other replicas change, until `shutdown` is cancelled. While the changes can't
    /// be read, it tries again, and the entitlements in memory are kept.
    pub(crate) async fn follow(&self, shutdown: ShutdownToken) -> Result<(), BoxError> {
        let mut changes = self.0.publisher.subscribe(TOPIC).await;
        let mut is_failing = false;
        loop {
            match self.read_changes().await {
                Ok(()) if is_failing => {
                    is_failing = false;
                    tracing::info!(target: "omnistack::billing", "changes of plans can be read again");
                }
                Ok(()) => {}
                Err(error) if !is_failing => {
                    is_failing = true;
                    tracing::warn!(
                        target: "omnistack::billing",
                        %error,
                        "can't read changes of plans; those in memory are kept"
                    );
                }
                Err(_) => {}
            }
            let pause = tokio::time::sleep(POLL_INTERVAL);
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    () = shutdown.cancelled() => return Ok(()),
                    () = &mut pause => break,
                    change = changes.recv() => match change {
                        Ok(message) => self.evict_named(&message),
                        Err(RecvError::Lagged(_)) => break,
                        Err(RecvError::Closed) => {
                            changes = self.0.publisher.subscribe(TOPIC).await;
                            break;
                        }
                    },
                }
            }
        }
    }

    /// Evicts the tenants whose accounts have changed since the last call.
    pub(super) async fn read_changes(&self) -> Result<(), db::Error> {
        let known = self.0.revision.load(Ordering::SeqCst);
        let revision = store::revision(&self.0.db).await?;
        if revision == known {
            return Ok(());
        }
        // The accounts of all tenants are in the cache.
        let mut tx = self.0.db.all_tenants().begin_read().await?;
        let changed = store::changed_since(&mut tx, known, MAX_EVICTED_TENANTS + 1).await?;
        tx.commit().await?;
        // The number is smaller after the database was restored from a backup.
        if revision < known || changed.len() > MAX_EVICTED_TENANTS {
            self.0.cache.clear();
        } else {
            for tenant in changed {
                self.0.cache.evict(tenant);
            }
        }
        self.0.revision.store(revision, Ordering::SeqCst);
        Ok(())
    }

    /// Reads the number of the last change, before entitlements are read.
    pub(super) async fn read_revision(&self) -> Result<(), db::Error> {
        let revision = store::revision(&self.0.db).await?;
        self.0.revision.store(revision, Ordering::SeqCst);
        // Other modules may have asked for plans before this one has started.
        self.0.cache.clear();
        Ok(())
    }

    /// Evicts a tenant in all replicas when the transaction has committed.
    pub(super) fn evict_on_commit(&self, tx: &mut Tx, tenant: TenantId) {
        let accounts = self.clone();
        tx.on_commit(move || {
            accounts.0.cache.evict(tenant);
            tokio::spawn(async move { accounts.0.publisher.publish(TOPIC, tenant.to_string()).await });
        });
    }

    fn evict_named(&self, message: &[u8]) {
        if let Some(tenant) = std::str::from_utf8(message).ok().and_then(|id| id.parse().ok()) {
            self.0.cache.evict(tenant);
        }
    }
}
