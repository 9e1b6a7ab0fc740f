//! The SQL of accounts and overrides.

use omnistack_core::{
    clock::Timestamp,
    db::{Db, Dialect, Error, FromRow, Tx},
    id::Id,
    identity::{TenantId, UserId},
};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::{
    anchors::{AnchorHistory, StoredAnchor},
    overrides::{OverrideKind, PlanOverride},
};

const COLUMNS: &str =
    "tenant_id, plan, plan_version, seats, zone, anchor, anchored_at, period, closed_until, updated_at";

/// An account as it is stored.
#[derive(Clone, Debug, FromRow)]
pub(super) struct StoredAccount {
    pub(super) tenant_id: TenantId,
    /// `None` for the default plan.
    plan: Option<String>,
    plan_version: Option<i32>,
    seats: Option<i64>,
    pub(super) zone: String,
    anchor: Option<Timestamp>,
    anchored_at: Option<Timestamp>,
    period: String,
    pub(super) closed_until: Option<Timestamp>,
    pub(super) updated_at: Timestamp,
}

impl StoredAccount {
    /// Returns the key and the version of the plan, or `None` for the default plan.
    pub(super) fn plan(&self) -> Option<(&str, u32)> {
        let version = self.plan_version.and_then(|version| u32::try_from(version).ok());
        self.plan.as_deref().zip(version)
    }

    pub(super) fn set_plan(&mut self, key: &str, version: u32) {
        self.plan = Some(key.to_owned());
        self.plan_version = Some(i32::try_from(version).unwrap_or(i32::MAX));
    }

    pub(super) fn seats(&self) -> Option<u64> {
        self.seats.and_then(|seats| u64::try_from(seats).ok())
    }

    pub(super) fn set_seats(&mut self, seats: Option<u64>) {
        self.seats = seats.map(|seats| i64::try_from(seats).unwrap_or(i64::MAX));
    }

    /// Sets the last anchor.
    fn set_anchor(&mut self, anchor: &StoredAnchor) {
        let StoredAnchor { since, zone, anchor, period } = anchor.clone();
        (self.zone, self.anchor, self.period) = (zone, anchor, period);
        self.anchored_at = Some(since);
    }

    fn last_anchor(&self) -> StoredAnchor {
        StoredAnchor {
            since: self.anchored_at.unwrap_or_default(),
            zone: self.zone.clone(),
            anchor: self.anchor,
            period: self.period.clone(),
        }
    }
}

/// Returns the account of a tenant, or `None` if it has no row.
pub(super) async fn find(tx: &mut Tx, tenant: TenantId) -> Result<Option<StoredAccount>, Error> {
    let sql = format!("select {COLUMNS} from omni_billing_accounts where tenant_id = $1");
    tx.query(AssertSqlSafe(sql)).bind(tenant).fetch_optional().await
}

/// Returns the account of a tenant, locked until the transaction ends. If it has no row, one is inserted.
pub(super) async fn lock(tx: &mut Tx, tenant: TenantId, zone: &str, now: Timestamp) -> Result<StoredAccount, Error> {
    let insert = "insert into omni_billing_accounts (tenant_id, zone, period, created_at, updated_at)
        values ($1, $2, 'month', $3, $3) on conflict (tenant_id) do nothing";
    tx.query(insert).bind(tenant).bind(zone).bind(now).execute().await?;
    let locking = if tx.dialect() == Dialect::Postgres { " for update" } else { "" };
    let sql = format!("select {COLUMNS} from omni_billing_accounts where tenant_id = $1{locking}");
    tx.query(AssertSqlSafe(sql)).bind(tenant).fetch_one().await
}

/// Returns the time until which the accounts of deleted tenants are closed: the last of all times.
pub(super) fn closed_for_ever() -> Timestamp {
    Timestamp::from_micros(i64::MAX)
}

/// Closes the account of a deleted tenant for ever. Nothing but the row is left of it. Waits for the transactions that
/// have locked the account to record usage.
pub(super) async fn close_for_ever(tx: &mut Tx, tenant: TenantId, now: Timestamp) -> Result<(), Error> {
    let sql = "insert into omni_billing_accounts (tenant_id, zone, period, closed_until, created_at, updated_at)
        values ($1, 'UTC', 'month', $2, $3, $3)
        on conflict (tenant_id) do update set plan = null, plan_version = null, seats = null, zone = excluded.zone,
        anchor = null, anchored_at = null, period = excluded.period, closed_until = excluded.closed_until,
        updated_at = excluded.updated_at";
    tx.query(sql).bind(tenant).bind(closed_for_ever()).bind(now).execute().await.map(drop)
}

/// Returns the number of the next change. Other transactions that change an account wait until this one ends, so the
/// numbers are in the order of the commits.
async fn next_revision(tx: &mut Tx) -> Result<i64, Error> {
    let sql = "update omni_billing_state set revision = revision + 1 where id = 1 returning revision";
    let (revision,): (i64,) = tx.query(sql).fetch_one().await?;
    Ok(revision)
}

