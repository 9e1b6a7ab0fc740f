//! Circuit breaker layer.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::{Breaker, BreakerPermit};
use crate::resilience::{Classifier, Error};

impl<S, C: Clone> Layer<S> for Breaker<C> {
    type Service = BreakerService<S, C>;

    fn layer(&self, inner: S) -> BreakerService<S, C> {
        BreakerService { inner, breaker: self.clone() }
    }
}

/// Service created by [`Breaker`]. It also counts errors of `poll_ready`.
#[derive(Clone, Debug)]
pub struct BreakerService<S, C> {
    inner: S,
    breaker: Breaker<C>,
}

impl<S, C, R> Service<R> for BreakerService<S, C>
where
    S: Service<R>,
    S::Error: From<Error>,
    C: Classifier<S::Response, S::Error> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BreakerFuture<S::Future, C>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        let ready = ready!(self.inner.poll_ready(cx));
        // A service that fails to become ready, for example for lack of a connection, has failed like one that
        // was called.
        if let Err(error) = &ready
            && let Ok(permit) = self.breaker.acquire()
        {
            permit.finish(&self.breaker.classifier.classify(Err(error)));
        }
        Poll::Ready(ready)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let step = match self.breaker.acquire() {
            Ok(permit) => BreakerStep::Running {
                call: self.inner.call(request),
                permit: Some(permit),
                classifier: self.breaker.classifier.clone(),
            },
            Err(error) => BreakerStep::Refused { error: Some(error) },
        };
        BreakerFuture { step }
    }
}

pin_project! {
    /// Future returned by [`BreakerService`].
    #[derive(Debug)]
    pub struct BreakerFuture<F, C> {
        #[pin]
        step: BreakerStep<F, C>,
    }
}

pin_project! {
    #[project = StepProjection]
    #[derive(Debug)]
    enum BreakerStep<F, C> {
        Running { #[pin] call: F, permit: Option<BreakerPermit>, classifier: C },
        Refused { error: Option<Error> },
    }
}

impl<F, C, T, E> Future for BreakerFuture<F, C>
where
    F: Future<Output = Result<T, E>>,
    C: Classifier<T, E>,
    E: From<Error>,
{
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().step.project() {
            StepProjection::Refused { error } => {
                error.take().map_or(Poll::Pending, |error| Poll::Ready(Err(error.into())))
            }
            StepProjection::Running { call, permit, classifier } => {
                let result = ready!(call.poll(cx));
                if let Some(permit) = permit.take() {
                    permit.finish(&classifier.classify(result.as_ref()));
                }
                Poll::Ready(result)
            }
        }
    }
}
