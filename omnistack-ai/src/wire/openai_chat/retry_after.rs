//! The time after which a provider accepts requests again.

use std::time::Duration;

use http::HeaderMap;
use jiff::fmt::rfc2822;
use omnistack_core::clock::Timestamp;
use serde_json::Value;

/// The longest waiting time that a provider is believed. Limits of requests per day exist.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// Numbers of `x-ratelimit-reset` from here on are points in time in seconds, and a thousand times as large ones in
/// milliseconds, since 1970.
const MIN_EPOCH_SECONDS: f64 = 1e9;

/// Returns the waiting time that a response states. In this order: `retry-after-ms`, `retry-after` (seconds or a date:
/// RFC 9110, section 10.2.3), `RetryInfo` of Google in the error, and `x-ratelimit-reset…` of the limit that is
/// exhausted. `limit` is the kind of limit if the error names it: `tokens` or `requests`.
pub(crate) fn retry_after(headers: &HeaderMap, error: &Value, limit: Option<&str>, now: Timestamp) -> Option<Duration> {
    let wait = milliseconds(headers)
        .or_else(|| header(headers, "retry-after").and_then(|text| seconds_or_date(text, now)))
        .or_else(|| retry_info(error))
        .or_else(|| reset(headers, limit, now));
    wait.map(|wait| wait.min(MAX_RETRY_AFTER))
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim).filter(|text| !text.is_empty())
}

fn milliseconds(headers: &HeaderMap) -> Option<Duration> {
    let milliseconds: f64 = header(headers, "retry-after-ms")?.parse().ok()?;
    seconds(milliseconds / 1000.0)
}

fn seconds_or_date(text: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(number) = text.parse() {
        return seconds(number);
    }
    let date: Timestamp = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?.into();
    Some(date.duration_since(now))
}

/// Returns a number of seconds. A number that is too large for a duration is a long wait; a negative one is none.
fn seconds(number: f64) -> Option<Duration> {
    (number >= 0.0).then(|| Duration::try_from_secs_f64(number).unwrap_or(MAX_RETRY_AFTER))
}

/// Returns the delay in the details of an error of Google: `{"@type": "….RetryInfo", "retryDelay": "34.5s"}`.
fn retry_info(error: &Value) -> Option<Duration> {
    let error = error.get(0).unwrap_or(error);
    let details = error.get("error").unwrap_or(error).get("details")?.as_array()?;
    details.iter().find_map(|detail| go_duration(detail.get("retryDelay")?.as_str()?))
}

fn reset(headers: &HeaderMap, limit: Option<&str>, now: Timestamp) -> Option<Duration> {
    let of = |kind: &str| {
        let wait = moment_or_duration(header(headers, &format!("x-ratelimit-reset-{kind}"))?, now)?;
        let is_exhausted = header(headers, &format!("x-ratelimit-remaining-{kind}")) == Some("0");
        (!wait.is_zero()).then_some((wait, is_exhausted))
    };
    let (requests, tokens) = (of("requests"), of("tokens"));
    let wait = match (limit, requests, tokens) {
        (Some("requests"), Some((wait, _)), _) | (Some("tokens"), _, Some((wait, _))) => Some(wait),
        (_, Some((first, true)), Some((second, true))) => Some(first.max(second)),
        (_, Some((wait, true)), _) | (_, _, Some((wait, true))) => Some(wait),
        // A limit can be too small for one more request before it is exhausted. The shorter wait may cost a request;
        // the longer one may be a day.
        (_, Some((first, _)), Some((second, _))) => Some(first.min(second)),
        (_, first, second) => first.or(second).map(|(wait, _)| wait),
    };
    wait.or_else(|| moment_or_duration(header(headers, "x-ratelimit-reset")?, now))
}

/// Returns the time until a limit is renewed: a duration as the language Go writes it, a number of seconds, or a point
/// in time.
pub(crate) fn moment_or_duration(text: &str, now: Timestamp) -> Option<Duration> {
    let Ok(number) = text.parse::<f64>() else { return go_duration(text) };
    if number < MIN_EPOCH_SECONDS {
        return seconds(number);
    }
    let moment = if number < MIN_EPOCH_SECONDS * 1000.0 { number } else { number / 1000.0 };
    let now = Duration::from_micros(u64::try_from(now.as_micros()).ok()?);
    Some(seconds(moment)?.saturating_sub(now))
}

