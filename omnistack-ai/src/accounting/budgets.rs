//! Budgets as tenants and operators see and change them.

use std::collections::BTreeSet;

use omnistack_core::{
    audit::{AuditEntry, AuditLog},
    clock::Timestamp,
    db::{self, Arguments, Dialect, Tx},
    http::{CursorPage, Error, FieldError, StatusCode},
    identity::{Identity, TenantId},
};
use rust_decimal::Decimal;
use serde::Serialize;
use serde_json::json;
use sqlx::AssertSqlSafe;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    budget::{BudgetId, BudgetScope, BudgetUseKey, BudgetWindow},
    handle::Accounting,
    period::BudgetPeriod,
    use_store,
};
use crate::catalog::Cost;

/// Largest number of budgets of a tenant.
const MAX_BUDGETS_PER_TENANT: i64 = 10_000;
/// Number of decimals of an amount in US dollars.
const USD_DECIMALS: u32 = 12;

/// A budget, and what is used of it in its current period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct AiBudget {
    /// The id of the budget.
    #[schema(value_type = String, format = Uuid)]
    pub(crate) id: BudgetId,
    /// The tenant.
    #[schema(value_type = String, format = Uuid)]
    pub(crate) tenant_id: TenantId,
    /// The scope of the budget: the calls that it limits.
    pub(crate) scope: BudgetScope,
    /// The id of the user or of the API key; `null` for the budget of the tenant.
    #[schema(required)]
    pub(crate) subject: Option<String>,
    /// The period for which the budget is.
    pub(crate) period: BudgetPeriod,
    /// The limit of tokens; `null` if there is none.
    #[schema(required)]
    pub(crate) limit_tokens: Option<i64>,
    /// The limit of costs in US dollars; `null` if there is none.
    #[schema(required)]
    pub(crate) limit_cost: Option<Cost>,
    /// The share of a limit, in percent, at which the tenant is told; `null` if it is told only of the limit.
    #[schema(required)]
    pub(crate) soft_percent: Option<i32>,
    /// Whether calls beyond the limit are refused.
    pub(crate) hard: bool,
    /// Whether an operator has set it. The tenant can't change it then.
    pub(crate) by_operator: bool,
    /// The start of the current period, in UTC; 1970-01-01T00:00:00Z for all time.
    pub(crate) period_start: Timestamp,
    /// The tokens that are used in the current period. It is 0 before the first call.
    pub(crate) spent_tokens: i64,
    /// The costs in the current period.
    pub(crate) spent_cost: Cost,
    /// The tokens that calls have reserved that have not ended.
    pub(crate) reserved_tokens: i64,
    /// The costs that calls have reserved that have not ended.
    pub(crate) reserved_cost: Cost,
    /// The time of creation.
    pub(crate) created_at: Timestamp,
    /// The time of the last change.
    pub(crate) updated_at: Timestamp,
}

/// The actor that changes budgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BudgetOwner {
    /// A tenant, which changes its own.
    Tenant(TenantId),
    /// An operator, who changes those of all tenants.
    Operator,
}

/// The limits of a budget as they are sent.
#[derive(Clone, Debug)]
pub(crate) struct BudgetValues {
    pub(crate) limit_tokens: Option<u64>,
    /// US dollars as a decimal number.
    pub(crate) limit_cost: Option<String>,
    pub(crate) soft_percent: Option<u8>,
    pub(crate) hard: bool,
}

/// A selection of budgets.
#[derive(Clone, Debug)]
pub(crate) struct BudgetFilter {
    pub(crate) tenant: Option<TenantId>,
    pub(crate) scope: Option<BudgetScope>,
}

/// Limits that were checked.
#[derive(Clone, Copy, Debug)]
struct CheckedLimits {
    tokens: Option<i64>,
    pico: Option<i64>,
    soft_percent: Option<i32>,
    hard: bool,
}

impl BudgetValues {
    fn check(&self) -> Result<CheckedLimits, Error> {
        let mut problems = Vec::new();
        let tokens = self.limit_tokens.map(i64::try_from).transpose();
        let tokens = tokens.unwrap_or_else(|_| {
            problems.push(FieldError::new("limit_tokens", "is too large"));
            None
        });
        let pico = self.limit_cost.as_deref().map(pico_of).transpose();
        let pico = pico.unwrap_or_else(|problem| {
            problems.push(FieldError::new("limit_cost", problem));
            None
        });
        if self.limit_tokens.is_none() && self.limit_cost.is_none() {
            problems.push(FieldError::new("limit_tokens", "is required, unless `limit_cost` is set"));
        }
        if !problems.is_empty() {
            return Err(Error::invalid(problems));
        }
        Ok(CheckedLimits { tokens, pico, soft_percent: self.soft_percent.map(i32::from), hard: self.hard })
    }
}

