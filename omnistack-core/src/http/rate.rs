//! How often a caller may come.

mod fields;
mod limiter;
mod rule;
mod shared;

pub(crate) use fields::{Fields, Tell};
pub use limiter::RateLimiter;
pub use rule::Verdict;
pub(crate) use rule::{Counted, State, Terms, Tick};
pub use shared::{Checking, RateLimits, SharedRateLimiter};
#[cfg(feature = "redis")]
pub(crate) use {rule::Rule, shared::RateStore};

use std::{fmt, time::Duration};

use crate::config::Form;

/// So many requests in a period, counted in one of two ways.
///
/// | | written | a caller who has rested | afterwards | in any stretch as long as the period |
/// |---|---|---|---|---|
/// | token bucket | `100/minute`, `5/hour burst 2` | may spend the burst at once: the quota, unless said otherwise | one is earned back each `period / quota` | at most the quota and the burst |
/// | sliding window | `100/minute sliding` | may spend the quota at once | they come back in the course of the next period | about the quota, and always less than twice it |
///
/// The bucket is the generic cell rate algorithm (ITU-T I.371). The window counts requests by period, from multiples of it,
/// and takes those of the period before for spread evenly: a third into this one, two thirds of them still count. So it
/// is exact for a caller who comes evenly, in no period lets more than the quota pass, and lets the most pass, nearly
/// twice the quota in a stretch across two periods, when all of the first came at its very end.
///
/// ```
/// use omnistack_core::http::Rate;
/// use std::time::Duration;
///
/// assert_eq!(Rate::per_minute(100).to_string(), "100/minute");
/// assert_eq!(Rate::new(5, Duration::from_secs(3600)).burst(2).to_string(), "5/hour burst 2");
/// assert_eq!(Rate::per_minute(100).sliding().to_string(), "100/minute sliding");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests a period.
    pub quota: u32,
    /// The period: at most 366 days.
    pub window: Duration,
    /// How many may come at once, of a token bucket. A sliding window takes no notice of it.
    pub burst: u32,
    /// How it is counted.
    pub algorithm: Algorithm,
}

/// How a [`Rate`] is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// A burst, earned back one by one.
    #[default]
    TokenBucket,
    /// So many in the period that ends now.
    SlidingWindow,
}

impl Rate {
    /// So many a period, all of them at once if they like.
    pub const fn new(quota: u32, window: Duration) -> Self {
        Self { quota, window, burst: quota, algorithm: Algorithm::TokenBucket }
    }

    /// So many a minute.
    pub const fn per_minute(quota: u32) -> Self {
        Self::new(quota, Duration::from_secs(60))
    }

    /// Lets at most this many come at once.
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

    /// The same as a token bucket.
    pub(crate) const fn bucket(mut self) -> Self {
        self.algorithm = Algorithm::TokenBucket;
        self
    }

    /// The most one request may cost, to be let in at all.
    pub(crate) fn largest(self) -> u32 {
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

/// Of every period, the longest there may be.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

impl Form for Rate {
    const FORM: &'static str = "rate, e.g. 100/minute, 5/hour burst 2, 100/minute sliding";

    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a rate: write e.g. 100/minute, 5/hour burst 2, 100/minute sliding");
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
        if quota == 0 || window.is_zero() || window > LONGEST || burst == Some(0) || (sliding && burst.is_some()) {
            return Err(wrong());
        }
        let rate = Self::new(quota, window);
        let rate = if sliding { rate.sliding() } else { rate };
        Ok(burst.map_or(rate, |burst| rate.burst(burst)))
    }
}

/// A rate that can be switched off: `off`.
impl Form for RateSetting {
    const FORM: &'static str = "rate, e.g. 100/minute, 5/hour burst 2, 100/minute sliding, or off";

    fn parse(text: &str) -> Result<Self, String> {
        if matches!(text, "off" | "none" | "0") {
            Ok(Self(None))
        } else {
            Rate::parse(text).map(|rate| Self(Some(rate)))
        }
    }
}

/// See [`Rate`]; `off` is none.
#[derive(Clone, Copy, Debug)]
pub struct RateSetting(pub Option<Rate>);

#[cfg(test)]
mod tests;
