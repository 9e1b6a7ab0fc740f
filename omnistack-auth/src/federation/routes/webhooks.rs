//! Routes that receive the webhooks of identity providers.

use ::http::StatusCode;
use axum::extract::State;
use omnistack_core::{
    http::{Error, ErrorEnvelope},
    module::Api,
    webhook::{IncomingWebhook, WebhookInbox},
};
use utoipa_axum::routes;

use crate::federation::issuer::webhook::WebhookProvider;

/// Returns the route for a provider's webhooks.
pub(crate) fn api(provider: WebhookProvider) -> Api<WebhookInbox> {
    match provider {
        WebhookProvider::Clerk => Api::new().routes(routes!(from_clerk)),
        WebhookProvider::Supabase => Api::new().routes(routes!(from_supabase)),
    }
}

/// Receive a webhook of Clerk
///
/// Handles `user.created`, `user.updated` and `user.deleted`, signed by Svix. Other events are accepted and ignored.
#[utoipa::path(post, path = "/clerk", operation_id = "receive_clerk_events", request_body(content = Object, content_type = "application/json"),
    responses((status = 204, description = "The event was accepted, now or at an earlier delivery."),
        (status = 400, body = ErrorEnvelope, description = "The signature is missing, wrong or too old."),
        (status = 422, body = ErrorEnvelope, description = "The body is not an event.")))]
async fn from_clerk(State(inbox): State<WebhookInbox>, request: IncomingWebhook) -> Result<StatusCode, Error> {
    inbox.receive(WebhookProvider::Clerk.name(), None, request).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Receive a webhook of Supabase
///
/// Handles `user.created`, `user.updated` and `user.deleted`, or changes of the table `auth.users`, signed as Standard
/// Webhooks specifies. Other events are accepted and ignored.
#[utoipa::path(post, path = "/supabase", operation_id = "receive_supabase_events", request_body(content = Object, content_type = "application/json"),
    responses((status = 204, description = "The event was accepted, now or at an earlier delivery."),
        (status = 400, body = ErrorEnvelope, description = "The signature is missing, wrong or too old."),
        (status = 422, body = ErrorEnvelope, description = "The body is not an event.")))]
async fn from_supabase(State(inbox): State<WebhookInbox>, request: IncomingWebhook) -> Result<StatusCode, Error> {
    inbox.receive(WebhookProvider::Supabase.name(), None, request).await?;
    Ok(StatusCode::NO_CONTENT)
}
