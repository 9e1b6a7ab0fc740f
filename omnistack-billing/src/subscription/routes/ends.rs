//! The routes of the end of a subscription, and of that of its coupon.

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    http::{Error, ErrorEnvelope, Json},
    identity::Identity,
};
use serde::Deserialize;
use utoipa::ToSchema;

use super::super::{handle::Subscriptions, model::Subscription};

/// The cancellation of a subscription.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CancelSubscription {
    /// Whether it ends now, without a refund. Default: at the end of the period.
    #[garde(skip)]
    #[serde(default)]
    now: bool,
}

/// Cancel the subscription
///
/// It ends at the end of the period, and can be resumed until then.
#[utoipa::path(post, path = "/cancel", operation_id = "cancel_subscription", request_body = CancelSubscription,
    responses(
    (status = 200, body = Subscription),
    (status = 409, body = ErrorEnvelope, description = "`NO_SUBSCRIPTION`, `APP_STORE_SUBSCRIPTION`."),
    (status = 422, body = ErrorEnvelope),
    (status = 503, body = ErrorEnvelope, description = "`PAYMENT_UNKNOWN`: try again."),
))]
pub(super) async fn cancel(
    State(subscriptions): State<Subscriptions>,
    caller: Identity,
    Json(CancelSubscription { now }): Json<CancelSubscription>,
) -> Result<Json<Subscription>, Error> {
    caller.deny_impersonation()?;
    Ok(Json(subscriptions.cancel(&caller, now).await?))
}

/// Resume the subscription
///
/// Takes back a planned cancellation, or ends a pause.
#[utoipa::path(post, path = "/resume", operation_id = "resume_subscription", responses(
    (status = 200, body = Subscription),
    (status = 409, body = ErrorEnvelope, description = "`NOTHING_TO_RESUME`, `NO_SUBSCRIPTION`."),
    (status = 503, body = ErrorEnvelope, description = "`PAYMENT_UNKNOWN`: try again."),
))]
pub(super) async fn resume(
    State(subscriptions): State<Subscriptions>,
    caller: Identity,
) -> Result<Json<Subscription>, Error> {
    caller.deny_impersonation()?;
    Ok(Json(subscriptions.resume(&caller).await?))
}

/// Remove the coupon
///
/// The next invoices of the subscription are not reduced.
#[utoipa::path(delete, path = "/coupon", operation_id = "remove_subscription_coupon", responses(
    (status = 200, body = Subscription),
    (status = 409, body = ErrorEnvelope,
        description = "`NO_COUPON`, `NO_SUBSCRIPTION`, `PAYMENT_NOT_SUPPORTED`: the provider can't remove it."),
    (status = 503, body = ErrorEnvelope, description = "`PAYMENT_UNKNOWN`: try again."),
))]
pub(super) async fn remove_coupon(
    State(subscriptions): State<Subscriptions>,
    caller: Identity,
) -> Result<Json<Subscription>, Error> {
    caller.deny_impersonation()?;
    Ok(Json(subscriptions.remove_coupon(&caller).await?))
}
