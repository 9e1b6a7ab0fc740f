//! What a tenant may use.

use std::{collections::BTreeMap, fmt, sync::Arc};

use async_trait::async_trait;

use super::TenantId;
use crate::http::Error;

/// A tenant's plan: its features and limits by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// Stable name: `free`, `pro`.
    pub key: String,
    /// What it includes: `sso`, `export`.
    pub features: Vec<String>,
    /// How much of what, by meter: `projects`. A meter not named is unlimited.
    pub limits: BTreeMap<String, u64>,
}

impl Plan {
    /// A plan without features or limits yet.
    pub fn new(key: impl Into<String>) -> Self {
        Self { key: key.into(), ..Self::default() }
    }

    /// Includes a feature.
    pub fn feature(mut self, feature: impl Into<String>) -> Self {
        self.features.push(feature.into());
        self
    }

    /// Limits a meter.
    pub fn limit(mut self, meter: impl Into<String>, most: u64) -> Self {
        self.limits.insert(meter.into(), most);
        self
    }

    /// Whether it includes a feature.
    pub fn has(&self, feature: &str) -> bool {
        self.features.iter().any(|included| included == feature || included == "*")
    }
}

/// Knows each tenant's plan. Provided by billing.
#[async_trait]
pub trait PlanSource: Send + Sync + 'static {
    /// The plan in force now.
    async fn plan(&self, tenant: TenantId) -> Result<Plan, Error>;
}

/// What tenants may use. Without billing, everybody has a plan `unlimited` with every feature.
#[derive(Clone)]
pub struct Entitlements(Arc<dyn PlanSource>);

impl Entitlements {
    /// As this source says.
    pub fn new(source: impl PlanSource) -> Self {
        Self(Arc::new(source))
    }

    /// The plan in force for a tenant.
    pub async fn plan(&self, tenant: TenantId) -> Result<Plan, Error> {
        self.0.plan(tenant).await
    }
}

impl Default for Entitlements {
    fn default() -> Self {
        Self::new(Unlimited)
    }
}

impl fmt::Debug for Entitlements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entitlements")
    }
}

struct Unlimited;

#[async_trait]
impl PlanSource for Unlimited {
    async fn plan(&self, _: TenantId) -> Result<Plan, Error> {
        Ok(Plan::new("unlimited").feature("*"))
    }
}
