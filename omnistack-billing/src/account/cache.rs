//! The entitlements of tenants in memory.
//!
//! A load of a tenant is registered before the database is read. Evicting the tenant removes the registration, too:
//! what the load has read may be older than the change, so it reaches only the callers that waited for it, and a caller
//! after the eviction starts a load of its own.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock, RwLockWriteGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use omnistack_core::{http::Error, identity::TenantId};
use tokio::sync::watch;

use super::entitled::Entitled;

/// The maximum number of tenants in memory.
const MAX_CACHED_TENANTS: usize = 100_000;
/// The number of parts of the cache, each with a lock.
const CACHE_SHARDS: usize = 64;
const MAX_TENANTS_PER_SHARD: usize = MAX_CACHED_TENANTS / CACHE_SHARDS;

/// The result of a load, which its callers share.
pub(super) type LoadResult = Result<Arc<Entitled>, Arc<Error>>;
/// The receiver of the result of a load.
pub(super) type LoadReceiver = watch::Receiver<Option<LoadResult>>;

/// The cache. Cheap to clone.
#[derive(Clone)]
pub(super) struct EntitlementCache(Arc<[RwLock<EntitlementShard>]>);

#[derive(Default)]
struct EntitlementShard {
    entries: HashMap<TenantId, CachedEntitlement>,
    /// The loads whose results will be cached, with their numbers.
    loads: HashMap<TenantId, (u64, LoadReceiver)>,
    next_load: u64,
}

struct CachedEntitlement {
    entitled: Arc<Entitled>,
    /// Whether it was used since room was last made for others.
    used: AtomicBool,
}

impl Default for EntitlementCache {
    fn default() -> Self {
        Self((0..CACHE_SHARDS).map(|_| RwLock::default()).collect())
    }
}

impl EntitlementCache {
    pub(super) fn get(&self, tenant: TenantId) -> Option<Arc<Entitled>> {
        let shard = self.shard(tenant).read().unwrap_or_else(PoisonError::into_inner);
        let entry = shard.entries.get(&tenant)?;
        // Written only if it changes, so that processors share the line of memory.
        if !entry.used.load(Ordering::Relaxed) {
            entry.used.store(true, Ordering::Relaxed);
        }
        Some(Arc::clone(&entry.entitled))
    }

    /// Joins the load of a tenant. The first caller also gets the load, which it must finish.
    pub(super) fn join(&self, tenant: TenantId) -> (LoadReceiver, Option<EntitlementLoad>) {
        let mut shard = self.write(tenant);
        if let Some((_, result)) = shard.loads.get(&tenant) {
            return (result.clone(), None);
        }
        let (sender, result) = watch::channel(None);
        let number = shard.next_load;
        shard.next_load += 1;
        shard.loads.insert(tenant, (number, result.clone()));
        (result, Some(EntitlementLoad { cache: self.clone(), tenant, number, sender }))
    }

    /// Removes a tenant. The result of a load that has begun is not cached.
    pub(super) fn evict(&self, tenant: TenantId) {
        let mut shard = self.write(tenant);
        shard.entries.remove(&tenant);
        shard.loads.remove(&tenant);
    }

    /// Removes all tenants, as [`evict`](Self::evict) does.
    pub(super) fn clear(&self) {
        for shard in &*self.0 {
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            shard.entries.clear();
            shard.loads.clear();
        }
    }

    fn shard(&self, tenant: TenantId) -> &RwLock<EntitlementShard> {
        // The last byte of an id is random.
        &self.0[usize::from(tenant.uuid().as_bytes()[15]) % CACHE_SHARDS]
    }

    fn write(&self, tenant: TenantId) -> RwLockWriteGuard<'_, EntitlementShard> {
        self.shard(tenant).write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EntitlementShard {
    /// Ends a load. Returns `false` if the tenant was evicted since it began.
    fn end_load(&mut self, tenant: TenantId, number: u64) -> bool {
        let is_current = self.loads.get(&tenant).is_some_and(|(current, _)| *current == number);
        is_current && self.loads.remove(&tenant).is_some()
    }

    fn insert(&mut self, tenant: TenantId, entitled: Arc<Entitled>) {
        while self.entries.len() >= MAX_TENANTS_PER_SHARD {
            self.entries.retain(|_, entry| entry.used.swap(false, Ordering::Relaxed));
        }
        self.entries.insert(tenant, CachedEntitlement { entitled, used: AtomicBool::new(true) });
    }
}

/// A load under way. It ends when this is dropped.
pub(super) struct EntitlementLoad {
    cache: EntitlementCache,
    tenant: TenantId,
    number: u64,
    sender: watch::Sender<Option<LoadResult>>,
}

impl EntitlementLoad {
    /// Caches the result, unless the tenant was evicted meanwhile, and sends it to the callers that wait.
    pub(super) fn finish(self, result: LoadResult) {
        let mut shard = self.cache.write(self.tenant);
        if shard.end_load(self.tenant, self.number)
            && let Ok(entitled) = &result
        {
            shard.insert(self.tenant, Arc::clone(entitled));
        }
        drop(shard);
        self.sender.send_replace(Some(result));
    }
}

impl Drop for EntitlementLoad {
    fn drop(&mut self) {
        self.cache.write(self.tenant).end_load(self.tenant, self.number);
    }
}

#[cfg(test)]
mod tests {
    use omnistack_core::{id::Id, identity::Plan};
    use uuid::Uuid;

