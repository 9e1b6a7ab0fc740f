//! Reads the usage of users, API keys and categories, from rows of whole months and of the days before and after them.

use std::collections::HashMap;

use omnistack_core::{
    clock::Timestamp,
    db::{Arguments, Error, Tx},
    identity::{TenantId, UserId},
    usage::DataEnvironment,
};
use serde::{Deserialize, Serialize};
use sqlx::AssertSqlSafe;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    numbers::Intervals,
    range::ReportRange,
    store::{MeterNames, by_meter, column_of, sum_of, total, units},
};
use crate::meter::Meter;

/// The property that usage is broken down by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum BreakdownBy {
    /// The category of the events, such as the model or the route.
    #[default]
    Category,
    /// The API key of the requests.
    ApiKey,
    /// The user.
    User,
}

/// The usage that is broken down: that of a tenant, or that of a user in all tenants.
#[derive(Clone, Copy, Debug)]
pub(super) enum BreakdownScope {
    Tenant(TenantId),
    User(UserId),
}

impl BreakdownScope {
    /// Binds the id, and returns the condition.
    fn condition(self, args: &mut Arguments) -> String {
        match self {
            Self::Tenant(tenant) => format!("tenant_id = ${}", args.push(tenant)),
            Self::User(user) => format!("user_id = ${}", args.push(user)),
        }
    }
}

/// The usage of one value, in the smallest units of the meter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BreakdownPart {
    /// The category or the id. `None` for events without any.
    pub(super) value: Option<String>,
    pub(super) units: i64,
    pub(super) events: i64,
}

/// The values with the largest usage, and the usage of all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct BreakdownParts {
    pub(super) parts: Vec<BreakdownPart>,
    pub(super) total: i64,
}

/// A row of a breakdown: the value, the two parts of its sum, its events, and the two parts of the sum of all values.
type PartRow<T> = (T, i64, i64, i64, i64, i64);

/// Returns the values with the largest usage of a meter that adds up.
pub(super) async fn breakdown(
    tx: &mut Tx,
    scope: BreakdownScope,
    environment: DataEnvironment,
    meter: &Meter,
    by: BreakdownBy,
    range: ReportRange,
    limit: u32,
) -> Result<BreakdownParts, Error> {
    let column = match by {
        BreakdownBy::Category => "category",
        BreakdownBy::ApiKey => "api_key_id",
        BreakdownBy::User => "user_id",
    };
    let mut args = Arguments::new(tx.dialect());
    let of_scope = scope.condition(&mut args);
    let (environment, name) = (args.push(environment.as_str()), args.push(meter.name));
    let condition = format!("{of_scope} and environment = ${environment} and meter = ${name}");
    let amount = column_of(meter.aggregation);
    let used = segments(&mut args, range, &format!("{column} as part, {amount} as amount, events"), &condition);
    let (sums, limit) = (sum_of("amount"), args.push(i64::from(limit)));
    // Sorted by decimal numbers, for which no sum is too large.
    let sql = format!(
        "with parts as (
            select part, {sums}, cast(sum(events) as bigint) as events from ({used}) as used group by part
        )
        select part, millions, rest, events, cast(sum(millions) over () as bigint), cast(sum(rest) over () as bigint)
        from parts order by millions * 1000000.0 + rest desc, part limit ${limit}"
    );
    let query = tx.query(AssertSqlSafe(sql)).args(args);
    if by == BreakdownBy::Category {
        let rows: Vec<PartRow<String>> = query.fetch_all().await?;
        Ok(parts(meter, rows, |category| Some(category).filter(|category| !category.is_empty())))
    } else {
        let rows: Vec<PartRow<Uuid>> = query.fetch_all().await?;
        Ok(parts(meter, rows, |id| Some(id).filter(|id| !id.is_nil()).map(|id| id.to_string())))
    }
}

fn parts<T>(meter: &Meter, rows: Vec<PartRow<T>>, value: impl Fn(T) -> Option<String>) -> BreakdownParts {
    let all = rows.first().map_or(0, |(.., millions, rest)| units(meter, total(*millions, *rest)));
    let part = |(name, millions, rest, events, ..): PartRow<T>| BreakdownPart {
        value: value(name),
        units: units(meter, total(millions, rest)),
        events,
    };
    BreakdownParts { parts: rows.into_iter().map(part).collect(), total: all }
}

/// Returns the statement that selects the rows of a range, and binds the times. It is a union of at most three selects,
/// so that each reads a range of an index.
fn segments(args: &mut Arguments, range: ReportRange, columns: &str, condition: &str) -> String {
    let selects = range.segments().into_iter().map(|segment| {
        let (grain, start, end) = (segment.grain, args.push(segment.start), args.push(segment.end));
        format!(
            "select {columns} from omni_usage_dimensions
            where {condition} and grain = '{grain}' and start >= ${start} and start < ${end}"
        )
    });
    selects.collect::<Vec<_>>().join(" union all ")
}

