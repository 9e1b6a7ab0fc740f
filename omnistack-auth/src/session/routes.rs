//! The route of the JSON Web Key Set, at the well-known path.

use axum::extract::State;
use omnistack_core::{http::header, module::Api};
use utoipa_axum::routes;

use crate::session::signing::SigningKeys;

/// Returns the route, which is public.
pub(crate) fn api() -> Api<SigningKeys> {
    Api::new().routes(routes!(key_set))
}

/// Get the key set
///
/// The public keys that verify access tokens, as a JSON Web Key Set (RFC 7517, section 5). Cache it for at most an
/// hour.
#[utoipa::path(get, path = "/jwks.json", operation_id = "get_key_set", responses((status = 200, description = "The keys.", body = Object, content_type = "application/jwk-set+json")))]
async fn key_set(State(keys): State<SigningKeys>) -> impl axum::response::IntoResponse {
    let headers = [(header::CACHE_CONTROL, "public, max-age=300"), (header::CONTENT_TYPE, "application/jwk-set+json")];
    (headers, keys.public().await.to_string())
}
