//! How often somebody may come.

use std::{fmt, net::IpAddr};

use axum::{body::Bytes, response::IntoResponse as _};
use http::{HeaderName, HeaderValue, StatusCode, header};

use super::{After, ClientAddr, Step, step_layer};
use crate::{
    clock::Clock,
    http::{Error, Rate, RateLimiter, Request, Response, Verdict},
    identity::{Identity, TenantId, UserId},
};

/// Whose requests are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateLimitKey {
    /// Each client address; of IPv6 the network of 64 bits, which is one customer's.
    Address,
    /// Each signed-in caller, and each address of those who aren't.
    Identity,
    /// Each tenant, and each address of callers without one.
    Tenant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Address(IpAddr),
    User(UserId),
    Tenant(TenantId),
}

/// Answers 429 to those who come too often. Every answer says where one stands: `RateLimit-Policy` and `RateLimit`
/// (draft-ietf-httpapi-ratelimit-headers), and the older `X-RateLimit-Limit`, `-Remaining` and `-Reset` (seconds);
/// a 429 has `Retry-After`.
pub struct RateLimitLayer {
    limiter: RateLimiter<Key>,
    by: RateLimitKey,
    cost: u32,
    policy: HeaderValue,
    limit: HeaderValue,
}

impl RateLimitLayer {
    /// Keeps a rate, counted in this process.
    pub fn new(rate: Rate, by: RateLimitKey, clock: Clock) -> Self {
        let policy = format!("\"default\";q={};w={}", rate.quota, rate.window.as_secs().max(1));
        Self {
            limiter: RateLimiter::new(rate, clock),
            by,
            cost: 1,
            policy: HeaderValue::try_from(policy).unwrap_or_else(|_| HeaderValue::from_static("\"default\"")),
            limit: HeaderValue::from(rate.quota),
        }
    }

    /// What one request counts for.
    #[must_use]
    pub fn cost(mut self, cost: u32) -> Self {
        self.cost = cost;
        self
    }

    fn tell(&self, verdict: Verdict) -> Tell {
        Tell { verdict, policy: self.policy.clone(), limit: self.limit.clone() }
    }

    fn key(&self, request: &Request) -> Key {
        let identity = request.extensions().get::<Identity>();
        let known = match self.by {
            RateLimitKey::Address => None,
            RateLimitKey::Identity => identity.map(|identity| Key::User(identity.user)),
            RateLimitKey::Tenant => identity.and_then(|identity| identity.tenant).map(Key::Tenant),
        };
        known.unwrap_or_else(|| Key::Address(network(request)))
    }
}

/// With header values of its own: the server clones the stack once a connection, and connections on different cores
/// then share no counter.
impl Clone for RateLimitLayer {
    fn clone(&self) -> Self {
        let own = |value: &HeaderValue| HeaderValue::from_bytes(value.as_bytes()).unwrap_or_else(|_| value.clone());
        Self {
            limiter: self.limiter.clone(),
            by: self.by,
            cost: self.cost,
            policy: own(&self.policy),
            limit: own(&self.limit),
        }
    }
}

step_layer!(RateLimitLayer);

fn network(request: &Request) -> IpAddr {
    let address = request.extensions().get::<ClientAddr>().map_or(IpAddr::V4([0, 0, 0, 0].into()), |client| client.0);
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) & !u128::from(u64::MAX)).into()),
    }
}

impl Step for RateLimitLayer {
    type After = Tell;

    fn request(&self, request: &mut Request) -> Result<Tell, Response> {
        let verdict = self.limiter.check(&self.key(request), self.cost);
        if verdict.allowed {
            return Ok(self.tell(verdict));
        }
        let seconds = verdict.retry_after.as_secs() + u64::from(verdict.retry_after.subsec_nanos() > 0);
        let message = format!("too many requests; try again in {seconds} s");
        let error = Error::new(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMIT_EXCEEDED", message)
            .detail("retry_after_seconds", seconds)
            .header(header::RETRY_AFTER, HeaderValue::from(seconds));
        let mut response = error.into_response();
        self.tell(verdict).response(&mut response);
        Err(response)
    }
}

/// Tells where one stands.
#[derive(Debug)]
pub struct Tell {
    verdict: Verdict,
    policy: HeaderValue,
    limit: HeaderValue,
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

impl fmt::Debug for RateLimitLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitLayer")
            .field("rate", &self.limiter.rate())
            .field("by", &self.by)
            .finish_non_exhaustive()
    }
}
