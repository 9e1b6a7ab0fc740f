//! The allowances of this process.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use omnistack_core::{identity::TenantId, usage::DataEnvironment};

use super::allowance::Allowance;

/// The tenant, the environment and the name of the meter.
pub(super) type AllowanceKey = (TenantId, DataEnvironment, &'static str);

/// Number of maps, so that callers of different tenants rarely wait for each other.
const SHARDS: usize = 64;

type Shard = HashMap<AllowanceKey, Arc<Allowance>>;

/// The allowances of this process by their keys.
pub(super) struct AllowanceMap([Mutex<Shard>; SHARDS]);

impl Default for AllowanceMap {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::default()))
    }
}

impl AllowanceMap {
    /// Returns an allowance, which is empty if there was none.
    pub(super) fn get(&self, key: AllowanceKey) -> Arc<Allowance> {
        let mut shard = self.shard(key.0);
        Arc::clone(shard.entry(key).or_insert_with(|| Arc::new(Allowance::new(key.2))))
    }

    /// Returns an allowance if there is one.
    pub(super) fn find(&self, key: AllowanceKey) -> Option<Arc<Allowance>> {
        self.shard(key.0).get(&key).cloned()
    }

    /// Returns all allowances.
    pub(super) fn all(&self) -> Vec<Arc<Allowance>> {
        self.0.iter().flat_map(|shard| lock(shard).values().cloned().collect::<Vec<_>>()).collect()
    }

    /// Removes the allowances that hold nothing and that no task uses.
    pub(super) fn remove_unused(&self) {
        for shard in &self.0 {
            // A task gets its reference while the map is locked, so one that has none now gets a new allowance.
            lock(shard).retain(|_, allowance| Arc::strong_count(allowance) > 1 || !allowance.is_unused());
        }
    }

    fn shard(&self, tenant: TenantId) -> MutexGuard<'_, Shard> {
        // The last bits of an id are random.
        let [.., last] = tenant.uuid().into_bytes();
        lock(&self.0[usize::from(last) % SHARDS])
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
