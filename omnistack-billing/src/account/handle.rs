//! The handle to the accounts of tenants.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicI64},
};

use async_trait::async_trait;
use jiff::tz::TimeZone;
use omnistack_core::{
    BoxError,
    audit::AuditLog,
    clock::{Clock, Timestamp},
    db::{self, Db, Tx},
    events::Events,
    http::{CursorPage, Error, FieldError},
    identity::{LimitedResources, Plan, PlanNeed, PlanSource, PlanUpgrade, TenantId},
    pubsub::PubSub,
};
use tokio::sync::OnceCell;

use super::{
    cache::{EntitlementCache, LoadResult},
    entitled::{Entitled, resolve},
    model::{BillingAccount, BillingAccountSummary, CurrentPlan, OverLimit},
    overrides::PlanOverride,
    schedule::{self, AccountSchedule},
    store::{self, AccountPosition, StoredAccount},
};
use crate::{
    period::{BillingInterval, PeriodSchedule},
    plan::{PlanCatalogue, PlanDefinition, PlanVersions, store_versions},
};

/// The accounts of tenants: their plans, seats and billing periods. It is in the
/// [`Context`](omnistack_core::module::Context) of apps with the module [`Billing`](crate::Billing). Cheap to clone.
///
/// A tenant that was assigned no plan has the default plan of the app, in its newest version. A tenant that was
/// assigned one keeps the version, whatever versions the app adds.
///
/// A change is seen by [`Entitlements`](omnistack_core::identity::Entitlements) in this process when its transaction
/// has committed, and in other replicas within a second.
///
/// ```
/// use omnistack_billing::{BillingAccounts, BillingInterval, PlanAssignment};
/// use omnistack_core::{clock::Timestamp, db::Db, http::Error, identity::TenantId};
///
/// /// Assigns the plan of a subscription that has begun at `start`.
/// async fn subscribed(db: &Db, accounts: &BillingAccounts, tenant: TenantId, start: Timestamp) -> Result<(), Error> {
///     let mut tx = db.app_database().tenant(tenant).begin().await?;
///     let plan = PlanAssignment::new("pro").period(start, BillingInterval::MONTH);
///     accounts.assign_plan_in(&mut tx, tenant, &plan).await?;
///     // … insert the subscription …
///     Ok(tx.commit().await?)
/// }
/// # let _ = subscribed;
/// ```
#[derive(Clone)]
pub struct BillingAccounts(pub(super) Arc<AccountsInner>);

/// The parts that a handle is created from.
pub(crate) struct AccountParts {
    /// The app's own database.
    pub(crate) db: Db,
    pub(crate) clock: Clock,
    pub(crate) catalogue: PlanCatalogue,
    /// The time zone of tenants without an account.
    pub(crate) zone: TimeZone,
    pub(crate) audit: AuditLog,
    pub(crate) events: Events,
    pub(crate) publisher: PubSub,
    pub(crate) resources: LimitedResources,
}

pub(super) struct AccountsInner {
    pub(super) db: Db,
    pub(super) clock: Clock,
    pub(super) catalogue: PlanCatalogue,
    pub(super) zone: TimeZone,
    pub(super) audit: AuditLog,
    pub(super) events: Events,
    pub(super) publisher: PubSub,
    pub(super) resources: LimitedResources,
    pub(super) cache: EntitlementCache,
    /// The number of the last change that the cache knows of.
    pub(super) revision: AtomicI64,
    default_plan: Arc<PlanDefinition>,
    /// Empty until they are read.
    versions: OnceCell<PlanVersions>,
    /// The plans of the definitions in use, which their tenants share.
    plans: Mutex<HashMap<(String, u32), Arc<Plan>>>,
}

impl BillingAccounts {
    pub(crate) fn new(parts: AccountParts) -> Self {
        let AccountParts { db, clock, catalogue, zone, audit, events, publisher, resources } = parts;
        // A catalogue without a default plan keeps the app from being built.
        let default_plan = catalogue.default_definition().cloned();
        let default_plan = default_plan.unwrap_or_else(|| PlanDefinition::new("free", "Free"));
        Self(Arc::new(AccountsInner {
            db,
            clock,
            catalogue,
            zone,
            audit,
            events,
            publisher,
            resources,
            cache: EntitlementCache::default(),
            revision: AtomicI64::new(0),
            default_plan: Arc::new(default_plan),
            versions: OnceCell::new(),
            plans: Mutex::default(),
        }))
    }

