//! A lock somebody holds.

use std::{fmt, sync::Arc, time::Duration};

use super::{CacheStore, Claim, Error, bounded};

/// A lock, held until it is released or its time is over. Dropped, it is released in the background.
///
/// A process that is suspended for longer than the time it asked for holds the lock no more, and doesn't know. So what
/// the lock protects must refuse whoever comes with a smaller [`fence`](Self::fence) than it has seen:
/// `update jobs set …, fence = $1 where id = $2 and fence < $1`.
#[must_use = "a lock that is dropped is released"]
pub struct Lock {
    claim: Held,
    fence: u64,
}

impl Lock {
    pub(super) fn new(claim: Held, fence: u64) -> Self {
        Self { claim, fence }
    }

    /// A number larger than that of any lock before, whatever its key: the fencing token.
    pub fn fence(&self) -> u64 {
        self.fence
    }

    /// Holds it for this long from now; false when it was lost already, and may be somebody else's.
    ///
    /// # Errors
    /// The store is away: whether the lock is held longer is not known.
    pub async fn extend(&self, ttl: Duration) -> Result<bool, Error> {
        self.claim.store.extend(Claim::Lock(&self.claim.key), &self.claim.owner, bounded(ttl)).await
    }

    /// Releases it; false when it was lost before.
    ///
    /// # Errors
    /// The store is away: the lock ends with its time.
    pub async fn release(mut self) -> Result<bool, Error> {
        self.claim.ended = true;
        self.claim.store.release(Claim::Lock(&self.claim.key), &self.claim.owner).await
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock").field("key", &self.claim.key).field("fence", &self.fence).finish_non_exhaustive()
    }
}

/// A claim that is given back when dropped.
pub(super) struct Held {
    pub(super) store: Arc<dyn CacheStore>,
    pub(super) key: String,
    pub(super) owner: String,
    /// A lease, not a lock.
    pub(super) lease: bool,
    pub(super) ended: bool,
}

impl Drop for Held {
    fn drop(&mut self) {
        // Without a runtime it ends with its time.
        let (false, Ok(runtime)) = (self.ended, tokio::runtime::Handle::try_current()) else {
            return;
        };
        let (store, lease) = (Arc::clone(&self.store), self.lease);
        let (key, owner) = (std::mem::take(&mut self.key), std::mem::take(&mut self.owner));
        runtime.spawn(async move {
            let claim = if lease { Claim::Lease(&key) } else { Claim::Lock(&key) };
            _ = store.release(claim, &owner).await;
        });
    }
}
