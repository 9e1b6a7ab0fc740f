//! Classification of HTTP responses.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, StatusCode, header};

use super::Classification;
use crate::clock::Timestamp;

impl Classification {
    /// Returns the class of a response with this status, if nothing else is known about the server.
    ///
    /// | status | outcome | retryable |
    /// |---|---|---|
    /// | below 400 | success | |
    /// | 408, 425, 429 | failed | yes |
    /// | other 4xx, 501, 505 | failed | no |
    /// | other 5xx | unknown: the request may have taken effect before the failure, or a proxy responds for a server that it lost | yes, if the caller allows it |
    ///
    /// `Retry-After` (RFC 9110, section 10.2.3) is read in both forms; `now` is needed for dates.
    pub fn from_response(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Self {
        let class = match status.as_u16() {
            ..=399 => return Self::success(),
            408 | 425 | 429 => Self::failed().retryable(),
            400..=499 | 501 | 505 => return Self::failed(),
            _ => Self::unknown().retryable(),
        };
        match retry_after(headers, now) {
            Some(wait) => class.retry_after(wait),
            None => class,
        }
    }
}

/// Returns the wait that `Retry-After` requests: a number of seconds, or a date in any of the three formats of
/// HTTP.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().map(Duration::from_secs);
    }
    let date: SystemTime = httpdate::parse_http_date(text).ok()?;
    let now = Duration::from_micros(u64::try_from(now.as_micros()).ok()?);
    Some(date.duration_since(UNIX_EPOCH).ok()?.saturating_sub(now))
}
