//! Reports of usage to a payment provider that bills it, such as to Stripe's meters.
//!
//! A job compares what a tenant has used on a day with what is in reports, and stores the difference as a report, in
//! one transaction. Then it sends the reports. Each has an identifier, by which the provider counts it once, so a
//! report whose response was lost is sent again. Providers know an identifier for a day only: after twenty hours, a report of
//! which it is not known whether it was counted waits for an operator.
//!
//! A report that the provider rejects is kept with the reason, and the next ones are sent.

mod admin;
mod amount;
mod collect;
mod jobs;
mod reporter;
mod send;
mod settings;
mod store;

use omnistack_core::{
    db::Db,
    identity::Authenticator,
    jobs::Cron,
    module::{Mount, Registry},
};

use crate::meter::{Aggregation, MeterSet};

use jobs::{PurgeMeterReports, SendMeterReports};
use reporter::{MeterReporter, ReportedMeter, ReporterParts};
use settings::MeterReportSettings;

/// Registers the reports of meters, if the settings name any, their jobs and the routes for operators.
pub(crate) fn register(registry: &mut Registry, meters: &MeterSet) {
    registry.tenant_tables(["omni_meter_days", "omni_meter_remainders", "omni_meter_reports"]);
    let Some(settings) = registry.config::<MeterReportSettings>() else { return };
    if settings.reports.is_empty() {
        return;
    }
    let mut reported: Vec<ReportedMeter> = Vec::new();
    for mapping in settings.reports {
        let meter = meters.get(&mapping.meter).filter(|meter| {
            matches!(meter.aggregation, Aggregation::Sum | Aggregation::Count)
                && !reported.iter().any(|known| known.name == mapping.meter)
        });
        let Some(meter) = meter else {
            let what = format!(
                "`BILLING_METER_REPORTS` names `{}`, which is not a meter that adds up, or which it names twice",
                mapping.meter
            );
            registry.report_problem(what, "name each meter of the app at most once, and only sums and counts");
            continue;
        };
        reported.push(ReportedMeter::new(meter, mapping));
    }
    let clock = registry.clock();
    registry
        .provide_from(move |ctx| {
            Ok(MeterReporter::new(ReporterParts {
                // Reports are the app's, also if each tenant has a database.
                db: ctx.get::<Db>()?.app_database(),
                clock: clock.clone(),
                providers: ctx.get()?,
                log: ctx.get()?,
                meters: reported.clone(),
            }))
        })
        .job::<SendMeterReports>(|ctx| ctx.get::<MeterReporter>())
        .job::<PurgeMeterReports>(|ctx| ctx.get::<MeterReporter>())
        .cron(Cron::new("*/5 * * * *", SendMeterReports {}))
        .cron(Cron::new("37 2 * * *", PurgeMeterReports {}))
        .after_modules(|registry| {
            if registry.provides::<Authenticator>() {
                registry.routes(Mount::admin("/billing/meter-reports"), admin::api(), |ctx| ctx.get::<MeterReporter>());
            }
        });
}
