//! The choice of the account that takes a payment.
//!
//! [`PaymentRouter`] puts the tenant's accounts in order: by the [rules](rules) of the tenant, by what each service
//! supports, by the [health] of each account, and by the estimated fee. Tenants see and change the rules by the
//! [routes](routes) under `/payments`, and programs compare accounts at `/v1/payments/quote`.

mod choice;
mod handle;
mod health;
mod routes;
mod rules;
mod store;

use omnistack_core::{
    db::Db,
    identity::{AccessLevel, Authenticator},
    module::{Mount, Registry},
};

use crate::{
    credentials::{PaymentAccounts, cache::MinuteCache},
    settings::PaymentSettings,
};
use handle::RouterParts;
pub use handle::{PaymentRouter, RouteCandidate, RouteQuestion};
pub use health::AccountHealth;
use health::{HealthBoard, HealthPolicy};

/// Registers the router, and its routes if the app authenticates callers.
pub(crate) fn register(registry: &mut Registry, settings: &PaymentSettings) {
    let clock = registry.clock();
    let policy = HealthPolicy {
        window: settings.health_window,
        failures: settings.breaker_failures,
        cooldown: settings.breaker_cooldown,
    };
    registry
        .tenant_tables(["omni_payment_routes"])
        .provide_from(move |ctx| {
            Ok(PaymentRouter::new(RouterParts {
                // Rules are in the app's database, also if each tenant has a database.
                db: ctx.get::<Db>()?.app_database(),
                clock: clock.clone(),
                log: ctx.get()?,
                accounts: ctx.get::<PaymentAccounts>()?,
                health: HealthBoard::new(policy),
                rules: MinuteCache::default(),
            }))
        })
        .after_modules(|registry| {
            if !registry.provides::<Authenticator>() {
                return;
            }
            let payments = || Mount::app("/payments").permissions("payments");
            let machine = Mount::root("/v1/payments", AccessLevel::Machine).permissions("payments");
            registry
                .routes(payments(), routes::quote(), |ctx| ctx.get::<PaymentRouter>())
                .routes(machine.operation_prefix("machine"), routes::quote(), |ctx| ctx.get::<PaymentRouter>())
                .routes(payments().without_plan_limits(), routes::rules(), |ctx| ctx.get::<PaymentRouter>());
        });
}
