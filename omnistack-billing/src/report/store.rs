//! Reads the windows of a tenant.
//!
//! Each query names all meters, because the primary key of the windows continues with the meter: the databases then
//! look up each meter, and don't read the minutes and hours of all.

use std::collections::HashMap;

use omnistack_core::{
    clock::Timestamp,
    db::{Arguments, Error, Tx},
    identity::TenantId,
    usage::DataEnvironment,
};
use sqlx::AssertSqlSafe;

use super::{
    numbers::{Intervals, MeterReport, RangeNumbers, adds_up},
    range::ReportRange,
};
use crate::{
    meter::{Aggregation, Meter},
    window::{Grain, WindowNumbers, total_start},
};

/// The usage that a report is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct UsageScope {
    pub(super) tenant: TenantId,
    pub(super) environment: DataEnvironment,
}

/// The placeholders of the names of meters in a statement.
pub(super) struct MeterNames(Vec<(Aggregation, usize)>);

impl MeterNames {
    /// Binds the names of meters.
    pub(super) fn push(args: &mut Arguments, meters: &[&Meter]) -> Self {
        Self(meters.iter().map(|meter| (meter.aggregation, args.push(meter.name))).collect())
    }

    /// Returns a list for `in (…)`. It is never empty: `null` is equal to no name.
    pub(super) fn list(&self) -> String {
        if self.0.is_empty() { "null".to_owned() } else { list(self.0.iter().map(|(_, number)| *number)) }
    }

    /// Returns the expression for what a row has counted of its meter.
    pub(super) fn amount(&self) -> String {
        let mut cases = String::new();
        for column in ["events", "max", "last", "uniques"] {
            let of_column = self.0.iter().filter(|(aggregation, _)| column_of(*aggregation) == column);
            let names = list(of_column.map(|(_, number)| *number));
            if !names.is_empty() {
                cases = format!("{cases} when meter in ({names}) then {column}");
            }
        }
        if cases.is_empty() { "sum".to_owned() } else { format!("case{cases} else sum end") }
    }
}

fn list(numbers: impl Iterator<Item = usize>) -> String {
    numbers.map(|number| format!("${number}")).collect::<Vec<_>>().join(", ")
}

/// Returns the column with what a meter has counted.
pub(super) const fn column_of(aggregation: Aggregation) -> &'static str {
    match aggregation {
        Aggregation::Sum => "sum",
        Aggregation::Count => "events",
        Aggregation::Max => "max",
        Aggregation::Last => "last",
        Aggregation::UniqueUsers | Aggregation::UniqueCategories => "uniques",
    }
}

/// Returns the value of the [column](column_of) of a meter in its smallest units.
pub(super) fn units(meter: &Meter, value: i64) -> i64 {
    match meter.aggregation {
        Aggregation::Sum | Aggregation::Max | Aggregation::Last => value,
        Aggregation::Count | Aggregation::UniqueUsers | Aggregation::UniqueCategories => {
            value.saturating_mul(10_i64.pow(meter.decimals))
        }
    }
}

/// Returns the two expressions for the sum of a column. The sum itself can be too large for a database: [`total`] puts
/// it together.
pub(super) fn sum_of(column: &str) -> String {
    format!("cast(sum({column} / 1000000) as bigint) as millions, cast(sum({column} % 1000000) as bigint) as rest")
}

/// Returns the sum of which a database has added up the millions and the rests; at most the largest number.
pub(super) fn total(millions: i64, rest: i64) -> i64 {
    let sum = i128::from(millions) * 1_000_000 + i128::from(rest);
    i64::try_from(sum).unwrap_or(if sum < 0 { i64::MIN } else { i64::MAX })
}

#[derive(omnistack_core::db::FromRow)]
struct RangeRow {
    meter: String,
    millions: i64,
    rest: i64,
    events: i64,
    most: i64,
    peak_start: Timestamp,
    latest: i64,
}

