//! The routes of webhooks to tenants.

mod admin;
mod catalogue;
mod configuration;
mod deliveries;
mod endpoints;
mod recovery;
mod testing;

use std::{sync::Arc, time::Duration};

use omnistack_core::{
    http::{CursorPage, Error, FieldError, Rate},
    module::{Mount, MountRateLimit, Registry},
    rate_limit::RateLimitKey,
    text::Text,
    webhook::WebhookCatalogue,
};

use super::endpoints::WebhookEndpoints;

type EndpointState = Arc<WebhookEndpoints>;

/// Largest age of a sign-in with which a caller may see a new secret.
const MAX_FRESH_SIGN_IN_AGE: Duration = Duration::from_secs(10 * 60);

/// Largest rate at which a tenant may have an endpoint called while the caller waits.
const CALLING_RATE: Rate = Rate::per_minute(20);

/// Largest rate at which a tenant may have the deliveries of a period sent again, up to 5,000 each time.
const RECOVERY_RATE: Rate = Rate::per_minute(20);

/// Largest rate at which a tenant may have single deliveries sent again.
const RETRY_RATE: Rate = Rate::per_minute(120);

/// Registers the routes of every client.
pub(super) fn register_public(registry: &mut Registry, catalogue: WebhookCatalogue) {
    registry.routes(Mount::public("/webhooks"), catalogue::api(), move |_| Ok(catalogue));
}

/// Registers the routes of tenants and operators.
pub(super) fn register(registry: &mut Registry) {
    let app = || Mount::app("/webhooks").permissions("webhooks");
    // The limits are for the whole tenant, so that it can't flood a receiver from many accounts.
    let limited = |rate| app().rate_limit(MountRateLimit::new(rate).by(RateLimitKey::Tenant));
    let public_url = registry.public_url();
    registry
        .routes(app(), configuration::reading(), move |ctx| {
            Ok(configuration::ConfigurationState { endpoints: ctx.get()?, sources: ctx.get()?, public_url })
        })
        // Responses with secrets must not be stored.
        .routes(limited(CALLING_RATE).without_idempotency(), configuration::changing(), |ctx| {
            ctx.get::<EndpointState>()
        })
        .routes(app(), endpoints::api(), |ctx| ctx.get::<EndpointState>())
        .routes(app().without_idempotency(), endpoints::with_secrets(), |ctx| ctx.get::<EndpointState>())
        .routes(limited(RECOVERY_RATE), recovery::api(), |ctx| ctx.get::<EndpointState>())
        .routes(app(), deliveries::api(), |ctx| ctx.get::<EndpointState>())
        .routes(limited(RETRY_RATE), deliveries::retrying(), |ctx| ctx.get::<EndpointState>())
        .routes(limited(CALLING_RATE), testing::api(), |ctx| ctx.get::<EndpointState>())
        .routes(Mount::admin("/webhooks"), admin::api(), |ctx| ctx.get::<EndpointState>());
}

/// Returns a page of the first `limit` items. `cursor` returns the cursor after an item; there is one if there are more
/// than `limit` items.
fn page<T>(mut items: Vec<T>, limit: u32, cursor: impl FnOnce(&T) -> String) -> CursorPage<T> {
    let size = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = items.len() > size;
    items.truncate(size);
    let next_cursor = items.last().filter(|_| more).map(cursor);
    CursorPage { items, next_cursor }
}

fn invalid_cursor() -> Error {
    Error::invalid([FieldError::new("cursor", "is not a cursor of this list; send `next_cursor` of the previous page")])
}

/// Returns the names of event types as plain texts.
fn texts(names: Vec<Text<1, 100>>) -> Vec<String> {
    names.into_iter().map(|name| name.to_string()).collect()
}
