//! The rows of tokens and purchases.

use omnistack_core::{
    clock::Timestamp,
    db::{Error, Sql, Tx},
    id::Id,
    identity::TenantId,
};
use uuid::Uuid;

use super::model::{AppStore, PurchaseKey, StoredPurchase, status_from_text};

/// Returns the token of a tenant, and creates it at the first call.
pub(super) async fn token(tx: &mut Tx, tenant: TenantId, now: Timestamp) -> Result<Uuid, Error> {
    let sql = "insert into omni_store_tokens (token, tenant_id, created_at) values ($1, $2, $3)
        on conflict (tenant_id) do nothing";
    let new: Id<AppStore> = Id::new(now);
    tx.query(sql).bind(new.uuid()).bind(tenant).bind(now).execute().await?;
    let select = tx.query("select token from omni_store_tokens where tenant_id = $1").bind(tenant);
    let (token,): (Uuid,) = select.fetch_one().await?;
    Ok(token)
}

/// Returns the tenant with a token. The transaction must be one of all tenants.
pub(super) async fn tenant_of_token(tx: &mut Tx, token: Uuid) -> Result<Option<TenantId>, Error> {
    let select = tx.query("select tenant_id from omni_store_tokens where token = $1").bind(token);
    let found: Option<(TenantId,)> = select.fetch_optional().await?;
    Ok(found.map(|(tenant,)| tenant))
}

#[derive(omnistack_core::db::FromRow)]
struct PurchaseRow {
    store: String,
    environment: String,
    purchase_id: String,
    tenant_id: TenantId,
    subscription: String,
    product_id: String,
    status: String,
    period_start: Option<Timestamp>,
    period_end: Option<Timestamp>,
    cancel_at: Option<Timestamp>,
    version: i64,
    purchase_token: Option<String>,
    acknowledged: bool,
    replaced_by: Option<String>,
    updated_at: Timestamp,
}

impl PurchaseRow {
    /// Returns the purchase. Fails if a column can't be read.
    fn read(self) -> Result<StoredPurchase, Error> {
        let unreadable = |column| {
            let id = format!("{} of {}", self.purchase_id, self.store);
            Error::unreadable("omni_store_purchases", id, column)
        };
        let store = AppStore::from_text(&self.store).ok_or_else(|| unreadable("store"))?;
        let environment = self.environment.parse().map_err(|_| unreadable("environment"))?;
        let status = status_from_text(&self.status).ok_or_else(|| unreadable("status"))?;
        Ok(StoredPurchase {
            key: PurchaseKey { store, environment, id: self.purchase_id },
            tenant: self.tenant_id,
            subscription: self.subscription,
            product_id: self.product_id,
            status,
            period: self.period_start.zip(self.period_end),
            cancel_at: self.cancel_at,
            version: self.version,
            purchase_token: self.purchase_token,
            acknowledged: self.acknowledged,
            replaced_by: self.replaced_by,
            updated_at: self.updated_at,
        })
    }
}

const LOCK_PURCHASE: Sql = Sql {
    postgres: "select store, environment, purchase_id, tenant_id, subscription, product_id, status, period_start,
        period_end, cancel_at, version, purchase_token, acknowledged, replaced_by, updated_at from omni_store_purchases
        where store = $1 and environment = $2 and purchase_id = $3 for update",
    sqlite: "select store, environment, purchase_id, tenant_id, subscription, product_id, status, period_start,
        period_end, cancel_at, version, purchase_token, acknowledged, replaced_by, updated_at from omni_store_purchases
        where store = $1 and environment = $2 and purchase_id = $3",
};

/// Returns a purchase of any tenant, and keeps other transactions from changing it. The transaction must be one of all
/// tenants.
pub(super) async fn lock(tx: &mut Tx, key: &PurchaseKey) -> Result<Option<StoredPurchase>, Error> {
    let select = tx.query(LOCK_PURCHASE).bind(key.store.as_str()).bind(key.environment.as_str()).bind(key.id.as_str());
    let row: Option<PurchaseRow> = select.fetch_optional().await?;
    row.map(PurchaseRow::read).transpose()
}

