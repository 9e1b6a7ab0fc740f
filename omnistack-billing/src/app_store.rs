//! Subscriptions that are bought in the App Store and in Google Play.
//!
//! A device attaches the token of its tenant to a purchase, and sends the purchase to the app. The stores notify the
//! app of renewals, cancellations and refunds by webhooks. Both change the row of the purchase, and the machine of
//! subscriptions receives its state. Apple states it in what it signs; Google is asked for it.
//!
//! A state has a version, so that a state which arrives late or twice changes nothing. Purchases of the sandbox and of
//! testers are of the environment `test`.

mod apple;
mod events;
mod google;
mod handle;
mod jobs;
mod model;
mod notifications;
mod routes;
mod rules;
mod store;
mod unclaimed;

use omnistack_core::{
    app_store::AppleVerifier,
    db::Db,
    identity::Authenticator,
    jobs::Cron,
    module::{Mount, Registry},
};

pub use events::RefundReviewRequested;

use handle::{StoreParts, StorePurchases};
use jobs::{AcknowledgePurchase, RefreshPurchases};
use notifications::{HandleAppleNotification, HandleGoogleNotification};

/// Registers purchases in app stores, their jobs, the handlers of notifications, and the routes. The routes exist if
/// the app authenticates callers, and is set up for one of the stores.
pub(crate) fn register(registry: &mut Registry) {
    registry.tenant_tables(["omni_store_purchases", "omni_store_tokens"]);
    let google = google::from_settings(registry);
    registry.after_modules(move |registry| {
        // The module of webhooks provides the verifier if its settings name the app in the App Store.
        let has_apple = registry.provides::<AppleVerifier>();
        let has_google = google.is_some();
        if !has_apple && !has_google {
            return;
        }
        let clock = registry.clock();
        registry
            .provide_from(move |ctx| {
                Ok(StorePurchases::new(StoreParts {
                    // Purchases are the app's, also if each tenant has a database.
                    db: ctx.get::<Db>()?.app_database(),
                    clock: clock.clone(),
                    jobs: ctx.get()?,
                    subscriptions: ctx.get()?,
                    apple: ctx.get().ok(),
                    google: google.clone(),
                }))
            })
            .job::<AcknowledgePurchase>(|ctx| ctx.get::<StorePurchases>())
            .job::<RefreshPurchases>(|ctx| ctx.get::<StorePurchases>())
            .cron(Cron::new("17 * * * *", RefreshPurchases {}));
        if has_apple {
            registry.webhook_handler("apple", "*", |ctx| Ok(HandleAppleNotification(ctx.get()?)));
        }
        if has_google {
            registry.webhook_handler("google-play", "*", |ctx| {
                Ok(HandleGoogleNotification { purchases: ctx.get()?, events: ctx.get()? })
            });
        }
        if registry.provides::<Authenticator>() {
            let stores = Mount::app("/billing/app-stores").without_plan_limits();
            registry.routes(stores, routes::api(), |ctx| ctx.get::<StorePurchases>());
        }
    });
}
