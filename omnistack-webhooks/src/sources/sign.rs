//! The headers of sample requests.

use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE};

/// Returns headers of a request with a JSON body. Returns `None` if a value is not valid in a header.
pub(super) fn json_headers(headers: impl IntoIterator<Item = (HeaderName, String)>) -> Option<HeaderMap> {
    let mut all = HeaderMap::new();
    all.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in headers {
        all.insert(name, HeaderValue::try_from(value).ok()?);
    }
    Some(all)
}

/// Returns a new id of 32 hexadecimal digits for a sample request.
pub(super) fn new_id() -> String {
    hex::encode(rand::random::<[u8; 16]>())
}
