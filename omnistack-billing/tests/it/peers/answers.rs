//! The answers of the app about usage, compared with the sums of DuckDB.

use std::{collections::BTreeMap, iter, time::Duration};

use omnistack_billing::{Aggregation, Quantity};
use omnistack_core::{clock::Timestamp, identity::TenantId};
use omnistack_testkit::TestClient;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{DimensionSums, LateSums, UsageSums, WindowSums};
use crate::reports::{USAGE, get};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The periods of reports, and their numbers of days.
const PERIODS: [(&str, u32); 4] = [("7d", 7), ("30d", 30), ("90d", 90), ("1y", 365)];

/// A meter, as the app describes it.
#[derive(Debug, Deserialize)]
pub(super) struct DescribedMeter {
    meter: String,
    aggregation: Aggregation,
    decimals: u32,
    lifetime: bool,
}

impl DescribedMeter {
    /// Returns what a window has counted.
    fn value(&self, window: &WindowSums) -> i64 {
        match self.aggregation {
            Aggregation::Sum => window.sum,
            Aggregation::Count => window.events,
            Aggregation::Max => window.max,
            Aggregation::Last => window.last,
            Aggregation::UniqueUsers | Aggregation::UniqueCategories => window.uniques,
        }
    }

    /// Returns what a sum and a number of events are for a meter that adds up.
    fn amount(&self, sum: i64, events: i64) -> i64 {
        if self.aggregation == Aggregation::Count { events } else { sum }
    }

    /// Returns whether the usage of several days, users and categories is the sum of that of each.
    fn adds_up(&self) -> bool {
        matches!(self.aggregation, Aggregation::Sum | Aggregation::Count)
    }

    fn quantity(&self, units: i64) -> Quantity {
        Quantity::from_units(units, self.decimals)
    }

    /// Returns what several days have counted: the book has the rules.
    fn total(&self, days: &[&WindowSums]) -> Quantity {
        let mut values = days.iter().map(|day| self.value(day));
        let units: i64 = match self.aggregation {
            Aggregation::Sum | Aggregation::Count => values.sum(),
            Aggregation::Last => values.next_back().unwrap_or(0),
            Aggregation::Max | Aggregation::UniqueUsers | Aggregation::UniqueCategories => values.max().unwrap_or(0),
        };
        self.quantity(units)
    }

    /// Returns the first of the days with the largest usage.
    fn peak(&self, days: &[&WindowSums]) -> Value {
        // The last of equal keys is the maximum.
        let peak = days.iter().rev().max_by_key(|day| self.value(day)).filter(|day| self.value(day) > 0);
        peak.map_or(Value::Null, |day| json!({ "start": day.start, "quantity": self.quantity(self.value(day)) }))
    }
}

/// The days of a report, from the start of the first to the end of the last.
#[derive(Clone, Copy, Debug)]
struct ReportDays {
    start: Timestamp,
    end: Timestamp,
}

impl ReportDays {
    /// Returns the last days of UTC, including that of `now`.
    fn until(now: Timestamp, days: u32) -> Self {
        let micros = i64::try_from(DAY.as_micros()).unwrap();
        let end = Timestamp::from_micros(now.as_micros().div_euclid(micros) * micros) + DAY;
        Self { start: end - DAY * days, end }
    }

    fn previous(self) -> Self {
        Self { start: self.start - self.end.duration_since(self.start), end: self.start }
    }

    fn contains(self, at: Timestamp) -> bool {
        self.start <= at && at < self.end
    }

    fn starts(self) -> impl Iterator<Item = Timestamp> {
        iter::successors(Some(self.start), |start| Some(*start + DAY)).take_while(move |start| *start < self.end)
    }
}

/// The sums of a tenant in an environment.
pub(super) struct TenantSums<'a> {
    meters: &'a [DescribedMeter],
    environment: &'a str,
    now: Timestamp,
    /// The windows, by meter, length and start.
    windows: BTreeMap<(&'a str, &'a str, Timestamp), &'a WindowSums>,
    late: Vec<&'a LateSums>,
    /// The days of categories and users.
    dimensions: Vec<&'a DimensionSums>,
}