/// Parses a duration as the language Go writes it, such as `1h2m3.5s` or `20ms`.
fn go_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(number_end);
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let unit = match unit {
            "d" => 86_400.0,
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" | "μs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        let number: f64 = number.parse().ok()?;
        total = total.saturating_add(seconds(number * unit)?);
        rest = after;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use serde_json::json;

    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let lines = lines.iter();
        lines.map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    fn now() -> Timestamp {
        "2026-11-28T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn the_most_exact_statement_counts() {
        let info = json!({"error": {"details": [{"@type": "x"}, {"@type": "RetryInfo", "retryDelay": "34.5s"}]}});
        let list = json!([info.clone()]);
        for (lines, error, limit, expected) in [
            (&[("retry-after-ms", "1500"), ("retry-after", "9")][..], &Value::Null, None, Some(1500)),
            (&[("retry-after", "9")], &info, None, Some(9000)),
            (&[("retry-after", "0.25")], &info, None, Some(250)),
            (&[("retry-after", "0")], &info, None, Some(0)),
            (&[("retry-after", "Sat, 28 Nov 2026 12:00:30 GMT")], &Value::Null, None, Some(30_000)),
            (&[("retry-after", "Sat, 28 Nov 2026 11:00:30 GMT")], &Value::Null, None, Some(0)),
            (&[("retry-after", "1e300")], &Value::Null, None, Some(86_400_000)),
            (&[("retry-after", "99999999999")], &Value::Null, None, Some(86_400_000)),
            (&[("retry-after", "-1")], &Value::Null, None, None),
            (&[("retry-after", "NaN")], &Value::Null, None, None),
            (&[("retry-after", "soon")], &Value::Null, None, None),
            (&[("retry-after", "")], &info, None, Some(34_500)),
            (&[], &list, None, Some(34_500)),
            (&[("x-ratelimit-reset-requests", "6m0s")], &Value::Null, None, Some(360_000)),
            (&[("x-ratelimit-reset-requests", "2m59.56s")], &Value::Null, None, Some(179_560)),
            (
                &[("x-ratelimit-reset-tokens", "20ms"), ("x-ratelimit-reset-requests", "1h")],
                &Value::Null,
                None,
                Some(20),
            ),
            (
                &[("x-ratelimit-reset-tokens", "20ms"), ("x-ratelimit-reset-requests", "1h")],
                &Value::Null,
                Some("requests"),
                Some(3_600_000),
            ),
            (
                &[
                    ("x-ratelimit-reset-tokens", "2s"),
                    ("x-ratelimit-reset-requests", "10s"),
                    ("x-ratelimit-remaining-requests", "0"),
                ],
                &Value::Null,
                None,
                Some(10_000),
            ),
            (&[("x-ratelimit-reset-requests", "-1"), ("x-ratelimit-reset-tokens", "0")], &Value::Null, None, None),
            (&[("x-ratelimit-reset", "3")], &Value::Null, None, Some(3000)),
            (&[("x-ratelimit-reset", "1795867260")], &Value::Null, None, Some(60_000)),
            (&[("x-ratelimit-reset", "1795867260000")], &Value::Null, None, Some(60_000)),
            (&[], &Value::Null, None, None),
        ] {
            let wait = retry_after(&headers(lines), error, limit, now());
            assert_eq!(wait, expected.map(Duration::from_millis), "{lines:?} {error} {limit:?}");
        }
    }

    #[test]
    fn durations_are_read_in_the_form_of_go() {
        for (text, expected) in [
            ("1h2m3.5s", Some(3_723_500_000)),
            ("1d", Some(86_400_000_000)),
            ("7.66s", Some(7_660_000)),
            ("5µs", Some(5)),
            ("0s", Some(0)),
            ("5", None),
            ("s", None),
            ("", None),
            ("1.2.3s", None),
            ("1x", None),
        ] {
            assert_eq!(go_duration(text), expected.map(Duration::from_micros), "{text}");
        }
    }
}
