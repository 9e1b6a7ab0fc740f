//! Work that is completed although its caller has left, so that its real usage is known.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use omnistack_core::trace;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::{AbortHandle, JoinError},
};
use tracing::Instrument as _;

/// Whether the caller of a call has left. It lives as long as the call.
#[derive(Clone, Debug, Default)]
pub(super) struct CallerPresence(Arc<PresenceState>);

#[derive(Debug, Default)]
struct PresenceState {
    left: AtomicBool,
    /// Counts the call among those without callers until it ends.
    permit: Mutex<Option<OwnedSemaphorePermit>>,
}

impl CallerPresence {
    /// Returns whether the caller has left. No further attempt begins then.
    pub(super) fn has_left(&self) -> bool {
        self.0.left.load(Ordering::Relaxed)
    }
}

/// The limit of calls that are completed without their callers.
#[derive(Clone, Debug)]
pub(super) struct Drains(Arc<Semaphore>);

impl Drains {
    pub(super) fn new(most: u32) -> Self {
        Self(Arc::new(Semaphore::new(usize::try_from(most).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS))))
    }

    /// Runs work in a task of its own. If this future is dropped, the task goes on within the limit, else it is ended.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(CallerPresence) -> Pin<Box<dyn Future<Output = T> + Send>>,
    ) -> Result<T, JoinError> {
        let presence = CallerPresence::default();
        let (work, kept) = (work(presence.clone()), presence.clone());
        let task = async move {
            let result = work.await;
            drop(kept);
            result
        };
        let running = tokio::spawn(trace::propagate(task).in_current_span());
        let _guard = CallerGuard { task: running.abort_handle(), presence, drains: Arc::clone(&self.0) };
        running.await
    }
}

/// A guard that ends a task, or lets it complete, when its caller leaves.
struct CallerGuard {
    task: AbortHandle,
    presence: CallerPresence,
    drains: Arc<Semaphore>,
}

impl Drop for CallerGuard {
    fn drop(&mut self) {
        if self.task.is_finished() {
            return;
        }
        let state = &self.presence.0;
        state.left.store(true, Ordering::Relaxed);
        match Arc::clone(&self.drains).try_acquire_owned() {
            Ok(permit) => *state.permit.lock().unwrap_or_else(PoisonError::into_inner) = Some(permit),
            Err(_) => self.task.abort(),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::sync::oneshot;

    use super::*;

    /// Starts work that waits for `go`, leaves it, and returns the receiver of its result.
    async fn leave(drains: &Drains, go: oneshot::Receiver<()>) -> oneshot::Receiver<bool> {
        let (started, has_started) = oneshot::channel();
        let (done, result) = oneshot::channel();
        let call = drains.run(move |presence| {
            Box::pin(async move {
                _ = started.send(());
                _ = go.await;
                _ = done.send(presence.has_left());
            })
        });
        let mut call = call.boxed();
        assert!((&mut call).now_or_never().is_none());
        has_started.await.unwrap();
        result
    }

    #[tokio::test]
    async fn only_so_many_calls_go_on_without_their_callers() {
        let drains = Drains::new(1);
        let (go, waits) = oneshot::channel();
        let first = leave(&drains, waits).await;
        let (other_go, waits) = oneshot::channel();
        let second = leave(&drains, waits).await;
        assert!(second.await.is_err(), "the second call is ended");
        assert!(other_go.send(()).is_err());
        go.send(()).unwrap();
        assert!(first.await.unwrap(), "the first call is completed, and knows that its caller has left");
        let left = drains.run(|presence| Box::pin(async move { presence.has_left() })).await.unwrap();
        assert!(!left);
    }
}
