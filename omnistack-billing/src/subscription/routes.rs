//! The routes of subscriptions for tenants: `/api/v1/app/billing`.

use std::sync::Arc;

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    clock::Timestamp,
    http::{Error, ErrorEnvelope, FieldError, Json},
    identity::{Identity, Require},
    module::Api,
    money::Money,
    payment::{PaymentProvider, StoredPaymentMethod},
    usage::DataEnvironment,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{
    change::{Direction, WantedTerms},
    checkout::PlanPurchase,
    checkout_store,
    errors::payment_error,
    handle::Subscriptions,
    model::{Checkout, Subscription},
};
use crate::{account::MAX_SEATS, period::BillingInterval, plan::PlanDefinition};

/// Returns the routes under `/api/v1/app/billing`.
pub(super) fn api() -> Api<Subscriptions> {
    let read = || Require::permission("billing:read");
    let manage = || Require::permission("billing:manage");
    Api::new()
        .require(read(), routes!(status))
        .require(read(), routes!(plans))
        .require(read(), routes!(subscription))
        .require(read(), routes!(payment_methods))
        .require(read(), routes!(change_preview))
        .require(manage(), routes!(checkout))
        .require(manage(), routes!(portal))
        .require(manage(), routes!(upgrade))
        .require(manage(), routes!(downgrade))
        .require(manage(), routes!(seats))
        .require(manage(), routes!(cancel))
        .require(manage(), routes!(resume))
}

/// The state of billing of a tenant.
#[derive(Debug, Serialize, ToSchema)]
struct BillingStatus {
    /// Whether payments are of real money.
    environment: DataEnvironment,
    /// Whether the app can take payments.
    payments_configured: bool,
    /// The key of the plan that the tenant has.
    plan: String,
    /// The subscription: that which gives the plan, or else the last one.
    #[schema(required)]
    subscription: Option<Subscription>,
    /// Whether a payment is due.
    payment_due: bool,
}

/// Get the status of billing
#[utoipa::path(get, path = "/status", operation_id = "get_billing_status",
    responses((status = 200, body = BillingStatus)))]
async fn status(State(subscriptions): State<Subscriptions>, caller: Identity) -> Result<Json<BillingStatus>, Error> {
    let tenant = caller.require_tenant()?;
    let subscription = subscriptions.current(tenant).await?;
    Ok(Json(BillingStatus {
        environment: subscriptions.environment(),
        payments_configured: subscriptions.0.providers.default_provider().is_some(),
        plan: subscriptions.0.accounts.get(tenant).await?.plan,
        payment_due: subscription.as_ref().is_some_and(|one| one.payment_due),
        subscription,
    }))
}

/// A price at which a plan can be bought.
#[derive(Debug, Serialize, ToSchema)]
struct SalePrice {
    /// The amount of one unit.
    price: Money,
    /// The interval, such as `month`.
    interval: String,
}

/// A plan as the tenant can buy it.
#[derive(Debug, Serialize, ToSchema)]
struct PlanOffer {
    /// The plan.
    plan: PlanDefinition,
    /// The prices at which it can be bought now. Empty if it can't be bought.
    prices: Vec<SalePrice>,
    /// The number of days of the trial that a checkout begins. Zero if the tenant has used it.
    trial_days: u16,
    /// Whether it is the plan of the tenant.
    current: bool,
}

/// The plans that a tenant can buy.
#[derive(Debug, Serialize, ToSchema)]
struct PlanOffers {
    /// The plans, from the smallest to the largest.
    plans: Vec<PlanOffer>,
}

/// List plans to buy
///
/// The listed plans, with the prices at which the tenant can buy them and the trial that it still has.
#[utoipa::path(get, path = "/plans", operation_id = "list_plan_offers", responses((status = 200, body = PlanOffers)))]
async fn plans(State(subscriptions): State<Subscriptions>, caller: Identity) -> Result<Json<PlanOffers>, Error> {
    let tenant = caller.require_tenant()?;
    let current = subscriptions.0.accounts.get(tenant).await?.plan;
    let provider = subscriptions.0.providers.default_provider().map(|provider| provider.name());
    let mut plans = Vec::new();
    for plan in subscriptions.0.accounts.catalogue().plans().filter(|plan| plan.listed || plan.key == current) {
        let is_sold = |interval| provider.is_some_and(|name| plan.price_id(name, interval).is_some());
        let prices = plan.sale_prices().into_iter().filter(|(_, interval)| is_sold(*interval));
        let prices = prices.map(|(price, interval)| SalePrice { price, interval: interval.to_string() }).collect();
        let has_trial = plan.trial_days > 0 && !subscriptions.has_used_trial(&caller, tenant, &plan.group).await?;
        plans.push(PlanOffer {
            plan: plan.clone(),
            prices,
            trial_days: if has_trial { plan.trial_days } else { 0 },
            current: plan.key == current,
        });
    }
    Ok(Json(PlanOffers { plans }))
}