/// Returns what a user has used in all tenants in a range, in smallest units and in events, by meters that add up.
pub(super) async fn totals_of_user(
    tx: &mut Tx,
    user: UserId,
    environment: DataEnvironment,
    meters: &[&Meter],
    range: ReportRange,
) -> Result<HashMap<String, (i64, i64)>, Error> {
    let mut args = Arguments::new(tx.dialect());
    let names = MeterNames::push(&mut args, meters);
    let condition = condition_of_user(&mut args, &names, user, environment);
    let amount = names.amount();
    let used = segments(&mut args, range, &format!("meter, {amount} as amount, events"), &condition);
    let sums = sum_of("amount");
    let sql =
        format!("select meter, {sums}, cast(sum(events) as bigint) as events from ({used}) as used group by meter");
    let rows: Vec<(String, i64, i64, i64)> = tx.query(AssertSqlSafe(sql)).args(args).fetch_all().await?;
    let mut all = HashMap::new();
    for (name, millions, rest, events) in rows {
        if let Some(meter) = meters.iter().find(|meter| meter.name == name) {
            all.insert(name, (units(meter, total(millions, rest)), events));
        }
    }
    Ok(all)
}

/// Returns what a user has used in all tenants on each day of a range, by meters that add up.
pub(super) async fn days_of_user(
    tx: &mut Tx,
    user: UserId,
    environment: DataEnvironment,
    meters: &[&Meter],
    range: ReportRange,
) -> Result<HashMap<String, Intervals>, Error> {
    let mut args = Arguments::new(tx.dialect());
    let names = MeterNames::push(&mut args, meters);
    let condition = condition_of_user(&mut args, &names, user, environment);
    let (start, end) = (args.push(range.start), args.push(range.end));
    let sums = sum_of(&names.amount());
    let sql = format!(
        "select meter, start, {sums} from omni_usage_dimensions
        where {condition} and grain = 'day' and start >= ${start} and start < ${end} group by meter, start"
    );
    let rows: Vec<(String, Timestamp, i64, i64)> = tx.query(AssertSqlSafe(sql)).args(args).fetch_all().await?;
    let rows = rows.into_iter().map(|(meter, start, millions, rest)| (meter, start, total(millions, rest)));
    Ok(by_meter(meters, rows.collect()))
}

fn condition_of_user(args: &mut Arguments, names: &MeterNames, user: UserId, environment: DataEnvironment) -> String {
    let (user, environment) = (args.push(user), args.push(environment.as_str()));
    let list = names.list();
    format!("user_id = ${user} and environment = ${environment} and meter in ({list})")
}

/// The usage of a user in all tenants, in the smallest units of the meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UserTotal {
    pub(super) user: UserId,
    pub(super) units: i64,
    pub(super) events: i64,
    /// The number of tenants in which the user has used it.
    pub(super) tenants: i64,
}

/// Returns the users with the largest usage of a meter that adds up, in all tenants.
pub(super) async fn top_users(
    tx: &mut Tx,
    environment: DataEnvironment,
    meter: &Meter,
    range: ReportRange,
    limit: u32,
) -> Result<Vec<UserTotal>, Error> {
    let mut args = Arguments::new(tx.dialect());
    let (name, environment) = (args.push(meter.name), args.push(environment.as_str()));
    let no_user = args.push(Uuid::nil());
    let condition = format!("meter = ${name} and environment = ${environment} and user_id <> ${no_user}");
    let amount = column_of(meter.aggregation);
    let used = segments(&mut args, range, &format!("user_id, tenant_id, {amount} as amount, events"), &condition);
    let (sums, limit) = (sum_of("amount"), args.push(i64::from(limit)));
    let sql = format!(
        "with parts as (
            select user_id, {sums}, cast(sum(events) as bigint) as events, count(distinct tenant_id) as tenants
            from ({used}) as used group by user_id
        )
        select user_id, millions, rest, events, tenants from parts
        order by millions * 1000000.0 + rest desc, user_id limit ${limit}"
    );
    let rows: Vec<(UserId, i64, i64, i64, i64)> = tx.query(AssertSqlSafe(sql)).args(args).fetch_all().await?;
    let user_total = |(user, millions, rest, events, tenants)| {
        let units = units(meter, total(millions, rest));
        UserTotal { user, units, events, tenants }
    };
    Ok(rows.into_iter().map(user_total).collect())
}
