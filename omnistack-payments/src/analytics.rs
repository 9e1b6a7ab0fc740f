//! Reports of payments: calls, durations, errors and costs by service, and what the same payments would have cost
//! elsewhere.
//!
//! The numbers come from counters by day that are written with each attempt, so a report reads no payments. A report is
//! cached for a minute.

mod costs;
mod numbers;
mod period;
mod queries;
mod report;
mod routes;

use std::time::Duration;

use omnistack_core::{
    cache::Cache,
    clock::Clock,
    db::Db,
    identity::Authenticator,
    module::{Mount, Registry},
};

use crate::router::PaymentRouter;

/// The time for which a report is cached.
const REPORT_TTL: Duration = Duration::from_secs(60);

/// The dependencies of reports.
#[derive(Clone)]
struct PaymentReports {
    /// The app's own database, without tenant databases.
    db: Db,
    clock: Clock,
    cache: Cache,
    router: PaymentRouter,
}

/// Registers the routes of reports, if the app authenticates callers.
pub(crate) fn register(registry: &mut Registry) {
    let clock = registry.clock();
    registry.after_modules(move |registry| {
        if !registry.provides::<Authenticator>() {
            return;
        }
        let mount = Mount::app("/analytics").permissions("payments");
        registry.routes(mount, routes::api(), move |ctx| {
            Ok(PaymentReports {
                db: ctx.get::<Db>()?.app_database(),
                clock: clock.clone(),
                cache: ctx.get()?,
                router: ctx.get()?,
            })
        });
    });
}
