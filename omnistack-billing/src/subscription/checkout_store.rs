//! The SQL of checkouts and customers.

use omnistack_core::{
    clock::Timestamp,
    db::{Error, FromRow, Tx},
    id::Id,
    identity::{TenantId, UserId},
    usage::DataEnvironment,
};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::model::CheckoutId;

const COLUMNS: &str = "id, tenant_id, provider, plan, plan_version, period, price, quantity, trial_group, trial_end,
    trial_without_card, coupon, success_url, cancel_url, status, external_id, url, subscription, created_by,
    expires_at";

/// A checkout as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub(super) struct StoredCheckout {
    pub(super) id: CheckoutId,
    pub(super) tenant_id: TenantId,
    pub(super) provider: String,
    pub(super) plan: String,
    pub(super) plan_version: i32,
    pub(super) period: String,
    pub(super) price: String,
    pub(super) quantity: i64,
    pub(super) trial_group: Option<String>,
    pub(super) trial_end: Option<Timestamp>,
    /// The behaviour at the end of a trial that may begin without a payment method.
    pub(super) trial_without_card: Option<String>,
    pub(super) coupon: Option<String>,
    pub(super) success_url: String,
    pub(super) cancel_url: String,
    /// `creating`, `open`, `complete`, `expired` or `failed`.
    pub(super) status: String,
    pub(super) external_id: Option<String>,
    pub(super) url: Option<String>,
    pub(super) subscription: Option<String>,
    pub(super) created_by: UserId,
    pub(super) expires_at: Timestamp,
}

impl StoredCheckout {
    /// Returns whether another checkout sells the same. A trial that was used meanwhile is not sold again.
    pub(super) fn sells_same_as(&self, other: &Self) -> bool {
        let has_trial = |one: &Self| one.trial_group.is_some();
        let same_trial = has_trial(self) == has_trial(other) && self.trial_without_card == other.trial_without_card;
        let terms = |one: &Self| (one.provider.clone(), one.price.clone(), one.quantity, one.coupon.clone());
        same_trial && terms(self) == terms(other)
    }
}

/// Inserts a checkout. Returns `false` if the tenant has an open one of the plan.
pub(super) async fn insert(
    tx: &mut Tx,
    new: &StoredCheckout,
    environment: DataEnvironment,
    now: Timestamp,
) -> Result<bool, Error> {
    let sql = "insert into omni_checkouts (id, tenant_id, environment, provider, plan, plan_version, period, price,
        quantity, trial_group, trial_end, coupon, success_url, cancel_url, status, created_by, expires_at, created_at,
        updated_at, trial_without_card)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, 'creating', $15, $16, $17, $17, $18)
        on conflict (tenant_id, environment, plan) where status in ('creating', 'open') do nothing";
    let insert = tx.query(sql).bind(new.id).bind(new.tenant_id).bind(environment.as_str()).bind(new.provider.clone());
    let insert = insert.bind(new.plan.clone()).bind(new.plan_version).bind(new.period.clone());
    let insert = insert.bind(new.price.clone()).bind(new.quantity).bind(new.trial_group.clone()).bind(new.trial_end);
    let insert = insert.bind(new.coupon.clone()).bind(new.success_url.clone()).bind(new.cancel_url.clone());
    let insert = insert.bind(new.created_by).bind(new.expires_at).bind(now).bind(new.trial_without_card.clone());
    let inserted = insert.execute().await?;
    Ok(inserted == 1)
}

/// Returns the open checkout of a plan.
pub(super) async fn open(
    tx: &mut Tx,
    tenant: TenantId,
    environment: DataEnvironment,
    plan: &str,
) -> Result<Option<StoredCheckout>, Error> {
    let sql = format!(
        "select {COLUMNS} from omni_checkouts where tenant_id = $1 and environment = $2 and plan = $3
        and status in ('creating', 'open')"
    );
    let select = tx.query(AssertSqlSafe(sql)).bind(tenant).bind(environment.as_str()).bind(plan.to_owned());
    select.fetch_optional().await
}

/// Returns a checkout by its id.
pub(super) async fn get(tx: &mut Tx, id: CheckoutId) -> Result<Option<StoredCheckout>, Error> {
    let sql = format!("select {COLUMNS} from omni_checkouts where id = $1");
    tx.query(AssertSqlSafe(sql)).bind(id).fetch_optional().await
}

/// Stores the page of the provider. A checkout that is no longer open stays as it is.
pub(super) async fn set_open(
    tx: &mut Tx,
    id: CheckoutId,
    external_id: &str,
    url: Option<&str>,
    now: Timestamp,
) -> Result<(), Error> {
    let sql = "update omni_checkouts set status = 'open', external_id = $2, url = $3, updated_at = $4
        where id = $1 and status in ('creating', 'open')";
    let update = tx.query(sql).bind(id).bind(external_id.to_owned()).bind(url.map(str::to_owned));
    update.bind(now).execute().await.map(drop)
}

