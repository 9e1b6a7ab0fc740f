//! The routes of accounts: `/api/v1/app/services`.

use std::collections::BTreeMap;

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    data_environment::DataEnvironment,
    http::{Error, ErrorEnvelope, Json, Path, StatusCode},
    identity::Identity,
    module::Api,
    text::Text,
};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{
    accounts::PaymentAccounts,
    model::{PaymentCredentialCheck, PaymentServiceDetails, PaymentServiceEnvironments},
};

/// Returns the routes that don't take credentials.
pub(super) fn api() -> Api<PaymentAccounts> {
    Api::new().routes(routes!(list)).routes(routes!(environments)).routes(routes!(switch)).routes(routes!(test))
}

/// Returns the routes that store and delete credentials.
pub(super) fn changing() -> Api<PaymentAccounts> {
    Api::new().routes(routes!(put, delete))
}

/// List payment services
///
/// The services at which the current tenant can have an account, with the fields of their credentials and the accounts
/// that the tenant has. Needs `payments:read`.
#[utoipa::path(get, path = "/", operation_id = "list_payment_services", responses(
    (status = 200, body = Vec<PaymentServiceDetails>)))]
async fn list(
    State(accounts): State<PaymentAccounts>,
    caller: Identity,
) -> Result<Json<Vec<PaymentServiceDetails>>, Error> {
    Ok(Json(accounts.list(caller.require_tenant()?).await?))
}

/// Get the environments of a payment service
///
/// Whether the current tenant has an account for tests and one for real money, and when each was last used. Needs
/// `payments:read`.
#[utoipa::path(get, path = "/{name}/environments", operation_id = "get_payment_service_environments",
    params(("name" = String, Path, description = "The name of the service.")), responses(
    (status = 200, body = PaymentServiceEnvironments),
    (status = 404, body = ErrorEnvelope)))]
async fn environments(
    State(accounts): State<PaymentAccounts>,
    caller: Identity,
    Path(name): Path<String>,
) -> Result<Json<PaymentServiceEnvironments>, Error> {
    Ok(Json(accounts.environments(caller.require_tenant()?, &name).await?))
}

/// The environment to switch to.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct SwitchPaymentEnvironment {
    /// The environment.
    #[garde(skip)]
    environment: DataEnvironment,
}

/// Switch the environment of a payment service
///
/// A service that is switched to `test` takes no live payments. Payments that were made stay in their environment.
/// Needs `payments:write`.
#[utoipa::path(post, path = "/{name}/switch-environment", operation_id = "switch_payment_environment",
    request_body = SwitchPaymentEnvironment,
    params(("name" = String, Path, description = "The name of the service.")), responses(
    (status = 200, body = PaymentServiceEnvironments),
    (status = 403, description = "`IMPERSONATION_REFUSED`: the switch would outlive the impersonation."),
    (status = 404, body = ErrorEnvelope),
    (status = 409, description = "`PAYMENT_ACCOUNT_MISSING`: there are no credentials for the environment.")))]
async fn switch(
    State(accounts): State<PaymentAccounts>,
    caller: Identity,
    Path(name): Path<String>,
    Json(SwitchPaymentEnvironment { environment }): Json<SwitchPaymentEnvironment>,
) -> Result<Json<PaymentServiceEnvironments>, Error> {
    Ok(Json(accounts.switch(&caller, &name, environment).await?))
}

/// The credentials to store.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct PaymentCredentials {
    /// The fields by name, as the list of services has them. They are not shown again.
    #[garde(length(max = 20))]
    fields: BTreeMap<String, Text<1, 4000>>,
}

/// Store payment credentials
///
/// They replace the previous ones of the environment, and are sealed in the database. Needs `payments:write`.
#[utoipa::path(put, path = "/{name}/credentials/{environment}", operation_id = "put_payment_credentials",
    request_body = PaymentCredentials,
    params(("name" = String, Path, description = "The name of the service."),
        ("environment" = DataEnvironment, Path, description = "The environment of the account.")), responses(
    (status = 200, body = PaymentServiceEnvironments),
    (status = 402, description = "`PLAN_LIMIT_REACHED`: the plan allows no further service (`services`)."),
    (status = 404, body = ErrorEnvelope),
    (status = 422, description = "`VALIDATION_FAILED`: the service does not accept a field.")))]
async fn put(
    State(accounts): State<PaymentAccounts>,
    caller: Identity,
    Path((name, environment)): Path<(String, DataEnvironment)>,
    Json(PaymentCredentials { fields }): Json<PaymentCredentials>,
) -> Result<Json<PaymentServiceEnvironments>, Error> {
    let fields = fields.into_iter().map(|(name, value)| (name, value.to_string())).collect();
    Ok(Json(accounts.put(&caller, &name, environment, fields).await?))
}

/// Delete payment credentials
///
/// Payments that were made by the account can no longer be changed. Needs `payments:write`.
#[utoipa::path(delete, path = "/{name}/credentials/{environment}", operation_id = "delete_payment_credentials",
    params(("name" = String, Path, description = "The name of the service."),
        ("environment" = DataEnvironment, Path, description = "The environment of the account.")), responses(
    (status = 204, description = "Deleted."),
    (status = 404, body = ErrorEnvelope)))]
async fn delete(
    State(accounts): State<PaymentAccounts>,
    caller: Identity,
    Path((name, environment)): Path<(String, DataEnvironment)>,
) -> Result<StatusCode, Error> {
    accounts.delete(&caller, &name, environment).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Test payment credentials
///
/// Asks the service whether it accepts them. It changes nothing there. Needs `payments:write`.
#[utoipa::path(post, path = "/{name}/credentials/{environment}/test", operation_id = "test_payment_credentials",
    params(("name" = String, Path, description = "The name of the service."),
        ("environment" = DataEnvironment, Path, description = "The environment of the account.")), responses(
    (status = 200, body = PaymentCredentialCheck),
    (status = 404, body = ErrorEnvelope),
    (status = 503, description = "`PAYMENT_ACCOUNT_UNUSABLE`: the stored credentials can't be used.")))]
async fn test(
    State(accounts): State<PaymentAccounts>,
    caller: Identity,
    Path((name, environment)): Path<(String, DataEnvironment)>,
) -> Result<Json<PaymentCredentialCheck>, Error> {
    Ok(Json(accounts.test(caller.require_tenant()?, &name, environment).await?))
}