/// Returns what meters have counted in a range of days and in the range before it, in the order of the meters.
pub(super) async fn meter_reports<'a>(
    tx: &mut Tx,
    scope: UsageScope,
    meters: &[&'a Meter],
    range: ReportRange,
) -> Result<Vec<MeterReport<'a>>, Error> {
    let numbers = range_numbers(tx, scope, meters, range).await?;
    let previous = range_numbers(tx, scope, meters, range.previous()).await?;
    let reports = meters.iter().copied().map(|meter| {
        let previous = previous.get(meter.name).map(|numbers| numbers.value);
        MeterReport::new(meter, numbers.get(meter.name).copied(), previous)
    });
    Ok(reports.collect())
}

/// Returns what meters have counted in a range of days, by their names. A meter without usage is left out.
async fn range_numbers(
    tx: &mut Tx,
    scope: UsageScope,
    meters: &[&Meter],
    range: ReportRange,
) -> Result<HashMap<String, RangeNumbers>, Error> {
    let mut args = Arguments::new(tx.dialect());
    let names = MeterNames::push(&mut args, meters);
    let in_range = condition(&mut args, scope, "day", range);
    let (list, sums, amount) = (names.list(), sum_of("amount"), names.amount());
    // The peaks and the latest days are looked up afterwards. To rank all days, the databases would sort them twice.
    let sql = format!(
        "select meter, millions, rest, events, most,
            (select start from omni_usage_windows where {in_range} and meter = totals.meter and {amount} = totals.most
                order by start limit 1) as peak_start,
            (select {amount} from omni_usage_windows where {in_range} and meter = totals.meter
                and start = totals.last_day) as latest
        from (
            select meter, {sums}, cast(sum(events) as bigint) as events, max(amount) as most, max(start) as last_day
            from (
                select meter, start, events, {amount} as amount from omni_usage_windows
                where {in_range} and meter in ({list})
            ) as days group by meter
        ) as totals"
    );
    let rows: Vec<RangeRow> = tx.query(AssertSqlSafe(sql)).args(args).fetch_all().await?;
    let mut all = HashMap::new();
    for row in rows {
        let Some(meter) = meters.iter().find(|meter| meter.name == row.meter) else { continue };
        let sum_of_days = units(meter, total(row.millions, row.rest));
        let value = match meter.aggregation {
            _ if adds_up(meter) => sum_of_days,
            Aggregation::Last => row.latest,
            _ => units(meter, row.most),
        };
        let peak = Some((row.peak_start, units(meter, row.most)));
        all.insert(row.meter, RangeNumbers { value, sum_of_days, events: row.events, peak });
    }
    Ok(all)
}

/// Returns what meters have counted in each minute or day of a range, by their names.
pub(super) async fn intervals(
    tx: &mut Tx,
    scope: UsageScope,
    meters: &[&Meter],
    grain: Grain,
    range: ReportRange,
) -> Result<HashMap<String, Intervals>, Error> {
    let mut args = Arguments::new(tx.dialect());
    let names = MeterNames::push(&mut args, meters);
    let in_range = condition(&mut args, scope, grain.as_str(), range);
    let (list, amount) = (names.list(), names.amount());
    let sql = format!(
        "select meter, start, {amount} as amount from omni_usage_windows where {in_range} and meter in ({list})"
    );
    let rows: Vec<(String, Timestamp, i64)> = tx.query(AssertSqlSafe(sql)).args(args).fetch_all().await?;
    Ok(by_meter(meters, rows))
}

/// Sorts the values of meters in intervals, in their smallest units.
pub(super) fn by_meter(meters: &[&Meter], rows: Vec<(String, Timestamp, i64)>) -> HashMap<String, Intervals> {
    let mut all: HashMap<String, Intervals> = HashMap::new();
    for (name, start, amount) in rows {
        let Some(meter) = meters.iter().find(|meter| meter.name == name) else { continue };
        all.entry(name).or_default().insert(start, units(meter, amount));
    }
    all
}

