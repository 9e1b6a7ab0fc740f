//! [`ReceivedRequest`], a request that the mock server received.

use bytes::Bytes;
use http::{HeaderMap, Method};
use std::{borrow::Cow, fmt};

/// A request as the mock server received it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReceivedRequest {
    /// The method, as sent.
    pub method: Method,
    /// The path as sent: percent-encoded, without the query. A whole URL if the client uses the mock server as a proxy.
    pub path: String,
    /// The query as sent, without the `?`, or `None` if the target has no `?`.
    pub query: Option<String>,
    /// The headers, followed by the trailers of a chunked body.
    pub headers: HeaderMap,
    /// The body, with its chunks joined.
    pub body: Bytes,
    /// The number of the connection the request came over, counted from 0. Use it to test whether a client reuses
    /// connections.
    pub connection: usize,
}

impl ReceivedRequest {
    /// Returns the first value of a header, or `None` if it is absent or not visible ASCII.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Returns the first value of a query parameter, decoded as `application/x-www-form-urlencoded`: `%2C` and `+`
    /// become a comma and a space.
    pub fn query_value(&self, name: &str) -> Option<String> {
        self.query_values(name).next()
    }

    /// Returns the body as text, with invalid UTF-8 replaced by `U+FFFD`.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    /// Returns all values of a query parameter, decoded, in order.
    pub(super) fn query_values(&self, name: &str) -> impl Iterator<Item = String> {
        self.query.as_deref().unwrap_or_default().split('&').filter_map(move |pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (form_decoded(key) == name).then(|| form_decoded(value))
        })
    }
}

/// Writes the request line without the version, such as `GET /v1/charges?limit=10`.
impl fmt::Display for ReceivedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)?;
        self.query.as_ref().map_or(Ok(()), |query| write!(f, "?{query}"))
    }
}

fn form_decoded(text: &str) -> String {
    let hex = |digit: u8| char::from(digit).to_digit(16);
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        bytes.push(match (first, tail) {
            (b'+', _) => b' ',
            (b'%', [high, low, tail @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    rest = tail;
                    u8::try_from(high * 16 + low).unwrap_or_default()
                }
                _ => b'%',
            },
            _ => *first,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