    use super::*;
    use crate::plan::PlanDefinition;

    fn tenant() -> TenantId {
        Id::from_uuid(Uuid::new_v4())
    }

    #[expect(clippy::unnecessary_wraps, reason = "it is the result of a load")]
    fn entitled(key: &str) -> LoadResult {
        let definition = Arc::new(PlanDefinition::new(key, key));
        Ok(Arc::new(Entitled { plan: Arc::new(Plan::new(key)), definition, valid_until: None }))
    }

    fn key(cache: &EntitlementCache, tenant: TenantId) -> Option<String> {
        cache.get(tenant).map(|entitled| entitled.plan.key.clone())
    }

    fn received(result: &LoadReceiver) -> Option<String> {
        result.borrow().as_ref().map(|result| result.as_ref().unwrap().plan.key.clone())
    }

    #[test]
    fn callers_share_a_load() {
        let (cache, tenant) = (EntitlementCache::default(), tenant());
        let (first, load) = cache.join(tenant);
        let (second, other) = cache.join(tenant);
        assert!(other.is_none());
        load.unwrap().finish(entitled("pro"));
        assert_eq!((received(&first), received(&second)), (Some("pro".into()), Some("pro".into())));
        assert_eq!(key(&cache, tenant), Some("pro".into()));
        assert!(cache.join(tenant).1.is_some(), "the load has ended");
    }

    #[test]
    fn what_was_read_before_a_change_is_not_cached_after_it() {
        let (cache, tenant) = (EntitlementCache::default(), tenant());
        // A load has read the plan `free`; then a transaction that assigns `pro` commits.
        let (before, load) = cache.join(tenant);
        cache.evict(tenant);
        let (after, newer) = cache.join(tenant);
        let newer = newer.expect("a caller after the change does not share the load before it");
        load.unwrap().finish(entitled("free"));
        assert_eq!(received(&before), Some("free".into()));
        assert_eq!((key(&cache, tenant), received(&after)), (None, None));
        newer.finish(entitled("pro"));
        assert_eq!((key(&cache, tenant), received(&after)), (Some("pro".into()), Some("pro".into())));
        // The same, if the newer load is the faster one, and for a change of which only the number is known.
        let (_, slow) = cache.join(tenant);
        cache.clear();
        let (_, fast) = cache.join(tenant);
        fast.unwrap().finish(entitled("max"));
        slow.unwrap().finish(entitled("pro"));
        assert_eq!(key(&cache, tenant), Some("max".into()));
    }

    #[test]
    fn a_load_that_fails_or_ends_early_leaves_nothing() {
        let (cache, tenant) = (EntitlementCache::default(), tenant());
        let (result, load) = cache.join(tenant);
        load.unwrap().finish(Err(Arc::new(Error::internal("away"))));
        assert!(result.borrow().as_ref().is_some_and(Result::is_err));
        let (result, load) = cache.join(tenant);
        drop(load);
        assert!(result.has_changed().is_err(), "the callers that wait are told");
        assert!(cache.get(tenant).is_none() && cache.join(tenant).1.is_some());
    }

    #[test]
    fn tenants_that_are_not_used_make_room() {
        let mut shard = EntitlementShard::default();
        let free = entitled("free").unwrap();
        let tenants: Vec<_> = (0..MAX_TENANTS_PER_SHARD).map(|_| tenant()).collect();
        for tenant in &tenants {
            shard.insert(*tenant, Arc::clone(&free));
        }
        // All were used since the cache was created, so none stays.
        shard.insert(tenant(), Arc::clone(&free));
        assert_eq!(shard.entries.len(), 1);
        for tenant in &tenants[1..] {
            shard.insert(*tenant, Arc::clone(&free));
        }
        for (n, tenant) in tenants.iter().enumerate() {
            if let Some(entry) = shard.entries.get(tenant) {
                entry.used.store(n % 2 == 0, Ordering::Relaxed);
            }
        }
        shard.insert(tenant(), free);
        let kept = |parity: usize| {
            tenants.iter().enumerate().filter(|(n, one)| n % 2 == parity && shard.entries.contains_key(one)).count()
        };
        assert_eq!((kept(0), kept(1)), (tenants.len().div_ceil(2) - 1, 0));
    }
}