/// Returns the condition for the windows of all meters in a range, and binds its values.
fn condition(args: &mut Arguments, scope: UsageScope, grain: &str, range: ReportRange) -> String {
    let (tenant, environment) = (args.push(scope.tenant), args.push(scope.environment.as_str()));
    let (start, end) = (args.push(range.start), args.push(range.end));
    format!(
        "tenant_id = ${tenant} and environment = ${environment} and grain = '{grain}' and start >= ${start}
        and start < ${end}"
    )
}

#[derive(omnistack_core::db::FromRow)]
struct LimitRow {
    meter: String,
    #[sqlx(flatten)]
    numbers: WindowNumbers,
}

/// Returns the windows that limits of meters apply to, in the billing period that starts at `period_start`.
pub(super) async fn limit_windows(
    tx: &mut Tx,
    scope: UsageScope,
    meters: &[&Meter],
    period_start: Timestamp,
) -> Result<HashMap<String, WindowNumbers>, Error> {
    let mut all = HashMap::new();
    for (lifetime, grain, start) in [(false, Grain::Period, period_start), (true, Grain::Total, total_start())] {
        let meters: Vec<&Meter> = meters.iter().copied().filter(|meter| meter.lifetime == lifetime).collect();
        let mut args = Arguments::new(tx.dialect());
        let list = MeterNames::push(&mut args, &meters).list();
        let (tenant, environment) = (args.push(scope.tenant), args.push(scope.environment.as_str()));
        let (start, grain) = (args.push(start), grain.as_str());
        let sql = format!(
            "select meter, sum, events, max, last, uniques, reserved from omni_usage_windows
            where tenant_id = ${tenant} and environment = ${environment} and meter in ({list}) and grain = '{grain}'
            and start = ${start}"
        );
        let rows: Vec<LimitRow> = tx.query(AssertSqlSafe(sql)).args(args).fetch_all().await?;
        all.extend(rows.into_iter().map(|row| (row.meter, row.numbers)));
    }
    Ok(all)
}

#[derive(omnistack_core::db::FromRow)]
struct LateAmountRow {
    meter: String,
    used_in: Timestamp,
    amount: i64,
}

/// Returns the late usage that is billed in the period that starts at `period_start`: the start of the period in which
/// it occurred and its smallest units, by meter. Only meters that add up have such amounts.
pub(super) async fn late(
    tx: &mut Tx,
    scope: UsageScope,
    meters: &[&Meter],
    period_start: Timestamp,
) -> Result<HashMap<String, Vec<(Timestamp, i64)>>, Error> {
    let meters: Vec<&Meter> = meters.iter().copied().filter(|meter| adds_up(meter)).collect();
    let mut args = Arguments::new(tx.dialect());
    let names = MeterNames::push(&mut args, &meters);
    let (tenant, environment) = (args.push(scope.tenant), args.push(scope.environment.as_str()));
    let (start, list, amount) = (args.push(period_start), names.list(), names.amount());
    let sql = format!(
        "select meter, used_in, {amount} as amount from omni_usage_late
        where tenant_id = ${tenant} and environment = ${environment} and meter in ({list}) and billed_in = ${start}
        order by meter, used_in"
    );
    let rows: Vec<LateAmountRow> = tx.query(AssertSqlSafe(sql)).args(args).fetch_all().await?;
    let mut all: HashMap<String, Vec<(Timestamp, i64)>> = HashMap::new();
    for LateAmountRow { meter: name, used_in, amount } in rows {
        let Some(meter) = meters.iter().find(|meter| meter.name == name) else { continue };
        all.entry(name).or_default().push((used_in, units(meter, amount)));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_put_together_exactly() {
        for units in [0, 1, -1, 999_999, 1_000_000, -1_500_000, i64::MAX, i64::MIN] {
            assert_eq!(total(units / 1_000_000, units % 1_000_000), units);
        }
        assert_eq!(total(i64::MAX / 1_000_000 + 1, 0), i64::MAX);
        assert_eq!(total(i64::MIN / 1_000_000 - 1, 0), i64::MIN);
    }
}
