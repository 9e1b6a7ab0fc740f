//! The sums of what calls have used.

use omnistack_core::{
    clock::Timestamp,
    data_environment::DataEnvironment,
    db::{Arguments, Dialect, Error, Tx},
    identity::{ApiKeyId, TenantId, UserId},
};
use serde::{Deserialize, Serialize};
use sqlx::AssertSqlSafe;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    accounting::{first_id, whole_sum},
    catalog::Cost,
};

/// Largest number of groups of a report.
pub(super) const MAX_GROUPS: i64 = 1_000;

/// The property by which calls are grouped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum SpendGroup {
    /// The provider that answered.
    Provider,
    /// The model that answered.
    Model,
    /// The day of the start, in UTC, such as `2030-01-31`.
    Day,
    /// The tenant.
    Tenant,
    /// The user.
    User,
    /// The API key.
    Key,
    /// The prompt version.
    Prompt,
    /// The variant of an experiment, such as `support@new`.
    Variant,
    /// The label that the app has given.
    Purpose,
}

impl SpendGroup {
    /// Returns the expressions of the name and of the id of a group. One of them is empty.
    const fn columns(self, dialect: Dialect) -> (&'static str, &'static str) {
        const NO_ID: &str = "cast(null as uuid)";
        match (self, dialect) {
            (Self::Provider, _) => ("coalesce(provider, '')", NO_ID),
            (Self::Model, _) => ("coalesce(model, asked_model)", NO_ID),
            (Self::Day, Dialect::Postgres) => ("to_char(started_at at time zone 'UTC', 'YYYY-MM-DD')", NO_ID),
            // The text of a time begins with the date.
            (Self::Day, Dialect::Sqlite) => ("substr(started_at, 1, 10)", NO_ID),
            (Self::Tenant, _) => ("''", "tenant_id"),
            (Self::User, _) => ("''", "user_id"),
            (Self::Key, _) => ("''", "api_key_id"),
            (Self::Prompt, _) => ("coalesce(prompt, '')", NO_ID),
            (Self::Variant, _) => ("coalesce(variant, '')", NO_ID),
            (Self::Purpose, _) => ("coalesce(purpose, '')", NO_ID),
        }
    }
}

/// The calls that a report is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct SpendScope {
    /// The first time, which is included.
    pub(super) from: Timestamp,
    /// The last time, which is not.
    pub(super) until: Timestamp,
    pub(super) environment: Option<DataEnvironment>,
    pub(super) tenant: Option<TenantId>,
    pub(super) user: Option<UserId>,
    pub(super) api_key: Option<ApiKeyId>,
}

impl SpendScope {
    /// Returns the condition of the calls, and adds its values.
    pub(super) fn condition(&self, args: &mut Arguments) -> String {
        let mut condition = format!("id >= ${}", args.push(first_id(self.from)));
        let mut and = |text: String| {
            condition.push_str(" and ");
            condition.push_str(&text);
        };
        and(format!("id < ${}", args.push(first_id(self.until))));
        if let Some(environment) = self.environment {
            and(format!("environment = ${}", args.push(environment.as_str())));
        }
        if let Some(tenant) = self.tenant {
            and(format!("tenant_id = ${}", args.push(tenant)));
        }
        if let Some(user) = self.user {
            and(format!("user_id = ${}", args.push(user)));
        }
        if let Some(key) = self.api_key {
            and(format!("api_key_id = ${}", args.push(key)));
        }
        condition
    }
}

/// The numbers, tokens and costs of calls. Calls that have not ended are not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct AiSpendNumbers {
    /// The number of calls.
    calls: i64,
    /// The number of calls without a complete answer: failed, interrupted or lost ones.
    failed_calls: i64,
    /// The number of calls that the caller has ended.
    cancelled_calls: i64,
    /// The number of calls that the cache of answers has answered, which cost nothing.
    cached_calls: i64,
    /// All tokens of the input.
    input_tokens: i64,
    /// Tokens of the input that were read from the cache of the provider.
    cached_input_tokens: i64,
    /// All tokens of the output, reasoning included.
    output_tokens: i64,
    /// Tokens of the output that are reasoning.
    reasoning_tokens: i64,
    /// The costs in US dollars, of the calls whose price is known.
    cost: Cost,
    /// The number of calls whose price is not known.
    calls_without_price: i64,
    /// The number of calls whose tokens are estimated.
    estimated_calls: i64,
}

impl AiSpendNumbers {
    pub(super) const fn cost(&self) -> Cost {
        self.cost
    }

