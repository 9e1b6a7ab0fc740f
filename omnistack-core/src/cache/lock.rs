//! Locks.

use std::{fmt, sync::Arc, time::Duration};

use super::{CacheStore, ClaimKind, Error, clamp_ttl};

/// Lock that is held until it is released or its time has passed. If it is dropped, it is released in the
/// background.
///
/// A process that is suspended for longer than the lock's time loses the lock without noticing. The protected
/// resource must therefore reject a caller whose [`fencing_token`](Self::fencing_token) is smaller than one it has already
/// seen: `update jobs set …, fence = $1 where id = $2 and fence < $1`.
#[must_use = "a lock that is dropped is released"]
pub struct Lock {
    claim: HeldClaim,
    fence: u64,
}

impl Lock {
    pub(super) fn new(claim: HeldClaim, fence: u64) -> Self {
        Self { claim, fence }
    }

    /// Returns the fencing token: a number larger than that of all locks acquired before, of any key.
    pub fn fencing_token(&self) -> u64 {
        self.fence
    }

    /// Sets the remaining time of the lock. Returns `false` if the lock was lost; another process may hold it.
    ///
    /// # Errors
    ///
    /// Fails if the store is unavailable; it is then unknown whether the lock was extended.
    pub async fn extend(&self, ttl: Duration) -> Result<bool, Error> {
        self.claim.store.extend(ClaimKind::Lock(&self.claim.key), &self.claim.owner, clamp_ttl(ttl)).await
    }

    /// Releases the lock. Returns `false` if it was lost before.
    ///
    /// # Errors
    ///
    /// Fails if the store is unavailable; the lock then ends when its time has passed.
    pub async fn release(mut self) -> Result<bool, Error> {
        self.claim.ended = true;
        self.claim.store.release(ClaimKind::Lock(&self.claim.key), &self.claim.owner).await
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock").field("key", &self.claim.key).field("fence", &self.fence).finish_non_exhaustive()
    }
}

/// Lock or lease that is released when dropped.
pub(super) struct HeldClaim {
    pub(super) store: Arc<dyn CacheStore>,
    pub(super) key: String,
    pub(super) owner: String,
    /// Whether it is a lease rather than a lock.
    pub(super) lease: bool,
    pub(super) ended: bool,
}

impl Drop for HeldClaim {
    fn drop(&mut self) {
        // Without a runtime, it ends when its time has passed.
        let (false, Ok(runtime)) = (self.ended, tokio::runtime::Handle::try_current()) else {
            return;
        };
        let (store, lease) = (Arc::clone(&self.store), self.lease);
        let (key, owner) = (std::mem::take(&mut self.key), std::mem::take(&mut self.owner));
        runtime.spawn(async move {
            let claim = if lease { ClaimKind::Lease(&key) } else { ClaimKind::Lock(&key) };
            _ = store.release(claim, &owner).await;
        });
    }
}
