//! Rate limit headers of responses: draft-ietf-httpapi-ratelimit-headers-10, and the older `X-RateLimit-*` headers.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::{Rate, RateLimitDecision};
use crate::http::Error;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// Number of headers that the default stack adds to those of the handler: the room is reserved at once instead of
/// growing in steps. (With two headers of the handler this is a map of 12 entries; one more would double it.)
const RESERVED_HEADERS: usize = 10;

/// The parts of the headers that are the same for all responses of a limiter.
pub(crate) struct RateLimitHeaderTemplate {
    /// Name of the policy, such as `"default"`.
    name: &'static str,
    /// `RateLimit-Policy`, such as `"default";q=100;w=60`: the quota, and the period in whole seconds.
    policy: HeaderValue,
    /// `X-RateLimit-Limit`, such as `100`, if the older headers are sent.
    limit: Option<HeaderValue>,
}

impl RateLimitHeaderTemplate {
    pub(crate) fn new(name: &'static str, rate: Rate, legacy: bool) -> Self {
        let policy = format!("\"{name}\";q={};w={}", rate.quota, rate.window.as_secs().max(1));
        Self { name, policy: value(policy), limit: legacy.then(|| HeaderValue::from(rate.quota)) }
    }

    pub(crate) fn headers(&self, verdict: RateLimitDecision) -> RateLimitHeaders {
        RateLimitHeaders { name: self.name, policy: self.policy.clone(), limit: self.limit.clone(), verdict }
    }
}

/// Copies the header values: the server clones the stack once per connection, and connections on different CPU cores
/// then share no reference counter.
impl Clone for RateLimitHeaderTemplate {
    fn clone(&self) -> Self {
        let own = |value: &HeaderValue| HeaderValue::from_bytes(value.as_bytes()).unwrap_or_else(|_| value.clone());
        Self { name: self.name, policy: own(&self.policy), limit: self.limit.as_ref().map(own) }
    }
}

/// The rate limit headers of a response.
#[derive(Debug)]
pub struct RateLimitHeaders {
    name: &'static str,
    policy: HeaderValue,
    limit: Option<HeaderValue>,
    pub(crate) verdict: RateLimitDecision,
}

impl RateLimitHeaders {
    /// Adds the headers, unless an inner rate limit has added its own, which is more specific.
    pub(crate) fn write(self, headers: &mut HeaderMap) {
        if headers.contains_key(RATE_LIMIT) {
            return;
        }
        headers.reserve(RESERVED_HEADERS);
        let reset = whole_seconds(self.verdict.reset);
        let (mut remaining, mut seconds) = (itoa::Buffer::new(), itoa::Buffer::new());
        let (remaining, seconds) = (remaining.format(self.verdict.remaining), seconds.format(reset));
        headers.insert(RATE_LIMIT, value(["\"", self.name, "\";r=", remaining, ";t=", seconds].concat()));
        headers.insert(RATE_LIMIT_POLICY, self.policy);
        if let Some(limit) = self.limit {
            headers.insert(LIMIT, limit);
            headers.insert(REMAINING, HeaderValue::from(self.verdict.remaining));
            headers.insert(RESET, HeaderValue::from(reset));
        }
    }

    /// Returns the 429 `RATE_LIMIT_EXCEEDED` error. `what` names what there was too much of.
    pub(crate) fn too_many_requests(self, what: &str) -> Error {
        let seconds = whole_seconds(self.verdict.retry_after);
        let message = format!("too many {what}; try again in {seconds} s");
        let mut headers = HeaderMap::new();
        self.write(&mut headers);
        let error = Error::new(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMIT_EXCEEDED", message)
            .with_detail("retry_after_seconds", seconds)
            .with_header(header::RETRY_AFTER, HeaderValue::from(seconds));
        headers.iter().fold(error, |error, (name, value)| error.with_header(name.clone(), value.clone()))
    }
}

/// Returns whole seconds, rounded up, so that a caller who waits this long has waited long enough.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// Returns the text as a header value. The texts of this module are always valid.
fn value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("\"default\""))
}
