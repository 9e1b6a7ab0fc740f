//! The usage of a period by category, API key or user.

use omnistack_core::{clock::Timestamp, http::Error, usage::DataEnvironment};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    UsageReports,
    dimensions::{self, BreakdownBy, BreakdownParts, BreakdownScope},
    numbers::{quantity, share},
    range::{ReportRange, UsagePeriod},
};
use crate::{meter::Meter, quantity::Quantity};

/// Largest number of parts of a breakdown.
const MAX_PARTS_OF_BREAKDOWN: u32 = 100;

/// The usage of a meter in a period by category, API key or user.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UsageBreakdown {
    /// The property that the usage is broken down by.
    by: BreakdownBy,
    /// The name of the meter.
    meter: &'static str,
    /// The unit of its quantities.
    unit: &'static str,
    /// The period.
    period: UsagePeriod,
    /// The environment.
    environment: DataEnvironment,
    /// The start of the first day, in UTC.
    start: Timestamp,
    /// The end of today, in UTC.
    end: Timestamp,
    /// The usage of the period.
    total: Quantity,
    /// The parts with the largest usage, at most 100, the largest first.
    items: Vec<UsagePart>,
    /// The usage of all other parts.
    other: Quantity,
}

/// The usage of one category, API key or user.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UsagePart {
    /// The category, or the id of the API key or the user. `null` is the usage without any.
    #[schema(required)]
    value: Option<String>,
    /// The usage.
    quantity: Quantity,
    /// The share of the total in percent. `null` unless the total is positive.
    #[schema(required)]
    share: Option<Quantity>,
    /// The number of events.
    events: i64,
}

impl UsagePart {
    /// Returns the parts of a meter.
    pub(super) fn list(meter: &Meter, parts: BreakdownParts) -> Vec<Self> {
        let total = parts.total;
        let parts = parts.parts.into_iter().map(|part| Self {
            value: part.value,
            quantity: quantity(meter, part.units),
            share: share(part.units, total),
            events: part.events,
        });
        parts.collect()
    }
}

/// The request for a breakdown.
#[derive(Clone, Copy, Debug)]
pub(super) struct BreakdownRequest<'a> {
    pub(super) environment: DataEnvironment,
    /// A meter that adds up.
    pub(super) meter: &'a Meter,
    pub(super) by: BreakdownBy,
    pub(super) period: UsagePeriod,
}

impl UsageReports {
    /// Returns the breakdown of a meter, in the usage of a tenant or of a user.
    pub(super) async fn breakdown(
        &self,
        scope: BreakdownScope,
        request: BreakdownRequest<'_>,
    ) -> Result<UsageBreakdown, Error> {
        let BreakdownRequest { environment, meter, by, period } = request;
        let range = ReportRange::days_until(self.now(), period);
        let db = match scope {
            BreakdownScope::Tenant(tenant) => self.db().tenant(tenant),
            // An operator's report about all tenants of the user.
            BreakdownScope::User(_) => self.db().all_tenants(),
        };
        let mut tx = db.begin_read().await?;
        let limit = MAX_PARTS_OF_BREAKDOWN;
        let parts = dimensions::breakdown(&mut tx, scope, environment, meter, by, range, limit).await?;
        tx.commit().await?;
        let total = parts.total;
        let other = parts.parts.iter().fold(total, |rest, part| rest.saturating_sub(part.units));
        Ok(UsageBreakdown {
            by,
            meter: meter.name,
            unit: meter.unit,
            period,
            environment,
            start: range.start,
            end: range.end,
            total: quantity(meter, total),
            items: UsagePart::list(meter, parts),
            other: quantity(meter, other),
        })
    }
}