    /// Stores the versions of the plans, and reads those that are stored. Fails if a plan has changed and its version
    /// has not.
    pub(crate) async fn start(&self) -> Result<(), BoxError> {
        self.versions().await?;
        Ok(self.read_revision().await?)
    }

    /// Returns the account of a tenant, as the database has it. A tenant that was assigned no plan has the default plan
    /// and calendar months.
    ///
    /// # Errors
    /// The errors of the database, and 500 if a resource can't be counted.
    pub async fn get(&self, tenant: TenantId) -> Result<BillingAccount, Error> {
        Ok(self.read(tenant).await?.1)
    }

    /// Returns the plan of a tenant, as the tenant sees it.
    pub(super) async fn current_plan(&self, tenant: TenantId) -> Result<CurrentPlan, Error> {
        let (entitled, account) = self.read(tenant).await?;
        Ok(CurrentPlan::new(&entitled, account))
    }

    /// Returns a page of the accounts of all tenants, for operators: those that were assigned a plan, or all.
    pub(super) async fn list(
        &self,
        plan: Option<&str>,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<CursorPage<BillingAccountSummary>, Error> {
        let after = match cursor {
            None => AccountPosition::START,
            Some(cursor) => AccountPosition::parse(cursor).ok_or_else(|| {
                Error::invalid([FieldError::new("cursor", "must be the `next_cursor` of a previous page")])
            })?,
        };
        // An operator sees the accounts of all tenants.
        let mut tx = self.0.db.all_tenants().begin_read().await?;
        let mut rows = store::list(&mut tx, plan, after, i64::from(limit) + 1).await?;
        tx.commit().await?;
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_more = rows.len() > most;
        rows.truncate(most);
        let next_cursor = rows.last().filter(|_| has_more).map(|last| AccountPosition::of(last).to_cursor());
        Ok(CursorPage { items: rows.into_iter().map(|row| self.summary(row)).collect(), next_cursor })
    }

    /// Returns what a tenant is entitled to, from memory or else from the database, which callers at the same time read
    /// once.
    pub(crate) async fn entitled(&self, tenant: TenantId) -> Result<Arc<Entitled>, Error> {
        if let Some(entitled) = self.cached(tenant) {
            return Ok(entitled);
        }
        let (mut result, load) = self.0.cache.join(tenant);
        if let Some(load) = load {
            // In a task, so that it ends if its first caller is cancelled and others wait.
            let accounts = self.clone();
            tokio::spawn(async move {
                let result: LoadResult = accounts.load(tenant).await.map(Arc::new).map_err(Arc::new);
                load.finish(result);
            });
        }
        let loaded = result.wait_for(Option::is_some).await.ok().and_then(|result| result.clone());
        match loaded {
            Some(Ok(entitled)) => Ok(entitled),
            Some(Err(error)) => Err(error.into()),
            None => Err(Error::internal("reading the plan of a tenant has panicked")),
        }
    }

    /// Returns what a tenant was entitled to at a time: the plan that it had then, with the seats and the overrides that
    /// it has now.
    pub(crate) async fn entitled_at(&self, tenant: TenantId, at: Timestamp) -> Result<Arc<Entitled>, Error> {
        let now = self.0.clock.now();
        let mut tx = self.0.db.tenant(tenant).begin_read().await?;
        let former = store::former_plan(&mut tx, tenant, at).await?;
        let account = store::find(&mut tx, tenant).await?;
        let overrides = store::overrides(&mut tx, tenant, now).await?;
        tx.commit().await?;
        let Some((key, version)) = former else {
            return Ok(Arc::new(self.resolve(account.as_ref(), &overrides).await?));
        };
        let definition = self.stored_definition(&key, version).await?;
        let plan = self.shared_plan(&definition);
        let seats = account.as_ref().and_then(StoredAccount::seats);
        Ok(Arc::new(resolve(definition, plan, seats, &overrides)))
    }

    /// Returns what a tenant is entitled to if it is in memory and no override has expired since.
    pub(crate) fn cached(&self, tenant: TenantId) -> Option<Arc<Entitled>> {
        let entitled = self.0.cache.get(tenant)?;
        let is_valid = entitled.valid_until.is_none_or(|until| self.0.clock.now() < until);
        is_valid.then_some(entitled)
    }

    /// Returns the billing periods of a tenant.
    pub(crate) async fn schedule(&self, tenant: TenantId) -> Result<AccountSchedule, db::Error> {
        let mut tx = self.0.db.tenant(tenant).begin_read().await?;
        let mut schedules = schedule::load(&mut tx, &[tenant], &self.0.zone, None).await?;
        tx.commit().await?;
        let calendar_months =
            || AccountSchedule { schedule: PeriodSchedule::calendar_months(self.0.zone.clone()), closed_until: None };
        Ok(schedules.remove(&tenant).unwrap_or_else(calendar_months))
    }

    /// Closes the account of a deleted tenant, so that no usage of it is stored any more. When this returns, the
    /// transactions that have stored some have ended.
    pub(crate) async fn close_for_ever(&self, tenant: TenantId) -> Result<(), db::Error> {
        let mut tx = self.0.db.tenant(tenant).begin().await?;
        store::close_for_ever(&mut tx, tenant, self.0.clock.now()).await?;
        tx.commit().await
    }

    /// Returns the definition of a plan: of the version that new customers get if none is given.
    ///
    /// # Errors
    /// 404 if there is no such plan or version.
    pub(crate) async fn known_definition(&self, key: &str, version: Option<u32>) -> Result<Arc<PlanDefinition>, Error> {
        let versions = self.versions().await.map_err(Error::internal)?;
        match version {
            None => versions.newest(key).ok_or_else(|| Error::not_found(format!("the plan `{key}`"))),
            Some(version) => {
                let found = versions.get(key, version);
                found.ok_or_else(|| Error::not_found(format!("version {version} of the plan `{key}`")))
            }
        }
    }

    /// Returns the key and the version of the plan of an account.
    pub(super) fn plan_of<'a>(&'a self, account: &'a StoredAccount) -> (&'a str, u32) {
        account.plan().unwrap_or((self.0.default_plan.key.as_str(), self.0.default_plan.version))
    }

