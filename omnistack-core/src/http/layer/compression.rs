//! Smaller answers.

use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::body::Body;
use http::header;
use pin_project_lite::pin_project;
use tower::{Layer, Service};
use tower_http::compression::{Compression, DefaultPredicate, ResponseFuture};

use crate::http::{Request, Response};

/// Compresses answers with gzip for clients that accept it, except small ones (32 bytes), images, gRPC and event streams.
/// It is [`tower_http::compression`], skipped whole for a request without `Accept-Encoding`.
#[derive(Clone, Copy, Debug, Default)]
pub struct CompressionLayer;

impl<S> Layer<S> for CompressionLayer {
    type Service = Compress<S>;

    fn layer(&self, inner: S) -> Compress<S> {
        Compress { inner: Compression::new(inner) }
    }
}

/// The service of [`CompressionLayer`].
#[derive(Clone)]
pub struct Compress<S> {
    inner: Compression<S>,
}

impl<S> Service<Request> for Compress<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = CompressFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.get_mut().poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        if request.headers().contains_key(header::ACCEPT_ENCODING) {
            CompressFuture::Compressed { future: self.inner.call(request) }
        } else {
            CompressFuture::Plain { future: self.inner.get_mut().call(request) }
        }
    }
}

pin_project! {
    /// The future of [`Compress`].
    #[project = CompressProjection]
    pub enum CompressFuture<F> {
        Plain { #[pin] future: F },
        Compressed { #[pin] future: ResponseFuture<F, DefaultPredicate> },
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for CompressFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            CompressProjection::Plain { future } => future.poll(cx),
            CompressProjection::Compressed { future } => {
                let Ok(response) = ready!(future.poll(cx));
                Poll::Ready(Ok(response.map(Body::new)))
            }
        }
    }
}

impl<F> fmt::Debug for CompressFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompressFuture").finish_non_exhaustive()
    }
}

impl<S> fmt::Debug for Compress<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compress").finish_non_exhaustive()
    }
}
