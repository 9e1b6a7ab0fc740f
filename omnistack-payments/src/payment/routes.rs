//! The routes of payments: `/v1/payments` and `/v2/payments` for API keys, `/api/v1/app/payments` for users.

#![expect(unused_qualifications, reason = "the derive macros for queries generate qualified paths")]

use std::collections::BTreeMap;

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    data_environment::DataEnvironment,
    http::{CursorPage, Error, ErrorEnvelope, FieldError, Json, PageRequest, Path, Query, Response},
    idempotency::Idempotency,
    identity::Identity,
    module::Api,
    money::{Currency, Money},
    payment::{CaptureMode, PaymentMethodKind},
    text::Text,
};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::{
    handle::PaymentLedger,
    machine::PaymentState,
    model::{Payment, PaymentId, PaymentRequest, PaymentRetry, RefundRequest},
    request_limits::MAX_AMOUNT,
};

/// Returns the routes.
pub(super) fn api() -> Api<PaymentLedger> {
    Api::new()
        .routes(routes!(list, create))
        .routes(routes!(get))
        .routes(routes!(capture))
        .routes(routes!(cancel))
        .routes(routes!(refund))
        .routes(routes!(retry))
        .routes(routes!(resolve))
}

/// A payment to take.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct NewPaymentRequest {
    /// The amount in minor units of the currency, such as cents.
    #[garde(range(min = 1, max = MAX_AMOUNT))]
    #[schema(minimum = 1, maximum = 1_000_000_000_000_i64)]
    amount: i64,
    /// The ISO 4217 code of the currency, in capitals, such as `USD`.
    currency: Text<3, 3>,
    /// The environment. Default: that of the named provider or, without a name, `live` if the tenant has an account
    /// there.
    environment: Option<DataEnvironment>,
    /// The kind of payment method. Default: `card`.
    method: Option<PaymentMethodKind>,
    /// The only provider that may take the payment. Default: the router chooses it.
    provider: Option<Text<0, 100>>,
    /// The token of the payment method, for each provider without a token in `tokens`. Without any token, the payer
    /// chooses the payment method on a page of the provider.
    token: Option<Text<1, 500>>,
    /// Tokens of the payment method by provider, at most 10 of at most 500 characters.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, Text<1, 500>>)]
    tokens: BTreeMap<String, String>,
    /// When the money is taken. Default: `automatic`.
    #[serde(default)]
    capture: CaptureMode,
    /// The country of the payer: an ISO 3166-1 code of two capitals, such as `DE`.
    country: Option<Text<2, 2>>,
    /// The text for the payer.
    description: Option<Text<0, 500>>,
    /// The address to which the provider sends receipts.
    email: Option<Text<0, 320>>,
    /// The page to which the payer returns after an authentication.
    return_url: Option<Text<0, 2000>>,
    /// Values to store with the payment, here and at the provider: at most 20 of at most 500 characters, with names of
    /// at most 40.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, Text<0, 500>>)]
    metadata: BTreeMap<String, String>,
}

impl NewPaymentRequest {
    fn into_request(self, caller: &Identity, key: String) -> Result<PaymentRequest, Error> {
        let tenant = caller.require_tenant()?;
        let unknown = || Error::invalid([FieldError::new("currency", "must be an ISO 4217 code in capitals")]);
        let currency = Currency::from_code(&self.currency).ok_or_else(unknown)?;
        let is_token = |(service, token): (&String, &String)| {
            service.chars().count() <= 100 && (1..=500).contains(&token.chars().count())
        };
        if self.tokens.len() > 10 || !self.tokens.iter().all(is_token) {
            let message = "must have at most 10 tokens of 1 to 500 characters";
            return Err(Error::invalid([FieldError::new("tokens", message)]));
        }
        let mut request = PaymentRequest::new(tenant, key, Money::new(self.amount, currency));
        request.environment = self.environment;
        request.method = self.method.unwrap_or(PaymentMethodKind::Card);
        request.source.provider = self.provider.map(String::from);
        request.source.token = self.token.map(String::from);
        request.source.tokens = self.tokens;
        request.capture = self.capture;
        request.country = self.country.map(String::from);
        request.description = self.description.map(String::from);
        request.email = self.email.map(String::from);
        request.return_url = self.return_url.map(String::from);
        request.metadata = self.metadata;
        request.api_key = caller.api_key;
        Ok(request)
    }
}

/// Returns the key of a request: that of the caller, which no other caller can use.
fn key_of(caller: &Identity, idempotency: &Idempotency) -> Result<String, Error> {
    let key = idempotency.key().ok_or_else(|| {
        let message = "a request that moves money needs an `Idempotency-Key`; send a random one, and again in a retry";
        Error::bad_request("IDEMPOTENCY_KEY_REQUIRED", message)
    })?;
    Ok(match caller.api_key {
        Some(api_key) => format!("{api_key}/{key}"),
        None => format!("{}/{key}", caller.user),
    })
}

