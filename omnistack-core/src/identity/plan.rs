//! The plans of tenants.

use std::{collections::BTreeMap, fmt, sync::Arc};

use async_trait::async_trait;

use super::TenantId;
use crate::http::Error;

/// The plan of a tenant: its features, and its limits by meter.
///
/// ```
/// use omnistack_core::identity::Plan;
///
/// let plan = Plan::new("pro").feature("export").limit("projects", 20);
/// assert!(plan.has_feature("export") && !plan.has_feature("sso"));
/// let room = |meter: &str, used| plan.limits.get(meter).is_none_or(|most| used < *most);
/// assert!(room("projects", 19) && !room("projects", 20) && room("members", 1_000));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// Stable name, such as `free` or `pro`.
    pub key: String,
    /// Included features, such as `sso` or `export`. `*` includes all.
    pub features: Vec<String>,
    /// Limits by meter, such as `projects`. A meter without a limit is unlimited.
    pub limits: BTreeMap<String, u64>,
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

    /// Sets the limit of a meter.
    pub fn limit(mut self, meter: impl Into<String>, most: u64) -> Self {
        self.limits.insert(meter.into(), most);
        self
    }

    /// Returns whether the plan includes a feature.
    pub fn has_feature(&self, feature: &str) -> bool {
        self.features.iter().any(|included| included == feature || included == "*")
    }
}

/// A source of tenants' plans, provided by billing.
///
/// ```
/// use omnistack_core::{async_trait, clock::{Clock, Timestamp}, http::Error};
/// use omnistack_core::identity::{Plan, PlanSource, TenantId};
///
/// /// All features until the trial ends, then a plan with few features.
/// struct Trial { ends: Timestamp, clock: Clock }
///
/// #[async_trait]
/// impl PlanSource for Trial {
///     async fn plan(&self, _: TenantId) -> Result<Plan, Error> {
///         let runs = self.clock.now() < self.ends;
///         Ok(if runs { Plan::new("trial").feature("*") } else { Plan::new("free").limit("projects", 3) })
///     }
/// }
///
/// # use omnistack_core::{clock::MockClock, id::Id};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mock = MockClock::at("2030-01-01T00:00:00Z".parse()?);
/// # let tenant = Id::new(mock.clock().now());
/// let trial = Trial { ends: "2030-01-15T00:00:00Z".parse()?, clock: mock.clock() };
/// assert!(trial.plan(tenant).await?.has_feature("export"));
/// mock.set(trial.ends);
/// assert!(!trial.plan(tenant).await?.has_feature("export"));
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait PlanSource: Send + Sync + 'static {
    /// Returns the current plan of a tenant.
    ///
    /// # Errors
    /// An error if the plan can't be determined.
    async fn plan(&self, tenant: TenantId) -> Result<Plan, Error>;
}

/// The entitlements of tenants. Without billing, every tenant has the plan `unlimited` with every feature.
///
/// ```
/// use omnistack_core::{http::Error, identity::{Entitlements, Identity}};
///
/// async fn export(caller: &Identity, entitlements: &Entitlements) -> Result<String, Error> {
///     let plan = entitlements.plan(caller.require_tenant()?).await?;
///     if !plan.has_feature("export") {
///         return Err(Error::forbidden("your plan has no exports").with_detail("plan", plan.key));
///     }
///     Ok("at,action\n".into())
/// }
///
/// # use omnistack_core::{clock::Clock, id::Id};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let now = Clock::system().now();
/// # let caller = Identity::user(Id::new(now)).for_tenant(Id::new(now));
/// assert!(export(&caller, &Entitlements::default()).await.is_ok());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Entitlements(Arc<dyn PlanSource>);

impl Entitlements {
    /// Creates entitlements from a plan source.
    pub fn new(source: impl PlanSource) -> Self {
        Self(Arc::new(source))
    }

    /// Returns the current plan of a tenant.
    ///
    /// # Errors
    /// The errors of the [`PlanSource`].
    pub async fn plan(&self, tenant: TenantId) -> Result<Plan, Error> {
        self.0.plan(tenant).await
    }
}

impl Default for Entitlements {
    fn default() -> Self {
        Self::new(UnlimitedPlans)
    }
}

impl fmt::Debug for Entitlements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entitlements")
    }
}

struct UnlimitedPlans;

#[async_trait]
impl PlanSource for UnlimitedPlans {
    async fn plan(&self, _: TenantId) -> Result<Plan, Error> {
        Ok(Plan::new("unlimited").feature("*"))
    }
}
