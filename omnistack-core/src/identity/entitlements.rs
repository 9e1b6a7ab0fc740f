//! The entitlements of tenants: what their plans allow.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use axum::extract::{FromRef, FromRequestParts};
use http::{StatusCode, request::Parts};
use serde::Serialize;

use super::{Identity, Plan, TenantId};
use crate::{
    db::{self, Dialect, Tx},
    http::Error,
};

/// A source of tenants' plans, provided by billing.
///
/// ```
/// use std::sync::Arc;
///
/// use omnistack_core::{async_trait, clock::{Clock, Timestamp}, http::Error};
/// use omnistack_core::identity::{Plan, PlanSource, TenantId};
///
/// /// All features until the trial ends, then a plan with few features.
/// struct Trial { ends: Timestamp, clock: Clock }
///
/// #[async_trait]
/// impl PlanSource for Trial {
///     async fn plan(&self, _: TenantId) -> Result<Arc<Plan>, Error> {
///         let runs = self.clock.now() < self.ends;
///         let plan = if runs { Plan::new("trial").feature("*") } else { Plan::new("free").limit("projects", 3) };
///         Ok(Arc::new(plan))
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
#[doc(alias = "pricing plan")]
#[async_trait]
pub trait PlanSource: Send + Sync + 'static {
    /// Returns the current plan of a tenant.
    ///
    /// # Errors
    /// An error if the plan can't be determined.
    async fn plan(&self, tenant: TenantId) -> Result<Arc<Plan>, Error>;

    /// Returns the current plan of a tenant if it is in memory.
    fn cached_plan(&self, _tenant: TenantId) -> Option<Arc<Plan>> {
        None
    }

    /// Returns the smallest plan that meets a need which the current plan does not meet, to be named in errors.
    /// Returns `None` if there is none.
    fn upgrade(&self, _current: &Plan, _need: PlanNeed<'_>) -> Option<PlanUpgrade> {
        None
    }
}

/// A need of a caller that a plan may meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanNeed<'a> {
    /// A feature.
    Feature(&'a str),
    /// A limit of at least this amount.
    Limit {
        /// The name of the limit.
        name: &'a str,
        /// The amount.
        amount: u64,
    },
}

/// A plan that meets a need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlanUpgrade {
    /// The key of the plan.
    pub plan: String,
    /// The name of the plan, as its page shows it.
    pub name: String,
}

/// The entitlements of tenants. Without billing, every tenant has the plan `unlimited` with every feature.
///
/// ```
/// use omnistack_core::{http::Error, identity::{Entitlements, Identity}};
///
/// async fn export(caller: &Identity, entitlements: &Entitlements) -> Result<String, Error> {
///     entitlements.require_feature(caller.require_tenant()?, "export").await?;
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
#[doc(alias = "plan limit")]
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
    pub async fn plan(&self, tenant: TenantId) -> Result<Arc<Plan>, Error> {
        match self.cached_plan(tenant) {
            Some(plan) => Ok(plan),
            None => self.0.plan(tenant).await,
        }
    }

    /// Returns the current plan of a tenant if it is in memory. Use [`plan`](Self::plan) unless the caller can't wait.
    #[inline]
    pub fn cached_plan(&self, tenant: TenantId) -> Option<Arc<Plan>> {
        self.0.cached_plan(tenant)
    }

    /// Requires that a tenant's plan includes a feature.
    ///
    /// # Errors
    /// 403 `FEATURE_NOT_IN_PLAN`, with the feature, the plan, and the plan that includes it, if there is one. The errors
    /// of the [`PlanSource`].
    pub async fn require_feature(&self, tenant: TenantId, feature: &str) -> Result<(), Error> {
        let plan = self.plan(tenant).await?;
        if plan.has_feature(feature) {
            return Ok(());
        }
        let upgrade = self.0.upgrade(&plan, PlanNeed::Feature(feature));
        let message = format!("the plan `{}` does not include `{feature}`; {}", plan.key, hint(upgrade.as_ref()));
        let error = Error::new(StatusCode::FORBIDDEN, "FEATURE_NOT_IN_PLAN", message);
        Err(with_upgrade(error.with_detail("feature", feature).with_detail("plan", &plan.key), upgrade))
    }

    /// Requires that a tenant's plan allows `added` more than the `used` ones. Two requests at the same time can both
    /// pass; use [`check_limit_in`](Self::check_limit_in) where the limit must hold exactly.
    ///
    /// # Errors
    /// 402 `PLAN_LIMIT_REACHED`, see [`limit_reached`](Self::limit_reached). The errors of the [`PlanSource`].
    pub async fn check_limit(&self, tenant: TenantId, name: &str, used: u64, added: u64) -> Result<(), Error> {
        let plan = self.plan(tenant).await?;
        if plan.allows(name, used.saturating_add(added)) {
            return Ok(());
        }
        Err(self.limit_reached(&plan, name, used, added))
    }

    /// Requires, in a transaction that adds one, that the plan of a tenant allows one more than `count` counts.
    /// Transactions that check the same limit of the tenant wait for each other, so the limit holds exactly. Load the plan
    /// before the transaction begins: a transaction that waits for another connection can wait for itself.
    ///
    /// ```
    /// use omnistack_core::{db::Db, http::Error, identity::{Entitlements, TenantId}};
    ///
    /// async fn create(db: &Db, entitlements: &Entitlements, tenant: TenantId) -> Result<(), Error> {
    ///     let plan = entitlements.plan(tenant).await?;
    ///     let mut tx = db.tenant(tenant).begin().await?;
    ///     let count = async |tx: &mut omnistack_core::db::Tx| {
    ///         let sql = "select count(*) from projects where tenant_id = $1";
    ///         let (count,): (i64,) = tx.query(sql).bind(tenant).fetch_one().await?;
    ///         Ok(count.unsigned_abs())
    ///     };
    ///     entitlements.check_limit_in(&mut tx, &plan, tenant, "projects", count).await?;
    ///     // … insert the project …
    ///     Ok(tx.commit().await?)
    /// }
    /// # let _ = create;
    /// ```
    ///
    /// # Errors
    /// 402 `PLAN_LIMIT_REACHED`, see [`limit_reached`](Self::limit_reached). The errors of the database.
    pub async fn check_limit_in(
        &self,
        tx: &mut Tx,
        plan: &Plan,
        tenant: TenantId,
        name: &str,
        count: impl AsyncFnOnce(&mut Tx) -> Result<u64, db::Error>,
    ) -> Result<(), Error> {
        if !plan.limits.contains_key(name) {
            return Ok(());
        }
        lock_limit(tx, tenant, name).await?;
        let used = count(tx).await?;
        if plan.allows(name, used.saturating_add(1)) {
            return Ok(());
        }
        Err(self.limit_reached(plan, name, used, 1))
    }

    /// Returns the error of a limit that does not allow `added` more: 402 `PLAN_LIMIT_REACHED`, with the details `limit`
    /// (the name), `used`, `allowed`, `plan`, and `upgrade`, the smallest plan that allows it, if there is one.
    pub fn limit_reached(&self, plan: &Plan, name: &str, used: u64, added: u64) -> Error {
        let allowed = plan.limits.get(name).copied();
        let upgrade = self.0.upgrade(plan, PlanNeed::Limit { name, amount: used.saturating_add(added) });
        let allows = allowed.unwrap_or(u64::MAX);
        let message = format!(
            "the plan `{}` allows {allows} of `{name}`, and {used} are used; {}",
            plan.key,
            hint(upgrade.as_ref())
        );
        let error = Error::new(StatusCode::PAYMENT_REQUIRED, "PLAN_LIMIT_REACHED", message);
        let error = error.with_detail("limit", name).with_detail("used", used).with_detail("allowed", allowed);
        with_upgrade(error.with_detail("plan", &plan.key), upgrade)
    }
}

