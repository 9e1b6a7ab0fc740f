//! Requests that could not be read.

use axum::response::IntoResponse as _;
use http::StatusCode;

use crate::http::{Error, Response};

/// In the extensions of a request the server puts in the place of one it could not read, for `*`: why it couldn't.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// Not HTTP, or wrong HTTP: 400.
    NoHttp,
    /// Its `Host` is missing or malformed (RFC 9112, section 3.2): 400.
    Host,
    /// Its path is longer than 64 KiB: 414.
    PathTooLong,
    /// More than 100 headers, or more than about 400 KB of them: 431.
    HeadersTooLarge,
}

impl Unreadable {
    /// The status of its answer.
    pub fn status(self) -> StatusCode {
        match self {
            Self::NoHttp | Self::Host => StatusCode::BAD_REQUEST,
            Self::PathTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        }
    }

    pub(super) fn answer(self) -> Response {
        let (code, message) = match self {
            Self::NoHttp => ("MALFORMED_REQUEST", "this is not a request HTTP/1.1 allows"),
            Self::Host => ("MALFORMED_REQUEST", "`Host` is missing or malformed; send the host the request is for"),
            Self::PathTooLong => ("URI_TOO_LONG", "the path and query are too long; send what is long in a body"),
            Self::HeadersTooLarge => {
                ("HEADERS_TOO_LARGE", "the headers are too many or too large; send fewer than 100")
            }
        };
        Error::new(self.status(), code, message).into_response()
    }
}
