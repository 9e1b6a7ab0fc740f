//! The routes of the router: `/api/v1/app/payments/quote`, `/v1/payments/quote` and `/api/v1/app/payments/routes`.

#![expect(unused_qualifications, reason = "the derive macros for queries generate qualified paths")]

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    data_environment::DataEnvironment,
    http::{Error, FieldError, Json, Query},
    identity::Identity,
    module::Api,
    money::{Currency, Money},
    payment::PaymentMethodKind,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::{
    choice::fee_rank,
    handle::{PaymentRouter, RouteCandidate, RouteQuestion},
    health::AccountHealth,
    rules::{RouteRule, is_country},
};

/// Returns the route that compares the accounts for a payment.
pub(super) fn quote() -> Api<PaymentRouter> {
    Api::new().routes(routes!(quote_payment))
}

/// Returns the routes of rules.
pub(super) fn rules() -> Api<PaymentRouter> {
    Api::new().routes(routes!(get_rules, put_rules))
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct QuoteQuery {
    /// The amount in minor units of the currency.
    #[garde(range(min = 1))]
    #[param(minimum = 1)]
    amount: i64,
    /// The ISO 4217 code of the currency.
    #[garde(length(chars, max = 3))]
    #[param(max_length = 3)]
    currency: String,
    /// The kind of payment method. Default: `card`.
    #[garde(skip)]
    method: Option<PaymentMethodKind>,
    /// The country of the payer, as ISO 3166-1 alpha-2 in capitals.
    #[garde(length(chars, max = 2))]
    #[param(max_length = 2)]
    country: Option<String>,
    /// The environment. Default: `live` if an account of the tenant takes live payments, or else `test`.
    #[garde(skip)]
    environment: Option<DataEnvironment>,
}

/// A comparison of the tenant's accounts for a payment.
#[derive(Debug, Serialize, ToSchema)]
struct PaymentQuote {
    /// The amount in minor units.
    amount: i64,
    /// The ISO 4217 code of the currency.
    currency: String,
    /// The environment.
    environment: DataEnvironment,
    /// The service that would take the payment now; `null` if there is none.
    #[schema(required)]
    chosen: Option<String>,
    /// The service with the lowest estimated fee; `null` if no fee is known.
    #[schema(required)]
    cheapest: Option<String>,
    /// The accounts that can take the payment, in the order in which they are tried.
    candidates: Vec<PaymentQuoteCandidate>,
    /// The accounts that can't take the payment.
    unsuitable: Vec<UnsuitablePaymentService>,
}

/// An account that can take the payment.
#[derive(Debug, Serialize, ToSchema)]
struct PaymentQuoteCandidate {
    /// The name of the service.
    service: String,
    /// The estimated fee by the public prices of the service; `null` if it is not known.
    #[schema(required)]
    fee: Option<PaymentQuoteFee>,
    /// Why the account has its place in the order.
    reason: String,
    /// The health of the account.
    health: AccountHealth,
}

/// An estimated fee.
#[derive(Debug, Serialize, ToSchema)]
struct PaymentQuoteFee {
    /// The amount in minor units.
    amount: i64,
    /// The ISO 4217 code of the currency.
    currency: String,
}

/// An account that can't take the payment.
#[derive(Debug, Serialize, ToSchema)]
struct UnsuitablePaymentService {
    /// The name of the service.
    service: String,
    /// The reason why the account can't take the payment.
    reason: String,
}

impl From<RouteCandidate> for PaymentQuoteCandidate {
    fn from(candidate: RouteCandidate) -> Self {
        let RouteCandidate { service, fee, reason, health, .. } = candidate;
        let fee = fee.map(|fee| PaymentQuoteFee { amount: fee.minor(), currency: fee.currency().code().to_owned() });
        Self { service, fee, reason, health }
    }
}

/// Compare the accounts for a payment
///
/// Which account of the current tenant would take the payment, which is the cheapest, and why. Nothing is charged.
/// Needs `payments:read`.
#[utoipa::path(get, path = "/quote", operation_id = "quote_payment", params(QuoteQuery), responses(
    (status = 200, body = PaymentQuote),
    (status = 422, description = "`VALIDATION_FAILED`: the currency or the country is not accepted.")))]
