//! Time limit of a call.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::Error;

/// Timeout policy: gives up a call that takes too long, with [`Error::Timeout`]. The outcome is unknown,
/// because the called service may have received the request.
///
/// It is a layer, and can run any future. The time is measured by tokio, from the call until its future is
/// complete: a body that is streamed after that is not limited.
///
/// ```
/// use omnistack_core::resilience::{Error, Outcome, Timeout};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let never = std::future::pending::<Result<(), Error>>();
/// let error = Timeout::new(Duration::from_millis(1)).run(never).await.unwrap_err();
/// assert_eq!(error.outcome(), Outcome::Unknown);
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Timeout {
    after: Duration,
}

impl Timeout {
    /// Creates a timeout with this limit.
    pub const fn new(after: Duration) -> Self {
        Self { after }
    }

    /// Returns the call's result.
    ///
    /// # Errors
    ///
    /// Fails with [`Error::Timeout`] if the call does not complete in time; the call is dropped. Otherwise
    /// fails as the call does.
    pub async fn run<T, E: From<Error>>(&self, call: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        match tokio::time::timeout(self.after, call).await {
            Ok(result) => result,
            Err(_) => Err(Error::Timeout { after: self.after }.into()),
        }
    }
}

impl<S> Layer<S> for Timeout {
    type Service = TimeoutService<S>;

    fn layer(&self, inner: S) -> TimeoutService<S> {
        TimeoutService { inner, timeout: *self }
    }
}

/// Service created by [`Timeout`].
#[derive(Clone, Copy, Debug)]
pub struct TimeoutService<S> {
    inner: S,
    timeout: Timeout,
}

impl<S, R> Service<R> for TimeoutService<S>
where
    S: Service<R>,
    S::Error: From<Error>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = TimeoutFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let after = self.timeout.after;
        TimeoutFuture { call: tokio::time::timeout(after, self.inner.call(request)), after }
    }
}

pin_project! {
    /// Future returned by [`TimeoutService`].
    #[derive(Debug)]
    pub struct TimeoutFuture<F> {
        #[pin]
        call: tokio::time::Timeout<F>,
        after: Duration,
    }
}

impl<F, T, E> Future for TimeoutFuture<F>
where
    F: Future<Output = Result<T, E>>,
    E: From<Error>,
{
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        this.call.poll(cx).map(|done| done.unwrap_or_else(|_| Err(Error::Timeout { after: *this.after }.into())))
    }
}
