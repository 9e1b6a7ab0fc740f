//! The billing periods of accounts, read and locked.

use std::collections::HashMap;

use jiff::tz::TimeZone;
use omnistack_core::{
    clock::Timestamp,
    db::{Arguments, Dialect, Error, Tx},
    identity::TenantId,
};
use sqlx::AssertSqlSafe;

use crate::period::{BillingAnchor, BillingInterval, PeriodSchedule};

/// The billing periods of an account, and until when its usage is billed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AccountSchedule {
    pub(crate) schedule: PeriodSchedule,
    /// Usage before this time is billed.
    pub(crate) closed_until: Option<Timestamp>,
}

/// An anchor as a row has it. Without `anchor`, periods are calendar months.
#[derive(omnistack_core::db::FromRow)]
struct AnchorRow {
    tenant_id: TenantId,
    since: Option<Timestamp>,
    zone: String,
    anchor: Option<Timestamp>,
    period: String,
}

/// A lock of accounts, until the end of the transaction. No other transaction can change the accounts or close a period
/// meanwhile. Transactions take it before they lock anything else of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AccountLock {
    /// The lock of a transaction that records usage in one step, which locks windows in the order of their keys. Such
    /// transactions don't wait for each other here.
    Shared,
    /// The lock of a transaction of the app, which can record usage in several steps, and then locks windows in any
    /// order. No other transaction records usage of the tenants until it ends.
    Exclusive,
}

/// Loads the schedules of tenants, and locks their accounts if there is a `lock`.
pub(crate) async fn load(
    tx: &mut Tx,
    tenants: &[TenantId],
    default_zone: &TimeZone,
    lock: Option<AccountLock>,
) -> Result<HashMap<TenantId, AccountSchedule>, Error> {
    let mut all = HashMap::with_capacity(tenants.len());
    for tenants in tenants.chunks(MAX_TENANTS_PER_QUERY) {
        load_some(tx, tenants, default_zone, lock, &mut all).await?;
    }
    Ok(all)
}

/// Largest number of tenants of one statement.
const MAX_TENANTS_PER_QUERY: usize = 500;

async fn load_some(
    tx: &mut Tx,
    tenants: &[TenantId],
    default_zone: &TimeZone,
    lock: Option<AccountLock>,
    all: &mut HashMap<TenantId, AccountSchedule>,
) -> Result<(), Error> {
    // In a fixed order, so that transactions that lock several rows don't wait for each other in a circle.
    let locking = match lock.filter(|_| tx.dialect() == Dialect::Postgres) {
        None => "",
        Some(AccountLock::Shared) => " order by tenant_id for share",
        Some(AccountLock::Exclusive) => " order by tenant_id for no key update",
    };
    let sql = |args: &mut Arguments| {
        let list: Vec<String> = tenants.iter().map(|tenant| format!("${}", args.push(*tenant))).collect();
        list.join(", ")
    };
    let mut args = Arguments::new(tx.dialect());
    let list = sql(&mut args);
    let accounts = format!(
        "select tenant_id, anchored_at as since, zone, anchor, period, closed_until from omni_billing_accounts
        where tenant_id in ({list}){locking}"
    );
    let accounts: Vec<AccountRow> = tx.query(AssertSqlSafe(accounts)).args(args).fetch_all().await?;
    let calendar = PeriodSchedule::calendar_months(default_zone.clone());
    for tenant in tenants {
        all.insert(*tenant, AccountSchedule { schedule: calendar.clone(), closed_until: None });
    }
    if accounts.is_empty() {
        return Ok(());
    }
    // Only accounts whose anchor has changed have earlier ones.
    let mut earlier: HashMap<TenantId, Vec<AnchorRow>> = HashMap::new();
    if accounts.iter().any(|account| account.since.is_some()) {
        let mut args = Arguments::new(tx.dialect());
        let list = sql(&mut args);
        let sql = format!(
            "select tenant_id, since, zone, anchor, period from omni_billing_anchors where tenant_id in ({list})
            order by tenant_id, since"
        );
        let rows: Vec<AnchorRow> = tx.query(AssertSqlSafe(sql)).args(args).fetch_all().await?;
        for row in rows {
            earlier.entry(row.tenant_id).or_default().push(row);
        }
    }
    for account in accounts {
        let AccountRow { tenant_id, since, zone, anchor, period, closed_until } = account;
        let current = AnchorRow { tenant_id, since, zone, anchor, period };
        let before = earlier.remove(&tenant_id).unwrap_or_default();
        all.insert(tenant_id, AccountSchedule { schedule: schedule(before, &current), closed_until });
    }
    Ok(())
}

#[derive(omnistack_core::db::FromRow)]
struct AccountRow {
    tenant_id: TenantId,
    since: Option<Timestamp>,
    zone: String,
    anchor: Option<Timestamp>,
    period: String,
    closed_until: Option<Timestamp>,
}

/// Puts anchors together: the earlier ones in their order, then the current one.
fn schedule(earlier: Vec<AnchorRow>, current: &AnchorRow) -> PeriodSchedule {
    let mut earlier = earlier.iter();
    let Some(first) = earlier.next() else { return PeriodSchedule::new(current.anchor()) };
    earlier.chain([current]).fold(PeriodSchedule::new(first.anchor()), |schedule, row| match row.since {
        Some(since) => schedule.then(since, row.anchor()),
        None => schedule,
    })
}

impl AnchorRow {
    /// Returns the anchor. Zones and intervals were checked before they were stored; a database of time zones that no
    /// longer has a zone gives UTC.
    fn anchor(&self) -> BillingAnchor {
        let zone = TimeZone::get(&self.zone).unwrap_or(TimeZone::UTC);
        match self.anchor {
            None => PeriodSchedule::calendar_months(zone).anchor_at(Timestamp::default()).clone(),
            Some(at) => BillingAnchor::new(at, self.period.parse().unwrap_or(BillingInterval::MONTH), zone),
        }
    }
}
