//! The windows of usage: what a tenant has used of a meter in a minute, an hour, a day or a billing period, or in all.

pub(crate) mod alerts;
pub(crate) mod reservations;

use omnistack_core::{clock::Timestamp, identity::TenantId, usage::DataEnvironment};

use crate::meter::{Aggregation, Meter};

/// The length of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Grain {
    Minute,
    Hour,
    /// A day of UTC.
    Day,
    /// A billing period.
    Period,
    /// Since the beginning, for lifetime meters.
    Total,
}

impl Grain {
    /// Returns the name in the column `grain`.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Period => "period",
            Self::Total => "total",
        }
    }
}

/// The start of a [`Grain::Total`] window: 1970-01-01T00:00:00Z.
pub(crate) fn total_start() -> Timestamp {
    Timestamp::from_micros(0)
}

/// The key of a window.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WindowKey {
    pub(crate) tenant: TenantId,
    pub(crate) environment: DataEnvironment,
    pub(crate) meter: String,
    pub(crate) grain: Grain,
    pub(crate) start: Timestamp,
}

impl WindowKey {
    /// Returns the window that limits of a meter apply to: that of the billing period which starts at `period_start`,
    /// or the total of a lifetime meter.
    pub(crate) fn of_limit(
        tenant: TenantId,
        environment: DataEnvironment,
        meter: &Meter,
        period_start: Timestamp,
    ) -> Self {
        let (grain, start) = if meter.lifetime { (Grain::Total, total_start()) } else { (Grain::Period, period_start) };
        Self { tenant, environment, meter: meter.name().to_owned(), grain, start }
    }
}

/// The numbers of a window, in the smallest units of its meter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, omnistack_core::db::FromRow)]
pub(crate) struct WindowNumbers {
    pub(crate) sum: i64,
    pub(crate) events: i64,
    pub(crate) max: i64,
    pub(crate) last: i64,
    pub(crate) uniques: i64,
    pub(crate) reserved: i64,
}

impl WindowNumbers {
    /// Returns what a meter has counted, in its smallest units.
    pub(crate) fn value(&self, meter: &Meter) -> i64 {
        let whole = |count: i64| count.saturating_mul(10_i64.pow(meter.decimals));
        match meter.aggregation {
            Aggregation::Sum => self.sum,
            Aggregation::Count => whole(self.events),
            Aggregation::Max => self.max,
            Aggregation::Last => self.last,
            Aggregation::UniqueUsers | Aggregation::UniqueCategories => whole(self.uniques),
        }
    }
}

/// A window that a limit applies to, before and after a transaction has counted something in it, in the smallest units
/// of its meter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WindowChange {
    pub(crate) key: WindowKey,
    pub(crate) before: i64,
    pub(crate) after: i64,
}

/// Returns a limit of whole units in the smallest units of a meter.
pub(crate) fn limit_units(meter: &Meter, limit: u64) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX).saturating_mul(10_i64.pow(meter.decimals))
}
