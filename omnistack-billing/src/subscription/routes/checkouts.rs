//! The route of checkouts.

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    http::{Error, ErrorEnvelope, Json},
    identity::Identity,
    text::Text,
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
#[garde(allow_unvalidated)]
pub(super) struct StartCheckout {
    /// The key of the plan.
    plan: Text<1, 50>,
    /// The interval of the price, such as `month` or `year`. Default: that of the plan.
    #[serde(default)]
    interval: Option<Text<0, 20>>,
    /// The number of seats, for a plan that is sold by seats. Default: 1.
    #[garde(inner(range(min = 1, max = MAX_SEATS)))]
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    seats: Option<u64>,
    /// The code of a coupon at the provider, if it has coupons: a coupon or a promotion code of Stripe, an offer of
    /// Razorpay.
    #[serde(default)]
    coupon: Option<Text<1, 100>>,
    /// The name of the payment provider. Default: that of the app.
    #[serde(default)]
    provider: Option<Text<0, 50>>,
    /// The path in the app to which the customer returns after paying. Default: `/`.
    #[serde(default)]
    success_path: Option<Text<0, 500>>,
    /// The path in the app to which the customer returns otherwise. Default: `/`.
    #[serde(default)]
    cancel_path: Option<Text<0, 500>>,
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
        plan: plan.into(),
        interval: parse_interval(interval.as_deref())?,
        seats,
        coupon: coupon.map(String::from),
        provider: provider.map(String::from),
        success_path: parse_path("success_path", success_path.map(String::from))?,
        cancel_path: parse_path("cancel_path", cancel_path.map(String::from))?,
    };
    Ok(Json(subscriptions.start_checkout(&caller, purchase).await?))
}
