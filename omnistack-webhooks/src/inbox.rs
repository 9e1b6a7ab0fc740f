//! The inbox: webhooks of all providers are stored before they are answered, and processed afterwards.
//!
//! [`DurableInbox`] verifies a request with its source, and stores it in one transaction with an event of core. The
//! event's subscriber, [`ProcessWebhooks`], calls the handlers. So a webhook is processed after its request was
//! answered, after earlier webhooks of the same object, again after a failure, and with its rows stored once.
//!
//! A webhook that has used up its attempts is `failed`, and [the next one of its object continues](give_up). Operators
//! [replay] it.

mod admin;
mod event;
mod failures;
mod give_up;
mod headers;
mod intake;
mod list;
mod model;
mod poll;
mod process;
mod receive;
mod replay;
mod retention;
mod routes;
mod settings;
mod store;

use std::time::Duration;

use omnistack_core::{
    db::Db,
    http::RateLimits,
    identity::Authenticator,
    jobs::Cron,
    module::{Context, MissingDependency, Mount, Registry},
    webhook::WebhookInbox,
};

use admin::InboxAdmin;
use failures::FailureLimits;
use give_up::{SkipFailedWebhooks, SkipGivenUp};
use intake::Intake;
use poll::{POLL_TIMEOUT, PollWebhookSources};
use process::{PROCESS, ProcessWebhooks};
use receive::{DurableInbox, DurableInboxParts};
use replay::WebhookReplays;
use retention::{InboxRetention, PurgeWebhookInbox};
use settings::InboxSettings;
use store::InboxStore;

/// Name of the subscriber that continues after a webhook that was given up.
const SKIP_GIVEN_UP: &str = "webhooks.skip_given_up";
/// Timeout of requests that replay webhooks or ask a provider: longer than the provider may take.
const ACTION_TIMEOUT: Duration = POLL_TIMEOUT.saturating_mul(2);

/// Registers the inbox, its jobs, its settings and its routes. The routes for tenants and operators exist if the app
/// authenticates callers.
pub(crate) fn register(registry: &mut Registry) {
    let Some(settings) = registry.config::<InboxSettings>() else { return };
    let (clock, public_url) = (registry.clock(), registry.public_url());
    let body_limit = settings.body_limit.as_u64();
    let (failure_limit, account_limit) = (settings.failure_limit, settings.account_failure_limit);
    let (keep, sources) = (settings.retention, settings.retention_sources);
    registry
        .tenant_tables(["omni_webhooks"])
        .provide_from(move |ctx| {
            let limits = ctx.get::<RateLimits>()?;
            // Webhooks are the app's, also if each tenant has a database.
            let store = InboxStore { db: ctx.get::<Db>()?.app_database(), clock: clock.clone(), events: ctx.get()? };
            Ok(DurableInbox::new(DurableInboxParts {
                sources: ctx.get()?,
                intake: Intake::new(store.clone()),
                store,
                public_url: public_url.clone(),
                failures: FailureLimits::new(&limits, failure_limit, account_limit),
            }))
        })
        .provide_from(|ctx| Ok(WebhookInbox::new(ctx.get::<DurableInbox>()?)))
        .subscribe(PROCESS, |ctx| Ok(ProcessWebhooks { store: store(ctx)?, sources: ctx.get()? }))
        .subscribe(SKIP_GIVEN_UP, |ctx| Ok(SkipGivenUp { store: store(ctx)? }))
        .job::<SkipFailedWebhooks>(store)
        .cron(Cron::new("11 * * * *", SkipFailedWebhooks {}))
        .job::<PollWebhookSources>(|ctx| ctx.get::<DurableInbox>())
        .cron(Cron::new("23 * * * *", PollWebhookSources {}))
        .job::<PurgeWebhookInbox>(move |ctx| Ok(InboxRetention { store: store(ctx)?, keep, sources }))
        .cron(Cron::new("37 3 * * *", PurgeWebhookInbox {}))
        .routes(
            // A provider identifies its events itself, and sends those of all customers from few addresses. The inbox
            // limits requests that are not verified.
            Mount::public("/webhooks").body_limit(body_limit).without_idempotency().without_rate_limit(),
            routes::public(),
            |ctx| ctx.get::<DurableInbox>(),
        )
        .after_modules(|registry| {
            if !registry.provides::<Authenticator>() {
                return;
            }
            registry
                .routes(Mount::app("/webhooks").permissions("webhooks"), routes::app(), store)
                .routes(Mount::admin("/webhooks"), admin::reads(), admin_state)
                .routes(Mount::admin("/webhooks").timeout(ACTION_TIMEOUT), admin::actions(), admin_state);
        });
}

fn store(ctx: &Context) -> Result<InboxStore, MissingDependency> {
    Ok(ctx.get::<DurableInbox>()?.store().clone())
}

fn admin_state(ctx: &Context) -> Result<InboxAdmin, MissingDependency> {
    let inbox = ctx.get::<DurableInbox>()?;
    let replays = WebhookReplays { store: inbox.store().clone(), log: ctx.get()? };
    Ok(InboxAdmin { inbox, replays })
}
