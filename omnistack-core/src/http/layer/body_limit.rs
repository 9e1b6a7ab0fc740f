//! Limit of request bodies.

use axum::{body::Body, extract::DefaultBodyLimit, response::IntoResponse as _};
use http::header;
use http_body::Body as _;
use http_body_util::Limited;

use super::{RequestHook, step_layer};
use crate::http::{Request, Response};

/// Layer that rejects a body whose `Content-Length` is too large before reading any of it, and stops reading a body
/// that turns out to be too large.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimitLayer {
    bytes: usize,
}

impl BodyLimitLayer {
    /// Creates a layer that allows at most this many bytes.
    pub fn new(bytes: u64) -> Self {
        Self { bytes: usize::try_from(bytes).unwrap_or(usize::MAX) }
    }
}

step_layer!(BodyLimitLayer);

impl RequestHook for BodyLimitLayer {
    type After = ();

    fn request(&self, request: &mut Request) -> Result<(), Response> {
        if request.body().is_end_stream() {
            return Ok(());
        }
        // axum's own limit of 2 MiB would cut larger bodies.
        DefaultBodyLimit::disable().apply(request);
        let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        match announced.and_then(|length| length.parse::<usize>().ok()) {
            Some(length) if length > self.bytes => Err(crate::http::too_large().into_response()),
            // The server reads no more than the announced length.
            Some(_) => Ok(()),
            None => {
                let body = std::mem::replace(request.body_mut(), Body::empty());
                *request.body_mut() = Body::new(Limited::new(body, self.bytes));
                Ok(())
            }
        }
    }
}
