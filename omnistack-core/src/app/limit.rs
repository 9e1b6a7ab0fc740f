//! How often the routes of a mount may be called.

use crate::http::{Rate, layer::RateLimitKey};

/// How often the routes of a mount may be called: at a [`Rate`], by each caller, all routes together and each request for
/// one, unless it says otherwise. A plain rate can stand for it.
///
/// ```
/// use omnistack_core::{app::{Mount, RateLimit}, http::{Rate, layer::RateLimitKey}};
///
/// let _ = Mount::app("/projects").rate_limit(Rate::per_minute(60));
///
/// // A hundred a minute for a whole tenant, of which an export takes twenty.
/// let limit = RateLimit::new(Rate::per_minute(100)).by(RateLimitKey::Tenant).cost("/export", 20);
/// let _ = Mount::app("/reports").rate_limit(limit);
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct RateLimit {
    pub(super) rate: Rate,
    pub(super) by: RateLimitKey,
    pub(super) each_route: bool,
    costs: Vec<(String, u32)>,
}

impl RateLimit {
    /// This rate for each caller, and for each address of those not signed in.
    pub fn new(rate: Rate) -> Self {
        Self { rate, by: RateLimitKey::Identity, each_route: false, costs: Vec::new() }
    }

    /// Whose requests are counted together.
    pub fn by(mut self, by: RateLimitKey) -> Self {
        self.by = by;
        self
    }

    /// Counts each route for itself.
    pub fn each_route(mut self) -> Self {
        self.each_route = true;
        self
    }

    /// What one request for a route counts for; the path is written as in the API, without the mount's. It is a problem of the
    /// build when there is no such route, or when it costs more than may ever come at once.
    pub fn cost(mut self, path: impl Into<String>, cost: u32) -> Self {
        self.costs.push((path.into(), cost));
        self
    }

    /// Costs by full path.
    pub(super) fn costs(&self, join: impl Fn(&str) -> String) -> Vec<(String, u32)> {
        self.costs.iter().map(|(path, cost)| (join(path), *cost)).collect()
    }
}

impl From<Rate> for RateLimit {
    fn from(rate: Rate) -> Self {
        Self::new(rate)
    }
}
