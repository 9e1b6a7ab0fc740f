//! The route of checkouts.

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    http::{Error, ErrorEnvelope, Json},
    identity::Identity,
};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    super::{checkout::PlanPurchase, handle::Subscriptions, model::Checkout},
    parse_interval, parse_path,
};
use crate::account::MAX_SEATS;

/// The plan to buy.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StartCheckout {
    /// The key of the plan.
    #[garde(length(chars, min = 1, max = 50))]
    #[schema(min_length = 1, max_length = 50)]
    plan: String,
    /// The interval of the price, such as `month` or `year`. Default: that of the plan.
    #[garde(length(chars, max = 20))]
    #[serde(default)]
    #[schema(max_length = 20)]
    interval: Option<String>,
    /// The number of seats, for a plan that is sold by seats. Default: 1.
    #[garde(inner(range(min = 1, max = MAX_SEATS)))]
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    seats: Option<u64>,
    /// The code of a coupon at the provider, if it has coupons: a coupon or a promotion code of Stripe, an offer of
    /// Razorpay.
    #[garde(length(chars, min = 1, max = 100))]
    #[serde(default)]
    #[schema(min_length = 1, max_length = 100)]
    coupon: Option<String>,
    /// The name of the payment provider. Default: that of the app.
    #[garde(length(chars, max = 50))]
    #[serde(default)]
    #[schema(max_length = 50)]
    provider: Option<String>,
    /// The path in the app to which the customer returns after paying. Default: `/`.
    #[garde(length(chars, max = 500))]
    #[serde(default)]
    #[schema(max_length = 500)]
    success_path: Option<String>,
    /// The path in the app to which the customer returns otherwise. Default: `/`.
    #[garde(length(chars, max = 500))]
    #[serde(default)]
    #[schema(max_length = 500)]
    cancel_path: Option<String>,
}

/// Start a checkout
///
/// Returns the page of the provider on which the tenant pays. There is one open checkout of each plan: a second request
/// returns the same page.
#[utoipa::path(post, path = "/checkout", operation_id = "start_checkout", request_body = StartCheckout, responses(
    (status = 200, body = Checkout),
    (status = 402, body = ErrorEnvelope, description = "`BILLING_PAYMENT_DUE`."),
    (status = 404, body = ErrorEnvelope, description = "There is no such plan."),
    (status = 409, body = ErrorEnvelope,
        description = "`SUBSCRIPTION_EXISTS`, `SUBSCRIPTION_OF_OTHER_GROUP`, `PLAN_NOT_SOLD`, `PLAN_NOT_PER_SEAT`, \
            `SEATS_IN_USE`, `COUPONS_NOT_SUPPORTED`, `CHECKOUT_ENDED`."),
    (status = 422, body = ErrorEnvelope),
    (status = 503, body = ErrorEnvelope, description = "`PAYMENT_UNKNOWN`, `PAYMENT_PROVIDER_UNAVAILABLE`."),
))]
pub(super) async fn checkout(
    State(subscriptions): State<Subscriptions>,
    caller: Identity,
    Json(start): Json<StartCheckout>,
) -> Result<Json<Checkout>, Error> {
    // What is bought outlives the impersonation.
    caller.deny_impersonation()?;
    let StartCheckout { plan, interval, seats, coupon, provider, success_path, cancel_path } = start;
    let purchase = PlanPurchase {
        plan,
        interval: parse_interval(interval.as_deref())?,
        seats,
        coupon,
        provider,
        success_path: parse_path("success_path", success_path)?,
        cancel_path: parse_path("cancel_path", cancel_path)?,
    };
    Ok(Json(subscriptions.start_checkout(&caller, purchase).await?))
}
