//! Compression of responses.

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
use tower_http::compression::{Compression, DefaultPredicate, Predicate, ResponseFuture};

use crate::http::{Request, Response};

/// Layer that compresses responses with gzip for clients that accept it, except responses below 32 bytes, images,
/// gRPC, event streams and responses with a strong `ETag`: that names exact bytes, and a client that resumes a
/// download or sends `If-Match` relies on them (RFC 9110, section 8.8.1). A response with a weak `ETag` (`W/"…"`) is
/// compressed. The layer uses [`tower_http::compression`], and skips it for requests without `Accept-Encoding`.
#[derive(Clone, Copy, Debug, Default)]
pub struct CompressionLayer;

impl<S> Layer<S> for CompressionLayer {
    type Service = Compress<S>;

    fn layer(&self, inner: S) -> Compress<S> {
        Compress { inner: Compression::new(inner).compress_when(Compressible(DefaultPredicate::new())) }
    }
}

/// Predicate that decides which responses are compressed.
#[derive(Clone)]
pub struct Compressible(DefaultPredicate);

impl Predicate for Compressible {
    fn should_compress<B: http_body::Body>(&self, response: &http::Response<B>) -> bool {
        let etag = response.headers().get(header::ETAG);
        etag.is_none_or(|etag| etag.as_bytes().starts_with(b"W/")) && self.0.should_compress(response)
    }
}

/// Service of [`CompressionLayer`].
#[derive(Clone)]
pub struct Compress<S> {
    inner: Compression<S, Compressible>,
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
    /// Future of [`Compress`].
    #[project = CompressProjection]
    pub enum CompressFuture<F> {
        Plain { #[pin] future: F },
        Compressed { #[pin] future: ResponseFuture<F, Compressible> },
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

impl fmt::Debug for Compressible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressible").finish_non_exhaustive()
    }
}
