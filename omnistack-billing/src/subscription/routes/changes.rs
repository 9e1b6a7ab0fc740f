//! The routes of changes of the plan and of the seats.

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    clock::Timestamp,
    http::{Error, ErrorEnvelope, Json},
    identity::Identity,
    money::Money,
    text::Text,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    super::{
        change::{Direction, WantedTerms},
        errors::payment_error,
        handle::Subscriptions,
        model::Subscription,
    },
    parse_interval,
};
use crate::account::MAX_SEATS;

/// A change of the plan.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
pub(super) struct ChangePlan {
    /// The key of the plan. Default: the plan that the tenant has.
    #[serde(default)]
    plan: Option<Text<0, 50>>,
    /// The interval of the price. Default: that which the tenant has, or else that of the plan.
    #[serde(default)]
    interval: Option<Text<0, 20>>,
    /// The number of seats. Default: those that the tenant has.
    #[garde(inner(range(min = 1, max = MAX_SEATS)))]
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    seats: Option<u64>,
    /// The `proration_at` of a preview of the last hour, so that the tenant pays what was shown. Default: now.
    #[serde(default)]
    proration_at: Option<Timestamp>,
}

impl ChangePlan {
    fn wanted(&self) -> Result<WantedTerms, Error> {
        let interval = parse_interval(self.interval.as_deref())?;
        Ok(WantedTerms { plan: self.plan.clone().map(String::from), interval, seats: self.seats })
    }
}

/// The costs of a change.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PlanChangePreview {
    /// The amount that is charged now; `null` if nothing is charged before the next period, or if the provider does not
    /// state the difference before it charges it: then `effective_at` is now.
    #[schema(required)]
    due_now: Option<Money>,
    /// The amount of each further period; `null` if the provider does not say it.
    #[schema(required)]
    next: Option<Money>,
    /// The time from which the difference is computed. Send it with the change.
    proration_at: Timestamp,
    /// When the change takes effect.
    effective_at: Timestamp,
    /// Whether it is an upgrade, which takes effect now if the provider charges the difference.
    upgrade: bool,
}

/// Preview a change
///
/// Returns what a change of the plan or of the seats would cost. It changes nothing.
#[utoipa::path(post, path = "/change-preview", operation_id = "preview_plan_change", request_body = ChangePlan,
    responses(
    (status = 200, body = PlanChangePreview),
    (status = 402, body = ErrorEnvelope, description = "`BILLING_PAYMENT_DUE`."),
    (status = 404, body = ErrorEnvelope, description = "There is no such plan."),
    (status = 409, body = ErrorEnvelope,
        description = "`NO_SUBSCRIPTION`, `PLAN_NOT_SOLD`, `SUBSCRIPTION_OF_OTHER_GROUP`, `NOTHING_TO_CHANGE`."),
    (status = 422, body = ErrorEnvelope),
))]
pub(super) async fn change_preview(
    State(subscriptions): State<Subscriptions>,
    caller: Identity,
    Json(change): Json<ChangePlan>,
) -> Result<Json<PlanChangePreview>, Error> {
    let possible = subscriptions.possible_change(&caller, &change.wanted()?).await?;
    let at = match possible.direction {
        Direction::Up => subscriptions.proration_time(change.proration_at)?,
        Direction::Down => subscriptions.now(),
    };
    let asked = possible.to_request(at, "preview", format!("{}/", subscriptions.0.public_url));
    let preview = possible.provider.preview_change(&possible.row.external.id, &asked).await.map_err(payment_error)?;
    Ok(Json(PlanChangePreview {
        due_now: preview.due_now,
        next: preview.next,
        proration_at: preview.proration_at,
        effective_at: preview.effective_at,
        upgrade: possible.direction == Direction::Up,
    }))
}

/// Upgrade the plan
///
/// The change takes effect when its payment succeeds. Until then it is `pending`. At a provider that charges no
/// difference, the change is `scheduled` until the customer confirms it on the page `action_url`, and then `pending`
/// until the next period is charged.
#[utoipa::path(post, path = "/upgrade", operation_id = "upgrade_plan", request_body = ChangePlan, responses(
    (status = 200, body = Subscription),
    (status = 402, body = ErrorEnvelope, description = "`BILLING_PAYMENT_DUE`, `PAYMENT_DECLINED`."),
    (status = 404, body = ErrorEnvelope, description = "There is no such plan."),
    (status = 409, body = ErrorEnvelope,
        description = "`NO_SUBSCRIPTION`, `NOT_AN_UPGRADE`, `NOTHING_TO_CHANGE`, `SUBSCRIPTION_BUSY`."),
    (status = 422, body = ErrorEnvelope),
    (status = 503, body = ErrorEnvelope, description = "`PAYMENT_UNKNOWN`: try again, nothing is charged twice."),
))]
pub(super) async fn upgrade(
    State(subscriptions): State<Subscriptions>,
    caller: Identity,
    Json(change): Json<ChangePlan>,
) -> Result<Json<Subscription>, Error> {
    caller.deny_impersonation()?;
    let wanted = change.wanted()?;
    Ok(Json(subscriptions.change(&caller, &wanted, Some(Direction::Up), change.proration_at).await?))
}

/// Downgrade the plan
///
/// The change takes effect at the end of the period. Until then it is `scheduled`. The plan and seats that the tenant has
/// take a scheduled change back.
#[utoipa::path(post, path = "/downgrade", operation_id = "downgrade_plan", request_body = ChangePlan, responses(
    (status = 200, body = Subscription),
    (status = 404, body = ErrorEnvelope, description = "There is no such plan."),
    (status = 409, body = ErrorEnvelope, description = "`NO_SUBSCRIPTION`, `NOT_A_DOWNGRADE`, `NOTHING_TO_CHANGE`."),
    (status = 422, body = ErrorEnvelope),
    (status = 503, body = ErrorEnvelope, description = "`PAYMENT_UNKNOWN`: try again."),
))]
pub(super) async fn downgrade(
    State(subscriptions): State<Subscriptions>,
    caller: Identity,
    Json(change): Json<ChangePlan>,
) -> Result<Json<Subscription>, Error> {
    caller.deny_impersonation()?;
    let wanted = change.wanted()?;
    Ok(Json(subscriptions.change(&caller, &wanted, Some(Direction::Down), None).await?))
}

/// The seats to buy.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeSeats {
    /// The number of seats.
    #[garde(range(min = 1, max = MAX_SEATS))]
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    seats: u64,
}

/// Change the seats
///
/// More seats are charged and granted now; fewer count from the end of the period on.
#[utoipa::path(post, path = "/seats", operation_id = "change_seats", request_body = ChangeSeats, responses(
    (status = 200, body = Subscription),
    (status = 402, body = ErrorEnvelope, description = "`BILLING_PAYMENT_DUE`, `PAYMENT_DECLINED`."),
    (status = 409, body = ErrorEnvelope, description = "`SEATS_IN_USE`, `PLAN_NOT_PER_SEAT`, `NO_SUBSCRIPTION`."),
    (status = 422, body = ErrorEnvelope),
    (status = 503, body = ErrorEnvelope, description = "`PAYMENT_UNKNOWN`: try again, nothing is charged twice."),
))]
pub(super) async fn seats(
    State(subscriptions): State<Subscriptions>,
    caller: Identity,
    Json(ChangeSeats { seats }): Json<ChangeSeats>,
) -> Result<Json<Subscription>, Error> {
    caller.deny_impersonation()?;
    let wanted = WantedTerms { plan: None, interval: None, seats: Some(seats) };
    Ok(Json(subscriptions.change(&caller, &wanted, None, None).await?))
}