/// Returns the pico-USD of an amount in US dollars.
fn pico_of(usd: &str) -> Result<i64, &'static str> {
    let amount = Decimal::from_str_exact(usd).map_err(|_| "must be a decimal number, such as `25.50`")?.normalize();
    if amount.is_sign_negative() && !amount.is_zero() {
        return Err("must not be negative");
    }
    if amount.scale() > USD_DECIMALS {
        return Err("must have at most 12 decimals");
    }
    let factor = 10_i128.pow(USD_DECIMALS - amount.scale());
    let pico = amount.mantissa().checked_mul(factor).and_then(|pico| i64::try_from(pico).ok());
    pico.ok_or("must be at most 9,000,000")
}

#[derive(omnistack_core::db::FromRow)]
struct BudgetWithUse {
    id: BudgetId,
    tenant_id: TenantId,
    scope: String,
    subject: String,
    period: String,
    limit_tokens: Option<i64>,
    limit_pico: Option<i64>,
    soft_percent: Option<i32>,
    is_hard: bool,
    by_operator: bool,
    created_at: Timestamp,
    updated_at: Timestamp,
    spent_tokens: Option<i64>,
    spent_pico: Option<i64>,
    reserved_tokens: Option<i64>,
    reserved_pico: Option<i64>,
}

impl BudgetWithUse {
    fn into_budget(self, now: Timestamp) -> AiBudget {
        let period = BudgetPeriod::from_stored(&self.period);
        let cost = |pico: Option<i64>| Cost::from_pico(pico.unwrap_or(0));
        AiBudget {
            id: self.id,
            tenant_id: self.tenant_id,
            scope: BudgetScope::from_stored(&self.scope),
            subject: Some(self.subject).filter(|subject| !subject.is_empty()),
            period,
            limit_tokens: self.limit_tokens,
            limit_cost: self.limit_pico.map(Cost::from_pico),
            soft_percent: self.soft_percent,
            hard: self.is_hard,
            by_operator: self.by_operator,
            period_start: period.start(now),
            spent_tokens: self.spent_tokens.unwrap_or(0),
            spent_cost: cost(self.spent_pico),
            reserved_tokens: self.reserved_tokens.unwrap_or(0),
            reserved_cost: cost(self.reserved_pico),
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }
}

impl Accounting {
    /// Returns a page of budgets, the newest first.
    ///
    /// # Errors
    /// 422 for a cursor of another list; the errors of the database.
    pub(crate) async fn budgets(
        &self,
        filter: &BudgetFilter,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<CursorPage<AiBudget>, Error> {
        let before = cursor.map(str::parse::<Uuid>).transpose();
        let before = before
            .map_err(|_| Error::invalid([FieldError::new("cursor", "must be the `next_cursor` of a previous page")]))?;
        let mut tx = match filter.tenant {
            Some(tenant) => self.db().tenant(tenant).begin_read().await?,
            // An operator sees the budgets of all tenants.
            None => self.db().all_tenants().begin_read().await?,
        };
        let mut conditions = Vec::new();
        let mut args = Arguments::new(tx.dialect());
        if let Some(tenant) = filter.tenant {
            conditions.push(format!("b.tenant_id = ${}", args.push(tenant)));
        }
        if let Some(scope) = filter.scope {
            conditions.push(format!("b.scope = ${}", args.push(scope.as_str())));
        }
        if let Some(before) = before {
            conditions.push(format!("b.id < ${}", args.push(before)));
        }
        let end = format!("order by b.id desc limit ${}", args.push(i64::from(limit) + 1));
        let mut budgets = self.select(&mut tx, args, &conditions, &end).await?;
        tx.commit().await?;
        let size = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_more = budgets.len() > size;
        budgets.truncate(size);
        let next_cursor = budgets.last().filter(|_| has_more).map(|last| last.id.to_string());
        Ok(CursorPage { items: budgets, next_cursor })
    }

    /// Creates a budget. What was used before in its current period counts.
    ///
    /// # Errors
    /// 409 if there is one of the same subject and period, or too many; 422 for values that are not accepted; the
    /// errors of the database.
    pub(crate) async fn create_budget(
        &self,
        caller: &Identity,
        log: &AuditLog,
        owner: BudgetOwner,
        tenant: TenantId,
        (scope, subject, period): (BudgetScope, Option<Uuid>, BudgetPeriod),
        values: &BudgetValues,
    ) -> Result<AiBudget, Error> {
        let subject = subject_text(scope, subject)?;
        let limits = values.check()?;
        let now = self.clock().now();
        let id = BudgetId::new(now);
        let mut tx = self.db().tenant(tenant).begin().await?;
        let counted = "select count(*) from omni_ai_budgets where tenant_id = $1";
        let (count,): (i64,) = tx.query(counted).bind(tenant).fetch_one().await?;
        if count >= MAX_BUDGETS_PER_TENANT {
            let message = format!("the tenant has {MAX_BUDGETS_PER_TENANT} budgets; delete one first");
            return Err(Error::conflict("TOO_MANY_BUDGETS", message));
        }
        let sql = "insert into omni_ai_budgets (id, tenant_id, scope, subject, period, limit_tokens, limit_pico,
            soft_percent, is_hard, by_operator, created_at, updated_at)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11)";
        let insert = tx.query(sql).bind(id).bind(tenant).bind(scope.as_str()).bind(subject.clone());
        let insert = insert.bind(period.as_str());
        let insert = insert.bind(limits.tokens).bind(limits.pico).bind(limits.soft_percent).bind(limits.hard);
        insert.bind(owner == BudgetOwner::Operator).bind(now).execute().await?;
        let window = BudgetWindow { subject, start: period.start(now), scope, period };
        use_store::create_uses(&mut tx, &BTreeSet::from([BudgetUseKey { tenant, window }])).await?;
        // There may be a row of an earlier budget, which the tenant was told of.
        tell_again(&mut tx, tenant, id).await?;
        let budget = self.changed(&mut tx, caller, log, "ai_budget.created", tenant, id).await?;
        tx.commit().await?;
        Ok(budget)
    }