    /// Returns the share of calls that the cache has answered, from 0 to 1.
    pub(super) fn cached_share(&self) -> f64 {
        if self.calls == 0 { 0.0 } else { self.cached_calls as f64 / self.calls as f64 }
    }
}

/// The use by the calls of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct AiSpendItem {
    /// The name or the id of the group; `null` for calls without one, such as those that no user has made.
    #[schema(required)]
    group: Option<String>,
    /// The use by its calls.
    usage: AiSpendNumbers,
}

#[derive(omnistack_core::db::FromRow)]
struct NumbersRow {
    group_label: String,
    group_id: Option<Uuid>,
    calls: i64,
    failed_calls: i64,
    cancelled_calls: i64,
    cached_calls: i64,
    input_tokens: i64,
    cached_input_tokens: i64,
    output_tokens: i64,
    reasoning_tokens: i64,
    millions: i64,
    rest: i64,
    calls_without_price: i64,
    estimated_calls: i64,
}

impl NumbersRow {
    fn into_item(self) -> AiSpendItem {
        let id = self.group_id.map(|id| id.to_string());
        let group = id.or(Some(self.group_label).filter(|label| !label.is_empty()));
        let usage = AiSpendNumbers {
            calls: self.calls,
            failed_calls: self.failed_calls,
            cancelled_calls: self.cancelled_calls,
            cached_calls: self.cached_calls,
            input_tokens: self.input_tokens,
            cached_input_tokens: self.cached_input_tokens,
            output_tokens: self.output_tokens,
            reasoning_tokens: self.reasoning_tokens,
            cost: Cost::from_pico(whole_sum(self.millions, self.rest)),
            calls_without_price: self.calls_without_price,
            estimated_calls: self.estimated_calls,
        };
        AiSpendItem { group, usage }
    }
}

/// The sums of calls. Pico-USD are added up in two parts, because their sum can be too large for a database.
const SUMS: &str = "count(*) as calls,
    cast(coalesce(sum(case when status in ('failed', 'interrupted', 'lost') then 1 else 0 end), 0) as bigint)
        as failed_calls,
    cast(coalesce(sum(case when status = 'cancelled' then 1 else 0 end), 0) as bigint) as cancelled_calls,
    cast(coalesce(sum(case when is_cached then 1 else 0 end), 0) as bigint) as cached_calls,
    cast(coalesce(sum(input_tokens), 0) as bigint) as input_tokens,
    cast(coalesce(sum(cached_tokens), 0) as bigint) as cached_input_tokens,
    cast(coalesce(sum(output_tokens), 0) as bigint) as output_tokens,
    cast(coalesce(sum(reasoning_tokens), 0) as bigint) as reasoning_tokens,
    cast(coalesce(sum(cost_pico / 1000000), 0) as bigint) as millions,
    cast(coalesce(sum(cost_pico % 1000000), 0) as bigint) as rest,
    cast(coalesce(sum(case when price_unknown then 1 else 0 end), 0) as bigint) as calls_without_price,
    cast(coalesce(sum(case when is_estimated then 1 else 0 end), 0) as bigint) as estimated_calls";

/// Returns what all calls have used.
pub(super) async fn total(tx: &mut Tx, scope: &SpendScope) -> Result<AiSpendNumbers, Error> {
    let mut args = Arguments::new(tx.dialect());
    let condition = scope.condition(&mut args);
    let sql = format!(
        "select '' as group_label, cast(null as uuid) as group_id, {SUMS} from omni_ai_calls
        where {condition} and status <> 'open'"
    );
    let row: NumbersRow = tx.query(AssertSqlSafe(sql)).args(args).fetch_one().await?;
    Ok(row.into_item().usage)
}

/// Returns what the calls of each group have used: days in their order, other groups with the largest costs first, at
/// most [`MAX_GROUPS`] and one more.
pub(super) async fn by_group(tx: &mut Tx, scope: &SpendScope, group: SpendGroup) -> Result<Vec<AiSpendItem>, Error> {
    let (label, id) = group.columns(tx.dialect());
    let order = if group == SpendGroup::Day { "group_label" } else { "millions desc, rest desc, calls desc" };
    let mut args = Arguments::new(tx.dialect());
    let condition = scope.condition(&mut args);
    let limit = args.push(MAX_GROUPS + 1);
    let sql = format!(
        "select {label} as group_label, {id} as group_id, {SUMS} from omni_ai_calls
        where {condition} and status <> 'open' group by group_label, group_id order by {order} limit ${limit}"
    );
    let rows: Vec<NumbersRow> = tx.query(AssertSqlSafe(sql)).args(args).fetch_all().await?;
    Ok(rows.into_iter().map(NumbersRow::into_item).collect())
}
