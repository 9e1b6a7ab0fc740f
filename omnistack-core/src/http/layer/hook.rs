//! Layers that read the request, pass it on, and change the response: the future is a named type and allocates
//! nothing.
//!
//! The types are `pub` since the layers name them as their services, but no public path leads to them.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::http::{Request, Response};

/// The part of a layer that runs before the inner service. It returns the part that runs after it.
///
/// The two parts share only that value, so a request copies no settings and touches no counter that another CPU core
/// uses.
pub trait RequestHook: Clone + Send + Sync + 'static {
    /// The part that runs after the inner service.
    type After: ResponseHook;

    /// Processes the request. It may return a response in place of the inner service.
    ///
    /// # Errors
    /// Returns the response if the inner service is not to be called.
    fn request(&self, request: &mut Request) -> Result<Self::After, Response>;
}

/// The part of a layer that runs after the inner service.
pub trait ResponseHook: Send + 'static {
    /// Processes the response.
    fn response(self, response: &mut Response);
}

/// Does nothing.
impl ResponseHook for () {
    fn response(self, _: &mut Response) {}
}

/// Does nothing for `None`.
impl<T: ResponseHook> ResponseHook for Option<T> {
    fn response(self, response: &mut Response) {
        if let Some(after) = self {
            after.response(response);
        }
    }
}

/// Nests steps: the first receives the request first and the response last.
///
/// A tuple of steps is one layer with one future, which is moved and polled once for all of them.
macro_rules! steps {
    ($($step:ident $at:tt),+) => {
        impl<$($step: RequestHook),+> RequestHook for ($($step,)+) {
            type After = ($(Option<$step::After>,)+);

            fn request(&self, request: &mut Request) -> Result<Self::After, Response> {
                let mut afters = Self::After::default();
                $(match self.$at.request(request) {
                    Ok(after) => afters.$at = Some(after),
                    Err(mut answer) => {
                        afters.response(&mut answer);
                        return Err(answer);
                    }
                })+
                Ok(afters)
            }
        }
    };
}
steps!(A 0, B 1);
steps!(A 0, B 1, C 2);
steps!(A 0, B 1, C 2, D 3);

impl<A: ResponseHook, B: ResponseHook> ResponseHook for (A, B) {
    fn response(self, response: &mut Response) {
        self.1.response(response);
        self.0.response(response);
    }
}

impl<A: ResponseHook, B: ResponseHook, C: ResponseHook> ResponseHook for (A, B, C) {
    fn response(self, response: &mut Response) {
        self.2.response(response);
        self.1.response(response);
        self.0.response(response);
    }
}

impl<A: ResponseHook, B: ResponseHook, C: ResponseHook, D: ResponseHook> ResponseHook for (A, B, C, D) {
    fn response(self, response: &mut Response) {
        self.3.response(response);
        self.2.response(response);
        self.1.response(response);
        self.0.response(response);
    }
}

/// Layer that puts a [`RequestHook`] around a service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HookLayer<T>(pub(crate) T);

impl<S, T: Clone> Layer<S> for HookLayer<T> {
    type Service = HookService<S, T>;

    fn layer(&self, inner: S) -> Self::Service {
        HookService { inner, step: self.0.clone() }
    }
}

/// Service of [`HookLayer`].
#[derive(Clone, Copy, Debug)]
pub struct HookService<S, T> {
    inner: S,
    step: T,
}

impl<S, T> Service<Request> for HookService<S, T>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    T: RequestHook,
{
    type Response = Response;
    type Error = Infallible;
    type Future = HookFuture<S::Future, T::After>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        match self.step.request(&mut request) {
            Ok(after) => HookFuture::Inner { future: self.inner.call(request), after: Some(after) },
            Err(response) => HookFuture::Answered { response: Some(response) },
        }
    }
}

pin_project! {
    /// Future of [`HookService`].
    #[project = SteppedProjection]
    pub enum HookFuture<F, A> {
        Inner {
            #[pin]
            future: F,
            after: Option<A>,
        },
        Answered { response: Option<Response> },
    }
}

impl<F, A> std::fmt::Debug for HookFuture<F, A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HookFuture").finish_non_exhaustive()
    }
}

impl<F, A> Future for HookFuture<F, A>
where
    F: Future<Output = Result<Response, Infallible>>,
    A: ResponseHook,
{
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            SteppedProjection::Inner { future, after } => {
                let Ok(mut response) = ready!(future.poll(cx));
                after.take().response(&mut response);
                Poll::Ready(Ok(response))
            }
            SteppedProjection::Answered { response } => match response.take() {
                Some(response) => Poll::Ready(Ok(response)),
                None => Poll::Pending,
            },
        }
    }
}

/// Implements `Layer` for a step, so that users see one type per layer.
macro_rules! step_layer {
    ($layer:ident) => {
        impl<S> tower::Layer<S> for $layer {
            type Service = $crate::http::layer::HookService<S, Self>;

            fn layer(&self, inner: S) -> Self::Service {
                tower::Layer::layer(&$crate::http::layer::HookLayer(self.clone()), inner)
            }
        }
    };
}
pub(crate) use step_layer;
