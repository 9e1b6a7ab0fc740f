//! Conditional requests (RFC 9110, section 13).

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts};
use jiff::fmt::rfc2822;

use super::Error;
use crate::clock::Timestamp;

/// The validators of a resource: its entity tag and the time of its last change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validators {
    etag: Option<String>,
    last_modified: Option<Timestamp>,
}

impl Validators {
    /// Creates validators with an entity tag as in the header: `"v1"`, or the weak `W/"v1"` if different bytes with
    /// the same meaning have it too.
    pub fn etag(etag: impl Into<String>) -> Self {
        Self { etag: Some(etag.into()), last_modified: None }
    }

    /// Sets the time of the last change. HTTP sends it in whole seconds.
    #[must_use]
    pub fn last_modified(mut self, at: Timestamp) -> Self {
        self.last_modified = Some(at);
        self
    }

    /// Adds `ETag` and `Last-Modified` to a response. A 304 needs the same validators and the same `Cache-Control` as
    /// the 200.
    pub fn add_to(&self, headers: &mut HeaderMap) {
        if let Some(etag) = self.etag.as_deref().and_then(|etag| HeaderValue::from_str(etag).ok()) {
            headers.insert(header::ETAG, etag);
        }
        if let Some(date) = self.last_modified.and_then(|at| HeaderValue::try_from(http_date(at)).ok()) {
            headers.insert(header::LAST_MODIFIED, date);
        }
    }

    /// Compares strongly (section 8.8.3.2).
    fn matches_strongly(&self, tag: &Tag) -> bool {
        !tag.weak && self.etag.as_deref().is_some_and(|etag| etag.as_bytes() == tag.opaque)
    }

    /// Compares weakly.
    fn matches_weakly(&self, tag: &Tag) -> bool {
        self.etag.as_deref().is_some_and(|etag| etag.strip_prefix("W/").unwrap_or(etag).as_bytes() == tag.opaque)
    }

    fn changed_after(&self, second: i64) -> bool {
        self.last_modified.is_some_and(|at| at.as_seconds() > second)
    }
}

/// Result of evaluating the preconditions of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// The request is to be carried out.
    Changed,
    /// The client has the current state: respond with 304 and the headers of [`Validators::add_to`].
    NotModified,
}

/// Extractor of the preconditions of a request: `If-Match`, `If-None-Match`, `If-Modified-Since`,
/// `If-Unmodified-Since` and `If-Range`.
///
/// ```
/// use omnistack_core::http::{Error, Freshness, HeaderMap, Preconditions, StatusCode, Validators};
///
/// async fn read(preconditions: Preconditions) -> Result<(StatusCode, HeaderMap, &'static str), Error> {
///     let (text, validators) = ("hello", Validators::etag("\"v1\""));
///     let mut headers = HeaderMap::new();
///     validators.add_to(&mut headers);
///     Ok(match preconditions.check(&validators)? {
///         Freshness::Changed => (StatusCode::OK, headers, text),
///         Freshness::NotModified => (StatusCode::NOT_MODIFIED, headers, ""),
///     })
/// }
/// # let _: axum::Router = axum::Router::new().route("/", axum::routing::get(read));
/// ```
#[derive(Clone, Debug)]
pub struct Preconditions {
    reads: bool,
    headers: HeaderMap,
}

const FIELDS: [HeaderName; 5] =
    [header::IF_MATCH, header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE, header::IF_UNMODIFIED_SINCE, header::IF_RANGE];

impl Preconditions {
    /// Returns whether the request has no preconditions.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.headers.is_empty()
    }

    /// Compares the preconditions with the current state, in the order of section 13.2.2. Call it when the request
    /// would succeed without them.
    ///
    /// # Errors
    /// Fails with 412 `PRECONDITION_FAILED`.
    pub fn check(&self, current: &Validators) -> Result<Freshness, Error> {
        if self.headers.contains_key(header::IF_MATCH) {
            if !self.any(header::IF_MATCH, |tag| current.matches_strongly(tag)) {
                return Err(precondition_failed("If-Match"));
            }
        } else if self.date(header::IF_UNMODIFIED_SINCE).is_some_and(|second| current.changed_after(second)) {
            return Err(precondition_failed("If-Unmodified-Since"));
        }
        if self.headers.contains_key(header::IF_NONE_MATCH) {
            let known = self.any(header::IF_NONE_MATCH, |tag| current.matches_weakly(tag));
            return match (known, self.reads) {
                (false, _) => Ok(Freshness::Changed),
                (true, true) => Ok(Freshness::NotModified),
                (true, false) => Err(precondition_failed("If-None-Match")),
            };
        }
        let since = self.date(header::IF_MODIFIED_SINCE).filter(|_| self.reads && current.last_modified.is_some());
        let known = since.is_some_and(|second| !current.changed_after(second));
        Ok(if known { Freshness::NotModified } else { Freshness::Changed })
    }

    /// Returns whether a `Range` is to be respected: without `If-Range`, or if the client's part has the current
    /// state (section 13.1.5). Otherwise respond with the whole content.
    #[must_use]
    pub fn allow_range(&self, current: &Validators) -> bool {
        let Some(value) = self.headers.get(header::IF_RANGE) else { return true };
        match tags(value.as_bytes()).next() {
            Some(tag) => current.matches_strongly(&tag),
            None => current.last_modified.map(|at| http_date(at).into_bytes()).as_deref() == Some(value.as_bytes()),
        }
    }

    /// Returns whether a header is `*`, or contains an entity tag that is current.
    fn any(&self, name: HeaderName, is_current: impl Fn(&Tag) -> bool) -> bool {
        let mut values = self.headers.get_all(name).into_iter().map(HeaderValue::as_bytes);
        values.any(|value| value.trim_ascii() == b"*" || tags(value).any(|tag| is_current(&tag)))
    }

    /// Returns a date in seconds since 1970-01-01T00:00:00Z. A malformed date counts as absent.
    fn date(&self, name: HeaderName) -> Option<i64> {
        let text = self.headers.get(name)?.to_str().ok()?;
        Some(rfc2822::parse(text).ok()?.timestamp().as_second())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Preconditions {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let mut headers = HeaderMap::new();
        for name in FIELDS {
            for value in parts.headers.get_all(&name) {
                headers.append(name.clone(), value.clone());
            }
        }
        Ok(Self { reads: matches!(parts.method, Method::GET | Method::HEAD), headers })
    }
}

/// An entity tag (section 8.8.3).
struct Tag<'a> {
    weak: bool,
    /// The opaque tag with its quotes.
    opaque: &'a [u8],
}

/// Parses a list of entity tags up to the first malformed one. A tag may contain a comma.
fn tags(mut list: &[u8]) -> impl Iterator<Item = Tag<'_>> {
    std::iter::from_fn(move || {
        let start = list.iter().position(|byte| !b", \t".contains(byte))?;
        let (weak, rest) = match &list[start..] {
            [b'W', b'/', rest @ ..] => (true, rest),
            rest => (false, rest),
        };
        let end = rest.strip_prefix(b"\"")?.iter().position(|byte| *byte == b'"')? + 2;
        let (opaque, rest) = rest.split_at(end);
        list = rest;
        Some(Tag { weak, opaque })
    })
}

fn http_date(at: Timestamp) -> String {
    at.to_jiff().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

fn precondition_failed(name: &str) -> Error {
    let message = format!("the resource does not match `{name}`; read it again, then retry the request");
    Error::new(StatusCode::PRECONDITION_FAILED, "PRECONDITION_FAILED", message)
}

#[cfg(test)]
mod tests;