    /// Returns a limit of the plan of an account, without its seats and overrides.
    pub(super) async fn plan_limit(&self, account: Option<&StoredAccount>, name: &str) -> Result<Option<u64>, Error> {
        Ok(self.resolve_plan(account).await?.1.limits.get(name).copied())
    }

    /// Returns the plans that the app sells.
    pub(crate) fn catalogue(&self) -> &PlanCatalogue {
        &self.0.catalogue
    }

    /// Returns the plan of tenants that were not assigned one.
    pub(crate) fn default_definition(&self) -> &PlanDefinition {
        &self.0.default_plan
    }

    /// Returns the plan that is sold by a price of a provider, and the interval of the price.
    pub(crate) async fn sold_by(
        &self,
        provider: &str,
        price: &str,
    ) -> Result<Option<(Arc<PlanDefinition>, BillingInterval)>, Error> {
        Ok(self.versions().await.map_err(Error::internal)?.by_price(provider, price))
    }

    /// Locks the account of a tenant until the transaction ends, so that its subscriptions change one after another.
    pub(crate) async fn lock_account_in(&self, tx: &mut Tx, tenant: TenantId) -> Result<(), db::Error> {
        self.lock_in(tx, tenant).await.map(drop)
    }

    /// Returns whether a tenant has a plan. Locks its account until the transaction ends.
    pub(crate) async fn has_plan_in(&self, tx: &mut Tx, tenant: TenantId, plan: &str) -> Result<bool, db::Error> {
        let account = self.lock_in(tx, tenant).await?;
        Ok(self.plan_of(&account).0 == plan)
    }

    /// Returns the time zone of tenants without an account.
    pub(crate) fn zone(&self) -> &TimeZone {
        &self.0.zone
    }

    /// Returns the IANA name of the time zone of tenants without an account.
    pub(super) fn default_zone(&self) -> &str {
        self.0.zone.iana_name().unwrap_or("UTC")
    }

    async fn read(&self, tenant: TenantId) -> Result<(Entitled, BillingAccount), Error> {
        let now = self.0.clock.now();
        let mut tx = self.0.db.tenant(tenant).begin_read().await?;
        let account = store::find(&mut tx, tenant).await?;
        let overrides = store::overrides(&mut tx, tenant, now).await?;
        let schedules = schedule::load(&mut tx, &[tenant], &self.0.zone, None).await?;
        tx.commit().await?;
        let entitled = self.resolve(account.as_ref(), &overrides).await?;
        let current_period = match schedules.get(&tenant) {
            Some(schedule) => schedule.schedule.period_at(now),
            None => PeriodSchedule::calendar_months(self.0.zone.clone()).period_at(now),
        };
        let over_limit = self.over_limit(tenant, &entitled.plan).await?;
        let zone = account.as_ref().map_or_else(|| self.default_zone().to_owned(), |account| account.zone.clone());
        let account = BillingAccount {
            tenant_id: tenant,
            plan: entitled.definition.key.clone(),
            plan_version: entitled.definition.version,
            plan_name: entitled.definition.name.clone(),
            seats: account.as_ref().and_then(StoredAccount::seats),
            zone,
            current_period,
            over_limit,
            overrides,
        };
        Ok((entitled, account))
    }

