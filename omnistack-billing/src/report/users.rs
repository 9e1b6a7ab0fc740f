//! The usage of one user in all tenants, for operators. It has the meters that add up: of the others, nothing is stored
//! by user.

use std::collections::HashMap;

use omnistack_core::{http::Error, identity::UserId, usage::DataEnvironment};

use super::{
    UsageReports, dimensions,
    numbers::{Intervals, MeterReport, RangeNumbers},
    range::{ReportRange, UsagePeriod},
    series::{DailyUsage, MeterTrend, UsageTrends},
    summary::UsageSummary,
};
use crate::meter::Meter;

/// The numbers of meters, and the usage of each day by meter.
type UserReports<'a> = (Vec<MeterReport<'a>>, HashMap<String, Intervals>);

impl UsageReports {
    /// Returns the summary of a period.
    pub(super) async fn summary_of_user(
        &self,
        user: UserId,
        environment: DataEnvironment,
        period: UsagePeriod,
    ) -> Result<UsageSummary, Error> {
        let range = ReportRange::days_until(self.now(), period);
        let (reports, _) = self.reports_of_user(user, environment, &self.meters_that_add_up(), range).await?;
        Ok(UsageSummary::new(period, environment, range, &reports))
    }

    /// Returns the trends of a meter, or of those with usage.
    pub(super) async fn trends_of_user(
        &self,
        user: UserId,
        environment: DataEnvironment,
        period: UsagePeriod,
        meter: Option<&str>,
    ) -> Result<UsageTrends, Error> {
        let meters = match meter {
            Some(name) => vec![self.meter_that_adds_up(Some(name))?],
            None => self.meters_that_add_up(),
        };
        let range = ReportRange::days_until(self.now(), period);
        let (reports, days) = self.reports_of_user(user, environment, &meters, range).await?;
        let shown = reports.iter().filter(|report| report.is_used || meter.is_some());
        let trends = shown.map(|report| MeterTrend::new(report, range, days.get(report.meter.name)));
        Ok(UsageTrends::new(period, environment, range, trends.collect()))
    }

    /// Returns the usage of each day.
    pub(super) async fn daily_of_user(
        &self,
        user: UserId,
        environment: DataEnvironment,
        period: UsagePeriod,
    ) -> Result<DailyUsage, Error> {
        let meters = self.meters_that_add_up();
        let range = ReportRange::days_until(self.now(), period);
        // An operator's report about all tenants of the user.
        let mut tx = self.db().all_tenants().begin_read().await?;
        let days = dimensions::days_of_user(&mut tx, user, environment, &meters, range).await?;
        tx.commit().await?;
        Ok(DailyUsage::new(period, environment, range, &meters, &days))
    }

    async fn reports_of_user<'a>(
        &self,
        user: UserId,
        environment: DataEnvironment,
        meters: &[&'a Meter],
        range: ReportRange,
    ) -> Result<UserReports<'a>, Error> {
        // An operator's report about all tenants of the user.
        let mut tx = self.db().all_tenants().begin_read().await?;
        let days = dimensions::days_of_user(&mut tx, user, environment, meters, range).await?;
        let totals = dimensions::totals_of_user(&mut tx, user, environment, meters, range).await?;
        let previous = dimensions::totals_of_user(&mut tx, user, environment, meters, range.previous()).await?;
        tx.commit().await?;
        let reports = meters.iter().copied().map(|meter| {
            let events = totals.get(meter.name).map_or(0, |(_, events)| *events);
            let numbers = days.get(meter.name).map(|days| RangeNumbers::of_days(meter, days, events));
            MeterReport::new(meter, numbers, previous.get(meter.name).map(|(units, _)| *units))
        });
        let reports = reports.collect();
        Ok((reports, days))
    }
}