/// Stores a changed account with the number of the change.
pub(super) async fn update(tx: &mut Tx, account: &StoredAccount, now: Timestamp) -> Result<(), Error> {
    let revision = next_revision(tx).await?;
    let sql = "update omni_billing_accounts set plan = $2, plan_version = $3, seats = $4, zone = $5, anchor = $6,
        anchored_at = $7, period = $8, revision = $9, updated_at = $10 where tenant_id = $1";
    let update = tx.query(sql).bind(account.tenant_id).bind(account.plan.clone()).bind(account.plan_version);
    let update = update.bind(account.seats).bind(account.zone.as_str()).bind(account.anchor);
    let update = update.bind(account.anchored_at).bind(account.period.as_str()).bind(revision).bind(now);
    update.execute().await.map(drop)
}

/// Stores the plan that a tenant had until a time. The first of several until the same time is the one that it had.
pub(super) async fn add_former_plan(
    tx: &mut Tx,
    tenant: TenantId,
    plan: &str,
    version: u32,
    until: Timestamp,
) -> Result<(), Error> {
    let sql = "insert into omni_billing_former_plans (tenant_id, until, plan, plan_version) values ($1, $2, $3, $4)
        on conflict (tenant_id, until) do nothing";
    let insert = tx.query(sql).bind(tenant).bind(until).bind(plan).bind(i32::try_from(version).unwrap_or(i32::MAX));
    insert.execute().await.map(drop)
}

/// Returns the key and the version of the plan that a tenant had at a time, or `None` if it still has it.
pub(super) async fn former_plan(tx: &mut Tx, tenant: TenantId, at: Timestamp) -> Result<Option<(String, u32)>, Error> {
    let sql = "select plan, plan_version from omni_billing_former_plans where tenant_id = $1 and until > $2
        order by until limit 1";
    let found: Option<(String, i32)> = tx.query(sql).bind(tenant).bind(at).fetch_optional().await?;
    Ok(found.map(|(plan, version)| (plan, u32::try_from(version).unwrap_or(0))))
}

/// Returns the anchors of an account.
pub(super) async fn anchors(tx: &mut Tx, account: &StoredAccount) -> Result<AnchorHistory, Error> {
    let sql = "select since, zone, anchor, period from omni_billing_anchors where tenant_id = $1 order by since";
    let earlier: Vec<StoredAnchor> = tx.query(sql).bind(account.tenant_id).fetch_all().await?;
    AnchorHistory { earlier, current: account.last_anchor() }.checked(account.tenant_id)
}

/// Replaces the earlier anchors of an account, and sets its last one, which [`update`] stores.
pub(super) async fn set_anchors(
    tx: &mut Tx,
    account: &mut StoredAccount,
    history: &AnchorHistory,
) -> Result<(), Error> {
    let sql = "delete from omni_billing_anchors where tenant_id = $1";
    tx.query(sql).bind(account.tenant_id).execute().await?;
    for StoredAnchor { since, zone, anchor, period } in &history.earlier {
        let sql =
            "insert into omni_billing_anchors (tenant_id, since, zone, anchor, period) values ($1, $2, $3, $4, $5)";
        let insert = tx.query(sql).bind(account.tenant_id).bind(*since).bind(zone.as_str());
        insert.bind(*anchor).bind(period.as_str()).execute().await?;
    }
    account.set_anchor(&history.current);
    Ok(())
}

/// The position of an account in a list: the version of its plan, where that is a part of the order, and its tenant.
#[derive(Clone, Copy, Debug)]
pub(super) struct AccountPosition {
    pub(super) version: i32,
    pub(super) tenant: TenantId,
}

impl AccountPosition {
    /// The position before the first account.
    pub(super) const START: Self = Self { version: -1, tenant: TenantId::from_uuid(Uuid::nil()) };

    /// Returns the position of an account.
    pub(super) fn of(account: &StoredAccount) -> Self {
        Self { version: account.plan_version.unwrap_or(0), tenant: account.tenant_id }
    }

    pub(super) fn parse(cursor: &str) -> Option<Self> {
        let (version, tenant) = cursor.split_once('.')?;
        Some(Self { version: version.parse().ok()?, tenant: tenant.parse().ok()? })
    }

    pub(super) fn to_cursor(self) -> String {
        let Self { version, tenant } = self;
        format!("{version}.{tenant}")
    }
}

