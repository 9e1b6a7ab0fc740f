//! The usage of all tenants: a job adds up the days, and operators read the sums.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use async_trait::async_trait;
use omnistack_core::{
    clock::Timestamp,
    db::{self, Arguments, BulkInsert},
    http::Error,
    jobs::{Job, JobContext, JobError},
    usage::DataEnvironment,
};
use serde::{Deserialize, Serialize};
use sqlx::AssertSqlSafe;
use utoipa::ToSchema;

use super::{
    UsageReports,
    numbers::{Intervals, RangeNumbers, UsagePoint, adds_up, growth, quantity},
    range::{DAY, ReportRange, UsagePeriod, floor},
    store::{MeterNames, total, units},
};
use crate::{
    meter::{Aggregation, Meter},
    quantity::Quantity,
};

/// Number of days that are added up every five minutes.
pub(super) const RECENT_DAYS: u32 = 3;

/// Adds up a day of all tenants. SQLite uses the index of these grains only if the condition repeats that of the index.
const ADD_UP: &str = "select environment, meter, cast(sum(sum / 1000000) as bigint) as millions,
        cast(sum(sum % 1000000) as bigint) as rest, cast(sum(events) as bigint) as events, max(max) as max,
        count(*) as tenants
    from omni_usage_windows
    where grain in ('minute', 'hour', 'day') and grain = 'day' and start = $1
    group by environment, meter";

static INSERT: BulkInsert<7> = BulkInsert::new(
    "insert into omni_usage_totals (environment, meter, day, sum, events, max, tenants) values",
    "on conflict (environment, meter, day) do update set sum = excluded.sum, events = excluded.events,
        max = excluded.max, tenants = excluded.tenants",
);

/// The job that adds up the usage of all tenants on the last days, including today.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct AddUpUsageTotals {
    /// The number of days; `None` for those that late events can have changed.
    pub(super) days: Option<u32>,
}

#[async_trait]
impl Job for AddUpUsageTotals {
    const NAME: &'static str = "usage.add_up_totals";

    type State = UsageReports;

    async fn run(self, reports: &UsageReports, _: &JobContext) -> Result<(), JobError> {
        let today = floor(reports.now(), DAY);
        let days = self.days.unwrap_or_else(|| days_with_late_events(reports.ledger.settings().max_age));
        for days_ago in 0..days {
            reports.add_up(today - DAY * days_ago).await?;
        }
        Ok(())
    }
}

/// Returns the number of days, including today, whose usage can have changed since the job ran two nights ago, if events
/// are rejected from this age on. So a night without the job leaves nothing out.
fn days_with_late_events(max_age: Duration) -> u32 {
    let days = max_age.as_secs().div_ceil(DAY.as_secs());
    u32::try_from(days).unwrap_or(u32::MAX).saturating_add(3)
}

/// The usage of all tenants on a day.
#[derive(omnistack_core::db::FromRow)]
struct SumRow {
    environment: String,
    meter: String,
    millions: i64,
    rest: i64,
    events: i64,
    max: i64,
    tenants: i64,
}

/// A row of the totals.
#[derive(omnistack_core::db::FromRow)]
struct TotalRow {
    meter: String,
    day: Timestamp,
    amount: i64,
    events: i64,
    tenants: i64,
}

/// The usage of all tenants in a period.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UsageTotals {
    /// The period.
    period: UsagePeriod,
    /// The environment.
    environment: DataEnvironment,
    /// The start of the first day, in UTC.
    start: Timestamp,
    /// The end of today, in UTC.
    end: Timestamp,
    /// The meters with usage in the period or in the one before it, ordered by name. A meter that counts different
    /// users or categories, or keeps the latest quantity, has no total of all tenants.
    meters: Vec<MeterTotal>,
}

/// The usage of a meter by all tenants in a period.
#[derive(Debug, Serialize, ToSchema)]
struct MeterTotal {
    /// The name of the meter.
    meter: &'static str,
    /// The unit of its quantities.
    unit: &'static str,
    /// The usage of the period.
    total: Quantity,
    /// The usage of the period before it.
    previous: Quantity,
    /// The change in percent. `null` if there was no usage before.
    #[schema(required)]
    growth: Option<Quantity>,
    /// The average of a day.
    average: Quantity,
    /// The day with the largest usage, the first of several. `null` if no day has any.
    #[schema(required)]
    peak: Option<UsagePoint>,
    /// The number of events.
    events: i64,
    /// The days, oldest first, also those without usage.
    points: Vec<TotalPoint>,
}

/// The usage of all tenants on a day.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
struct TotalPoint {
    /// The start of the day.
    start: Timestamp,
    /// The usage.
    quantity: Quantity,
    /// The number of events.
    events: i64,
    /// The number of tenants with usage.
    tenants: i64,
}

