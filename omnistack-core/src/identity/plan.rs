//! The plans of tenants.

use std::collections::BTreeMap;

use crate::http::Rate;

/// The plan of a tenant: its features, and its limits by name.
///
/// ```
/// use omnistack_core::identity::Plan;
///
/// let plan = Plan::new("pro").feature("export").limit("projects", 20);
/// assert!(plan.has_feature("export") && !plan.has_feature("sso"));
/// assert!(plan.allows("projects", 20) && !plan.allows("projects", 21) && plan.allows("members", 1_000));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// Stable name, such as `free` or `pro`.
    pub key: String,
    /// Included features, such as `sso` or `export`. `*` includes all.
    pub features: Vec<String>,
    /// Limits by the name of a meter or of a [limited resource](super::LimitedResources), such as `projects`. What has
    /// no limit is unlimited.
    pub limits: BTreeMap<String, u64>,
    /// The rate of requests of the tenant, in addition to the limits of routes. `None` if the plan sets none.
    pub rate_limit: Option<Rate>,
}

impl Plan {
    /// Creates a plan without features and without limits.
    pub fn new(key: impl Into<String>) -> Self {
        Self { key: key.into(), ..Self::default() }
    }

    /// Adds a feature.
    pub fn feature(mut self, feature: impl Into<String>) -> Self {
        self.features.push(feature.into());
        self
    }

    /// Sets a limit.
    pub fn limit(mut self, name: impl Into<String>, most: u64) -> Self {
        self.limits.insert(name.into(), most);
        self
    }

    /// Sets the rate of requests.
    pub fn rate_limit(mut self, rate: Rate) -> Self {
        self.rate_limit = Some(rate);
        self
    }

    /// Returns whether the plan includes a feature.
    pub fn has_feature(&self, feature: &str) -> bool {
        self.features.iter().any(|included| included == feature || included == "*")
    }

    /// Returns whether the plan allows a tenant to have or to use so much.
    pub fn allows(&self, name: &str, amount: u64) -> bool {
        self.limits.get(name).is_none_or(|most| amount <= *most)
    }
}
