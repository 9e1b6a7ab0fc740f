//! The usage of each day of a period.

use std::collections::{BTreeMap, HashMap};

use omnistack_core::{clock::Timestamp, http::Error, usage::DataEnvironment};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    UsageReports,
    numbers::{Intervals, MeterReport, UsagePoint, growth, points, quantity},
    range::{DAY, ReportRange, UsagePeriod, date_text},
    store::{self, UsageScope},
};
use crate::{meter::Meter, quantity::Quantity, window::Grain};

/// The usage of each day of a period, by meter.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UsageTrends {
    /// The period.
    period: UsagePeriod,
    /// The environment.
    environment: DataEnvironment,
    /// The start of the first day, in UTC.
    start: Timestamp,
    /// The end of today, in UTC.
    end: Timestamp,
    /// The meter that was asked for, or those with usage in the period or in the one before it, ordered by name.
    meters: Vec<MeterTrend>,
}

/// The usage of a meter on each day of a period.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MeterTrend {
    /// The name of the meter.
    meter: &'static str,
    /// The unit of its quantities.
    unit: &'static str,
    /// The days, oldest first, also those without usage.
    points: Vec<UsagePoint>,
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
}

/// The usage of each day of a period, by day.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DailyUsage {
    /// The period.
    period: UsagePeriod,
    /// The environment.
    environment: DataEnvironment,
    /// The start of the first day, in UTC.
    start: Timestamp,
    /// The end of today, in UTC.
    end: Timestamp,
    /// The days, oldest first, also those without usage.
    days: Vec<UsageDay>,
}

/// The usage of a day.
#[derive(Debug, Serialize, ToSchema)]
struct UsageDay {
    /// The day, in UTC.
    #[schema(examples("2030-01-31"))]
    day: String,
    /// The usage of each meter that has any, by name.
    quantities: BTreeMap<&'static str, Quantity>,
}

impl UsageTrends {
    /// Creates the trends of these meters.
    pub(super) fn new(
        period: UsagePeriod,
        environment: DataEnvironment,
        range: ReportRange,
        meters: Vec<MeterTrend>,
    ) -> Self {
        Self { period, environment, start: range.start, end: range.end, meters }
    }
}

impl MeterTrend {
    /// Creates the trend of a meter.
    pub(super) fn new(report: &MeterReport<'_>, range: ReportRange, days: Option<&Intervals>) -> Self {
        let MeterReport { meter, numbers, previous, .. } = *report;
        Self {
            meter: meter.name,
            unit: meter.unit,
            points: points(meter, range, DAY, days.unwrap_or(&Intervals::new())),
            total: quantity(meter, numbers.value),
            previous: quantity(meter, previous),
            growth: growth(numbers.value, previous),
            average: numbers.average(meter, range),
            peak: numbers.peak(meter),
        }
    }
}

impl DailyUsage {
    /// Creates the days of a range.
    pub(super) fn new(
        period: UsagePeriod,
        environment: DataEnvironment,
        range: ReportRange,
        meters: &[&Meter],
        days: &HashMap<String, Intervals>,
    ) -> Self {
        let quantity_on = |meter: &Meter, start: Timestamp| {
            let units = days.get(meter.name)?.get(&start)?;
            Some((meter.name, quantity(meter, *units)))
        };
        let day = |start: Timestamp| {
            let quantities = meters.iter().filter_map(|meter| quantity_on(meter, start)).collect();
            UsageDay { day: date_text(start), quantities }
        };
        let days = range.starts(DAY).map(day).collect();
        Self { period, environment, start: range.start, end: range.end, days }
    }
}

impl UsageReports {
    /// Returns the trends of a meter, or of those with usage.
    pub(super) async fn trends(
        &self,
        scope: UsageScope,
        period: UsagePeriod,
        meter: Option<&str>,
    ) -> Result<UsageTrends, Error> {
        let meters: Vec<&Meter> = match meter {
            Some(name) => vec![self.meter(Some(name))?],
            None => self.meters().iter().collect(),
        };
        let range = ReportRange::days_until(self.now(), period);
        let mut tx = self.db().tenant(scope.tenant).begin_read().await?;
        let reports = store::meter_reports(&mut tx, scope, &meters, range).await?;
        let days = store::intervals(&mut tx, scope, &meters, Grain::Day, range).await?;
        tx.commit().await?;
        let shown = reports.iter().filter(|report| report.is_used || meter.is_some());
        let trends = shown.map(|report| MeterTrend::new(report, range, days.get(report.meter.name)));
        Ok(UsageTrends::new(period, scope.environment, range, trends.collect()))
    }

    /// Returns the usage of each day.
    pub(super) async fn daily(&self, scope: UsageScope, period: UsagePeriod) -> Result<DailyUsage, Error> {
        let range = ReportRange::days_until(self.now(), period);
        let meters: Vec<&Meter> = self.meters().iter().collect();
        let mut tx = self.db().tenant(scope.tenant).begin_read().await?;
        let days = store::intervals(&mut tx, scope, &meters, Grain::Day, range).await?;
        tx.commit().await?;
        Ok(DailyUsage::new(period, scope.environment, range, &meters, &days))
    }
}