/// Get the subscription
#[utoipa::path(get, path = "/subscription", operation_id = "get_subscription", responses(
    (status = 200, body = Subscription),
    (status = 404, body = ErrorEnvelope, description = "The tenant never had one."),
))]
async fn subscription(
    State(subscriptions): State<Subscriptions>,
    caller: Identity,
) -> Result<Json<Subscription>, Error> {
    let found = subscriptions.current(caller.require_tenant()?).await?;
    Ok(Json(found.ok_or_else(|| Error::not_found("the subscription"))?))
}

/// The plan to buy.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct StartCheckout {
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
    /// The code of a coupon at the provider.
    #[garde(length(chars, max = 100))]
    #[serde(default)]
    #[schema(max_length = 100)]
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
        description = "`SUBSCRIPTION_EXISTS`, `PLAN_NOT_SOLD`, `PLAN_NOT_PER_SEAT`, `SEATS_IN_USE`, `CHECKOUT_ENDED`."),
    (status = 422, body = ErrorEnvelope),
    (status = 503, body = ErrorEnvelope, description = "`PAYMENT_UNKNOWN`, `PAYMENT_PROVIDER_UNAVAILABLE`."),
))]
async fn checkout(
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

fn parse_interval(text: Option<&str>) -> Result<Option<BillingInterval>, Error> {
    let parsed = text.map(str::parse::<BillingInterval>).transpose();
    parsed.map_err(|error| Error::invalid([FieldError::new("interval", error.to_string())]))
}

/// Returns a path of the app. A page of another site would be an open redirect.
fn parse_path(field: &str, path: Option<String>) -> Result<String, Error> {
    let path = path.unwrap_or_else(|| "/".to_owned());
    let is_printable = path.bytes().all(|byte| byte.is_ascii_graphic());
    let is_path = path.starts_with('/') && !path.starts_with("//") && !path.contains('\\') && is_printable;
    if is_path { Ok(path) } else { Err(Error::invalid([FieldError::new(field, "must be a path such as `/billing`")])) }
}

/// The page to which a customer returns.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct OpenPortal {
    /// The path in the app to which the customer returns. Default: `/`.
    #[garde(length(chars, max = 500))]
    #[serde(default)]
    #[schema(max_length = 500)]
    return_path: Option<String>,
}

/// A page of the provider.
#[derive(Debug, Serialize, ToSchema)]
struct PortalSession {
    /// The page.
    url: String,
}

/// Open the portal
///
/// Returns a page of the provider on which the tenant manages its payment methods and invoices.
#[utoipa::path(post, path = "/portal", operation_id = "open_billing_portal", request_body = OpenPortal, responses(
    (status = 200, body = PortalSession),
    (status = 409, body = ErrorEnvelope, description = "`NO_BILLING_CUSTOMER`, `PAYMENT_NOT_SUPPORTED`."),
    (status = 422, body = ErrorEnvelope),
))]
async fn portal(
    State(subscriptions): State<Subscriptions>,
    caller: Identity,
    Json(OpenPortal { return_path }): Json<OpenPortal>,
) -> Result<Json<PortalSession>, Error> {
    caller.deny_impersonation()?;
    let return_url = format!("{}{}", subscriptions.0.public_url, parse_path("return_path", return_path)?);
    let (provider, customer) = subscriptions.known_customer(&caller).await?;
    let Some(customer) = customer else {
        let message = "the tenant has never paid; choose a plan by a checkout first";
        return Err(Error::conflict("NO_BILLING_CUSTOMER", message));
    };
    let url = provider.create_portal(&customer, &return_url).await.map_err(payment_error)?;
    Ok(Json(PortalSession { url }))
}

impl Subscriptions {
    /// Returns the provider that the tenant pays through, and its customer there if there is one.
    async fn known_customer(&self, caller: &Identity) -> Result<(Arc<dyn PaymentProvider>, Option<String>), Error> {
        let tenant = caller.require_tenant()?;
        let name = self.current_row(tenant).await?.map(|row| row.external.provider);
        // Without a subscription of a provider, such as with one of an app store, it is the default provider.
        let known = name.and_then(|name| self.0.providers.get(&name).cloned());
        let provider = match known {
            Some(provider) => provider,
            None => self.provider(None)?,
        };
        let mut tx = self.0.db.tenant(tenant).begin_read().await?;
        let customer = checkout_store::customer(&mut tx, tenant, provider.name(), provider.environment()).await?;
        tx.commit().await?;
        Ok((provider, customer))
    }
}

/// The payment methods of a tenant.
#[derive(Debug, Serialize, ToSchema)]
struct PaymentMethods {
    /// The payment methods.
    items: Vec<StoredPaymentMethod>,
}

/// List payment methods
#[utoipa::path(get, path = "/payment-methods", operation_id = "list_payment_methods",
    responses((status = 200, body = PaymentMethods)))]