    /// Replaces the limits of a budget.
    ///
    /// # Errors
    /// 403 `BUDGET_OF_OPERATOR` if a tenant changes the budget that an operator has set; 404; 422; the errors of the
    /// database.
    pub(crate) async fn update_budget(
        &self,
        caller: &Identity,
        log: &AuditLog,
        owner: BudgetOwner,
        id: BudgetId,
        values: &BudgetValues,
    ) -> Result<AiBudget, Error> {
        let limits = values.check()?;
        let (mut tx, tenant) = self.begin_change(owner, id).await?;
        let sql = "update omni_ai_budgets set limit_tokens = $3, limit_pico = $4, soft_percent = $5, is_hard = $6,
            updated_at = $7 where id = $1 and tenant_id = $2";
        let update = tx.query(sql).bind(id).bind(tenant).bind(limits.tokens).bind(limits.pico);
        let update = update.bind(limits.soft_percent).bind(limits.hard).bind(self.clock().now());
        update.execute().await?;
        tell_again(&mut tx, tenant, id).await?;
        let budget = self.changed(&mut tx, caller, log, "ai_budget.updated", tenant, id).await?;
        tx.commit().await?;
        Ok(budget)
    }

    /// Deletes a budget.
    ///
    /// # Errors
    /// 403 `BUDGET_OF_OPERATOR` if a tenant deletes the budget that an operator has set; 404; the errors of the
    /// database.
    pub(crate) async fn delete_budget(
        &self,
        caller: &Identity,
        log: &AuditLog,
        owner: BudgetOwner,
        id: BudgetId,
    ) -> Result<(), Error> {
        let (mut tx, tenant) = self.begin_change(owner, id).await?;
        self.changed(&mut tx, caller, log, "ai_budget.deleted", tenant, id).await?;
        let sql = "delete from omni_ai_budgets where id = $1 and tenant_id = $2";
        tx.query(sql).bind(id).bind(tenant).execute().await?;
        Ok(tx.commit().await?)
    }

    /// Begins the change of a budget, and locks it. Returns its tenant.
    async fn begin_change(&self, owner: BudgetOwner, id: BudgetId) -> Result<(Tx, TenantId), Error> {
        let mut tx = match owner {
            BudgetOwner::Tenant(tenant) => self.db().tenant(tenant).begin().await?,
            // The tenant is not known before the row is read.
            BudgetOwner::Operator => self.db().all_tenants().begin().await?,
        };
        let lock = if tx.dialect() == Dialect::Postgres { " for update" } else { "" };
        let sql = format!("select tenant_id, by_operator from omni_ai_budgets where id = $1{lock}");
        let found = tx.query(AssertSqlSafe(sql)).bind(id).fetch_optional::<(TenantId, bool)>().await?;
        let no_budget = || Error::not_found("the budget");
        let (tenant, by_operator) = found.ok_or_else(no_budget)?;
        match owner {
            // SQLite has no row-level security.
            BudgetOwner::Tenant(own) if own != tenant => Err(no_budget()),
            BudgetOwner::Tenant(_) if by_operator => {
                let message = "an operator of the app has set this budget; ask the operator to change it";
                Err(Error::new(StatusCode::FORBIDDEN, "BUDGET_OF_OPERATOR", message))
            }
            _ => Ok((tx, tenant)),
        }
    }

