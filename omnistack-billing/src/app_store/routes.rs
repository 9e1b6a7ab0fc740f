//! The routes of purchases in app stores: `/api/v1/app/billing/app-stores`.

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    http::{Error, ErrorEnvelope, Json},
    identity::{Identity, Require},
    module::Api,
    text::Text,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

use super::{handle::StorePurchases, model::StorePurchase};

/// Returns the routes.
pub(super) fn api() -> Api<StorePurchases> {
    Api::new()
        .require(Require::permission("billing:read"), routes!(list))
        .require(Require::permission("billing:manage"), routes!(create_apple_token))
        .require(Require::permission("billing:manage"), routes!(create_google_token))
        .require(Require::permission("billing:manage"), routes!(submit_apple))
        .require(Require::permission("billing:manage"), routes!(submit_google))
}

/// The subscriptions that a tenant has bought in app stores.
#[derive(Debug, Serialize, ToSchema)]
struct StorePurchaseList {
    /// The subscriptions, those that changed last first. At most 100.
    items: Vec<StorePurchase>,
}

/// List subscriptions of app stores
///
/// The subscriptions of the current tenant that were bought in app stores. Needs `billing:read`.
#[utoipa::path(get, path = "/", operation_id = "list_store_purchases", responses(
    (status = 200, body = StorePurchaseList)))]
async fn list(State(purchases): State<StorePurchases>, caller: Identity) -> Result<Json<StorePurchaseList>, Error> {
    Ok(Json(StorePurchaseList { items: purchases.list(caller.require_tenant()?).await? }))
}

/// The token that identifies the tenant to the App Store.
#[derive(Debug, Serialize, ToSchema)]
struct AppleToken {
    /// The token: pass it as `appAccountToken` to the purchase.
    #[schema(value_type = String, format = Uuid)]
    app_account_token: Uuid,
}

/// Get the token for purchases in the App Store
///
/// A purchase with the `appAccountToken` belongs to the current tenant. It is always the same. Needs `billing:manage`.
#[utoipa::path(post, path = "/apple/token", operation_id = "create_apple_token", responses(
    (status = 200, body = AppleToken)))]
async fn create_apple_token(
    State(purchases): State<StorePurchases>,
    caller: Identity,
) -> Result<Json<AppleToken>, Error> {
    caller.deny_impersonation()?;
    Ok(Json(AppleToken { app_account_token: purchases.token(caller.require_tenant()?).await? }))
}

/// The token that identifies the tenant to Google Play.
#[derive(Debug, Serialize, ToSchema)]
struct GoogleToken {
    /// The token: pass it to `setObfuscatedAccountId` of the billing flow.
    #[schema(value_type = String, format = Uuid)]
    obfuscated_account_id: Uuid,
}

/// Get the token for purchases in Google Play
///
/// A purchase with the obfuscated account id belongs to the current tenant. It is always the same. Needs
/// `billing:manage`.
#[utoipa::path(post, path = "/google/token", operation_id = "create_google_token", responses(
    (status = 200, body = GoogleToken)))]
async fn create_google_token(
    State(purchases): State<StorePurchases>,
    caller: Identity,
) -> Result<Json<GoogleToken>, Error> {
    caller.deny_impersonation()?;
    Ok(Json(GoogleToken { obfuscated_account_id: purchases.token(caller.require_tenant()?).await? }))
}

/// A transaction of the App Store.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct AppleTransactionRequest {
    /// The signed transaction: `jwsRepresentation` of the verification result.
    signed_transaction: Text<1, 50_000>,
}

/// Submit a purchase of the App Store
///
/// Stores the subscription of a transaction for the current tenant. The same transaction again changes nothing. Needs
/// `billing:manage`.
#[utoipa::path(post, path = "/apple/purchases", operation_id = "submit_apple_purchase",
    request_body = AppleTransactionRequest, responses(
    (status = 200, body = StorePurchase),
    (status = 404, body = ErrorEnvelope, description = "The app is not set up for the App Store."),
    (status = 409, description = "`STORE_PURCHASE_OF_OTHER_TENANT`: it was bought for another tenant."),
    (status = 422, description = "`STORE_PURCHASE_INVALID`: it is not signed for this app, or not current.")))]
async fn submit_apple(
    State(purchases): State<StorePurchases>,
    caller: Identity,
    Json(request): Json<AppleTransactionRequest>,
) -> Result<Json<StorePurchase>, Error> {
    caller.deny_impersonation()?;
    Ok(Json(purchases.take_transaction(caller.require_tenant()?, &request.signed_transaction).await?))
}

/// A purchase in Google Play.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct GooglePurchaseRequest {
    /// The token of the purchase.
    purchase_token: Text<1, 1000>,
}

/// Submit a purchase of Google Play
///
/// Asks Google for the subscription of a token, and stores it for the current tenant. The app acknowledges it: the
/// device must not. Needs `billing:manage`.
#[utoipa::path(post, path = "/google/purchases", operation_id = "submit_google_purchase",
    request_body = GooglePurchaseRequest, responses(
    (status = 200, body = StorePurchase),
    (status = 404, body = ErrorEnvelope, description = "The app is not set up for Google Play."),
    (status = 409, description = "`STORE_PURCHASE_OF_OTHER_TENANT`: it was bought for another tenant."),
    (status = 422, description = "`STORE_PURCHASE_INVALID`: Google does not know it."),
    (status = 503, description = "`STORE_UNAVAILABLE`: Google can't be asked now.")))]
async fn submit_google(
    State(purchases): State<StorePurchases>,
    caller: Identity,
    Json(request): Json<GooglePurchaseRequest>,
) -> Result<Json<StorePurchase>, Error> {
    caller.deny_impersonation()?;
    Ok(Json(purchases.take_purchase_token(caller.require_tenant()?, &request.purchase_token).await?))
}
