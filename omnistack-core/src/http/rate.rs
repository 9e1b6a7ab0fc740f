//! Rate limits.

mod algorithm;
mod headers;
mod limiter;
mod shared;

pub use algorithm::RateLimitDecision;
pub(crate) use algorithm::{CompiledRate, CountResult, RateState, TimeUnit};
pub(crate) use headers::{RateLimitHeaderTemplate, RateLimitHeaders};
pub use limiter::RateLimiter;
pub use shared::{RateLimits, SharedRateLimiter};
#[cfg(feature = "redis")]
pub(crate) use {algorithm::CompiledAlgorithm, shared::RateStore};

use std::{fmt, time::Duration};

use crate::config::SettingValue;

/// A number of requests per period, counted by one of two algorithms.
///
/// | | written as | a caller who has not used it | recovery | in any stretch as long as the period |
/// |---|---|---|---|---|
/// | token bucket | `100/minute`, `5/hour burst 2` | may send the burst at once; it defaults to the quota | one request per `period / quota` | at most the quota plus the burst |
/// | sliding window | `100/minute sliding` | may send the quota at once | in the course of the next period | about the quota, and always less than twice the quota |
///
/// The token bucket is the generic cell rate algorithm (ITU-T I.371). The sliding window counts requests by period,
/// aligned to multiples of it, and assumes that the requests of the previous period were spread evenly: after a third
/// of this period, two thirds of them still count. So the window is exact for evenly spread requests, and never
/// allows more than the quota in one period. It allows the most, nearly twice the quota in a stretch across two
/// periods, if all requests of the first period came at its very end.
///
/// ```
/// use omnistack_core::http::Rate;
/// use std::time::Duration;
///
/// assert_eq!(Rate::per_minute(100).to_string(), "100/minute");
/// assert_eq!(Rate::new(5, Duration::from_secs(3600)).burst(2).to_string(), "5/hour burst 2");
/// assert_eq!(Rate::per_minute(100).sliding().to_string(), "100/minute sliding");
/// ```
#[doc(alias = "rate limit")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests per period.
    pub quota: u32,
    /// The period, at most 366 days.
    pub window: Duration,
    /// Largest number of requests at once, for a token bucket. A sliding window ignores it.
    pub burst: u32,
    /// Algorithm that counts the requests.
    pub algorithm: Algorithm,
}

/// Algorithm that counts the requests of a [`Rate`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// A burst, which recovers one request at a time.
    #[default]
    TokenBucket,
    /// A number of requests in the period that ends now.
    SlidingWindow,
}

impl Rate {
    /// Creates a token bucket with this many requests per period, and a burst of the same size.
    pub const fn new(quota: u32, window: Duration) -> Self {
        Self { quota, window, burst: quota, algorithm: Algorithm::TokenBucket }
    }

    /// Creates a token bucket with this many requests per minute.
    pub const fn per_minute(quota: u32) -> Self {
        Self::new(quota, Duration::from_secs(60))
    }

    /// Sets the largest number of requests at once.
    #[must_use]
    pub const fn burst(mut self, burst: u32) -> Self {
        self.burst = burst;
        self
    }

    /// Counts by a sliding window.
    #[must_use]
    pub const fn sliding(mut self) -> Self {
        self.algorithm = Algorithm::SlidingWindow;
        self
    }

    /// Returns the same rate as a token bucket.
    pub(crate) const fn token_bucket(mut self) -> Self {
        self.algorithm = Algorithm::TokenBucket;
        self
    }

    /// Returns the largest cost of a request that can be allowed at all.
    pub(crate) fn max_cost(self) -> u32 {
        match self.algorithm {
            Algorithm::TokenBucket => self.burst,
            Algorithm::SlidingWindow => self.quota,
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.window.as_secs();
        match seconds {
            _ if self.window.subsec_nanos() > 0 => write!(f, "{}/{}ms", self.quota, self.window.as_millis())?,
            1 => write!(f, "{}/second", self.quota)?,
            60 => write!(f, "{}/minute", self.quota)?,
            3600 => write!(f, "{}/hour", self.quota)?,
            86_400 => write!(f, "{}/day", self.quota)?,
            _ => write!(f, "{}/{seconds}s", self.quota)?,
        }
        match self.algorithm {
            Algorithm::SlidingWindow => f.write_str(" sliding"),
            Algorithm::TokenBucket if self.burst == self.quota => Ok(()),
            Algorithm::TokenBucket => write!(f, " burst {}", self.burst),
        }
    }
}

/// Longest period of a rate.
const MAX_WINDOW: Duration = Duration::from_secs(366 * 86_400);

impl SettingValue for Rate {
    const EXPECTED: &'static str = "rate, e.g. 100/minute, 5/hour burst 2, 100/minute sliding";

    fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is not a rate: use a rate such as 100/minute, 5/hour burst 2, 100/minute sliding");
        let (rest, sliding) = match text.strip_suffix(" sliding") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let (rate, burst) = match rest.split_once(" burst ") {
            Some((rate, burst)) => (rate, Some(burst.trim().parse().map_err(|_| wrong())?)),
            None => (rest, None),
        };
        let (quota, unit) = rate.split_once('/').ok_or_else(wrong)?;
        let window = match unit.trim() {
            "s" | "sec" | "second" => Duration::from_secs(1),
            "m" | "min" | "minute" => Duration::from_secs(60),
            "h" | "hour" => Duration::from_secs(3600),
            "d" | "day" => Duration::from_secs(86_400),
            other => Duration::parse(other).map_err(|_| wrong())?,
        };
        let quota: u32 = quota.trim().parse().map_err(|_| wrong())?;
        if quota == 0 || window.is_zero() || window > MAX_WINDOW || burst == Some(0) || (sliding && burst.is_some()) {
            return Err(wrong());
        }
        let rate = Self::new(quota, window);
        let rate = if sliding { rate.sliding() } else { rate };
        Ok(burst.map_or(rate, |burst| rate.burst(burst)))
    }
}

/// A rate, or `off`.
impl SettingValue for RateSetting {
    const EXPECTED: &'static str = "rate, e.g. 100/minute, 5/hour burst 2, 100/minute sliding, or off";

    fn parse(text: &str) -> Result<Self, String> {
        if matches!(text, "off" | "none" | "0") {
            Ok(Self(None))
        } else {
            Rate::parse(text).map(|rate| Self(Some(rate)))
        }
    }
}

/// A setting with a [`Rate`]; `off` is `None`.
#[derive(Clone, Copy, Debug)]
pub struct RateSetting(pub Option<Rate>);

#[cfg(test)]
mod tests;
