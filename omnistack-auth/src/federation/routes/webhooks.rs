//! Routes that receive the webhooks of identity providers.

use ::http::{HeaderMap, StatusCode};
use axum::{
    body::Bytes,
    extract::{State, rejection::BytesRejection},
};
use omnistack_core::{http::Error, module::Api};
use utoipa_axum::routes;

use crate::federation::issuer::webhook::{Delivery, IdentityProviderWebhooks, WebhookProvider};

/// Returns the route for Clerk's webhooks.
pub(crate) fn clerk() -> Api<IdentityProviderWebhooks> {
    Api::new().routes(routes!(from_clerk))
}

/// Returns the route for Supabase's webhooks.
pub(crate) fn supabase() -> Api<IdentityProviderWebhooks> {
    Api::new().routes(routes!(from_supabase))
}

/// Receive a webhook of Clerk
///
/// Handles `user.created`, `user.updated` and `user.deleted`, signed by Svix. Other events are accepted and ignored.
#[utoipa::path(post, path = "/clerk", operation_id = "receive_clerk_events", request_body(content = Object, content_type = "application/json"),
    responses((status = 204, description = "The event was processed, now or at an earlier delivery.")))]
async fn from_clerk(
    State(webhooks): State<IdentityProviderWebhooks>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, Error> {
    receive(webhooks, WebhookProvider::Clerk, &headers, body).await
}

/// Receive a webhook of Supabase
///
/// Handles `user.created`, `user.updated` and `user.deleted`, or changes of the table `auth.users`, signed as Standard
/// Webhooks specifies. Other events are accepted and ignored.
#[utoipa::path(post, path = "/supabase", operation_id = "receive_supabase_events", request_body(content = Object, content_type = "application/json"),
    responses((status = 204, description = "The event was processed, now or at an earlier delivery.")))]
async fn from_supabase(
    State(webhooks): State<IdentityProviderWebhooks>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, Error> {
    receive(webhooks, WebhookProvider::Supabase, &headers, body).await
}

async fn receive(
    webhooks: IdentityProviderWebhooks,
    from: WebhookProvider,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, Error> {
    webhooks.receive(from, delivery(headers), &body?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Reads either `webhook-*` or `svix-*` headers, never a mixture of both.
fn delivery(headers: &HeaderMap) -> Delivery<'_> {
    let get = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if headers.contains_key("webhook-id") {
        Delivery { id: get("webhook-id"), timestamp: get("webhook-timestamp"), signature: get("webhook-signature") }
    } else {
        Delivery { id: get("svix-id"), timestamp: get("svix-timestamp"), signature: get("svix-signature") }
    }
}
