//! The concurrency limit on attempts with the same key.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

type Semaphores = Arc<Mutex<HashMap<Vec<u8>, Arc<Semaphore>>>>;

/// The attempts that this process is checking, by key.
#[derive(Clone, Debug, Default)]
pub(super) struct AttemptLimiter(Semaphores);

/// An attempt's permit; the next attempt proceeds when it is dropped.
#[derive(Debug)]
pub(super) struct AttemptPermit {
    key: Vec<u8>,
    places: Semaphores,
    permit: Option<OwnedSemaphorePermit>,
}

impl AttemptLimiter {
    /// Waits until fewer than `max_concurrent` attempts with a key are being checked.
    pub(super) async fn acquire(&self, key: &[u8], at_once: usize) -> AttemptPermit {
        let places = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(all.entry(key.to_vec()).or_insert_with(|| Arc::new(Semaphore::new(at_once))))
        };
        let mut turn = AttemptPermit { key: key.to_vec(), places: Arc::clone(&self.0), permit: None };
        // The semaphore is never closed, so this never fails.
        turn.permit = places.acquire_owned().await.ok();
        turn
    }
}

impl Drop for AttemptPermit {
    fn drop(&mut self) {
        let mut all = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        self.permit = None;
        // Only the map holds it: no other attempt is waiting or being checked.
        if all.get(&self.key).is_some_and(|places| Arc::strong_count(places) == 1) {
            all.remove(&self.key);
        }
    }
}