/// The rows of a meter, by day.
type DayRows = BTreeMap<Timestamp, TotalRow>;

impl MeterTotal {
    /// Returns the numbers of a range, of the days in it and in the range before.
    fn new(meter: &Meter, range: ReportRange, rows: &DayRows) -> Self {
        let numbers = numbers_of(meter, rows, range);
        let previous = numbers_of(meter, rows, range.previous()).value;
        let point = |start: Timestamp| {
            let (amount, events, tenants) =
                rows.get(&start).map_or((0, 0, 0), |row| (units(meter, row.amount), row.events, row.tenants));
            TotalPoint { start, quantity: quantity(meter, amount), events, tenants }
        };
        Self {
            meter: meter.name,
            unit: meter.unit,
            total: quantity(meter, numbers.value),
            previous: quantity(meter, previous),
            growth: growth(numbers.value, previous),
            average: numbers.average(meter, range),
            peak: numbers.peak(meter),
            events: numbers.events,
            points: range.starts(DAY).map(point).collect(),
        }
    }
}

/// Returns what a meter has counted in a range.
fn numbers_of(meter: &Meter, rows: &DayRows, range: ReportRange) -> RangeNumbers {
    let in_range = || rows.range(range.start..range.end);
    let days: Intervals = in_range().map(|(day, row)| (*day, units(meter, row.amount))).collect();
    let events = in_range().fold(0_i64, |sum, (_, row)| sum.saturating_add(row.events));
    RangeNumbers::of_days(meter, &days, events)
}

/// Returns whether there are totals of a meter.
fn has_totals(meter: &Meter) -> bool {
    adds_up(meter) || meter.aggregation == Aggregation::Max
}

impl UsageReports {
    /// Returns the usage of all tenants, as the job has last added it up.
    pub(super) async fn totals(&self, environment: DataEnvironment, period: UsagePeriod) -> Result<UsageTotals, Error> {
        let meters: Vec<&Meter> = self.meters().iter().filter(|meter| has_totals(meter)).collect();
        let range = ReportRange::days_until(self.now(), period);
        let mut args = Arguments::new(self.db().dialect());
        let names = MeterNames::push(&mut args, &meters);
        let (list, amount, number) = (names.list(), names.amount(), args.push(environment.as_str()));
        let (start, end) = (args.push(range.previous().start), args.push(range.end));
        let sql = format!(
            "select meter, day, {amount} as amount, events, tenants from omni_usage_totals
            where environment = ${number} and meter in ({list}) and day >= ${start} and day < ${end}"
        );
        let rows: Vec<TotalRow> = self.db().query(AssertSqlSafe(sql)).args(args).fetch_all().await?;
        let mut by_meter: HashMap<String, DayRows> = HashMap::new();
        for row in rows {
            by_meter.entry(row.meter.clone()).or_default().insert(row.day, row);
        }
        let meters = meters.into_iter().filter_map(|meter| {
            let rows = by_meter.get(meter.name)?;
            Some(MeterTotal::new(meter, range, rows))
        });
        let meters = meters.collect();
        Ok(UsageTotals { period, environment, start: range.start, end: range.end, meters })
    }

    /// Adds up a day of all tenants, in place of its earlier totals.
    async fn add_up(&self, day: Timestamp) -> Result<(), db::Error> {
        // The job has no caller, so it accesses all tenants.
        let mut tx = self.db().all_tenants().begin_read().await?;
        let mut rows: Vec<SumRow> = tx.query(ADD_UP).bind(day).fetch_all().await?;
        tx.commit().await?;
        rows.retain(|row| self.meters().get(&row.meter).is_some());
        // In a fixed order, so that two jobs don't wait for each other in a circle.
        rows.sort_by(|a, b| (&a.environment, &a.meter).cmp(&(&b.environment, &b.meter)));

        let mut tx = self.db().begin().await?;
        let mut args = Arguments::new(tx.dialect());
        let meters: Vec<&Meter> = self.meters().iter().collect();
        let (list, day_number) = (MeterNames::push(&mut args, &meters).list(), args.push(day));
        let delete = format!(
            "delete from omni_usage_totals
            where environment in ('live', 'test') and meter in ({list}) and day = ${day_number}"
        );
        tx.query(AssertSqlSafe(delete)).args(args).execute().await?;
        let insert = INSERT.execute(&mut tx, &rows, |args, row| {
            args.push(row.environment.clone());
            args.push(row.meter.clone());
            args.push(day);
            args.push(total(row.millions, row.rest));
            args.push(row.events);
            args.push(row.max);
            args.push(row.tenants);
        });
        insert.await?;
        tx.commit().await
    }
}
