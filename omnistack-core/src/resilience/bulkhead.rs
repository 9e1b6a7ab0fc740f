//! Limit of concurrent calls.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::future::BoxFuture;
use pin_project_lite::pin_project;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tower::{Layer, Service};

use super::Error;

/// Bulkhead policy: limits the number of concurrent calls, keeps a bounded queue of waiting calls, and rejects
/// further ones.
///
/// A slow service then occupies at most this number of calls, and does not affect the rest of the app. Rejected
/// calls were not sent. Clones share the permits; waiting calls get them in the order of their arrival.
///
/// ```
/// use omnistack_core::resilience::{Bulkhead, Error};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// // At most 20 calls at once, and 50 waiting for at most 2 seconds each.
/// let bulkhead = Bulkhead::new("exports", 20).queue(50, Duration::from_secs(2));
/// let rows = bulkhead.run(async { Ok::<_, Error>(7) }).await?;
/// assert_eq!(rows, 7);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Bulkhead {
    shared: Arc<BulkheadState>,
    max_waiting: usize,
    max_wait: Duration,
}

struct BulkheadState {
    name: Arc<str>,
    places: Arc<Semaphore>,
    size: usize,
    waiting: AtomicUsize,
}

impl Bulkhead {
    /// Creates a bulkhead with this number of permits, at least 1, and without a queue. The name appears in
    /// errors.
    pub fn new(name: &str, places: usize) -> Self {
        let size = places.clamp(1, Semaphore::MAX_PERMITS);
        let places = Arc::new(Semaphore::new(size));
        let shared = Arc::new(BulkheadState { name: name.into(), places, size, waiting: AtomicUsize::new(0) });
        Self { shared, max_waiting: 0, max_wait: Duration::ZERO }
    }

    /// Sets the number of calls that may wait for a permit, and how long each may wait.
    #[must_use]
    pub fn queue(mut self, waiting: usize, wait: Duration) -> Self {
        self.max_waiting = waiting;
        self.max_wait = wait;
        self
    }

    /// Runs the call as soon as a permit is free; until then the call is not polled.
    ///
    /// # Errors
    ///
    /// Fails immediately with [`Error::QueueFull`] if the queue is full, and with [`Error::PermitTimeout`] if no permit
    /// became free in time. Otherwise fails as the call does.
    pub async fn run<T, E: From<Error>>(&self, call: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let _place = self.acquire().await?;
        call.await
    }

    /// Waits for a permit, which is held until it is dropped: for calls that continue after their function has
    /// returned, such as streams.
    ///
    /// # Errors
    ///
    /// Fails immediately with [`Error::QueueFull`] if the queue is full, and with [`Error::PermitTimeout`] if no permit
    /// became free in time.
    pub async fn acquire(&self) -> Result<BulkheadPermit, Error> {
        if let Some(place) = self.try_acquire() {
            return Ok(place);
        }
        let shared = &self.shared;
        let queued = shared.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| {
            (waiting < self.max_waiting).then_some(waiting + 1)
        });
        if queued.is_err() {
            return Err(Error::QueueFull { name: Arc::clone(&shared.name), waiting: self.max_waiting });
        }
        // Created before waiting, so that a call that is dropped while it waits frees its position in the
        // queue.
        let _queued = QueuePosition(shared);
        match tokio::time::timeout(self.max_wait, Arc::clone(&shared.places).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(BulkheadPermit { _permit: permit }),
            // The semaphore is never closed, so only the time limit can end the wait.
            Ok(Err(_)) | Err(_) => Err(Error::PermitTimeout { name: Arc::clone(&shared.name), waited: self.max_wait }),
        }
    }

    /// Returns a permit if one is free and no call waits for it.
    fn try_acquire(&self) -> Option<BulkheadPermit> {
        match Arc::clone(&self.shared.places).try_acquire_owned() {
            Ok(permit) => Some(BulkheadPermit { _permit: permit }),
            Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => None,
        }
    }

    /// Returns the number of permits that are taken.
    pub fn running(&self) -> usize {
        self.shared.size - self.shared.places.available_permits()
    }

    /// Returns the number of calls that wait for a permit.
    pub fn waiting(&self) -> usize {
        self.shared.waiting.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Bulkhead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bulkhead")
            .field("name", &self.shared.name)
            .field("places", &self.shared.size)
            .field("running", &self.running())
            .field("waiting", &self.waiting())
            .finish_non_exhaustive()
    }
}

struct QueuePosition<'a>(&'a BulkheadState);

impl Drop for QueuePosition<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Permit of a [`Bulkhead`], released when it is dropped.
#[derive(Debug)]
#[must_use = "the permit is released when this is dropped"]
pub struct BulkheadPermit {
    _permit: OwnedSemaphorePermit,
}

impl<S> Layer<S> for Bulkhead {
    type Service = BulkheadService<S>;

    fn layer(&self, inner: S) -> BulkheadService<S> {
        BulkheadService { inner, bulkhead: self.clone() }
    }
}

/// Service created by [`Bulkhead`].
#[derive(Clone, Debug)]
pub struct BulkheadService<S> {
    inner: S,
    bulkhead: Bulkhead,
}

impl<S, R> Service<R> for BulkheadService<S>
where
    S: Service<R> + Clone,
    S::Error: From<Error>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BulkheadFuture<S, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        if let Some(place) = self.bulkhead.try_acquire() {
            return BulkheadFuture { step: BulkheadStep::Running { call: self.inner.call(request), _place: place } };
        }
        // The call must use the service that was polled ready.
        let clone = self.inner.clone();
        let service = std::mem::replace(&mut self.inner, clone);
        let bulkhead = self.bulkhead.clone();
        let entering: BoxFuture<'static, _> = Box::pin(async move { bulkhead.acquire().await });
        BulkheadFuture { step: BulkheadStep::Waiting { entering, call: Some((service, request)) } }
    }
}

pin_project! {
    /// Future returned by [`BulkheadService`].
    pub struct BulkheadFuture<S, R>
    where
        S: Service<R>,
    {
        #[pin]
        step: BulkheadStep<S, R, S::Future>,
    }
}

pin_project! {
    #[project = StepProjection]
    enum BulkheadStep<S, R, F> {
        Waiting { entering: BoxFuture<'static, Result<BulkheadPermit, Error>>, call: Option<(S, R)> },
        Running { #[pin] call: F, _place: BulkheadPermit },
    }
}

impl<S, R> Future for BulkheadFuture<S, R>
where
    S: Service<R>,
    S::Error: From<Error>,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut step = self.project().step;
        loop {
            match step.as_mut().project() {
                StepProjection::Running { call, .. } => return call.poll(cx),
                StepProjection::Waiting { entering, call } => {
                    let place = ready!(entering.as_mut().poll(cx))?;
                    let Some((mut service, request)) = call.take() else { return Poll::Pending };
                    let call = service.call(request);
                    step.set(BulkheadStep::Running { call, _place: place });
                }
            }
        }
    }
}

impl<S: Service<R>, R> fmt::Debug for BulkheadFuture<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BulkheadFuture")
    }
}
