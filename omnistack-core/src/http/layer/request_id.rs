//! `X-Request-Id`.

use http::{HeaderName, HeaderValue};

use super::{After, Step, step_layer};
use crate::{
    clock::{Clock, Timestamp},
    http::{Request, Response},
    id::Id,
};

pub(super) const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// Gives each request an id, or keeps the one it came with, and repeats it in the answer.
#[derive(Clone, Debug)]
pub struct RequestIdLayer {
    clock: Clock,
}

impl RequestIdLayer {
    /// Ids are made at the clock's time.
    pub fn new(clock: Clock) -> Self {
        Self { clock }
    }
}

step_layer!(RequestIdLayer);

/// A request's id, in its extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId {
    id: HeaderValue,
    received: Timestamp,
}

impl RequestId {
    /// As in the header.
    pub fn as_str(&self) -> &str {
        self.id.to_str().unwrap_or_default()
    }

    /// When the request came.
    pub fn received(&self) -> Timestamp {
        self.received
    }
}

impl Step for RequestIdLayer {
    type After = AddId;

    fn request(&self, request: &mut Request) -> Result<AddId, Response> {
        let received = self.clock.now();
        let given = request.headers().get(HEADER).filter(|id| is_plain(id)).cloned();
        let id = given.unwrap_or_else(|| new_id(received));
        request.extensions_mut().insert(RequestId { id: id.clone(), received });
        Ok(AddId(id))
    }
}

/// Repeats the id.
#[derive(Debug)]
pub struct AddId(HeaderValue);

impl After for AddId {
    fn response(self, response: &mut Response) {
        response.headers_mut().insert(HEADER, self.0);
    }
}

/// Nothing that could forge a log line or fill one.
fn is_plain(id: &HeaderValue) -> bool {
    let id = id.as_bytes();
    (1..=128).contains(&id.len()) && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

fn new_id(now: Timestamp) -> HeaderValue {
    let mut buffer = uuid::Uuid::encode_buffer();
    let id = Id::<RequestId>::new(now).uuid().hyphenated().encode_lower(&mut buffer);
    HeaderValue::from_str(id).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}
