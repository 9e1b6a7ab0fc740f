//! The rows of budgets, and of what is used of them.

use std::collections::{BTreeMap, BTreeSet};

use omnistack_core::{
    clock::Timestamp,
    db::{Arguments, BindValue, BulkInsert, Dialect, Error, Tx},
    identity::{ApiKeyId, TenantId, UserId},
};
use sqlx::AssertSqlSafe;

use super::{
    budget::{BudgetId, BudgetLimits, BudgetScope, BudgetUse, BudgetUseKey, BudgetWindow, UsedAmounts, subjects},
    period::{BudgetPeriod, first_id},
};
use crate::{call::AiCaller, call::CallId};

static STORE_USES: BulkInsert<12> = BulkInsert::new(
    "insert into omni_ai_budget_uses (tenant_id, subject, period_start, scope, period, spent_tokens, spent_requests,
    spent_pico, reserved_tokens, reserved_requests, reserved_pico, told_percent) values",
    "on conflict (tenant_id, subject, period_start, scope, period) do update set
    spent_tokens = excluded.spent_tokens, spent_requests = excluded.spent_requests, spent_pico = excluded.spent_pico,
    reserved_tokens = excluded.reserved_tokens, reserved_requests = excluded.reserved_requests,
    reserved_pico = excluded.reserved_pico",
);

/// Creates what is used of a budget, unless another transaction has done so.
static CREATE_USES: BulkInsert<12> = BulkInsert::new(
    "insert into omni_ai_budget_uses (tenant_id, subject, period_start, scope, period, spent_tokens, spent_requests,
    spent_pico, reserved_tokens, reserved_requests, reserved_pico, told_percent) values",
    "on conflict (tenant_id, subject, period_start, scope, period) do nothing",
);

/// Reads what is used of budgets, with the limits of those that there still are.
const SELECT_USES: &str = "select u.tenant_id, u.subject, u.period_start, u.scope, u.period, u.spent_tokens,
        u.spent_requests, u.spent_pico, u.reserved_tokens, u.reserved_requests, u.reserved_pico, u.told_percent,
        b.id as budget_id, b.limit_tokens, b.limit_pico, b.soft_percent, b.is_hard
    from omni_ai_budget_uses u left join omni_ai_budgets b on b.tenant_id = u.tenant_id and b.subject = u.subject
        and b.scope = u.scope and b.period = u.period";

/// A budget of a tenant.
#[derive(Clone, Debug, omnistack_core::db::FromRow)]
pub(crate) struct BudgetRow {
    pub(crate) id: BudgetId,
    pub(crate) tenant_id: TenantId,
    scope: String,
    pub(crate) subject: String,
    period: String,
    limit_tokens: Option<i64>,
    limit_pico: Option<i64>,
    soft_percent: Option<i32>,
    is_hard: bool,
}

impl BudgetRow {
    pub(super) fn scope(&self) -> BudgetScope {
        BudgetScope::from_stored(&self.scope)
    }

    pub(super) fn period(&self) -> BudgetPeriod {
        BudgetPeriod::from_stored(&self.period)
    }

    pub(super) fn limits(&self) -> BudgetLimits {
        BudgetLimits {
            id: Some(self.id),
            tokens: self.limit_tokens,
            requests: None,
            pico: self.limit_pico,
            soft_percent: self.soft_percent,
            is_hard: self.is_hard,
        }
    }

    /// Returns whether the budget limits calls of a caller.
    pub(super) fn applies_to(&self, caller: &AiCaller) -> bool {
        self.tenant_id == caller.tenant
            && subjects(caller).iter().any(|(scope, subject)| *scope == self.scope() && *subject == self.subject)
    }
}

