//! Telling where one stands.

use axum::body::Bytes;
use http::{HeaderName, HeaderValue};

use crate::http::{Rate, Response, Verdict, layer::After};

/// Tells where one stands.
#[derive(Debug)]
pub struct Tell {
    pub(super) verdict: Verdict,
    pub(super) policy: HeaderValue,
    pub(super) limit: HeaderValue,
}

/// `"default";q=100;w=60`: the quota, and the period in whole seconds.
pub(super) fn policy(rate: Rate) -> HeaderValue {
    let policy = format!("\"default\";q={};w={}", rate.quota, rate.window.as_secs().max(1));
    HeaderValue::try_from(policy).unwrap_or_else(|_| HeaderValue::from_static("\"default\""))
}

impl After for Tell {
    fn response(self, response: &mut Response) {
        let verdict = self.verdict;
        let reset = verdict.reset.as_millis().div_ceil(1000);
        let reset = u64::try_from(reset).unwrap_or(u64::MAX);
        let headers = response.headers_mut();
        // A limit of a route inside this one says more than we do.
        if headers.contains_key(LIMIT) {
            return;
        }
        headers.reserve(ROOM);
        let State { text, remaining, reset } = state(verdict.remaining, reset);
        headers.insert(RATE_LIMIT, text);
        headers.insert(RATE_LIMIT_POLICY, self.policy);
        headers.insert(LIMIT, self.limit);
        headers.insert(REMAINING, remaining);
        headers.insert(RESET, reset);
    }
}

/// Headers the default stack adds around a handler's own: room for all at once instead of growing step by step.
/// (With the handler's two, a map of 24 entries; one more would double it.)
const ROOM: usize = 20;

/// The three values that change with every request.
struct State {
    text: HeaderValue,
    remaining: HeaderValue,
    reset: HeaderValue,
}

/// `"default";r=99;t=1`, `99` and `1`: one piece of text, and two parts of it.
fn state(remaining: u32, reset: u64) -> State {
    const BEFORE: &str = "\"default\";r=";
    let (mut one, mut other) = (itoa::Buffer::new(), itoa::Buffer::new());
    let (remaining, reset) = (one.format(remaining), other.format(reset));
    let text = Bytes::from([BEFORE, remaining, ";t=", reset].concat());
    let value = |text| HeaderValue::from_maybe_shared(text).unwrap_or_else(|_| HeaderValue::from_static("0"));
    State {
        remaining: value(text.slice(BEFORE.len()..BEFORE.len() + remaining.len())),
        reset: value(text.slice(text.len() - reset.len()..)),
        text: value(text),
    }
}

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
