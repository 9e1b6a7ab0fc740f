//! Quotas: limits of plans that hold exactly, in all processes together.
//!
//! Work that is to be counted reserves its part of a limit in the database first. [`Quotas::reserve`] does so for one
//! piece of work. [`Quotas::consume`] takes from an [allowance](allowance): units that this process has reserved for
//! the requests of the next moments, and gives out without I/O. A part that is not used is given back, and one of a
//! process that has crashed expires.

mod allowance;
mod allowance_map;
mod claim;
mod handle;
mod jobs;
mod refill;
mod reservation;
mod routes;
mod status;
mod upkeep;

pub use handle::{Quotas, RESERVATION_TTL};
pub use reservation::Reservation;
pub use status::QuotaStatus;

use omnistack_core::{
    identity::Authenticator,
    jobs::Cron,
    module::{Mount, Registry},
    usage_threshold::UsageThresholdReached,
};

use self::{handle::QuotaParts, jobs::ReleaseReservations};

/// The subscriber that sends events about limits to the tenants' webhook endpoints.
const FORWARD_THRESHOLDS: &str = "usage-threshold-reached";

/// Registers the quotas, their background work, and their route if the app authenticates callers. The module must call
/// [`Quotas::stop`] when it stops, after the ledger has stored what it has counted.
pub(crate) fn register(registry: &mut Registry) {
    registry
        .tenant_tables(["omni_usage_reservations", "omni_usage_alerts"])
        .provide_from(|ctx| {
            Ok(Quotas::new(QuotaParts { ledger: ctx.get()?, entitlements: ctx.get()?, usage: ctx.get()? }))
        })
        .background_service("quotas", |ctx| {
            let quotas = ctx.get::<Quotas>()?;
            Ok(move |shutdown| {
                let quotas = quotas.clone();
                async move { quotas.run(shutdown).await }
            })
        })
        .job::<ReleaseReservations>(|ctx| ctx.get::<Quotas>())
        .cron(Cron::new("* * * * *", ReleaseReservations {}))
        .forward_to_webhooks::<UsageThresholdReached>(FORWARD_THRESHOLDS)
        .after_modules(|registry| {
            if registry.provides::<Authenticator>() {
                let mount = Mount::app("/usage").permissions("usage").without_plan_limits();
                registry.routes(mount, routes::api(), |ctx| ctx.get::<Quotas>());
            }
        });
}
