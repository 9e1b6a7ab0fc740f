//! Retry layer.

use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use tower::{Layer, Service, ServiceExt as _};

use super::Retry;
use crate::resilience::{Classifier, Error, RepeatablePolicy, RetrySafety, repeat::RequestRetrySafety};

/// Requests are cloned. Calls of unknown outcome are not retried.
impl<S, C: Clone> Layer<S> for Retry<C> {
    type Service = RetryService<S, C>;

    fn layer(&self, inner: S) -> RetryService<S, C> {
        RetryService { inner, retry: self.clone(), repeat: RetrySafety::Never }
    }
}

impl<S, C: Clone, R: Clone> Layer<S> for RepeatablePolicy<Retry<C>, R> {
    type Service = RetryService<S, C, R>;

    fn layer(&self, inner: S) -> RetryService<S, C, R> {
        RetryService { inner, retry: self.policy.clone(), repeat: self.repeat.clone() }
    }
}

/// Service created by [`Retry`]. Each attempt waits until the inner service is ready. If the inner service
/// fails to become ready for the first attempt, `poll_ready` returns the error, and it is not retried.
#[derive(Clone, Debug)]
pub struct RetryService<S, C, R = RetrySafety> {
    inner: S,
    retry: Retry<C>,
    repeat: R,
}

impl<S, C, P, R> Service<R> for RetryService<S, C, P>
where
    S: Service<R> + Clone + Send + 'static,
    S::Response: Send + 'static,
    S::Error: From<Error> + Send + 'static,
    S::Future: Send,
    C: Classifier<S::Response, S::Error> + Clone + Send + Sync + 'static,
    P: RequestRetrySafety<R>,
    R: Clone + Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let repeat = self.repeat.retry_safety(&request);
        let retry = self.retry.clone();
        // The first attempt must use the service that was polled ready.
        let spare = self.inner.clone();
        let mut ready = Some(std::mem::replace(&mut self.inner, spare.clone()));
        Box::pin(async move {
            let call = move || ready.take().unwrap_or_else(|| spare.clone()).oneshot(request.clone());
            retry.run_attempts(repeat, call).await
        })
    }
}
