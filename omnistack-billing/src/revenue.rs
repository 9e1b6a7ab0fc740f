//! Recurring revenue, and the number of subscriptions, as operators see them.
//!
//! The revenue of a month is read from the rows of subscriptions, and its changes from the rows that each change of a
//! subscription adds. Amounts are by currency, because they can't be added up across currencies.

mod admin;
mod counts;
mod numbers;
mod store;

use omnistack_core::{
    clock::{Clock, Timestamp},
    db::Db,
    identity::Authenticator,
    module::{Mount, Registry},
};

/// The reports of recurring revenue. Cheap to clone.
#[derive(Clone)]
struct RevenueReports {
    db: Db,
    clock: Clock,
}

impl RevenueReports {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// Registers the numbers of subscriptions and, if the app authenticates callers, the routes of revenue for operators.
pub(crate) fn register(registry: &mut Registry) {
    counts::register(registry);
    registry.after_modules(|registry| {
        if !registry.provides::<Authenticator>() {
            return;
        }
        let clock = registry.clock();
        registry.routes(Mount::admin("/billing/revenue"), admin::api(), move |ctx| {
            // Subscriptions are the app's, also if each tenant has a database.
            Ok(RevenueReports { db: ctx.get::<Db>()?.app_database(), clock })
        });
    });
}