/// Returns the budgets that can apply to callers.
pub(super) async fn budgets_of(tx: &mut Tx, callers: &[&AiCaller]) -> Result<Vec<BudgetRow>, Error> {
    if callers.is_empty() {
        return Ok(Vec::new());
    }
    let tenants: BTreeSet<TenantId> = callers.iter().map(|caller| caller.tenant).collect();
    let names: BTreeSet<String> =
        callers.iter().flat_map(|caller| subjects(caller)).map(|(_, subject)| subject).collect();
    let mut args = Arguments::new(tx.dialect());
    let (tenants, names) = (list(&mut args, tenants), list(&mut args, names));
    let sql = format!(
        "select id, tenant_id, scope, subject, period, limit_tokens, limit_pico, soft_percent, is_hard
        from omni_ai_budgets where tenant_id in ({tenants}) and subject in ({names})"
    );
    tx.query(AssertSqlSafe(sql)).args(args).fetch_all().await
}

/// A row of the counters of a budget with its limits, or of a budget without counters.
#[derive(omnistack_core::db::FromRow)]
struct UseRow {
    tenant_id: TenantId,
    subject: String,
    /// Null for a budget alone.
    period_start: Option<Timestamp>,
    scope: String,
    period: String,
    spent_tokens: i64,
    spent_requests: i64,
    spent_pico: i64,
    reserved_tokens: i64,
    reserved_requests: i64,
    reserved_pico: i64,
    told_percent: i32,
    budget_id: Option<BudgetId>,
    limit_tokens: Option<i64>,
    limit_pico: Option<i64>,
    soft_percent: Option<i32>,
    is_hard: Option<bool>,
}

impl UseRow {
    fn into_budget(self) -> Option<BudgetRow> {
        Some(BudgetRow {
            id: self.budget_id?,
            tenant_id: self.tenant_id,
            scope: self.scope,
            subject: self.subject,
            period: self.period,
            limit_tokens: self.limit_tokens,
            limit_pico: self.limit_pico,
            soft_percent: self.soft_percent,
            is_hard: self.is_hard?,
        })
    }

    fn into_pair(self) -> Option<(BudgetUseKey, BudgetUse)> {
        let limits = self.budget_id.map(|id| BudgetLimits {
            id: Some(id),
            tokens: self.limit_tokens,
            requests: None,
            pico: self.limit_pico,
            soft_percent: self.soft_percent,
            is_hard: self.is_hard.unwrap_or(false),
        });
        let window = BudgetWindow {
            subject: self.subject,
            start: self.period_start?,
            scope: BudgetScope::from_stored(&self.scope),
            period: BudgetPeriod::from_stored(&self.period),
        };
        let spent = UsedAmounts { tokens: self.spent_tokens, requests: self.spent_requests, pico: self.spent_pico };
        let reserved =
            UsedAmounts { tokens: self.reserved_tokens, requests: self.reserved_requests, pico: self.reserved_pico };
        let used = BudgetUse { spent, reserved, told_percent: self.told_percent, limits };
        Some((BudgetUseKey { tenant: self.tenant_id, window }, used))
    }
}

/// Returns what is used of budgets, for those keys that there are. With `lock`, it waits for other transactions that
/// change them, and they wait for this one.
pub(super) async fn uses_of(
    tx: &mut Tx,
    keys: &BTreeSet<BudgetUseKey>,
    lock: bool,
) -> Result<BTreeMap<BudgetUseKey, BudgetUse>, Error> {
    if keys.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut args = Arguments::new(tx.dialect());
    let [tenants, names, starts] = key_lists(&mut args, keys);
    let locking = if lock && tx.dialect() == Dialect::Postgres {
        " order by u.tenant_id, u.subject, u.period_start, u.scope, u.period for update of u"
    } else {
        ""
    };
    let sql = format!(
        "{SELECT_USES} where u.tenant_id in ({tenants}) and u.subject in ({names})
            and u.period_start in ({starts}){locking}"
    );
    let rows: Vec<UseRow> = tx.query(AssertSqlSafe(sql)).args(args).fetch_all().await?;
    Ok(uses_by_key(rows, keys))
}

