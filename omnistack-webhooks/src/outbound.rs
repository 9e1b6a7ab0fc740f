//! Webhooks to tenants: endpoints, the messages that are published to them, and their delivery.
//!
//! [`publish`] stores a message and its deliveries in the caller's transaction. [`dispatcher`] sends them afterwards.
//! Tenants see and change their endpoints and deliveries by the routes in [`http`].

mod destination;
mod dispatcher;
mod endpoint;
mod endpoints;
mod export;
mod http;
mod log;
mod operator;
mod ping;
mod publish;
mod recover;
mod retention;
mod retry;
mod secrets;
mod send;
mod settings;
mod store;
mod wake;

use std::sync::Arc;

use omnistack_core::{
    clock::Clock,
    crypto::KeyRing,
    db::Db,
    http::client::GuardedClient,
    identity::Authenticator,
    jobs::Cron,
    module::Registry,
    webhook::{WebhookCatalogue, WebhookPublisher},
};

use destination::UrlPolicy;
use endpoints::WebhookEndpoints;
use ping::WebhookPing;
use publish::MessagePublisher;
use retention::{DeleteEndpointDeliveries, MessageRetention, PurgeWebhookMessages};
use send::Sender;
use settings::OutboundSettings;
use wake::DeliveryWake;

/// Registers the publisher, the dispatcher, and, if the app has accounts, the routes.
pub(crate) fn register(registry: &mut Registry) {
    registry.require::<KeyRing>().require::<GuardedClient>();
    let Some(settings) = registry.config::<OutboundSettings>() else { return };
    let Some(policy) = UrlPolicy::of(registry) else { return };
    // Without a database, the missing settings are reported already.
    let (Some(db), Some(catalogue)) = (registry.provided::<Db>(), registry.provided::<WebhookCatalogue>()) else {
        return;
    };
    // The rows of all tenants are in the app's database, so that the dispatcher finds them.
    let (db, clock, wake) = (db.app_database(), registry.clock(), DeliveryWake::default());
    let publisher = MessagePublisher::new(clock.clone(), catalogue.clone(), wake.clone());
    let retention = MessageRetention { db: db.clone(), clock, keep: settings.keep };
    let deletion = retention.clone();
    registry
        .provide(wake.clone())
        .provide(WebhookPublisher::new(publisher.clone()))
        .outbox_receiver(publisher)
        // Deliveries and attempts are deleted with them.
        .tenant_tables(["omni_webhook_endpoints", "omni_webhook_messages"])
        .webhook_event::<WebhookPing>()
        .job::<PurgeWebhookMessages>(move |_| Ok(retention))
        .job::<DeleteEndpointDeliveries>(move |_| Ok(deletion))
        .cron(Cron::new("53 3 * * *", PurgeWebhookMessages {}));
    dispatcher::register(registry, &settings);
    export::register(registry);
    http::register_public(registry, catalogue.clone());
    registry
        .provide_from(move |ctx| {
            let clock = ctx.get::<Clock>()?;
            Ok(Arc::new(WebhookEndpoints {
                db: db.clone(),
                clock: clock.clone(),
                keys: ctx.get()?,
                jobs: ctx.get()?,
                log: ctx.get()?,
                catalogue: catalogue.clone(),
                sources: ctx.get()?,
                settings: settings.clone(),
                policy: policy.clone(),
                wake: wake.clone(),
                sender: Sender { client: ctx.get::<GuardedClient>()?.0, clock, timeout: settings.timeout },
            }))
        })
        .after_modules(|registry| {
            if registry.provides::<Authenticator>() {
                http::register(registry);
            }
        });
}