/// Tells the caller what to do.
fn hint(upgrade: Option<&PlanUpgrade>) -> String {
    upgrade.map_or_else(
        || "contact the operator of the app for more".to_owned(),
        |upgrade| format!("change to the plan `{}`", upgrade.plan),
    )
}

fn with_upgrade(error: Error, upgrade: Option<PlanUpgrade>) -> Error {
    match upgrade {
        Some(upgrade) => error.with_detail("upgrade", upgrade),
        None => error,
    }
}

/// Lets transactions that check the same limit of a tenant wait for each other. SQLite has one writer.
async fn lock_limit(tx: &mut Tx, tenant: TenantId, name: &str) -> Result<(), db::Error> {
    if tx.dialect() == Dialect::Postgres {
        let key = format!("{tenant}:{name}");
        tx.query("select pg_advisory_xact_lock(hashtextextended($1, 0))").bind(key).execute().await?;
    }
    Ok(())
}

impl Default for Entitlements {
    fn default() -> Self {
        Self::new(UnlimitedPlans(Arc::new(Plan::new("unlimited").feature("*"))))
    }
}

impl fmt::Debug for Entitlements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entitlements")
    }
}

struct UnlimitedPlans(Arc<Plan>);

#[async_trait]
impl PlanSource for UnlimitedPlans {
    async fn plan(&self, _: TenantId) -> Result<Arc<Plan>, Error> {
        Ok(self.0.clone())
    }

    fn cached_plan(&self, _: TenantId) -> Option<Arc<Plan>> {
        Some(self.0.clone())
    }
}

/// Extractor of the plan of the caller's tenant, in handlers whose state has the [`Entitlements`].
///
/// ```
/// use axum::{Router, routing::get};
/// use omnistack_core::identity::{Entitlements, TenantPlan};
///
/// async fn limits(TenantPlan(plan): TenantPlan) -> String {
///     format!("{:?}", plan.limits.get("reports"))
/// }
///
/// let app: Router = Router::new().route("/limits", get(limits)).with_state(Entitlements::default());
/// # let _ = app;
/// ```
///
/// # Errors
/// 401 if the caller is not signed in, 403 if it has no tenant, the errors of the [`PlanSource`].
#[derive(Clone, Debug)]
pub struct TenantPlan(pub Arc<Plan>);

impl<S> FromRequestParts<S> for TenantPlan
where
    Entitlements: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let caller = Identity::from_request_parts(parts, state).await?;
        Ok(Self(Entitlements::from_ref(state).plan(caller.require_tenant()?).await?))
    }
}
