//! What an HTTP answer means.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, StatusCode, header};

use super::Class;
use crate::clock::Timestamp;

impl Class {
    /// What an answer of this status means when nothing more is known about who gave it.
    ///
    /// | status | outcome | retryable |
    /// |---|---|---|
    /// | below 400 | success | |
    /// | 408, 425, 429 | failed | yes |
    /// | other 4xx, 501, 505 | failed | no |
    /// | other 5xx | unknown: it may have failed after doing it, or a proxy speaks for a server it lost | yes, where the caller allows it |
    ///
    /// `Retry-After` (RFC 9110, section 10.2.3) is read in both its forms; `now` is for that of a date.
    pub fn of_response(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Self {
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

/// How long `Retry-After` asks to wait: a number of seconds or a date, in any of the three forms of HTTP.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().map(Duration::from_secs);
    }
    let date: SystemTime = httpdate::parse_http_date(text).ok()?;
    let now = Duration::from_micros(u64::try_from(now.as_micros()).ok()?);
    Some(date.duration_since(UNIX_EPOCH).ok()?.saturating_sub(now))
}
