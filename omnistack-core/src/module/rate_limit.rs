//! The rate limit of a mount.

use crate::{http::Rate, rate_limit::RateLimitKey};

/// The rate limit of a mount: a [`Rate`]. By default requests are counted per caller, all routes of the mount
/// together, and each request costs one. A [`Rate`] converts into it.
///
/// ```
/// use omnistack_core::{module::{Mount, MountRateLimit}, http::Rate, rate_limit::RateLimitKey};
///
/// let _ = Mount::app("/projects").rate_limit(Rate::per_minute(60));
///
/// // A hundred requests a minute for a whole tenant, of which an export takes twenty.
/// let limit = MountRateLimit::new(Rate::per_minute(100)).by(RateLimitKey::Tenant).cost("/export", 20);
/// let _ = Mount::app("/reports").rate_limit(limit);
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct MountRateLimit {
    pub(crate) rate: Rate,
    pub(crate) by: RateLimitKey,
    pub(crate) each_route: bool,
    costs: Vec<(String, u32)>,
}

impl MountRateLimit {
    /// Creates a limit with this rate per signed-in caller, or per address if the caller is not signed in.
    pub fn new(rate: Rate) -> Self {
        Self { rate, by: RateLimitKey::Identity, each_route: false, costs: Vec::new() }
    }

    /// Sets which requests are counted together.
    pub fn by(mut self, by: RateLimitKey) -> Self {
        self.by = by;
        self
    }

    /// Counts each route separately.
    pub fn each_route(mut self) -> Self {
        self.each_route = true;
        self
    }

    /// Sets how many requests of the limit one request for a route costs. `path` is the path in the API, without the
    /// prefix of the mount. The build fails if there is no such route, or if the cost exceeds the largest burst.
    pub fn cost(mut self, path: impl Into<String>, cost: u32) -> Self {
        self.costs.push((path.into(), cost));
        self
    }

    /// Returns the costs by full path.
    pub(crate) fn costs(&self, join: impl Fn(&str) -> String) -> Vec<(String, u32)> {
        self.costs.iter().map(|(path, cost)| (join(path), *cost)).collect()
    }
}

impl From<Rate> for MountRateLimit {
    fn from(rate: Rate) -> Self {
        Self::new(rate)
    }
}
