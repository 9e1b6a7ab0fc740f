//! Request bodies with a content coding.

use axum::response::IntoResponse as _;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body::Body as _;

use super::{RequestHook, step_layer};
use crate::http::{Error, Request, Response};

/// Layer that rejects a body whose `Content-Encoding` is not `identity`, since no handler decodes it: 415
/// `UNSUPPORTED_CONTENT_ENCODING` with `Accept-Encoding: identity` (RFC 9110, section 15.5.16).
#[derive(Clone, Copy, Debug)]
pub struct ContentEncodingLayer;

step_layer!(ContentEncodingLayer);

impl RequestHook for ContentEncodingLayer {
    type After = ();

    fn request(&self, request: &mut Request) -> Result<(), Response> {
        if request.body().is_end_stream() || !is_encoded(request.headers()) {
            return Ok(());
        }
        let message =
            "the `Content-Encoding` of the body is not supported; send the body unencoded, without that header";
        let error = Error::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_CONTENT_ENCODING", message);
        Err(error.with_header(header::ACCEPT_ENCODING, HeaderValue::from_static("identity")).into_response())
    }
}

fn is_encoded(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::CONTENT_ENCODING).into_iter();
    let mut codings = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    codings.any(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"))
}