impl<'a> TenantSums<'a> {
    pub(super) fn new(
        sums: &'a UsageSums,
        meters: &'a [DescribedMeter],
        tenant: TenantId,
        environment: &'a str,
        now: Timestamp,
    ) -> Self {
        let key = (tenant, environment);
        let windows = sums.windows.iter().filter(|row| (row.tenant_id, row.environment.as_str()) == key);
        let windows = windows.map(|row| ((row.meter.as_str(), row.grain.as_str(), row.start), row)).collect();
        let late = sums.late.iter().filter(|row| (row.tenant_id, row.environment.as_str()) == key);
        let mut late: Vec<&LateSums> = late.collect();
        late.sort_unstable();
        let dimensions = sums.dimensions.iter().filter(|row| (row.tenant_id, row.environment.as_str()) == key);
        let dimensions = dimensions.filter(|row| row.grain == "day").collect();
        Self { meters, environment, now, windows, late, dimensions }
    }

    /// Compares all reports of the tenant, which `client` belongs to, with the sums.
    pub(super) async fn check(&self, client: &TestClient) {
        let environment = self.environment;
        for (period, count) in PERIODS {
            let days = ReportDays::until(self.now, count);
            let query = format!("period={period}&environment={environment}");
            let summary = get(client, format!("{USAGE}/summary?{query}")).await;
            let shown = fields(&summary["meters"], &["meter", "quantity", "previous", "events", "peak"]);
            assert_eq!(shown, self.summary(days), "summary, {query}");
            let trends = get(client, format!("{USAGE}/trends?{query}")).await;
            let shown = fields(&trends["meters"], &["meter", "points", "total", "previous"]);
            assert_eq!(shown, self.trends(days), "trends, {query}");
            let daily = get(client, format!("{USAGE}/daily?{query}")).await;
            assert_eq!(daily["days"], self.daily(days), "daily, {query}");
            for meter in self.used(days).into_iter().filter(|meter| meter.adds_up()) {
                for by in ["category", "user"] {
                    let query = format!("{query}&by={by}&meter={}", meter.meter);
                    let breakdown = get(client, format!("{USAGE}/breakdown?{query}")).await;
                    self.check_breakdown(&breakdown, meter, by, days);
                }
            }
        }
        let current = get(client, format!("{USAGE}/current-period?environment={environment}")).await;
        assert_eq!(current["start"], json!(month_of(self.now)), "current period, {environment}");
        let shown = fields(&current["meters"], &["meter", "used", "late"]);
        assert_eq!(shown, self.current_period(), "current period, {environment}");
    }

    /// Returns the days with usage of a meter.
    fn days(&self, meter: &'a DescribedMeter, days: ReportDays) -> Vec<&'a WindowSums> {
        let name = meter.meter.as_str();
        self.windows.range((name, "day", days.start)..(name, "day", days.end)).map(|(_, window)| *window).collect()
    }

    fn window(&self, meter: &'a DescribedMeter, grain: &'a str, start: Timestamp) -> Option<&'a WindowSums> {
        self.windows.get(&(meter.meter.as_str(), grain, start)).copied()
    }

