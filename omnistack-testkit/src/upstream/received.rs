//! What the upstream was sent.

use bytes::Bytes;
use http::{HeaderMap, Method};
use std::{borrow::Cow, fmt};

/// A request as it arrived.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Received {
    /// The method, as sent.
    pub method: Method,
    /// The path, as sent: still percent-encoded, without the query. A whole URL when the client took the upstream for
    /// a proxy.
    pub path: String,
    /// What followed the `?`, as sent, if there was one.
    pub query: Option<String>,
    /// The headers, and after them the trailers of a chunked body.
    pub headers: HeaderMap,
    /// The body, with its chunks put together.
    pub body: Bytes,
    /// Which connection it came over, counted from 0: tells a client that reuses its connections from one that
    /// doesn't.
    pub connection: usize,
}

impl Received {
    /// The first value of a header, if it is there and readable ASCII.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The first value of a query parameter, decoded as a form is: `%2C` and `+` become a comma and a space.
    pub fn query_value(&self, name: &str) -> Option<String> {
        self.query_values(name).next()
    }

    /// The body as text. What is not UTF-8 shows as `U+FFFD`.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    /// All values of a query parameter, decoded, in order.
    pub(super) fn query_values(&self, name: &str) -> impl Iterator<Item = String> {
        self.query.as_deref().unwrap_or_default().split('&').filter_map(move |pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (form_decoded(key) == name).then(|| form_decoded(value))
        })
    }
}

/// The request line without the version: `GET /v1/charges?limit=10`.
impl fmt::Display for Received {
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
