//! All numbers of a meter for a page of charts.

use omnistack_core::{clock::Timestamp, db::Tx, http::Error, usage::DataEnvironment};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    UsageReports,
    breakdown::UsagePart,
    dimensions::{self, BreakdownBy, BreakdownScope},
    numbers::{Intervals, UsagePoint, adds_up, points},
    range::{MINUTE, ReportRange, UsagePeriod},
    series::MeterTrend,
    store::{self, UsageScope},
};
use crate::{meter::Meter, window::Grain};

/// Largest number of parts of each breakdown.
const MAX_PARTS_OF_STATS: u32 = 10;

/// The usage of a meter in a period, and in the last hour.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UsageStats {
    /// The period.
    period: UsagePeriod,
    /// The environment.
    environment: DataEnvironment,
    /// The start of the first day, in UTC.
    start: Timestamp,
    /// The end of today, in UTC.
    end: Timestamp,
    #[serde(flatten)]
    trend: MeterTrend,
    /// The ten categories with the largest usage. Empty if the meter does not add up.
    by_category: Vec<UsagePart>,
    /// The ten API keys with the largest usage. Empty if the meter does not add up.
    by_api_key: Vec<UsagePart>,
    /// The ten users with the largest usage. Empty if the meter does not add up.
    by_user: Vec<UsagePart>,
    /// The last 60 minutes, oldest first, also those without usage.
    last_hour: Vec<UsagePoint>,
}

impl UsageReports {
    /// Returns all numbers of a meter.
    pub(super) async fn stats(
        &self,
        scope: UsageScope,
        period: UsagePeriod,
        meter: Option<&str>,
    ) -> Result<UsageStats, Error> {
        let meter = self.meter(meter)?;
        let now = self.now();
        let (range, hour) = (ReportRange::days_until(now, period), ReportRange::hour_until(now));
        let mut tx = self.db().tenant(scope.tenant).begin_read().await?;
        let reports = store::meter_reports(&mut tx, scope, &[meter], range).await?;
        let days = store::intervals(&mut tx, scope, &[meter], Grain::Day, range).await?;
        let minutes = store::intervals(&mut tx, scope, &[meter], Grain::Minute, hour).await?;
        let by_category = largest_parts(&mut tx, scope, meter, BreakdownBy::Category, range).await?;
        let by_api_key = largest_parts(&mut tx, scope, meter, BreakdownBy::ApiKey, range).await?;
        let by_user = largest_parts(&mut tx, scope, meter, BreakdownBy::User, range).await?;
        tx.commit().await?;
        let trend = reports.first().map(|report| MeterTrend::new(report, range, days.get(meter.name)));
        let trend = trend.ok_or_else(|| Error::internal("a meter has no numbers"))?;
        let used = minutes.get(meter.name);
        Ok(UsageStats {
            period,
            environment: scope.environment,
            start: range.start,
            end: range.end,
            trend,
            by_category,
            by_api_key,
            by_user,
            last_hour: points(meter, hour, MINUTE, used.unwrap_or(&Intervals::new())),
        })
    }
}

async fn largest_parts(
    tx: &mut Tx,
    scope: UsageScope,
    meter: &Meter,
    by: BreakdownBy,
    range: ReportRange,
) -> Result<Vec<UsagePart>, Error> {
    if !adds_up(meter) {
        return Ok(Vec::new());
    }
    let UsageScope { tenant, environment } = scope;
    let of_tenant = BreakdownScope::Tenant(tenant);
    let parts = dimensions::breakdown(tx, of_tenant, environment, meter, by, range, MAX_PARTS_OF_STATS).await?;
    Ok(UsagePart::list(meter, parts))
}
