//! Work that is completed although its caller has left, so that its real usage is known.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use omnistack_core::{http::Error, trace};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::AbortHandle,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument as _;

/// The time for which the end of the process waits for calls whose callers have left.
const MAX_DRAIN_TIME: Duration = Duration::from_secs(2);

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

/// The tasks of calls, and the limit of those that are completed without their callers.
#[derive(Debug)]
pub(super) struct Drains {
    limit: Arc<Semaphore>,
    tasks: TaskTracker,
    /// Ends the tasks.
    end: CancellationToken,
}

impl Drains {
    pub(super) fn new(most: u32) -> Self {
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { limit: Arc::new(Semaphore::new(most)), tasks: TaskTracker::new(), end: CancellationToken::new() }
    }

    /// Runs work in a task of its own. If this future is dropped, the task goes on within the limit, else it is ended.
    ///
    /// # Errors
    /// 500 if the work panics, 503 `SHUTTING_DOWN` if the process stops.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(CallerPresence) -> Pin<Box<dyn Future<Output = T> + Send>>,
    ) -> Result<T, Error> {
        let presence = CallerPresence::default();
        let (work, kept, end) = (work(presence.clone()), presence.clone(), self.end.clone());
        let task = async move {
            let result = end.run_until_cancelled(work).await;
            drop(kept);
            result
        };
        let running = self.tasks.spawn(trace::propagate(task).in_current_span());
        let _guard = CallerGuard { task: running.abort_handle(), presence, limit: Arc::clone(&self.limit) };
        let result = running.await.map_err(Error::internal)?;
        result.ok_or_else(|| Error::unavailable("SHUTTING_DOWN", "the server is shutting down"))
    }

    /// Waits until the calls have ended, at most two seconds, and ends those that are left.
    pub(super) async fn stop(&self) {
        self.tasks.close();
        if tokio::time::timeout(MAX_DRAIN_TIME, self.tasks.wait()).await.is_err() {
            self.end.cancel();
            self.tasks.wait().await;
        }
    }
}

/// A guard that ends a task, or lets it complete, when its caller leaves.
struct CallerGuard {
    task: AbortHandle,
    presence: CallerPresence,
    limit: Arc<Semaphore>,
}

impl Drop for CallerGuard {
    fn drop(&mut self) {
        if self.task.is_finished() {
            return;
        }
        let state = &self.presence.0;
        state.left.store(true, Ordering::Relaxed);
        match Arc::clone(&self.limit).try_acquire_owned() {
            Ok(permit) => *state.permit.lock().unwrap_or_else(PoisonError::into_inner) = Some(permit),
            Err(_) => self.task.abort(),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::{sync::oneshot, time::Instant};

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

    #[tokio::test(start_paused = true)]
    async fn a_stop_waits_for_calls_and_ends_those_that_take_longer() {
        let drains = Drains::new(2);
        let ((go, waits), (_never, hangs)) = (oneshot::channel(), oneshot::channel());
        let (first, second) = (leave(&drains, waits).await, leave(&drains, hangs).await);
        let began = Instant::now();
        let mut stop = drains.stop().boxed();
        assert!((&mut stop).now_or_never().is_none());
        go.send(()).unwrap();
        assert!(first.await.unwrap(), "the call that ends in time is completed");
        stop.await;
        assert_eq!(began.elapsed().as_secs(), MAX_DRAIN_TIME.as_secs());
        assert!(second.await.is_err(), "the call that hangs is ended");
    }
}
