//! The routes of wallets for tenants: `/api/v1/app/billing/wallet`.

#![expect(unused_qualifications, reason = "the derive macros for queries generate qualified paths")]

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    http::{CursorPage, Error, ErrorEnvelope, FieldError, Json, PageRequest, Query},
    identity::{Identity, Require},
    module::Api,
    usage::DataEnvironment,
};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::{
    credits::Credits,
    handle::Wallets,
    model::{WalletBalance, WalletEntry, WalletEntryId},
};

/// Returns the routes.
pub(super) fn api() -> Api<Wallets> {
    Api::new()
        .require(Require::permission("billing:read"), routes!(get))
        .require(Require::permission("billing:read"), routes!(list))
        // Top-ups are charged.
        .require(Require::permission("billing:manage"), routes!(update))
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct WalletQuery {
    /// The environment. Default: `live`.
    #[garde(skip)]
    environment: Option<DataEnvironment>,
}

/// Get the wallet
///
/// The balance of the current tenant, and the next 100 grants in the order in which they are used. Needs
/// `billing:read`.
#[utoipa::path(get, path = "/", operation_id = "get_wallet", params(WalletQuery), responses(
    (status = 200, body = WalletBalance)))]
async fn get(
    State(wallets): State<Wallets>,
    caller: Identity,
    Query(query): Query<WalletQuery>,
) -> Result<Json<WalletBalance>, Error> {
    let environment = query.environment.unwrap_or_default();
    Ok(Json(wallets.balance(caller.require_tenant()?, environment).await?))
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct WalletStatementQuery {
    /// The environment. Default: `live`.
    #[garde(skip)]
    environment: Option<DataEnvironment>,
    /// The largest number of items to return, 1 to 100. Default: 20.
    #[garde(range(min = 1, max = 100))]
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// The `next_cursor` of the previous page.
    #[garde(length(chars, max = 100))]
    #[param(max_length = 100)]
    cursor: Option<String>,
}

/// List the entries of the wallet
///
/// The statement of the current tenant, the newest entries first. Needs `billing:read`.
#[utoipa::path(get, path = "/statement", operation_id = "list_wallet_entries", params(WalletStatementQuery), responses(
    (status = 200, body = CursorPage<WalletEntry>),
    (status = 422, body = ErrorEnvelope)))]
async fn list(
    State(wallets): State<Wallets>,
    caller: Identity,
    Query(query): Query<WalletStatementQuery>,
) -> Result<Json<CursorPage<WalletEntry>>, Error> {
    let WalletStatementQuery { environment, limit, cursor } = query;
    let before = cursor.map(|cursor| cursor.parse::<WalletEntryId>()).transpose();
    let before = before
        .map_err(|_| Error::invalid([FieldError::new("cursor", "must be the `next_cursor` of a previous page")]))?;
    let (environment, limit) = (environment.unwrap_or_default(), limit.unwrap_or(PageRequest::DEFAULT_SIZE));
    Ok(Json(wallets.statement(caller.require_tenant()?, environment, before, limit).await?))
}

/// The settings of a wallet. They replace the present ones.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct WalletSettings {
    /// The balance below which the wallet is low; `null` if the tenant is not told.
    #[garde(skip)]
    low_below: Option<Credits>,
    /// The credits to buy automatically when the wallet is low; `null` for none.
    #[garde(skip)]
    top_up_amount: Option<Credits>,
}

/// Change the settings of the wallet
///
/// If the balance is below `low_below` already, the wallet is low at once. Needs `billing:manage`.
#[utoipa::path(put, path = "/settings", operation_id = "update_wallet_settings", request_body = WalletSettings,
    params(WalletQuery), responses(
    (status = 200, body = WalletBalance),
    (status = 403, description = "`IMPERSONATION_REFUSED`: the settings would outlive the impersonation."),
    (status = 422, description = "`VALIDATION_FAILED`: an amount is not accepted, or the app has no top-ups.")))]
async fn update(
    State(wallets): State<Wallets>,
    caller: Identity,
    Query(query): Query<WalletQuery>,
    Json(settings): Json<WalletSettings>,
) -> Result<Json<WalletBalance>, Error> {
    let WalletSettings { low_below, top_up_amount } = settings;
    let environment = query.environment.unwrap_or_default();
    Ok(Json(wallets.set_settings(&caller, environment, low_below, top_up_amount).await?))
}
