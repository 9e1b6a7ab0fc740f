//! The rate limits that providers state in their responses.

use std::time::Duration;

/// A rate limit of a model at a provider, as a response states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateLimitLevel {
    /// The number of requests, or of tokens, that are left.
    pub remaining: u64,
    /// The number that is allowed at most. `None` if the response does not state it.
    pub limit: Option<u64>,
    /// The time after which the limit is renewed in full. `None` if the response does not state it.
    pub renewed_after: Option<Duration>,
}

impl RateLimitLevel {
    /// Creates the level of a limit of which only the remaining number is known.
    pub const fn new(remaining: u64) -> Self {
        Self { remaining, limit: None, renewed_after: None }
    }

    /// Sets the number that is allowed at most.
    #[must_use]
    pub const fn limit(mut self, limit: u64) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Sets the time after which the limit is renewed in full.
    #[must_use]
    pub const fn renewed_after(mut self, after: Duration) -> Self {
        self.renewed_after = Some(after);
        self
    }
}

/// The rate limits of a model at a provider, as a response states them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateLimitLevels {
    /// The limit of requests. `None` if the response does not state it.
    pub requests: Option<RateLimitLevel>,
    /// The limit of tokens. `None` if the response does not state it.
    pub tokens: Option<RateLimitLevel>,
}

impl RateLimitLevels {
    /// Sets the limit of requests.
    #[must_use]
    pub const fn requests(mut self, level: RateLimitLevel) -> Self {
        self.requests = Some(level);
        self
    }

    /// Sets the limit of tokens.
    #[must_use]
    pub const fn tokens(mut self, level: RateLimitLevel) -> Self {
        self.tokens = Some(level);
        self
    }
}