    async fn load(&self, tenant: TenantId) -> Result<Entitled, Error> {
        let now = self.0.clock.now();
        let mut tx = self.0.db.tenant(tenant).begin_read().await?;
        let account = store::find(&mut tx, tenant).await?;
        let overrides = store::overrides(&mut tx, tenant, now).await?;
        tx.commit().await?;
        self.resolve(account.as_ref(), &overrides).await
    }

    async fn resolve(&self, account: Option<&StoredAccount>, overrides: &[PlanOverride]) -> Result<Entitled, Error> {
        let (definition, plan) = self.resolve_plan(account).await?;
        Ok(resolve(definition, plan, account.and_then(StoredAccount::seats), overrides))
    }

    /// Returns the definition of the plan of an account, and the plan without seats and overrides.
    async fn resolve_plan(&self, account: Option<&StoredAccount>) -> Result<(Arc<PlanDefinition>, Arc<Plan>), Error> {
        let definition = match account.and_then(StoredAccount::plan) {
            Some((key, version)) => self.stored_definition(key, version).await?,
            None => Arc::clone(&self.0.default_plan),
        };
        let plan = self.shared_plan(&definition);
        Ok((definition, plan))
    }

    /// Returns the definition of a version that a tenant has.
    async fn stored_definition(&self, key: &str, version: u32) -> Result<Arc<PlanDefinition>, Error> {
        let versions = self.versions().await.map_err(Error::internal)?;
        let found = versions.find(&self.0.db, key, version).await.map_err(Error::internal)?;
        found.ok_or_else(|| Error::internal(format!("version {version} of the plan `{key}` is not stored")))
    }

    /// Returns the stored versions of plans. The first call stores those of the catalogue.
    async fn versions(&self) -> Result<&PlanVersions, BoxError> {
        let AccountsInner { db, clock, catalogue, versions, .. } = &*self.0;
        versions.get_or_try_init(|| store_versions(db, clock.now(), catalogue)).await
    }

    /// Returns the plan of a definition without overrides.
    fn shared_plan(&self, definition: &PlanDefinition) -> Arc<Plan> {
        let key = (definition.key.clone(), definition.version);
        let mut plans = self.0.plans.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(plans.entry(key).or_insert_with(|| Arc::new(definition.to_plan())))
    }

    async fn over_limit(&self, tenant: TenantId, plan: &Plan) -> Result<Vec<OverLimit>, Error> {
        let mut over_limit = Vec::new();
        for name in self.0.resources.names() {
            let Some(limit) = plan.limits.get(name).copied() else { continue };
            let used = self.0.resources.count(name, tenant).await.map_err(Error::internal)?.unwrap_or(0);
            if used > limit {
                over_limit.push(OverLimit { name: name.to_owned(), used, limit });
            }
        }
        Ok(over_limit)
    }

    fn summary(&self, account: StoredAccount) -> BillingAccountSummary {
        let (plan, plan_version) = self.plan_of(&account);
        BillingAccountSummary {
            tenant_id: account.tenant_id,
            plan: plan.to_owned(),
            plan_version,
            seats: account.seats(),
            updated_at: account.updated_at,
            zone: account.zone,
        }
    }
}

#[async_trait]
impl PlanSource for BillingAccounts {
    async fn plan(&self, tenant: TenantId) -> Result<Arc<Plan>, Error> {
        Ok(Arc::clone(&self.entitled(tenant).await?.plan))
    }

    fn cached_plan(&self, tenant: TenantId) -> Option<Arc<Plan>> {
        self.cached(tenant).map(|entitled| Arc::clone(&entitled.plan))
    }

    fn upgrade(&self, current: &Plan, need: PlanNeed<'_>) -> Option<PlanUpgrade> {
        let found = self.0.catalogue.upgrade(&current.key, need)?;
        Some(PlanUpgrade { plan: found.key.clone(), name: found.name.clone() })
    }
}

impl fmt::Debug for BillingAccounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BillingAccounts").field("default_plan", &self.0.default_plan.key).finish_non_exhaustive()
    }
}