/// Inserts a purchase. Returns `false` if another transaction has inserted it.
pub(super) async fn insert(tx: &mut Tx, purchase: &StoredPurchase) -> Result<bool, Error> {
    let sql = "insert into omni_store_purchases (store, environment, purchase_id, tenant_id, subscription, product_id,
        status, period_start, period_end, cancel_at, version, purchase_token, acknowledged, replaced_by, created_at,
        updated_at) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $15)
        on conflict (store, environment, purchase_id) do nothing";
    let StoredPurchase { key, tenant, subscription, product_id, status, period, .. } = purchase;
    let insert = tx.query(sql).bind(key.store.as_str()).bind(key.environment.as_str()).bind(key.id.as_str());
    let insert = insert.bind(*tenant).bind(subscription.as_str()).bind(product_id.as_str()).bind(status.as_str());
    let insert = insert.bind(period.map(|(start, _)| start)).bind(period.map(|(_, end)| end));
    let insert = insert.bind(purchase.cancel_at).bind(purchase.version).bind(purchase.purchase_token.clone());
    let insert = insert.bind(purchase.acknowledged).bind(purchase.replaced_by.clone()).bind(purchase.updated_at);
    Ok(insert.execute().await? > 0)
}

/// Updates a purchase.
pub(super) async fn update(tx: &mut Tx, purchase: &StoredPurchase) -> Result<(), Error> {
    let sql = "update omni_store_purchases set product_id = $4, status = $5, period_start = $6,
        period_end = $7, cancel_at = $8, version = $9, purchase_token = $10, acknowledged = $11, replaced_by = $12,
        updated_at = $13 where store = $1 and environment = $2 and purchase_id = $3";
    let StoredPurchase { key, product_id, status, period, .. } = purchase;
    let update = tx.query(sql).bind(key.store.as_str()).bind(key.environment.as_str()).bind(key.id.as_str());
    let update = update.bind(product_id.as_str()).bind(status.as_str());
    let update = update.bind(period.map(|(start, _)| start)).bind(period.map(|(_, end)| end));
    let update = update.bind(purchase.cancel_at).bind(purchase.version).bind(purchase.purchase_token.clone());
    let update = update.bind(purchase.acknowledged).bind(purchase.replaced_by.clone()).bind(purchase.updated_at);
    update.execute().await.map(drop)
}

/// Returns the newest purchases of a tenant.
pub(super) async fn of_tenant(tx: &mut Tx, tenant: TenantId, limit: i64) -> Result<Vec<StoredPurchase>, Error> {
    let sql = "select store, environment, purchase_id, tenant_id, subscription, product_id, status, period_start,
        period_end, cancel_at, version, purchase_token, acknowledged, replaced_by, updated_at from omni_store_purchases
        where tenant_id = $1 order by updated_at desc, purchase_id limit $2";
    let rows: Vec<PurchaseRow> = tx.query(sql).bind(tenant).bind(limit).fetch_all().await?;
    rows.into_iter().map(PurchaseRow::read).collect()
}

/// Returns the purchases that have not ended and whose period has ended before a time, the oldest first. With `after`,
/// only those that follow. The transaction must be one of all tenants.
pub(super) async fn due(
    tx: &mut Tx,
    before: Timestamp,
    after: Option<&StoredPurchase>,
    limit: i64,
) -> Result<Vec<StoredPurchase>, Error> {
    let sql = "select store, environment, purchase_id, tenant_id, subscription, product_id, status, period_start,
        period_end, cancel_at, version, purchase_token, acknowledged, replaced_by, updated_at from omni_store_purchases
        where status not in ('canceled', 'incomplete_expired') and period_end < $1
        and (period_end, store, environment, purchase_id) > ($2, $3, $4, $5)
        order by period_end, store, environment, purchase_id limit $6";
    let first = Timestamp::from_micros(0);
    let (end, store, environment, id) = after.map_or((first, "", "", ""), |last| {
        let end = last.period.map_or(first, |(_, end)| end);
        (end, last.key.store.as_str(), last.key.environment.as_str(), last.key.id.as_str())
    });
    let select = tx.query(sql).bind(before).bind(end).bind(store).bind(environment).bind(id).bind(limit);
    let rows: Vec<PurchaseRow> = select.fetch_all().await?;
    let read = rows.into_iter().map(PurchaseRow::read);
    // One that can't be read keeps no other from being renewed.
    let readable = read.filter_map(|purchase| {
        let report = |error: &Error| tracing::error!(target: "omnistack::billing", %error, "a purchase was left out");
        purchase.inspect_err(report).ok()
    });
    Ok(readable.collect())
}