    /// Returns the meters with usage in a period or in the one before it.
    fn used(&self, days: ReportDays) -> Vec<&'a DescribedMeter> {
        let has_days = |meter: &'a DescribedMeter, days: ReportDays| !self.days(meter, days).is_empty();
        self.meters.iter().filter(|&meter| has_days(meter, days) || has_days(meter, days.previous())).collect()
    }

    fn summary(&self, days: ReportDays) -> Value {
        let line = |meter: &'a DescribedMeter| {
            let (used, previous) = (self.days(meter, days), self.days(meter, days.previous()));
            json!({
                "meter": meter.meter,
                "quantity": meter.total(&used),
                "previous": meter.total(&previous),
                "events": used.iter().map(|day| day.events).sum::<i64>(),
                "peak": meter.peak(&used),
            })
        };
        self.used(days).into_iter().map(line).collect()
    }

    fn trends(&self, days: ReportDays) -> Value {
        let point = |meter: &'a DescribedMeter, start: Timestamp| {
            let units = self.window(meter, "day", start).map_or(0, |day| meter.value(day));
            json!({ "start": start, "quantity": meter.quantity(units) })
        };
        let trend = |meter: &'a DescribedMeter| {
            let points: Value = days.starts().map(|start| point(meter, start)).collect();
            let (used, previous) = (self.days(meter, days), self.days(meter, days.previous()));
            json!({
                "meter": meter.meter,
                "points": points,
                "total": meter.total(&used),
                "previous": meter.total(&previous),
            })
        };
        self.used(days).into_iter().map(trend).collect()
    }

    fn daily(&self, days: ReportDays) -> Value {
        let quantity = |meter: &'a DescribedMeter, start: Timestamp| {
            let day = self.window(meter, "day", start)?;
            Some((meter.meter.clone(), json!(meter.quantity(meter.value(day)))))
        };
        let day = |start: Timestamp| {
            let quantities: Value = self.meters.iter().filter_map(|meter| quantity(meter, start)).collect();
            json!({ "day": &start.to_string()[..10], "quantities": quantities })
        };
        days.starts().map(day).collect()
    }

    fn check_breakdown(&self, breakdown: &Value, meter: &DescribedMeter, by: &str, days: ReportDays) {
        let mut parts: BTreeMap<Option<String>, (i64, i64)> = BTreeMap::new();
        let rows = self.dimensions.iter().filter(|row| row.meter == meter.meter && days.contains(row.start));
        for row in rows {
            let value = match by {
                "category" => Some(row.category.clone()).filter(|category| !category.is_empty()),
                _ => Some(row.user_id).filter(|user| !user.uuid().is_nil()).map(|user| user.to_string()),
            };
            let (units, events) = parts.entry(value).or_default();
            *units += meter.amount(row.sum, row.events);
            *events += row.events;
        }
        let what = format!("breakdown of {} by {by} since {}, {}", meter.meter, days.start, self.environment);
        let total: i64 = parts.values().map(|(units, _)| units).sum();
        assert_eq!(breakdown["total"], json!(meter.quantity(total)), "{what}");
        // All parts are listed.
        assert_eq!(breakdown["other"], json!(0), "{what}");
        let expected: BTreeMap<Option<String>, Value> = parts
            .into_iter()
            .map(|(value, (units, events))| (value, json!({ "quantity": meter.quantity(units), "events": events })))
            .collect();
        let items = breakdown["items"].as_array().unwrap();
        let found: BTreeMap<Option<String>, Value> = items
            .iter()
            .map(|item| {
                let numbers = json!({ "quantity": item["quantity"], "events": item["events"] });
                (item["value"].as_str().map(str::to_owned), numbers)
            })
            .collect();
        assert_eq!((items.len(), found), (expected.len(), expected), "{what}");
    }

    fn current_period(&self) -> Value {
        let month = month_of(self.now);
        let line = |meter: &'a DescribedMeter| {
            let (grain, start) = if meter.lifetime { ("total", Timestamp::from_micros(0)) } else { ("period", month) };
            let window = self.window(meter, grain, start);
            let late = self.late.iter().filter(|row| row.meter == meter.meter && row.billed_in == month);
            let late = late.filter(|_| meter.adds_up()).map(|row| {
                let quantity = meter.quantity(meter.amount(row.sum, row.events));
                json!({ "used_in": row.used_in, "quantity": quantity })
            });
            let late: Vec<Value> = late.collect();
            let used = meter.quantity(window.map_or(0, |window| meter.value(window)));
            let is_shown = window.is_some() || !late.is_empty();
            is_shown.then(|| json!({ "meter": meter.meter, "used": used, "late": late }))
        };
        self.meters.iter().filter_map(line).collect()
    }
}

/// Returns some fields of the items of a list.
fn fields(list: &Value, names: &[&str]) -> Value {
    let item = |item: &Value| names.iter().map(|name| (*name, item[*name].clone())).collect::<Value>();
    list.as_array().unwrap().iter().map(item).collect()
}

/// Returns the start of the month of UTC that contains a time.
fn month_of(at: Timestamp) -> Timestamp {
    format!("{}-01T00:00:00Z", &at.to_string()[..7]).parse().unwrap()
}