/// Returns accounts after a position, at most `limit`: those that were assigned a plan, or all. The accounts of deleted
/// tenants are left out.
pub(super) async fn list(
    tx: &mut Tx,
    plan: Option<&str>,
    after: AccountPosition,
    limit: i64,
) -> Result<Vec<StoredAccount>, Error> {
    let AccountPosition { version, tenant } = after;
    match plan {
        Some(plan) => {
            let sql = format!(
                "select {COLUMNS} from omni_billing_accounts where plan = $1 and (plan_version, tenant_id) > ($2, $3)
                order by plan_version, tenant_id limit $4"
            );
            tx.query(AssertSqlSafe(sql)).bind(plan).bind(version).bind(tenant).bind(limit).fetch_all().await
        }
        None => {
            let sql = format!(
                "select {COLUMNS} from omni_billing_accounts
                where tenant_id > $1 and (closed_until is null or closed_until < $3) order by tenant_id limit $2"
            );
            tx.query(AssertSqlSafe(sql)).bind(tenant).bind(limit).bind(closed_for_ever()).fetch_all().await
        }
    }
}

/// An override as it is stored.
#[derive(FromRow)]
struct StoredOverride {
    id: Id<PlanOverride>,
    kind: String,
    name: String,
    value: Option<i64>,
    reason: String,
    created_by: UserId,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
}

impl StoredOverride {
    fn read(self) -> Result<PlanOverride, Error> {
        let Self { id, kind, name, value, reason, created_by, created_at, expires_at } = self;
        let kind = read_kind(id, &kind)?;
        Ok(PlanOverride { id, kind, name, value, reason, created_by, created_at, expires_at })
    }
}

fn read_kind(id: Id<PlanOverride>, kind: &str) -> Result<OverrideKind, Error> {
    OverrideKind::from_stored(kind).ok_or_else(|| Error::unreadable("omni_plan_overrides", id, "kind"))
}

/// Returns the overrides of a tenant that have not expired.
pub(super) async fn overrides(tx: &mut Tx, tenant: TenantId, now: Timestamp) -> Result<Vec<PlanOverride>, Error> {
    let sql = "select id, kind, name, value, reason, created_by, created_at, expires_at from omni_plan_overrides
        where tenant_id = $1 and (expires_at is null or expires_at > $2) order by kind, name";
    let rows: Vec<StoredOverride> = tx.query(sql).bind(tenant).bind(now).fetch_all().await?;
    rows.into_iter().map(StoredOverride::read).collect()
}

/// Stores an override, in place of that of the same feature or limit.
pub(super) async fn set_override(tx: &mut Tx, tenant: TenantId, set: &PlanOverride) -> Result<(), Error> {
    let sql = "insert into omni_plan_overrides
        (id, tenant_id, kind, name, value, reason, created_by, created_at, expires_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        on conflict (tenant_id, kind, name) do update set id = excluded.id, value = excluded.value,
        reason = excluded.reason, created_by = excluded.created_by, created_at = excluded.created_at,
        expires_at = excluded.expires_at";
    let insert = tx.query(sql).bind(set.id).bind(tenant).bind(set.kind.as_str()).bind(set.name.as_str());
    let insert = insert.bind(set.value).bind(set.reason.as_str()).bind(set.created_by);
    insert.bind(set.created_at).bind(set.expires_at).execute().await.map(drop)
}

/// Deletes an override. Returns its kind and its name, or `None` if the tenant has no such override.
pub(super) async fn delete_override(
    tx: &mut Tx,
    tenant: TenantId,
    id: Id<PlanOverride>,
) -> Result<Option<(OverrideKind, String)>, Error> {
    let sql = "delete from omni_plan_overrides where id = $1 and tenant_id = $2 returning kind, name";
    let deleted: Option<(String, String)> = tx.query(sql).bind(id).bind(tenant).fetch_optional().await?;
    deleted.map(|(kind, name)| Ok((read_kind(id, &kind)?, name))).transpose()
}

/// Deletes overrides of all tenants that expired before a time, at most `limit`. Returns their number.
pub(super) async fn delete_overrides(tx: &mut Tx, before: Timestamp, limit: u64) -> Result<u64, Error> {
    let sql = "delete from omni_plan_overrides where id in (
        select id from omni_plan_overrides where expires_at < $1 order by expires_at limit $2)";
    tx.query(sql).bind(before).bind(i64::try_from(limit).unwrap_or(i64::MAX)).execute().await
}

/// Returns the number of the last change of any account.
pub(super) async fn revision(db: &Db) -> Result<i64, Error> {
    let (revision,): (i64,) = db.query("select revision from omni_billing_state where id = 1").fetch_one().await?;
    Ok(revision)
}

/// Returns the tenants whose accounts were changed after a revision, at most `limit`.
pub(super) async fn changed_since(tx: &mut Tx, revision: i64, limit: usize) -> Result<Vec<TenantId>, Error> {
    // The second condition lets PostgreSQL use the partial index.
    let sql = "select tenant_id from omni_billing_accounts where revision > $1 and revision > 0 limit $2";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows: Vec<(TenantId,)> = tx.query(sql).bind(revision).bind(limit).fetch_all().await?;
    Ok(rows.into_iter().map(|(tenant,)| tenant).collect())
}
