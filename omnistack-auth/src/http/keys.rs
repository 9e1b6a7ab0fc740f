//! The public keys of access tokens, at the well-known address.

use axum::extract::State;
use omnistack_core::{app::Api, http::header};
use utoipa_axum::routes;

use crate::signing::SigningKeys;

pub(crate) fn api() -> Api<SigningKeys> {
    Api::new().routes(routes!(key_set))
}

/// The key set
///
/// The keys access tokens are signed with (RFC 7517, section 5). Keep it for at most an hour.
#[utoipa::path(get, path = "/jwks.json", responses((status = 200, description = "The keys.", body = Object, content_type = "application/jwk-set+json")))]
async fn key_set(State(keys): State<SigningKeys>) -> impl axum::response::IntoResponse {
    let headers = [(header::CACHE_CONTROL, "public, max-age=300"), (header::CONTENT_TYPE, "application/jwk-set+json")];
    (headers, keys.public().await.to_string())
}
