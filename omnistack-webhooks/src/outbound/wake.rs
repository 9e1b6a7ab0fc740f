//! The notification of the dispatcher of this process.

use std::sync::Arc;

use omnistack_core::db::Tx;
use tokio::sync::Notify;

/// A handle that wakes the dispatcher of this process when there are new deliveries. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeliveryWake(Arc<Notify>);

impl DeliveryWake {
    /// Wakes the dispatcher. If it is busy, it searches once more afterwards.
    pub(crate) fn wake(&self) {
        self.0.notify_one();
    }

    /// Wakes the dispatcher when the transaction has committed.
    pub(crate) fn wake_on_commit(&self, tx: &mut Tx) {
        let wake = self.clone();
        tx.on_commit(move || wake.wake());
    }

    /// Waits until the dispatcher is woken.
    pub(crate) async fn woken(&self) {
        self.0.notified().await;
    }
}