/// Returns the budgets with the subjects of keys, and what [`uses_of`] returns for the keys, by one statement. It locks
/// nothing: it is for SQLite, which has one writer.
pub(super) async fn budgets_and_uses_of(
    tx: &mut Tx,
    keys: &BTreeSet<BudgetUseKey>,
) -> Result<(Vec<BudgetRow>, BTreeMap<BudgetUseKey, BudgetUse>), Error> {
    if keys.is_empty() {
        return Ok((Vec::new(), BTreeMap::new()));
    }
    let mut args = Arguments::new(tx.dialect());
    let [tenants, names, starts] = key_lists(&mut args, keys);
    let sql = format!(
        "{SELECT_USES} where u.tenant_id in ({tenants}) and u.subject in ({names}) and u.period_start in ({starts})
        union all select tenant_id, subject, null, scope, period, 0, 0, 0, 0, 0, 0, 0, id, limit_tokens, limit_pico,
            soft_percent, is_hard
        from omni_ai_budgets where tenant_id in ({tenants}) and subject in ({names})"
    );
    let rows: Vec<UseRow> = tx.query(AssertSqlSafe(sql)).args(args).fetch_all().await?;
    let (budgets, uses): (Vec<UseRow>, Vec<UseRow>) = rows.into_iter().partition(|row| row.period_start.is_none());
    Ok((budgets.into_iter().filter_map(UseRow::into_budget).collect(), uses_by_key(uses, keys)))
}

/// Adds the tenants, the subjects and the starts of keys. Returns the lists of their placeholders.
fn key_lists(args: &mut Arguments, keys: &BTreeSet<BudgetUseKey>) -> [String; 3] {
    let tenants: BTreeSet<TenantId> = keys.iter().map(|key| key.tenant).collect();
    let names: BTreeSet<String> = keys.iter().map(|key| key.window.subject.clone()).collect();
    let starts: BTreeSet<Timestamp> = keys.iter().map(|key| key.window.start).collect();
    [list(args, tenants), list(args, names), list(args, starts)]
}

/// Returns rows by their keys. The lists of a statement also match the subject of one key with the start of another one.
fn uses_by_key(rows: Vec<UseRow>, keys: &BTreeSet<BudgetUseKey>) -> BTreeMap<BudgetUseKey, BudgetUse> {
    rows.into_iter().filter_map(UseRow::into_pair).filter(|(key, _)| keys.contains(key)).collect()
}

/// Creates what is used of budgets whose period has no row yet, from the calls in the ledger. Calls that are open now
/// count when they end.
pub(super) async fn create_uses(tx: &mut Tx, keys: &BTreeSet<BudgetUseKey>) -> Result<(), Error> {
    if tx.dialect() == Dialect::Postgres {
        // A call that ends at the same time is in the sum, or finds the new row.
        let tenants: BTreeSet<TenantId> = keys.iter().map(|key| key.tenant).collect();
        for tenant in tenants {
            let lock = "select id from omni_ai_calls where tenant_id = $1 and status = 'open' order by id for update";
            tx.query(lock).bind(tenant).fetch_all::<(CallId,)>().await?;
        }
    }
    let mut rows = Vec::with_capacity(keys.len());
    for key in keys {
        let spent = spent_of(tx, key).await?;
        rows.push((key, BudgetUse { spent, ..BudgetUse::default() }));
    }
    let rows: Vec<_> = rows.iter().map(|(key, used)| (*key, used)).collect();
    CREATE_USES.execute(tx, &rows, bind_use).await.map(drop)
}

