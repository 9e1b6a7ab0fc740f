//! Service health: the checks of all modules, run every five minutes, with history.
//!
//! The checks are those that modules add with [`Registry::health`], [`Registry::health_optional`] and
//! [`Registry::service_check`]. A cron job runs all of them, once for all replicas. The state of a service follows from
//! its last results by a [state machine](state).

mod checks;
mod job;
mod model;
mod routes;
mod state;
mod store;

pub use model::ServiceStateChanged;
pub use state::ServiceState;

use std::time::Duration;

use omnistack_core::{
    ShutdownToken,
    http::Rate,
    identity::Authenticator,
    jobs::Cron,
    module::{Mount, Registry},
};

use checks::ServiceChecks;
use job::CheckServices;
use store::ServiceStore;

omnistack_core::settings! {
    /// Service health.
    pub struct ServiceHealthSettings {
        /// The time after which a check of a service without a result fails.
        pub check_timeout: Duration = "SERVICES_CHECK_TIMEOUT", default "5s", range "1ms"..="30s";
        /// The response time from which a service is degraded although its check succeeds.
        pub slow_after: Duration = "SERVICES_SLOW_AFTER", default "2s", range "1ms"..="30s";
        /// The time for which results of checks are kept.
        pub keep: Duration = "SERVICES_KEEP", default "90d", range "1d"..="3650d";
    }
}

/// Interval at which the job runs all checks.
const CHECK_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// Interval at which each replica reads the states of all services for its metrics.
const GAUGE_INTERVAL: Duration = Duration::from_secs(60);
/// Largest rate of requests of a signed-in caller for the health of services.
const READ_RATE: Rate = Rate::per_minute(60);
/// Largest rate of requests of an operator for new checks.
const CHECK_RATE: Rate = Rate::per_minute(10);
/// Largest rate of requests of a client address for the public status.
const STATUS_RATE: Rate = Rate::per_minute(60);

/// Registers the settings, the job, the metrics and the routes of service health. The routes for signed-in callers and
/// operators exist if the app authenticates callers.
pub(crate) fn register(registry: &mut Registry) {
    let Some(settings) = registry.config::<ServiceHealthSettings>() else { return };
    let schedule = schedule(&format!("{} {}", registry.app_name(), registry.public_url().as_str()));
    registry
        .provide_from(move |ctx| {
            Ok(ServiceChecks {
                health: ctx.get()?,
                store: ServiceStore { db: ctx.get()?, events: ctx.get()? },
                cache: ctx.get()?,
                clock: ctx.get()?,
                settings: settings.clone(),
            })
        })
        .job::<CheckServices>(|ctx| ctx.get::<ServiceChecks>())
        .cron(Cron::new(schedule, CheckServices {}))
        .background_service("service states", |ctx| {
            let checks = ctx.get::<ServiceChecks>()?;
            Ok(move |shutdown: ShutdownToken| {
                let checks = checks.clone();
                async move {
                    checks.update_gauges().await;
                    while tokio::time::timeout(GAUGE_INTERVAL, shutdown.cancelled()).await.is_err() {
                        checks.update_gauges().await;
                    }
                    Ok(())
                }
            })
        })
        .routes(Mount::public("/status").rate_limit(STATUS_RATE).during_maintenance(), routes::public(), |ctx| {
            ctx.get::<ServiceChecks>()
        })
        .after_modules(|registry| {
            if !registry.provides::<Authenticator>() {
                return;
            }
            registry
                .routes(Mount::app("/services").rate_limit(READ_RATE), routes::app(), |ctx| ctx.get::<ServiceChecks>())
                .routes(Mount::admin("/health"), routes::admin(), |ctx| ctx.get::<ServiceChecks>())
                .routes(Mount::admin("/health").rate_limit(CHECK_RATE), routes::check_now(), |ctx| {
                    ctx.get::<ServiceChecks>()
                });
        });
}

/// Returns the pattern of every five minutes, with an offset of up to five minutes that follows from `app`. It is the
/// same in all replicas of an app, and keeps many apps from calling their providers in the same second.
fn schedule(app: &str) -> String {
    // The hash FNV-1a, which never changes.
    let hash = app
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let offset = hash % CHECK_INTERVAL.as_secs();
    format!("{} {}-59/5 * * * *", offset % 60, offset / 60)
}

#[cfg(test)]
mod tests {
    use super::schedule;

    #[test]
    fn a_schedule_has_an_offset_below_five_minutes() {
        for app in ["", "Acme https://acme.example", "Acme https://acme.test"] {
            let schedule = schedule(app);
            let (second, rest) = schedule.split_once(' ').unwrap();
            let (minute, rest) = rest.split_once('-').unwrap();
            assert!(second.parse::<u32>().unwrap() < 60 && minute.parse::<u32>().unwrap() < 5, "{schedule}");
            assert_eq!(rest, "59/5 * * * *");
        }
        assert_ne!(schedule("Acme https://acme.example"), schedule("Acme https://acme.test"));
    }
}