/// Create a payment
///
/// The payment is stored, and then a provider is asked to take it. If it is certain that the provider has not taken the
/// money and another one may succeed, that one is asked. The response has the payment in any state: `failed` if no
/// provider takes it, and `unknown` if a provider has not answered conclusively. Then it is asked until the outcome is
/// known; get the payment later. Needs an `Idempotency-Key`.
#[utoipa::path(post, path = "/", operation_id = "create_payment", request_body = NewPaymentRequest, responses(
    (status = 201, body = Payment),
    (status = 409, description = "`PAYMENT_CONFLICT`: there is a payment with this key and other values.",
        body = ErrorEnvelope),
    (status = 422, description = "`VALIDATION_FAILED`, or `PAYMENT_NOT_ROUTABLE`: no account can take the payment.",
        body = ErrorEnvelope)))]
async fn create(
    State(payments): State<PaymentLedger>,
    caller: Identity,
    idempotency: Idempotency,
    Json(request): Json<NewPaymentRequest>,
) -> Result<Response, Error> {
    caller.deny_impersonation()?;
    let request = request.into_request(&caller, key_of(&caller, &idempotency)?)?;
    payments.create_for_request(request, &idempotency).await
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PaymentsQuery {
    /// The environment. Default: `live`.
    #[garde(skip)]
    environment: Option<DataEnvironment>,
    /// Only payments in this state.
    #[garde(skip)]
    status: Option<PaymentState>,
    /// The largest number of items to return, 1 to 100. Default: 20.
    #[garde(range(min = 1, max = 100))]
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// The `next_cursor` of the previous page.
    #[garde(length(chars, max = 100))]
    #[param(max_length = 100)]
    cursor: Option<String>,
}

/// List payments
///
/// The newest come first.
#[utoipa::path(get, path = "/", operation_id = "list_payments", params(PaymentsQuery), responses(
    (status = 200, body = CursorPage<Payment>),
    (status = 422, body = ErrorEnvelope)))]
async fn list(
    State(payments): State<PaymentLedger>,
    caller: Identity,
    Query(query): Query<PaymentsQuery>,
) -> Result<Json<CursorPage<Payment>>, Error> {
    let PaymentsQuery { environment, status, limit, cursor } = query;
    let before = cursor.map(|cursor| cursor.parse::<PaymentId>()).transpose();
    let before = before
        .map_err(|_| Error::invalid([FieldError::new("cursor", "must be the `next_cursor` of a previous page")]))?;
    let (environment, limit) = (environment.unwrap_or_default(), limit.unwrap_or(PageRequest::DEFAULT_SIZE));
    Ok(Json(payments.list(caller.require_tenant()?, environment, status, before, limit).await?))
}

/// Get a payment
///
/// The payment has its attempts, refunds and disputes.
#[utoipa::path(get, path = "/{id}", operation_id = "get_payment", params(("id" = String, Path, format = Uuid)),
    responses((status = 200, body = Payment), (status = 404, body = ErrorEnvelope)))]
async fn get(
    State(payments): State<PaymentLedger>,
    caller: Identity,
    Path(id): Path<PaymentId>,
) -> Result<Json<Payment>, Error> {
    Ok(Json(payments.get(caller.require_tenant()?, id).await?))
}

/// The amount to capture.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct PaymentCapture {
    /// The amount in minor units. Default: the whole amount. What is not captured is released.
    #[garde(range(min = 1))]
    #[schema(minimum = 1)]
    amount: Option<i64>,
}

/// Capture a payment
///
/// Takes the money of an authorized payment. If the outcome is not known, the attempt has the `pending_change`
/// `capture`, and the provider is asked until it is known. Needs an `Idempotency-Key`.
#[utoipa::path(post, path = "/{id}/capture", operation_id = "capture_payment", request_body = PaymentCapture,
    params(("id" = String, Path, format = Uuid)), responses(
    (status = 200, body = Payment),
    (status = 404, body = ErrorEnvelope),
    (status = 409, description = "`PAYMENT_NOT_CAPTURABLE`; or `PAYMENT_CHANGE_PENDING`: another change has no result.",
        body = ErrorEnvelope),
    (status = 422, body = ErrorEnvelope),
    (status = 503, description = "`PAYMENT_PROVIDER_UNAVAILABLE`: nothing was changed.", body = ErrorEnvelope)))]
async fn capture(
    State(payments): State<PaymentLedger>,
    caller: Identity,
    Path(id): Path<PaymentId>,
    Json(request): Json<PaymentCapture>,
) -> Result<Json<Payment>, Error> {
    caller.deny_impersonation()?;
    Ok(Json(payments.capture(caller.require_tenant()?, id, request.amount).await?))
}

/// Cancel a payment
///
/// Cancels a payment whose money was not taken. Needs an `Idempotency-Key`.
#[utoipa::path(post, path = "/{id}/cancel", operation_id = "cancel_payment",
    params(("id" = String, Path, format = Uuid)), responses(
    (status = 200, body = Payment),
    (status = 404, body = ErrorEnvelope),
    (status = 409, description = "`PAYMENT_NOT_CANCELABLE`, `PAYMENT_OUTCOME_UNKNOWN` or `PAYMENT_CHANGE_PENDING`.",
        body = ErrorEnvelope),
    (status = 503, description = "`PAYMENT_PROVIDER_UNAVAILABLE`: nothing was changed.", body = ErrorEnvelope)))]
