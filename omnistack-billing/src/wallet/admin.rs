//! The routes of wallets for operators: `/api/v1/admin/billing/wallets`.

#![expect(unused_qualifications, reason = "the derive macros for queries generate qualified paths")]

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    clock::Timestamp,
    http::{Error, ErrorEnvelope, Json, Path, Query, StatusCode},
    identity::{Identity, TenantId},
    module::Api,
    text::Text,
    usage::DataEnvironment,
};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::{
    credits::Credits,
    handle::Wallets,
    model::{NewGrant, WalletBalance, WalletGrant},
    store::WalletKey,
};

/// Returns the routes.
pub(super) fn api() -> Api<Wallets> {
    Api::new().routes(routes!(get)).routes(routes!(create)).routes(routes!(update))
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct TenantWalletQuery {
    /// The environment. Default: `live`.
    #[garde(skip)]
    environment: Option<DataEnvironment>,
}

/// Get the wallet of a tenant
///
/// The balance, and the next 100 grants in the order in which they are used.
#[utoipa::path(get, path = "/{tenant}", operation_id = "get_wallet",
    params(("tenant" = String, Path, format = Uuid, description = "The tenant."), TenantWalletQuery), responses(
    (status = 200, body = WalletBalance)))]
async fn get(
    State(wallets): State<Wallets>,
    Path(tenant): Path<TenantId>,
    Query(query): Query<TenantWalletQuery>,
) -> Result<Json<WalletBalance>, Error> {
    Ok(Json(wallets.balance(tenant, query.environment.unwrap_or_default()).await?))
}

/// Credits to grant to a tenant.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct WalletGrantRequest {
    /// The key: what was paid or promised. A second grant with the same key changes nothing.
    key: Text<1, 200>,
    /// The amount, more than 0 and at most a billion.
    amount: Credits,
    /// The text for the tenant's statement.
    #[serde(default)]
    description: Text<0, 500>,
    /// The priority. The grant with the lowest number is used first. Default: 0.
    #[serde(default)]
    priority: i32,
    /// The time from which on what is left can't be used. If absent, the grant does not expire.
    expires_at: Option<Timestamp>,
}

/// Grant credits to a tenant
///
/// If there is a grant with the same key and amount, nothing changes, and the status is 200.
#[utoipa::path(post, path = "/{tenant}/grants", operation_id = "create_wallet_grant", request_body = WalletGrantRequest,
    params(("tenant" = String, Path, format = Uuid, description = "The tenant."), TenantWalletQuery), responses(
    (status = 200, description = "There was a grant with this key.", body = WalletGrant),
    (status = 201, description = "The grant.", body = WalletGrant),
    (status = 409, description = "`GRANT_CONFLICT`: there is a grant with this key and another amount; or \
        `WALLET_FULL`: the balance would be more than a billion.", body = ErrorEnvelope),
    (status = 422, body = ErrorEnvelope)))]
async fn create(
    State(wallets): State<Wallets>,
    caller: Identity,
    Path(tenant): Path<TenantId>,
    Query(query): Query<TenantWalletQuery>,
    Json(request): Json<WalletGrantRequest>,
) -> Result<(StatusCode, Json<WalletGrant>), Error> {
    let WalletGrantRequest { key, amount, description, priority, expires_at } = request;
    let grant = NewGrant::new(tenant, key, amount).environment(query.environment.unwrap_or_default());
    let grant = grant.description(description).priority(priority).expires_at(expires_at);
    let (grant, granted) = wallets.grant_as_operator(&caller, grant).await?;
    Ok((if granted { StatusCode::CREATED } else { StatusCode::OK }, Json(grant)))
}

/// A new amount of a grant.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct WalletGrantAmount {
    /// The amount, at least 0 and at most a billion.
    #[garde(skip)]
    amount: Credits,
}

/// Adjust a grant of a tenant
///
/// The grant gets this amount, or what is used of it if that is more.
#[utoipa::path(put, path = "/{tenant}/grants/{key}", operation_id = "update_wallet_grant",
    request_body = WalletGrantAmount,
    params(("tenant" = String, Path, format = Uuid, description = "The tenant."),
        ("key" = String, Path, description = "The key of the grant, percent-encoded.", max_length = 200),
        TenantWalletQuery),
    responses(
    (status = 200, body = WalletGrant),
    (status = 404, body = ErrorEnvelope),
    (status = 409, description = "`GRANT_EXPIRED`: a grant that has expired can't grow; or `WALLET_FULL`: the balance \
        would be more than a billion.", body = ErrorEnvelope),
    (status = 422, body = ErrorEnvelope)))]
async fn update(
    State(wallets): State<Wallets>,
    caller: Identity,
    Path((tenant, key)): Path<(TenantId, String)>,
    Query(query): Query<TenantWalletQuery>,
    Json(request): Json<WalletGrantAmount>,
) -> Result<Json<WalletGrant>, Error> {
    let wallet = WalletKey { tenant, environment: query.environment.unwrap_or_default() };
    Ok(Json(wallets.adjust_as_operator(&caller, wallet, &key, request.amount).await?))
}
