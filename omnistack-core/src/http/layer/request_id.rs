//! The `X-Request-Id` header.

use http::{HeaderName, HeaderValue};

use super::{RequestHook, ResponseHook, step_layer};
use crate::{
    clock::{Clock, Timestamp},
    http::{Request, Response},
    id::Id,
};

pub(super) const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// Layer that gives each request an id, or keeps the id in its `X-Request-Id` header, and adds the id to the
/// response.
#[derive(Clone, Debug)]
pub struct RequestIdLayer {
    clock: Clock,
}

impl RequestIdLayer {
    /// Creates a layer that takes the time of ids from `clock`.
    pub fn new(clock: Clock) -> Self {
        Self { clock }
    }
}

step_layer!(RequestIdLayer);

/// The id of a request, in its extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId {
    id: HeaderValue,
    received: Timestamp,
}

impl RequestId {
    /// Returns the id, as in the header.
    pub fn as_str(&self) -> &str {
        self.id.to_str().unwrap_or_default()
    }

    /// Returns the time at which the request arrived.
    pub fn received(&self) -> Timestamp {
        self.received
    }
}

impl RequestHook for RequestIdLayer {
    type After = RequestIdHeader;

    fn request(&self, request: &mut Request) -> Result<RequestIdHeader, Response> {
        let received = self.clock.now();
        let given = request.headers().get(HEADER).filter(|id| is_plain(id)).cloned();
        let id = given.unwrap_or_else(|| new_id(received));
        request.extensions_mut().insert(RequestId { id: id.clone(), received });
        Ok(RequestIdHeader(id))
    }
}

/// The hook that adds the id to the response.
#[derive(Debug)]
pub struct RequestIdHeader(HeaderValue);

impl ResponseHook for RequestIdHeader {
    fn response(self, response: &mut Response) {
        response.headers_mut().insert(HEADER, self.0);
    }
}

/// Returns whether an id has 1 to 128 characters that can't forge a log line.
fn is_plain(id: &HeaderValue) -> bool {
    let id = id.as_bytes();
    (1..=128).contains(&id.len()) && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

fn new_id(now: Timestamp) -> HeaderValue {
    let mut buffer = uuid::Uuid::encode_buffer();
    let id = Id::<RequestId>::new(now).uuid().hyphenated().encode_lower(&mut buffer);
    HeaderValue::from_str(id).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}
