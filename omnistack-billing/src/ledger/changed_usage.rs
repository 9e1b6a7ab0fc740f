//! The tenants whose usage has changed, for the messages to connected clients.

use std::{
    collections::HashSet,
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use omnistack_core::{
    db::Tx,
    identity::TenantId,
    usage::{DataEnvironment, meters},
};
use tokio::sync::Notify;

use crate::window::WindowChange;

/// The tenants and environments whose usage committed transactions have changed. They are remembered only while a task
/// follows them. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct ChangedUsage(Arc<ChangedUsageState>);

#[derive(Debug, Default)]
struct ChangedUsageState {
    is_followed: AtomicBool,
    waiting: Mutex<HashSet<(TenantId, DataEnvironment)>>,
    changed: Notify,
}

/// A follower of changes, which remembers them until it is dropped.
#[derive(Debug)]
pub(crate) struct UsageFollower(ChangedUsage);

impl ChangedUsage {
    /// Remembers the tenants of windows once the transaction has committed.
    pub(super) fn after_commit(&self, tx: &mut Tx, changes: &[WindowChange]) {
        if !self.0.is_followed.load(Ordering::Relaxed) {
            return;
        }
        // Each message to a client adds to the messages that the tenant has used, and must not cause the next one.
        let told = changes.iter().filter(|change| change.key.meter != meters::WEBSOCKET_MESSAGES);
        let scopes: HashSet<_> = told.map(|change| (change.key.tenant, change.key.environment)).collect();
        if scopes.is_empty() {
            return;
        }
        let changed = self.clone();
        tx.on_commit(move || {
            changed.waiting().extend(scopes);
            changed.0.changed.notify_one();
        });
    }

    /// Remembers changes from now on. One task at a time may follow them.
    pub(crate) fn follow(&self) -> UsageFollower {
        self.0.is_followed.store(true, Ordering::Relaxed);
        UsageFollower(self.clone())
    }

    fn waiting(&self) -> MutexGuard<'_, HashSet<(TenantId, DataEnvironment)>> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UsageFollower {
    /// Waits until the usage of a tenant has changed.
    pub(crate) async fn changed(&self) {
        while self.0.waiting().is_empty() {
            self.0.0.changed.notified().await;
        }
    }

    /// Returns the tenants whose usage has changed since the last call.
    pub(crate) fn take(&self) -> HashSet<(TenantId, DataEnvironment)> {
        mem::take(&mut *self.0.waiting())
    }
}

impl Drop for UsageFollower {
    fn drop(&mut self) {
        self.0.0.is_followed.store(false, Ordering::Relaxed);
        self.0.waiting().clear();
    }
}