async fn payment_methods(
    State(subscriptions): State<Subscriptions>,
    caller: Identity,
) -> Result<Json<PaymentMethods>, Error> {
    let (provider, customer) = subscriptions.known_customer(&caller).await?;
    let items = match customer {
        Some(customer) => provider.payment_methods(&customer).await.map_err(payment_error)?,
        None => Vec::new(),
    };
    Ok(Json(PaymentMethods { items }))
}

/// A change of the plan.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct ChangePlan {
    /// The key of the plan. Default: the plan that the tenant has.
    #[garde(length(chars, max = 50))]
    #[serde(default)]
    #[schema(max_length = 50)]
    plan: Option<String>,
    /// The interval of the price. Default: that which the tenant has, or else that of the plan.
    #[garde(length(chars, max = 20))]
    #[serde(default)]
    #[schema(max_length = 20)]
    interval: Option<String>,
    /// The number of seats. Default: those that the tenant has.
    #[garde(inner(range(min = 1, max = MAX_SEATS)))]
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    seats: Option<u64>,
    /// The `proration_at` of the preview, so that the tenant pays what was shown. Default: now.
    #[garde(skip)]
    #[serde(default)]
    proration_at: Option<Timestamp>,
}

impl ChangePlan {
    fn wanted(&self) -> Result<WantedTerms, Error> {
        let interval = parse_interval(self.interval.as_deref())?;
        Ok(WantedTerms { plan: self.plan.clone(), interval, seats: self.seats })
    }
}

/// The costs of a change.
#[derive(Debug, Serialize, ToSchema)]
struct PlanChangePreview {
    /// The amount that is charged now; `null` if nothing is charged before the next period.
    #[schema(required)]
    due_now: Option<Money>,
    /// The amount of each further period; `null` if the provider does not say it.
    #[schema(required)]
    next: Option<Money>,
    /// The time from which the difference is computed. Send it with the change.
    proration_at: Timestamp,
    /// When the change takes effect.
    effective_at: Timestamp,
    /// Whether it is an upgrade, which takes effect now.
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
    (status = 409, body = ErrorEnvelope, description = "`NO_SUBSCRIPTION`, `PLAN_NOT_SOLD`, `NOTHING_TO_CHANGE`."),
    (status = 422, body = ErrorEnvelope),
))]
async fn change_preview(
    State(subscriptions): State<Subscriptions>,
    caller: Identity,
    Json(change): Json<ChangePlan>,
) -> Result<Json<PlanChangePreview>, Error> {
    let possible = subscriptions.possible_change(&caller, &change.wanted()?).await?;
    let at = change.proration_at.unwrap_or_else(|| subscriptions.now());
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
/// The change takes effect when its payment succeeds. Until then it is `pending`.
#[utoipa::path(post, path = "/upgrade", operation_id = "upgrade_plan", request_body = ChangePlan, responses(
    (status = 200, body = Subscription),
    (status = 402, body = ErrorEnvelope, description = "`BILLING_PAYMENT_DUE`, `PAYMENT_DECLINED`."),
    (status = 404, body = ErrorEnvelope, description = "There is no such plan."),
    (status = 409, body = ErrorEnvelope, description = "`NO_SUBSCRIPTION`, `NOT_AN_UPGRADE`, `NOTHING_TO_CHANGE`."),
    (status = 422, body = ErrorEnvelope),
    (status = 503, body = ErrorEnvelope, description = "`PAYMENT_UNKNOWN`: try again, nothing is charged twice."),
))]
async fn upgrade(
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
/// The change takes effect at the end of the period. Until then it is `scheduled`.
#[utoipa::path(post, path = "/downgrade", operation_id = "downgrade_plan", request_body = ChangePlan, responses(
    (status = 200, body = Subscription),
    (status = 404, body = ErrorEnvelope, description = "There is no such plan."),
    (status = 409, body = ErrorEnvelope, description = "`NO_SUBSCRIPTION`, `NOT_A_DOWNGRADE`, `NOTHING_TO_CHANGE`."),
    (status = 422, body = ErrorEnvelope),
    (status = 503, body = ErrorEnvelope, description = "`PAYMENT_UNKNOWN`: try again."),
))]
async fn downgrade(
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
struct ChangeSeats {
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
async fn seats(
    State(subscriptions): State<Subscriptions>,
    caller: Identity,
    Json(ChangeSeats { seats }): Json<ChangeSeats>,
) -> Result<Json<Subscription>, Error> {
    caller.deny_impersonation()?;
    let wanted = WantedTerms { plan: None, interval: None, seats: Some(seats) };
    Ok(Json(subscriptions.change(&caller, &wanted, None, None).await?))
}

/// The cancellation of a subscription.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct CancelSubscription {
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
async fn cancel(
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
async fn resume(State(subscriptions): State<Subscriptions>, caller: Identity) -> Result<Json<Subscription>, Error> {
    caller.deny_impersonation()?;
    Ok(Json(subscriptions.resume(&caller).await?))
}
