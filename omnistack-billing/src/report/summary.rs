//! The summary of a period: each meter in one line.

use omnistack_core::{clock::Timestamp, http::Error, usage::DataEnvironment};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    UsageReports,
    numbers::{MeterReport, UsagePoint, growth, quantity},
    range::{ReportRange, UsagePeriod},
    store::{self, UsageScope},
};
use crate::{meter::Meter, quantity::Quantity};

/// The usage of a period.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UsageSummary {
    /// The period.
    period: UsagePeriod,
    /// The environment.
    environment: DataEnvironment,
    /// The start of the first day, in UTC.
    start: Timestamp,
    /// The end of today, in UTC.
    end: Timestamp,
    /// The meters with usage in the period or in the one before it, ordered by name.
    meters: Vec<MeterSummary>,
}

/// The usage of a meter in a period.
#[derive(Debug, Serialize, ToSchema)]
struct MeterSummary {
    /// The name of the meter.
    meter: &'static str,
    /// The unit of its quantities.
    unit: &'static str,
    /// The usage of the period.
    quantity: Quantity,
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
}

impl UsageSummary {
    /// Creates the summary of meters with usage.
    pub(super) fn new(
        period: UsagePeriod,
        environment: DataEnvironment,
        range: ReportRange,
        meters: &[MeterReport<'_>],
    ) -> Self {
        let used = meters.iter().filter(|report| report.is_used);
        let meters = used.map(|report| MeterSummary::new(report, range)).collect();
        Self { period, environment, start: range.start, end: range.end, meters }
    }
}

impl MeterSummary {
    fn new(report: &MeterReport<'_>, range: ReportRange) -> Self {
        let MeterReport { meter, numbers, previous, .. } = *report;
        Self {
            meter: meter.name,
            unit: meter.unit,
            quantity: quantity(meter, numbers.value),
            previous: quantity(meter, previous),
            growth: growth(numbers.value, previous),
            average: numbers.average(meter, range),
            peak: numbers.peak(meter),
            events: numbers.events,
        }
    }
}

impl UsageReports {
    /// Returns the summary of a period.
    pub(super) async fn summary(&self, scope: UsageScope, period: UsagePeriod) -> Result<UsageSummary, Error> {
        let range = ReportRange::days_until(self.now(), period);
        let meters: Vec<&Meter> = self.meters().iter().collect();
        let mut tx = self.db().tenant(scope.tenant).begin_read().await?;
        let reports = store::meter_reports(&mut tx, scope, &meters, range).await?;
        tx.commit().await?;
        Ok(UsageSummary::new(period, scope.environment, range, &reports))
    }
}
