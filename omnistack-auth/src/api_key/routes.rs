//! Routes of API keys.

use std::time::Duration;

use ::http::StatusCode;
use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    ExposeSecret as _,
    clock::Timestamp,
    http::{CursorPage, Error, Json, Path, Query},
    identity::{ApiKeyId, Identity, PermissionCatalog, Permissions, Require},
    module::Api,
    text::Name,
};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::{
    api_key::{ApiKey, ApiKeys, MAX_ROTATION_GRACE, NewApiKey},
    session::MAX_FRESH_SIGN_IN_AGE,
    tenant::routes::members::CursorPageQuery,
};

type ApiKeyState = (ApiKeys, PermissionCatalog);

/// Returns the routes that read.
pub(crate) fn reading() -> Api<ApiKeys> {
    Api::new().routes(routes!(list)).routes(routes!(get))
}

/// Returns the routes that only users call. A key outlives the session it is created in, so creating and rotating one
/// need a fresh sign-in.
pub(crate) fn changing() -> Api<ApiKeyState> {
    Api::new()
        .require(Require::fresh_sign_in(MAX_FRESH_SIGN_IN_AGE), routes!(create))
        .routes(routes!(revoke))
        .require(Require::fresh_sign_in(MAX_FRESH_SIGN_IN_AGE), routes!(rotate))
}

/// An API key with its secret, which is shown only once.
#[derive(Serialize, ToSchema)]
struct SecretBody {
    #[serde(flatten)]
    key: ApiKey,
    /// The secret. Send it with each request in `Authorization: Bearer` or `X-API-Key`.
    secret: String,
}

impl From<(ApiKey, SecretString)> for SecretBody {
    fn from((key, secret): (ApiKey, SecretString)) -> Self {
        Self { key, secret: secret.expose_secret().to_owned() }
    }
}

/// List API keys
///
/// Lists the API keys of the current tenant. Needs `api-keys:read`.
#[utoipa::path(get, path = "/", operation_id = "list_api_keys", params(CursorPageQuery),
    responses((status = 200, description = "The keys.", body = CursorPage<ApiKey>)))]
async fn list(
    State(keys): State<ApiKeys>,
    caller: Identity,
    Query(query): Query<CursorPageQuery>,
) -> Result<Json<CursorPage<ApiKey>>, Error> {
    Ok(Json(keys.list(&caller, query.after()?, query.limit()).await?))
}

/// An API key to create.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct NewKey {
    /// A name that says what the key is used for.
    name: Name<100>,
    /// The permissions the key is limited to, of those the caller has: `projects:write` or `*:read`.
    #[garde(custom(crate::tenant::routes::roles::permission_count))]
    #[schema(value_type = Vec<String>, min_items = 1, max_items = 200)]
    scopes: Permissions,
    /// The time at which the key expires. If absent, it does not expire.
    expires_at: Option<Timestamp>,
    /// Whether the secret begins with `omni_test_` instead of `omni_live_`. The rights are the same.
    #[serde(default)]
    test: bool,
}

/// Create an API key
///
/// The key lets a program call in the caller's name, in the current tenant. The caller is informed by mail. Needs
/// `api-keys:write`, every scope of the key, and a sign-in within the last 10 minutes.
#[utoipa::path(post, path = "/", operation_id = "create_api_key", request_body = NewKey, responses(
    (status = 201, description = "The key, with its secret.", body = SecretBody),
    (status = 401, description = "`REAUTHENTICATION_REQUIRED`: the sign-in is older than 10 minutes."),
    (status = 403, description = "The caller lacks the permission of a scope, or the caller is an API key.")))]
async fn create(
    State((keys, known)): State<ApiKeyState>,
    caller: Identity,
    Json(new): Json<NewKey>,
) -> Result<(StatusCode, Json<SecretBody>), Error> {
    let NewKey { name, scopes, expires_at, test } = new;
    let mut key = NewApiKey::new(name, scopes);
    (key.expires_at, key.test) = (expires_at, test);
    Ok((StatusCode::CREATED, Json(keys.create(&caller, key, &known).await?.into())))
}

/// Get an API key
///
/// Needs `api-keys:read`.
#[utoipa::path(get, path = "/{id}", operation_id = "get_api_key",
    params(("id" = String, Path, format = Uuid, description = "The key.")), responses(
    (status = 200, description = "The key.", body = ApiKey),
    (status = 404, description = "The tenant has no such key.")))]
async fn get(State(keys): State<ApiKeys>, caller: Identity, Path(id): Path<ApiKeyId>) -> Result<Json<ApiKey>, Error> {
    Ok(Json(keys.get(&caller, id).await?))
}

/// The rotation of a key.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ApiKeyRotation)]
struct ApiKeyRotation {
    /// The seconds during which the previous secret stays valid, at most seven days; 0 if the secret may have leaked.
    #[garde(range(max = MAX_ROTATION_GRACE.as_secs()))]
    #[schema(maximum = 604_800)]
    grace_seconds: u64,
}

/// Rotate an API key
///
/// Returns a new secret and informs the key's creator by mail. The previous secret stays valid for the grace period.
/// Only the user who created the key can rotate it, with a sign-in within the last 10 minutes.
#[utoipa::path(post, path = "/{id}/rotate", operation_id = "rotate_api_key", request_body = ApiKeyRotation,
    params(("id" = String, Path, format = Uuid, description = "The key.")), responses(
    (status = 200, description = "The key, with its new secret.", body = SecretBody),
    (status = 401, description = "`REAUTHENTICATION_REQUIRED`: the sign-in is older than 10 minutes."),
    (status = 404, description = "The tenant has no such key.")))]
async fn rotate(
    State(state): State<ApiKeyState>,
    caller: Identity,
    Path(id): Path<ApiKeyId>,
    Json(ApiKeyRotation { grace_seconds }): Json<ApiKeyRotation>,
) -> Result<Json<SecretBody>, Error> {
    Ok(Json(state.0.rotate(&caller, id, Duration::from_secs(grace_seconds)).await?.into()))
}

/// Revoke an API key
///
/// The key is refused immediately. Needs `api-keys:write`, and also the key's scopes if another user created it.
#[utoipa::path(delete, path = "/{id}", operation_id = "revoke_api_key",
    params(("id" = String, Path, format = Uuid, description = "The key.")), responses(
    (status = 204, description = "Revoked."),
    (status = 404, description = "The tenant has no such key.")))]
async fn revoke(
    State(state): State<ApiKeyState>,
    caller: Identity,
    Path(id): Path<ApiKeyId>,
) -> Result<StatusCode, Error> {
    state.0.revoke(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
