//! The billing periods of accounts, read and locked.

use std::collections::HashMap;

use jiff::tz::TimeZone;
use omnistack_core::{
    clock::Timestamp,
    db::{Arguments, Dialect, Error, Tx},
    identity::TenantId,
};
use sqlx::AssertSqlSafe;

use super::{
    anchors::{AnchorHistory, StoredAnchor},
    store,
};
use crate::period::PeriodSchedule;

/// The billing periods of an account, and until when its usage is billed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AccountSchedule {
    pub(crate) schedule: PeriodSchedule,
    /// Usage before this time is billed.
    pub(crate) closed_until: Option<Timestamp>,
}

impl AccountSchedule {
    /// Returns whether the tenant was deleted, so that no usage of it is stored.
    pub(crate) fn is_deleted(&self) -> bool {
        self.closed_until == Some(store::closed_for_ever())
    }
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
        let list: Vec<_> = tenants.iter().map(|tenant| args.push_next(*tenant)).collect();
        list.join(", ")
    };
    let mut args = Arguments::new(tx.dialect());
    let list = sql(&mut args);
    let accounts = format!(
        "select tenant_id, anchored_at, zone, anchor, period, closed_until from omni_billing_accounts
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
    let mut earlier: HashMap<TenantId, Vec<StoredAnchor>> = HashMap::new();
    if accounts.iter().any(|account| account.anchored_at.is_some()) {
        let mut args = Arguments::new(tx.dialect());
        let list = sql(&mut args);
        let sql = format!(
            "select tenant_id, since, zone, anchor, period from omni_billing_anchors where tenant_id in ({list})
            order by tenant_id, since"
        );
        let rows: Vec<EarlierAnchorRow> = tx.query(AssertSqlSafe(sql)).args(args).fetch_all().await?;
        for EarlierAnchorRow { tenant_id, anchor } in rows {
            earlier.entry(tenant_id).or_default().push(anchor);
        }
    }
    for account in accounts {
        let AccountRow { tenant_id, anchored_at, zone, anchor, period, closed_until } = account;
        let current = StoredAnchor { since: anchored_at.unwrap_or_default(), zone, anchor, period };
        let history = AnchorHistory { earlier: earlier.remove(&tenant_id).unwrap_or_default(), current };
        let history = history.checked(tenant_id)?;
        all.insert(tenant_id, AccountSchedule { schedule: history.schedule(), closed_until });
    }
    Ok(())
}

#[derive(omnistack_core::db::FromRow)]
struct AccountRow {
    tenant_id: TenantId,
    anchored_at: Option<Timestamp>,
    zone: String,
    anchor: Option<Timestamp>,
    period: String,
    closed_until: Option<Timestamp>,
}

#[derive(omnistack_core::db::FromRow)]
struct EarlierAnchorRow {
    tenant_id: TenantId,
    #[sqlx(flatten)]
    anchor: StoredAnchor,
}
