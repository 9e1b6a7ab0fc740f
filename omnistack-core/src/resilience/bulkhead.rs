//! How many calls may run at once.

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

/// Lets so many calls run at once, keeps a bounded queue of those that wait, and refuses the rest.
///
/// A slow peer then holds at most its places, and the rest of the app stays whole. What is refused was not sent. Clones
/// share the places; those who wait come in order.
///
/// ```
/// use omnistack_core::resilience::{Bulkhead, Error};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// // 20 at once, 50 waiting, each for 2 seconds at most.
/// let bulkhead = Bulkhead::new("exports", 20).queue(50, Duration::from_secs(2));
/// let rows = bulkhead.run(async { Ok::<_, Error>(7) }).await?;
/// assert_eq!(rows, 7);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Bulkhead {
    shared: Arc<Shared>,
    max_waiting: usize,
    max_wait: Duration,
}

struct Shared {
    name: Arc<str>,
    places: Arc<Semaphore>,
    size: usize,
    waiting: AtomicUsize,
}

impl Bulkhead {
    /// So many at once, at least one, and none that waits. The name is for errors.
    pub fn new(name: &str, places: usize) -> Self {
        let size = places.clamp(1, Semaphore::MAX_PERMITS);
        let places = Arc::new(Semaphore::new(size));
        let shared = Arc::new(Shared { name: name.into(), places, size, waiting: AtomicUsize::new(0) });
        Self { shared, max_waiting: 0, max_wait: Duration::ZERO }
    }

    /// Lets so many wait for a place, each at most this long.
    #[must_use]
    pub fn queue(mut self, waiting: usize, wait: Duration) -> Self {
        self.max_waiting = waiting;
        self.max_wait = wait;
        self
    }

    /// Runs the call when a place is free; until then it is not polled.
    ///
    /// # Errors
    /// [`Error::Full`] at once when the queue is full, [`Error::NoPlace`] after waiting in vain.
    pub async fn run<T, E: From<Error>>(&self, call: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let _place = self.enter().await?;
        call.await
    }

    /// Waits for a place and holds it until it is dropped: for a call that goes on after its function has returned, a
    /// stream for instance.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn enter(&self) -> Result<Place, Error> {
        if let Some(place) = self.try_enter() {
            return Ok(place);
        }
        let shared = &self.shared;
        let queued = shared.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| {
            (waiting < self.max_waiting).then_some(waiting + 1)
        });
        if queued.is_err() {
            return Err(Error::Full { name: Arc::clone(&shared.name), waiting: self.max_waiting });
        }
        // From here on, so that one who leaves the queue makes room in it.
        let _queued = Queued(shared);
        match tokio::time::timeout(self.max_wait, Arc::clone(&shared.places).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Place { _permit: permit }),
            // Never closed, so only the time can be up.
            Ok(Err(_)) | Err(_) => Err(Error::NoPlace { name: Arc::clone(&shared.name), waited: self.max_wait }),
        }
    }

    /// A place, if one is free and nobody waits for it.
    fn try_enter(&self) -> Option<Place> {
        match Arc::clone(&self.shared.places).try_acquire_owned() {
            Ok(permit) => Some(Place { _permit: permit }),
            Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => None,
        }
    }

    /// How many places are taken.
    pub fn running(&self) -> usize {
        self.shared.size - self.shared.places.available_permits()
    }

    /// How many wait for a place.
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

struct Queued<'a>(&'a Shared);

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A place in a [`Bulkhead`], free again when dropped.
#[derive(Debug)]
#[must_use = "the place is free again when this is dropped"]
pub struct Place {
    _permit: OwnedSemaphorePermit,
}

impl<S> Layer<S> for Bulkhead {
    type Service = BulkheadService<S>;

    fn layer(&self, inner: S) -> BulkheadService<S> {
        BulkheadService { inner, bulkhead: self.clone() }
    }
}

/// The service of [`Bulkhead`].
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
        if let Some(place) = self.bulkhead.try_enter() {
            return BulkheadFuture { step: Step::Running { call: self.inner.call(request), _place: place } };
        }
        // The one that was polled ready is the one to call.
        let clone = self.inner.clone();
        let service = std::mem::replace(&mut self.inner, clone);
        let bulkhead = self.bulkhead.clone();
        let entering: BoxFuture<'static, _> = Box::pin(async move { bulkhead.enter().await });
        BulkheadFuture { step: Step::Waiting { entering, call: Some((service, request)) } }
    }
}

pin_project! {
    /// The future of [`BulkheadService`].
    pub struct BulkheadFuture<S, R>
    where
        S: Service<R>,
    {
        #[pin]
        step: Step<S, R, S::Future>,
    }
}

pin_project! {
    #[project = StepProjection]
    enum Step<S, R, F> {
        Waiting { entering: BoxFuture<'static, Result<Place, Error>>, call: Option<(S, R)> },
        Running { #[pin] call: F, _place: Place },
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
                    step.set(Step::Running { call, _place: place });
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
