//! Locks and leases in this process.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::Tags;

/// Locks or leases with their owners and end times. Unlike values, they are never evicted: there are only as
/// many as are in use.
#[derive(Default)]
pub(crate) struct Claims(Mutex<ClaimTable>);

#[derive(Default)]
struct ClaimTable {
    held: HashMap<String, ActiveClaim>,
    /// Number of claims from which on expired ones are removed.
    sweep_at: usize,
}

struct ActiveClaim {
    owner: String,
    until: Duration,
    tags: Tags,
}

impl Claims {
    fn table(&self) -> MutexGuard<'_, ClaimTable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Acquires the claim, unless it is held.
    pub(crate) fn acquire(&self, key: &str, owner: &str, now: Duration, ttl: Duration, tags: Tags) -> bool {
        let mut table = self.table();
        if table.held.get(key).is_some_and(|held| held.until > now) {
            return false;
        }
        if table.held.len() >= table.sweep_at.max(64) {
            table.held.retain(|_, held| held.until > now);
            table.sweep_at = table.held.len() * 2;
        }
        table.held.insert(key.to_owned(), ActiveClaim { owner: owner.to_owned(), until: now + ttl, tags });
        true
    }

    pub(crate) fn extend(&self, key: &str, owner: &str, now: Duration, ttl: Duration) -> bool {
        let mut table = self.table();
        let held = table.held.get_mut(key).filter(|held| held.owner == owner && held.until > now);
        held.map(|held| held.until = now + ttl).is_some()
    }

    pub(crate) fn release(&self, key: &str, owner: &str, now: Duration) -> bool {
        self.release_then(key, owner, now, |_| ()).is_some()
    }

    /// Releases the claim and passes its tags to a function before it can be acquired again.
    pub(crate) fn release_then<T>(
        &self,
        key: &str,
        owner: &str,
        now: Duration,
        then: impl FnOnce(Tags) -> T,
    ) -> Option<T> {
        let mut table = self.table();
        table.held.get(key).filter(|held| held.owner == owner && held.until > now)?;
        table.held.remove(key).map(|held| then(held.tags))
    }

    /// Ends the claim of any owner.
    pub(crate) fn end(&self, key: &str) {
        self.table().held.remove(key);
    }
}
