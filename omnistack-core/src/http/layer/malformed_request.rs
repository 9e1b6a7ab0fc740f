//! Requests that could not be read.

use axum::response::IntoResponse as _;
use http::StatusCode;

use crate::http::{Error, Response};

/// Reason why the server could not read a request. It is in the extensions of the request for `*` that the server
/// creates in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MalformedRequest {
    /// The request is not HTTP, or violates HTTP: 400.
    NotHttp,
    /// `Host` is missing or malformed (RFC 9112, section 3.2): 400.
    Host,
    /// The path is longer than 64 KiB: 414.
    PathTooLong,
    /// The request has more than 100 headers, or more than about 400 KB of headers: 431.
    HeadersTooLarge,
}

impl MalformedRequest {
    /// Returns the status of the response.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::NotHttp | Self::Host => StatusCode::BAD_REQUEST,
            Self::PathTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        }
    }

    pub(crate) fn response(self) -> Response {
        let (code, message) = match self {
            Self::NotHttp => ("MALFORMED_REQUEST", "the request is not valid HTTP/1.1"),
            Self::Host => ("MALFORMED_REQUEST", "`Host` is missing or malformed; send the host of the request's URL"),
            Self::PathTooLong => ("URI_TOO_LONG", "the path and query are too long; send long values in the body"),
            Self::HeadersTooLarge => {
                ("HEADERS_TOO_LARGE", "the request has too many or too large headers; send fewer than 100")
            }
        };
        Error::new(self.status(), code, message).into_response()
    }
}