async fn cancel(
    State(payments): State<PaymentLedger>,
    caller: Identity,
    Path(id): Path<PaymentId>,
) -> Result<Json<Payment>, Error> {
    caller.deny_impersonation()?;
    Ok(Json(payments.cancel(caller.require_tenant()?, id).await?))
}

/// The refund to make.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct NewRefundRequest {
    /// The amount in minor units. Default: what is proposed for an overpaid payment, or else what is left of the
    /// payment.
    #[garde(range(min = 1))]
    #[schema(minimum = 1)]
    amount: Option<i64>,
    /// The number of the attempt whose money is sent back. Default: that of the proposal, or the last one with money
    /// left.
    #[garde(range(min = 1))]
    #[schema(minimum = 1)]
    attempt: Option<i32>,
    /// The reason, for the provider's records.
    reason: Option<Text<0, 500>>,
}

/// Refund a payment
///
/// Sends the money back, or a part of it. Needs an `Idempotency-Key`.
#[utoipa::path(post, path = "/{id}/refund", operation_id = "refund_payment", request_body = NewRefundRequest,
    params(("id" = String, Path, format = Uuid)), responses(
    (status = 200, body = Payment),
    (status = 404, body = ErrorEnvelope),
    (status = 409, description = "`PAYMENT_NOT_REFUNDABLE`: the payment has no money left, or too many \
        refunds.", body = ErrorEnvelope),
    (status = 422, body = ErrorEnvelope),
    (status = 503, description = "`PAYMENT_PROVIDER_UNAVAILABLE`: nothing was changed.", body = ErrorEnvelope)))]
async fn refund(
    State(payments): State<PaymentLedger>,
    caller: Identity,
    idempotency: Idempotency,
    Path(id): Path<PaymentId>,
    Json(request): Json<NewRefundRequest>,
) -> Result<Json<Payment>, Error> {
    caller.deny_impersonation()?;
    let NewRefundRequest { amount, attempt, reason } = request;
    let mut refund = RefundRequest::new(key_of(&caller, &idempotency)?);
    (refund.amount, refund.attempt, refund.reason) = (amount, attempt, reason.map(String::from));
    Ok(Json(payments.refund(caller.require_tenant()?, id, refund).await?))
}

/// Another attempt to take a payment.
#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct PaymentRetryRequest {
    /// The only provider that may take the payment. Default: the router chooses it.
    provider: Option<Text<0, 100>>,
    /// The token of the payment method. Without it, the payer chooses the payment method on a page of the provider.
    token: Option<Text<1, 500>>,
    /// The page to which the payer returns after an authentication.
    return_url: Option<Text<0, 2000>>,
    /// Whether the attempt begins although an earlier one may have taken the money. If it has, the payment becomes
    /// `overpaid`, with a refund in `refund_proposal`.
    #[serde(default)]
    force: bool,
}

/// Attempt a payment again
///
/// Begins another attempt of a payment that has failed. Before that, the provider of an attempt whose outcome is
/// unknown is asked for it. Needs an `Idempotency-Key`.
#[utoipa::path(post, path = "/{id}/retry", operation_id = "retry_payment", request_body = PaymentRetryRequest,
    params(("id" = String, Path, format = Uuid)), responses(
    (status = 200, body = Payment),
    (status = 404, body = ErrorEnvelope),
    (status = 409, description = "`PAYMENT_OUTCOME_UNKNOWN`: an earlier attempt may have taken the money; or \
        `PAYMENT_NOT_RETRYABLE`: one has, or still can.", body = ErrorEnvelope),
    (status = 422, body = ErrorEnvelope)))]
async fn retry(
    State(payments): State<PaymentLedger>,
    caller: Identity,
    idempotency: Idempotency,
    Path(id): Path<PaymentId>,
    Json(request): Json<PaymentRetryRequest>,
) -> Result<Json<Payment>, Error> {
    caller.deny_impersonation()?;
    let mut retry = PaymentRetry::new(key_of(&caller, &idempotency)?);
    retry.source.provider = request.provider.map(String::from);
    retry.source.token = request.token.map(String::from);
    retry.return_url = request.return_url.map(String::from);
    retry.force = request.force;
    Ok(Json(payments.retry(caller.require_tenant()?, id, retry).await?))
}

/// Ask the providers for a payment
///
/// Asks for all that has no final result, and returns the payment afterwards. This also happens by itself. Needs an
/// `Idempotency-Key`.
#[utoipa::path(post, path = "/{id}/resolve", operation_id = "resolve_payment",
    params(("id" = String, Path, format = Uuid)),
    responses((status = 200, body = Payment), (status = 404, body = ErrorEnvelope)))]
async fn resolve(
    State(payments): State<PaymentLedger>,
    caller: Identity,
    Path(id): Path<PaymentId>,
) -> Result<Json<Payment>, Error> {
    Ok(Json(payments.resolve(caller.require_tenant()?, id).await?))
}