async fn quote_payment(
    State(router): State<PaymentRouter>,
    caller: Identity,
    Query(query): Query<QuoteQuery>,
) -> Result<Json<PaymentQuote>, Error> {
    let tenant = caller.require_tenant()?;
    let QuoteQuery { amount, currency, method, country, environment } = query;
    let Some(known) = Currency::from_code(&currency) else {
        let problem = FieldError::new("currency", "must be an ISO 4217 code in capitals, such as `USD`");
        return Err(Error::invalid([problem]));
    };
    if country.as_deref().is_some_and(|country| !is_country(country)) {
        let problem = FieldError::new("country", "must be an ISO 3166-1 alpha-2 code in capitals, such as `US`");
        return Err(Error::invalid([problem]));
    }
    let environment = match environment {
        Some(environment) => environment,
        None => router.default_environment(tenant).await?,
    };
    let question = RouteQuestion {
        amount: Money::new(amount, known),
        method: method.unwrap_or(PaymentMethodKind::Card),
        country,
        provider: None,
    };
    let choice = router.choose(tenant, environment, &question).await?;
    let with_fee = choice.candidates.iter().filter(|candidate| candidate.fee.is_some());
    let cheapest = with_fee.min_by_key(|candidate| fee_rank(candidate.fee)).map(|candidate| candidate.service.clone());
    Ok(Json(PaymentQuote {
        amount,
        currency,
        environment,
        chosen: choice.candidates.first().map(|candidate| candidate.service.clone()),
        cheapest,
        candidates: choice.candidates.into_iter().map(Into::into).collect(),
        unsuitable: choice
            .unsuitable
            .into_iter()
            .map(|(service, reason)| UnsuitablePaymentService { service, reason })
            .collect(),
    }))
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RouteRulesQuery {
    /// The environment. Default: `live`.
    #[garde(skip)]
    environment: Option<DataEnvironment>,
}

/// The rules by which payments are routed, in order: the first that applies to a payment and has an account decides.
#[derive(Debug, Serialize, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct RouteRules {
    /// The rules. Without one, the account with the lowest estimated fee takes the payment.
    #[garde(length(max = 50), dive)]
    #[schema(max_items = 50)]
    rules: Vec<RouteRule>,
}

/// Get the routing rules
///
/// Needs `payments:read`.
#[utoipa::path(get, path = "/routes", operation_id = "get_payment_routes", params(RouteRulesQuery), responses(
    (status = 200, body = RouteRules)))]
async fn get_rules(
    State(router): State<PaymentRouter>,
    caller: Identity,
    Query(query): Query<RouteRulesQuery>,
) -> Result<Json<RouteRules>, Error> {
    let environment = query.environment.unwrap_or_default();
    Ok(Json(RouteRules { rules: router.rules(caller.require_tenant()?, environment).await? }))
}

/// Replace the routing rules
///
/// They apply to payments that are created from now on. Needs `payments:write`.
#[utoipa::path(put, path = "/routes", operation_id = "put_payment_routes", params(RouteRulesQuery),
    request_body = RouteRules, responses(
    (status = 200, body = RouteRules),
    (status = 403, description = "`IMPERSONATION_REFUSED`: the rules would outlive the impersonation."),
    (status = 422, description = "`VALIDATION_FAILED`: a rule is not accepted.")))]
async fn put_rules(
    State(router): State<PaymentRouter>,
    caller: Identity,
    Query(query): Query<RouteRulesQuery>,
    Json(RouteRules { rules }): Json<RouteRules>,
) -> Result<Json<RouteRules>, Error> {
    router.set_rules(&caller, query.environment.unwrap_or_default(), &rules).await?;
    Ok(Json(RouteRules { rules }))
}
