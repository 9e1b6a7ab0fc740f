//! Listeners in this process.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::broadcast;

use super::Event;

/// Most events that a listener may fall behind before it misses some.
const MAX_LAG: usize = 1024;

type AnySender = Box<dyn Any + Send + Sync>;

/// The listeners by type of event. Each value is a `broadcast::Sender<Arc<E>>`.
#[derive(Default)]
pub(crate) struct Listeners(Mutex<HashMap<TypeId, AnySender>>);

impl Listeners {
    fn senders(&self) -> MutexGuard<'_, HashMap<TypeId, AnySender>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn subscribe<E: Event>(&self) -> broadcast::Receiver<Arc<E>> {
        let mut senders = self.senders();
        let sender =
            senders.entry(TypeId::of::<E>()).or_insert_with(|| Box::new(broadcast::channel::<Arc<E>>(MAX_LAG).0));
        match sender.downcast_ref::<broadcast::Sender<Arc<E>>>() {
            Some(sender) => sender.subscribe(),
            // Unreachable: the sender was created for this type.
            None => broadcast::channel(1).1,
        }
    }

    /// Returns the sender to the listeners of a type of event, or `None` if there are none.
    pub(crate) fn sender<E: Event>(&self) -> Option<broadcast::Sender<Arc<E>>> {
        let senders = self.senders();
        let sender = senders.get(&TypeId::of::<E>())?.downcast_ref::<broadcast::Sender<Arc<E>>>()?;
        (sender.receiver_count() > 0).then(|| sender.clone())
    }
}