    /// Records a change in the audit log, and returns the budget as the transaction sees it.
    async fn changed(
        &self,
        tx: &mut Tx,
        caller: &Identity,
        log: &AuditLog,
        action: &str,
        tenant: TenantId,
        id: BudgetId,
    ) -> Result<AiBudget, Error> {
        let mut args = Arguments::new(tx.dialect());
        let conditions = [format!("b.id = ${}", args.push(id)), format!("b.tenant_id = ${}", args.push(tenant))];
        let budgets = self.select(tx, args, &conditions, "").await?;
        let budget = budgets.into_iter().next().ok_or_else(|| Error::not_found("the budget"))?;
        let details = json!({
            "scope": budget.scope, "subject": budget.subject, "period": budget.period, "hard": budget.hard,
            "limit_tokens": budget.limit_tokens, "limit_cost": budget.limit_cost, "soft_percent": budget.soft_percent,
        });
        let entry = AuditEntry::new(action).actor(caller).for_tenant(tenant).resource("ai_budget", id);
        log.record_in(tx, entry.details(details)).await?;
        Ok(budget)
    }

    async fn select(
        &self,
        tx: &mut Tx,
        mut args: Arguments,
        conditions: &[String],
        end: &str,
    ) -> Result<Vec<AiBudget>, db::Error> {
        let now = self.clock().now();
        // With one expression for the start, a use is found by its primary key. With `or`, SQLite would read the uses of
        // all tenants.
        let starts = BudgetPeriod::ALL.map(|period| {
            let start = args.push(period.start(now));
            format!("when '{}' then ${start}", period.as_str())
        });
        let (starts, conditions) = (starts.join(" "), conditions.join(" and "));
        let filter = if conditions.is_empty() { String::new() } else { format!("where {conditions}") };
        let sql = format!(
            "select b.id, b.tenant_id, b.scope, b.subject, b.period, b.limit_tokens, b.limit_pico, b.soft_percent,
                b.is_hard, b.by_operator, b.created_at, b.updated_at, u.spent_tokens, u.spent_pico, u.reserved_tokens,
                u.reserved_pico
            from omni_ai_budgets b left join omni_ai_budget_uses u on u.tenant_id = b.tenant_id
                and u.subject = b.subject and u.scope = b.scope and u.period = b.period
                and u.period_start = case b.period {starts} end
            {filter} {end}"
        );
        let rows: Vec<BudgetWithUse> = tx.query(AssertSqlSafe(sql)).args(args).fetch_all().await?;
        Ok(rows.into_iter().map(|row| row.into_budget(now)).collect())
    }
}

/// Lets the tenant be told again of what the limits of a budget make of its use.
async fn tell_again(tx: &mut Tx, tenant: TenantId, id: BudgetId) -> Result<(), db::Error> {
    let sql = "update omni_ai_budget_uses set told_percent = 0 where tenant_id = $1 and exists (
        select 1 from omni_ai_budgets b where b.id = $2 and b.tenant_id = omni_ai_budget_uses.tenant_id
        and b.subject = omni_ai_budget_uses.subject and b.scope = omni_ai_budget_uses.scope
        and b.period = omni_ai_budget_uses.period)";
    tx.query(sql).bind(tenant).bind(id).execute().await.map(drop)
}

/// Returns the subject of a budget as it is stored.
fn subject_text(scope: BudgetScope, subject: Option<Uuid>) -> Result<String, Error> {
    let problem = match (scope, subject) {
        (BudgetScope::Tenant, None) => return Ok(String::new()),
        (BudgetScope::User | BudgetScope::Key, Some(subject)) => return Ok(subject.to_string()),
        (BudgetScope::Plan, _) => {
            FieldError::new("scope", "must be `tenant`, `user` or `key`; plans have their own limits")
        }
        (BudgetScope::Tenant, Some(_)) => FieldError::new("subject", "must be null for the budget of a tenant"),
        (BudgetScope::User, None) => FieldError::new("subject", "is required: the id of the user"),
        (BudgetScope::Key, None) => FieldError::new("subject", "is required: the id of the API key"),
    };
    Err(Error::invalid([problem]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_become_pico_dollars_exactly() {
        for (usd, expected) in [
            ("25.50", Ok(25_500_000_000_000)),
            ("0.000000000001", Ok(1)),
            ("0", Ok(0)),
            ("9000000", Ok(9_000_000_000_000_000_000)),
            ("0.0000000000001", Err("must have at most 12 decimals")),
            ("10000000", Err("must be at most 9,000,000")),
            ("-1", Err("must not be negative")),
            ("1e3", Err("must be a decimal number, such as `25.50`")),
            ("", Err("must be a decimal number, such as `25.50`")),
        ] {
            assert_eq!(pico_of(usd), expected, "{usd}");
        }
    }
}
