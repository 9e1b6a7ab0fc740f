//! The cache of identities, and its invalidation on all replicas.
//!
//! An identity read from the database is cached for a minute under the hash of its credential and the selected tenant.
//! A change of a permission, a session or a role invalidates the caches of all replicas; a replica that cannot be
//! reached uses its cache for the rest of that minute.

use std::{fmt, sync::Arc, time::Duration};

use moka::sync::Cache;
use omnistack_core::{
    BoxError, ShutdownToken,
    clock::Timestamp,
    crypto::Sha256,
    identity::{IDENTITY_CHANGES_TOPIC, Identity, IdentityScope, SessionId, TenantId, UserId},
    pubsub::PubSub,
};

/// The time for which an identity is cached.
pub(crate) const IDENTITY_CACHE_TTL: Duration = Duration::from_secs(60);
/// The maximum number of cached identities; about 100 MB if all are in use.
const MAX_CACHED_IDENTITIES: u64 = 100_000;

/// A cached identity, and the time until which it holds.
struct CachedIdentity {
    identity: Identity,
    until: Timestamp,
}

/// The cache of identities, by the hash of the credential and the selected tenant.
#[derive(Clone)]
pub(crate) struct IdentityCache {
    known: Cache<[u8; 32], Arc<CachedIdentity>>,
    /// Counts the invalidations, so that an identity read before an invalidation is not cached after it.
    generation: Arc<std::sync::atomic::AtomicU64>,
}

impl Default for IdentityCache {
    fn default() -> Self {
        let known = Cache::builder()
            .max_capacity(MAX_CACHED_IDENTITIES)
            .time_to_live(IDENTITY_CACHE_TTL)
            .support_invalidation_closures()
            .build();
        Self { known, generation: Arc::default() }
    }
}

impl IdentityCache {
    pub(crate) fn get(&self, key: &Sha256, now: Timestamp) -> Option<Identity> {
        self.known.get(key.as_bytes()).filter(|known| now < known.until).map(|known| known.identity.clone())
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(std::sync::atomic::Ordering::SeqCst)
    }

    /// Caches an identity, unless something was invalidated since `generation`.
    pub(crate) fn insert(&self, key: Sha256, identity: Identity, until: Timestamp, generation: u64) {
        if self.generation() == generation {
            self.known.insert(*key.as_bytes(), Arc::new(CachedIdentity { identity, until }));
            if self.generation() != generation {
                self.known.invalidate(key.as_bytes());
            }
        }
    }

    /// Invalidates the identities in a scope.
    fn invalidate(&self, whose: IdentityScope) {
        self.generation.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let matches = move |_: &[u8; 32], known: &Arc<CachedIdentity>| whose.covers(&known.identity);
        if self.known.invalidate_entries_if(matches).is_err() {
            self.known.invalidate_all();
        }
    }

    /// Invalidates all identities.
    fn invalidate_all(&self) {
        self.generation.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        self.known.invalidate_all();
    }
}

/// The service that invalidates cached identities on all replicas.
#[derive(Clone)]
pub(crate) struct CacheInvalidator {
    known: IdentityCache,
    publisher: PubSub,
}

impl CacheInvalidator {
    pub(crate) fn new(known: IdentityCache, publisher: PubSub) -> Self {
        Self { known, publisher }
    }

    pub(crate) async fn user(&self, user: UserId) {
        self.publish(IdentityScope::User(user)).await;
    }

    pub(crate) async fn session(&self, session: SessionId) {
        self.publish(IdentityScope::Session(session)).await;
    }

    pub(crate) async fn tenant(&self, tenant: TenantId) {
        self.publish(IdentityScope::Tenant(tenant)).await;
    }

    /// Invalidates the identities in a scope on this replica, and publishes the scope to the others.
    async fn publish(&self, whose: IdentityScope) {
        self.known.invalidate(whose);
        self.publisher.publish(IDENTITY_CHANGES_TOPIC, whose.to_string()).await;
    }

    /// Applies the invalidations that other replicas publish, until the app shuts down. Fails if the subscription
    /// ends.
    pub(crate) async fn listen(self, shutdown: ShutdownToken) -> Result<(), BoxError> {
        use tokio::sync::broadcast::error::RecvError;
        let mut told = self.publisher.subscribe(IDENTITY_CHANGES_TOPIC).await;
        loop {
            let message = tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                message = told.recv() => message,
            };
            match message {
                Ok(message) => {
                    if let Some(whose) = std::str::from_utf8(&message).ok().and_then(|text| text.parse().ok()) {
                        self.known.invalidate(whose);
                    }
                }
                // Messages were lost, so all identities are invalidated.
                Err(RecvError::Lagged(_)) => self.known.invalidate_all(),
                Err(RecvError::Closed) => return Err("the invalidations of other replicas have ended".into()),
            }
        }
    }
}

impl fmt::Debug for CacheInvalidator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CacheInvalidator")
    }
}
