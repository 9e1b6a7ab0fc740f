//! Request headers that must not be repeated.

use std::sync::Arc;

use axum::response::IntoResponse as _;
use http::{HeaderName, StatusCode, header};

use super::{RequestHook, step_layer};
use crate::http::{Error, Request, Response};

/// The singleton fields that core reads.
const SINGLETONS: [HeaderName; 6] = [
    header::HOST,
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    header::ORIGIN,
    HeaderName::from_static("accept-version"),
    HeaderName::from_static("x-api-version"),
];

/// Layer that rejects requests in which a singleton field (RFC 9110, section 5.5) is repeated: 400 `REPEATED_HEADER`.
/// The app would read the first one, and a proxy possibly the last one.
///
/// The fields are `Host`, `Authorization`, `Content-Type`, `Origin`, `Accept-Version`, `X-Api-Version` and those
/// given to [`new`](Self::new).
#[derive(Clone, Debug)]
pub struct SingletonHeadersLayer {
    names: Arc<[HeaderName]>,
}

impl SingletonHeadersLayer {
    /// Creates a layer that also rejects repetitions of these headers.
    pub fn new(names: impl IntoIterator<Item = HeaderName>) -> Self {
        Self { names: SINGLETONS.into_iter().chain(names).collect() }
    }
}

step_layer!(SingletonHeadersLayer);

impl RequestHook for SingletonHeadersLayer {
    type After = ();

    fn request(&self, request: &mut Request) -> Result<(), Response> {
        let headers = request.headers();
        // Most requests repeat no header: this comparison is then the only cost.
        if headers.len() == headers.keys_len() {
            return Ok(());
        }
        match self.names.iter().find(|name| headers.get_all(*name).iter().nth(1).is_some()) {
            Some(name) => {
                let message = format!("the header `{name}` is repeated; send it once");
                Err(Error::new(StatusCode::BAD_REQUEST, "REPEATED_HEADER", message).into_response())
            }
            None => Ok(()),
        }
    }
}
