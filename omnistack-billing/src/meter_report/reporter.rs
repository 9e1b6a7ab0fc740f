//! The handle of reports.

use std::{fmt, sync::Arc};

use omnistack_core::{
    audit::AuditLog,
    clock::{Clock, Timestamp},
    db::Db,
    id::Id,
    payment::{PaymentProvider, PaymentProviders, ProviderFeature},
};

use super::settings::MeterMapping;
use crate::meter::{Aggregation, Meter};

/// Marker type of ids of reports: see [`MeterReportId`].
#[derive(Clone, Copy, Debug)]
pub(super) enum MeterReportMarker {}

/// The id of a report.
pub(super) type MeterReportId = Id<MeterReportMarker>;

/// A meter whose usage is reported.
#[derive(Clone, Debug)]
pub(super) struct ReportedMeter {
    pub(super) name: String,
    pub(super) provider_meter: String,
    /// The column of a day's usage.
    pub(super) column: &'static str,
    /// The number of what the column counts that is one unit of the provider.
    pub(super) denominator: i64,
}

impl ReportedMeter {
    pub(super) fn new(meter: &Meter, mapping: MeterMapping) -> Self {
        let (column, smallest) = match meter.aggregation {
            Aggregation::Count => ("events", 1),
            _ => ("sum", 10_i64.pow(meter.decimals)),
        };
        let denominator = smallest.saturating_mul(mapping.divisor.into());
        Self { name: mapping.meter, provider_meter: mapping.provider_meter, column, denominator }
    }
}

/// The reporter of usage to payment providers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct MeterReporter(pub(super) Arc<ReporterParts>);

/// Parts of a [`MeterReporter`].
pub(super) struct ReporterParts {
    pub(super) db: Db,
    pub(super) clock: Clock,
    pub(super) providers: PaymentProviders,
    pub(super) log: AuditLog,
    pub(super) meters: Vec<ReportedMeter>,
}

impl MeterReporter {
    pub(super) fn new(parts: ReporterParts) -> Self {
        Self(Arc::new(parts))
    }

    pub(super) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// Returns the providers that bill usage.
    pub(super) fn providers(&self) -> impl Iterator<Item = &Arc<dyn PaymentProvider>> {
        let all = self.0.providers.iter();
        all.filter(|provider| provider.profile().features.contains(&ProviderFeature::MeterReports))
    }
}

impl fmt::Debug for MeterReporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MeterReporter")
    }
}
