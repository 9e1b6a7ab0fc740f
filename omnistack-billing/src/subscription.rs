//! Subscriptions: plans that tenants buy from payment providers and app stores.
//!
//! Each subscription is a row with a [state](machine). A provider's events are triggers: they make the app
//! [ask](refresh) for the subscription, and its response decides. The state and everything that follows
//! from it, such as the plan of the tenant, change in [one transaction](apply).
//!
//! A request to a provider is stored before the call, with its idempotency key. If the response is lost, the request
//! is repeated with the same key, or a [job](jobs) reads its result.

mod admin;
mod apply;
mod cancel;
mod change;
mod checkout;
mod checkout_store;
mod cleanup;
mod deletion;
mod discounts;
mod disputes;
mod errors;
mod events;
mod handle;
mod jobs;
mod machine;
mod model;
mod provider_events;
mod refresh;
mod refunds;
mod routes;
mod settings;
mod store;
mod store_state;
mod terms;

pub use events::BillingSubscriptionUpdated;
pub use handle::Subscriptions;
pub use model::{FuturePlan, Subscription, SubscriptionId};
pub use refunds::CreditPayment;
pub(crate) use store_state::StoreSubscription;

use omnistack_core::{
    db::Db,
    events::{EnqueueJob, TenantDeleted},
    identity::Authenticator,
    jobs::Cron,
    module::{Mount, Registry},
};

use cleanup::CleanUpSubscription;
use deletion::EndTenantSubscriptions;
use handle::SubscriptionParts;
use jobs::{AdvanceSubscriptions, ReconcileSubscriptions};
use provider_events::ProviderEvents;
use settings::SubscriptionSettings;

/// Registers the subscriptions, their jobs, events and routes. The routes exist if the app authenticates callers.
pub(crate) fn register(registry: &mut Registry) {
    let Some(settings) = registry.config::<SubscriptionSettings>() else { return };
    let (clock, public_url) = (registry.clock(), registry.public_url());
    registry
        .tenant_tables(["omni_billing_disputes", "omni_refund_states", "omni_subscription_changes"])
        .provide_from(move |ctx| {
            Ok(Subscriptions::new(SubscriptionParts {
                // Subscriptions are the app's, also if each tenant has a database.
                db: ctx.get::<Db>()?.app_database(),
                clock: clock.clone(),
                accounts: ctx.get()?,
                wallets: ctx.get()?,
                invoices: ctx.get()?,
                providers: ctx.get()?,
                events: ctx.get()?,
                jobs: ctx.get()?,
                audit: ctx.get()?,
                public_url: public_url.clone(),
                grace: settings.grace,
                one_trial_per_user: settings.one_trial_per_user,
                lost_dispute: settings.lost_dispute,
            }))
        })
        .subscribe("billing-provider-events", |ctx| Ok(ProviderEvents(ctx.get()?)))
        .subscribe("billing-tenant-deleted", |ctx| {
            Ok(EnqueueJob::new(ctx.get()?, |gone: TenantDeleted| EndTenantSubscriptions { tenant: gone.tenant }))
        })
        .forward_to_webhooks::<BillingSubscriptionUpdated>("subscription-updated")
        .job::<CleanUpSubscription>(|ctx| ctx.get::<Subscriptions>())
        .job::<EndTenantSubscriptions>(|ctx| ctx.get::<Subscriptions>())
        .job::<AdvanceSubscriptions>(|ctx| ctx.get::<Subscriptions>())
        .cron(Cron::new("*/5 * * * *", AdvanceSubscriptions {}))
        .job::<ReconcileSubscriptions>(|ctx| ctx.get::<Subscriptions>())
        .cron(Cron::new("23 4 * * *", ReconcileSubscriptions { all: false }))
        .after_modules(|registry| {
            if !registry.provides::<Authenticator>() {
                return;
            }
            registry
                .routes(Mount::app("/billing").without_plan_limits(), routes::api(), |ctx| ctx.get::<Subscriptions>())
                .routes(Mount::admin("/billing"), admin::api(), |ctx| ctx.get::<Subscriptions>());
        });
}
