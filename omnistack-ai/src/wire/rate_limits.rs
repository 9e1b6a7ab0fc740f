//! The headers in which providers state their rate limits.
//!
//! OpenAI, Azure, Groq and many others write `x-ratelimit-remaining-requests` and `…-tokens`, some of them only
//! `x-ratelimit-remaining`, Anthropic `anthropic-ratelimit-requests-remaining` and `…-tokens-…`.

use std::time::Duration;

use http::HeaderMap;
use omnistack_core::clock::Timestamp;

use super::openai_chat::moment_or_duration;
use crate::provider::{RateLimitLevel, RateLimitLevels};

/// The limits of tokens in Anthropic's headers. The first one that a response states is that of the tightest limit.
const ANTHROPIC_TOKENS: [&str; 3] = ["tokens", "input-tokens", "output-tokens"];

/// Returns the rate limits that a response states, or `None` if it states none.
pub(crate) fn stated_rate_limits(headers: &HeaderMap, now: Timestamp) -> Option<RateLimitLevels> {
    if !headers.keys().any(|name| name.as_str().contains("ratelimit")) {
        return None;
    }
    let common = |kind: &str| {
        let name = |part: &str| format!("x-ratelimit-{part}{kind}");
        level(headers, [&name("limit"), &name("remaining"), &name("reset")], now)
    };
    let anthropic = |kind: &str| {
        let name = |part: &str| format!("anthropic-ratelimit-{kind}-{part}");
        level(headers, [&name("limit"), &name("remaining"), &name("reset")], now)
    };
    let requests = common("-requests").or_else(|| common("")).or_else(|| anthropic("requests"));
    let tokens = common("-tokens").or_else(|| ANTHROPIC_TOKENS.into_iter().find_map(anthropic));
    let levels = RateLimitLevels { requests, tokens };
    (levels != RateLimitLevels::default()).then_some(levels)
}

/// Returns the limit of the headers with its maximum, the remaining number and the renewal. A number that can't be
/// read, such as Azure's `-1`, is not known.
fn level(headers: &HeaderMap, [limit, remaining, reset]: [&str; 3], now: Timestamp) -> Option<RateLimitLevel> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let remaining = text(remaining)?.parse().ok()?;
    let limit = text(limit).and_then(|limit| limit.parse().ok());
    Some(RateLimitLevel { remaining, limit, renewed_after: text(reset).and_then(|reset| renewal(reset, now)) })
}

/// Returns the time until a limit is renewed. Anthropic writes a date.
fn renewal(text: &str, now: Timestamp) -> Option<Duration> {
    match text.parse::<Timestamp>() {
        Ok(moment) => Some(moment.duration_since(now)),
        Err(_) => moment_or_duration(text, now),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn each_provider_states_its_limits_in_its_headers() {
        let now: Timestamp = "2026-11-28T12:00:00Z".parse().unwrap();
        let level = |remaining, limit, seconds: Option<u64>| {
            Some(RateLimitLevel { remaining, limit, renewed_after: seconds.map(Duration::from_secs) })
        };
        for (lines, requests, tokens) in [
            (&[("x-request-id", "1")][..], None, None),
            (
                &[
                    ("x-ratelimit-limit-requests", "500"),
                    ("x-ratelimit-remaining-requests", "499"),
                    ("x-ratelimit-reset-requests", "6m0s"),
                    ("x-ratelimit-limit-tokens", "30000"),
                    ("x-ratelimit-remaining-tokens", "0"),
                    ("x-ratelimit-reset-tokens", "2s"),
                ],
                level(499, Some(500), Some(360)),
                level(0, Some(30_000), Some(2)),
            ),
            (
                &[("x-ratelimit-remaining-requests", "-1"), ("x-ratelimit-remaining-tokens", "7")],
                None,
                level(7, None, None),
            ),
            (&[("x-ratelimit-remaining", "3"), ("x-ratelimit-reset", "1795867260000")], level(3, None, Some(60)), None),
            (
                &[
                    ("anthropic-ratelimit-requests-limit", "50"),
                    ("anthropic-ratelimit-requests-remaining", "49"),
                    ("anthropic-ratelimit-requests-reset", "2026-11-28T12:00:30Z"),
                    ("anthropic-ratelimit-input-tokens-remaining", "1000"),
                ],
                level(49, Some(50), Some(30)),
                level(1_000, None, None),
            ),
        ] {
            let headers: HeaderMap = lines
                .iter()
                .map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect();
            let found = stated_rate_limits(&headers, now).unwrap_or_default();
            assert_eq!((found.requests, found.tokens), (requests, tokens), "{lines:?}");
        }
    }
}