/// Returns what the calls that have ended have used in the period of a budget.
async fn spent_of(tx: &mut Tx, key: &BudgetUseKey) -> Result<UsedAmounts, Error> {
    let BudgetUseKey { tenant, window } = key;
    let mut args = Arguments::new(tx.dialect());
    args.push(*tenant);
    args.push(first_id(window.start));
    args.push(first_id(window.period.end(window.start)));
    let subject = match window.scope {
        BudgetScope::Tenant => String::new(),
        BudgetScope::Plan => format!(" and environment = ${}", args.push(window.subject.clone())),
        // A subject that is no id has no calls.
        BudgetScope::User => format!(" and user_id = ${}", args.push(window.subject.parse::<UserId>().ok())),
        BudgetScope::Key => format!(" and api_key_id = ${}", args.push(window.subject.parse::<ApiKeyId>().ok())),
    };
    let sql = format!(
        "select cast(coalesce(sum(input_tokens + output_tokens), 0) as bigint),
            cast(coalesce(sum(case when status in ('failed', 'cancelled') and input_tokens + output_tokens = 0
                then 0 else 1 end), 0) as bigint),
            cast(coalesce(sum(cost_pico / 1000000), 0) as bigint),
            cast(coalesce(sum(cost_pico % 1000000), 0) as bigint)
        from omni_ai_calls where tenant_id = $1 and id >= $2 and id < $3 and status <> 'open'{subject}"
    );
    let sums: (i64, i64, i64, i64) = tx.query(AssertSqlSafe(sql)).args(args).fetch_one().await?;
    let (tokens, requests, millions, rest) = sums;
    Ok(UsedAmounts { tokens, requests, pico: whole_sum(millions, rest) })
}

/// Stores what is used of budgets. The transaction has locked the rows.
pub(super) async fn store_uses(tx: &mut Tx, uses: &[(&BudgetUseKey, &BudgetUse)]) -> Result<(), Error> {
    STORE_USES.execute(tx, uses, bind_use).await.map(drop)
}

fn bind_use(args: &mut Arguments, (key, used): &(&BudgetUseKey, &BudgetUse)) {
    let BudgetUseKey { tenant, window } = key;
    args.push(*tenant);
    args.push(window.subject.clone());
    args.push(window.start);
    args.push(window.scope.as_str());
    args.push(window.period.as_str());
    for amounts in [used.spent, used.reserved] {
        args.push(amounts.tokens);
        args.push(amounts.requests);
        args.push(amounts.pico);
    }
    args.push(used.told_percent);
}

/// Sets the share that a tenant is told of, unless it was told of as much. Returns whether it was not.
pub(super) async fn set_told(tx: &mut Tx, key: &BudgetUseKey, percent: i32) -> Result<bool, Error> {
    let BudgetUseKey { tenant, window } = key;
    let sql = "update omni_ai_budget_uses set told_percent = $6 where tenant_id = $1 and subject = $2
        and period_start = $3 and scope = $4 and period = $5 and told_percent < $6";
    let update = tx.query(sql).bind(*tenant).bind(window.subject.clone()).bind(window.start);
    let update = update.bind(window.scope.as_str()).bind(window.period.as_str()).bind(percent);
    Ok(update.execute().await? > 0)
}

/// Adds values, and returns the list of their placeholders. The last value is repeated until their number is a power of
/// two, so that there are few different statements, each of which is prepared once.
pub(super) fn list<T: BindValue + Clone>(args: &mut Arguments, values: impl IntoIterator<Item = T>) -> String {
    let values: Vec<T> = values.into_iter().collect();
    let Some(last) = values.last().cloned() else { return "null".to_owned() };
    let repeated = values.len().next_power_of_two() - values.len();
    let all = values.into_iter().chain(std::iter::repeat_n(last, repeated));
    all.map(|value| format!("${}", args.push(value))).collect::<Vec<_>>().join(", ")
}

/// Returns the sum of pico-USD of which a database has added up the millions and the rests; at most the largest number.
pub(crate) fn whole_sum(millions: i64, rest: i64) -> i64 {
    let sum = i128::from(millions) * 1_000_000 + i128::from(rest);
    i64::try_from(sum).unwrap_or(i64::MAX)
}