/// Ends a checkout that is not complete: `complete`, `expired` or `failed`.
pub(super) async fn set_ended(
    tx: &mut Tx,
    id: CheckoutId,
    status: &'static str,
    subscription: Option<&str>,
    now: Timestamp,
) -> Result<(), Error> {
    let sql = "update omni_checkouts set status = $2, subscription = coalesce(cast($3 as text), subscription),
        updated_at = $4 where id = $1 and status <> 'complete'";
    let update = tx.query(sql).bind(id).bind(status).bind(subscription.map(str::to_owned));
    update.bind(now).execute().await.map(drop)
}

/// Returns the checkouts of all tenants that should have ended before a time, after an id, at most `limit`.
pub(super) async fn due(
    tx: &mut Tx,
    before: Timestamp,
    after: Option<CheckoutId>,
    limit: i64,
) -> Result<Vec<StoredCheckout>, Error> {
    let sql = format!(
        "select {COLUMNS} from omni_checkouts where status in ('creating', 'open') and expires_at <= $1 and id > $2
        order by id limit $3"
    );
    let after = after.unwrap_or_else(|| Id::from_uuid(Uuid::nil()));
    tx.query(AssertSqlSafe(sql)).bind(before).bind(after).bind(limit).fetch_all().await
}

/// Returns the open checkouts of a tenant. There is one of each plan.
pub(super) async fn open_of_tenant(tx: &mut Tx, tenant: TenantId) -> Result<Vec<StoredCheckout>, Error> {
    let sql = format!(
        "select {COLUMNS} from omni_checkouts where tenant_id = $1 and status in ('creating', 'open') order by id"
    );
    tx.query(AssertSqlSafe(sql)).bind(tenant).fetch_all().await
}

/// Deletes the checkouts of all tenants that have ended without a subscription before a time.
pub(super) async fn delete_unpaid(tx: &mut Tx, before: Timestamp) -> Result<(), Error> {
    let sql = "delete from omni_checkouts where status in ('expired', 'failed') and subscription is null
        and updated_at < $1";
    tx.query(sql).bind(before).execute().await.map(drop)
}

/// Inserts the customer that a tenant is at a provider, if there is none. Returns its id at the provider, if it is known.
pub(super) async fn customer_or_new(
    tx: &mut Tx,
    tenant: TenantId,
    provider: &str,
    environment: DataEnvironment,
    now: Timestamp,
) -> Result<Option<String>, Error> {
    let sql = "insert into omni_billing_customers (tenant_id, provider, environment, created_at, updated_at)
        values ($1, $2, $3, $4, $4) on conflict (tenant_id, provider, environment) do nothing";
    let insert = tx.query(sql).bind(tenant).bind(provider.to_owned()).bind(environment.as_str());
    insert.bind(now).execute().await?;
    customer(tx, tenant, provider, environment).await
}

/// Returns the id of a tenant's customer at a provider, if it is known.
pub(super) async fn customer(
    tx: &mut Tx,
    tenant: TenantId,
    provider: &str,
    environment: DataEnvironment,
) -> Result<Option<String>, Error> {
    let sql = "select external_id from omni_billing_customers
        where tenant_id = $1 and provider = $2 and environment = $3";
    let select = tx.query(sql).bind(tenant).bind(provider.to_owned()).bind(environment.as_str());
    let row: Option<(Option<String>,)> = select.fetch_optional().await?;
    Ok(row.and_then(|(id,)| id))
}

/// Notes the id of a customer, unless one is known. Returns the known one.
pub(super) async fn set_customer(
    tx: &mut Tx,
    tenant: TenantId,
    provider: &str,
    environment: DataEnvironment,
    id: &str,
    now: Timestamp,
) -> Result<String, Error> {
    let sql = "update omni_billing_customers set external_id = coalesce(external_id, $4), updated_at = $5
        where tenant_id = $1 and provider = $2 and environment = $3 returning external_id";
    let update = tx.query(sql).bind(tenant).bind(provider.to_owned()).bind(environment.as_str());
    let row: (String,) = update.bind(id.to_owned()).bind(now).fetch_one().await?;
    Ok(row.0)
}

/// Returns the tenant of a customer at a provider. The transaction sees all tenants.
pub(super) async fn tenant_of_customer(
    tx: &mut Tx,
    provider: &str,
    environment: DataEnvironment,
    id: &str,
) -> Result<Option<TenantId>, Error> {
    let sql = "select tenant_id from omni_billing_customers
        where provider = $1 and environment = $2 and external_id = $3";
    let select = tx.query(sql).bind(provider.to_owned()).bind(environment.as_str()).bind(id.to_owned());
    let row: Option<(TenantId,)> = select.fetch_optional().await?;
    Ok(row.map(|(tenant,)| tenant))
}
