//! Tries of one key, a few at a time.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

type Places = Arc<Mutex<HashMap<Vec<u8>, Arc<Semaphore>>>>;

/// The tries that are being judged in this process, by key.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns(Places);

/// A try's turn; the next begins when it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    key: Vec<u8>,
    places: Places,
    permit: Option<OwnedSemaphorePermit>,
}

impl Turns {
    /// Waits until fewer than `at_once` tries of a key are being judged.
    pub(super) async fn wait(&self, key: &[u8], at_once: usize) -> Turn {
        let places = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(all.entry(key.to_vec()).or_insert_with(|| Arc::new(Semaphore::new(at_once))))
        };
        let mut turn = Turn { key: key.to_vec(), places: Arc::clone(&self.0), permit: None };
        // It is never closed.
        turn.permit = places.acquire_owned().await.ok();
        turn
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut all = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        self.permit = None;
        // The map's and nothing else's: no other try waits or is judged.
        if all.get(&self.key).is_some_and(|places| Arc::strong_count(places) == 1) {
            all.remove(&self.key);
        }
    }
}
