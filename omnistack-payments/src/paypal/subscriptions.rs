//! Subscriptions.

use std::time::Duration;

use omnistack_core::{
    clock::Timestamp,
    money::Money,
    payment::{
        CancelTime, ChangePreview, CheckoutKind, CheckoutStatus, NewCheckout, PaymentError, ProviderCheckout,
        ProviderSubscription, ProviderSubscriptionStatus, SubscriptionChange, SubscriptionItem,
    },
};
use serde_json::{Value, json};

use super::{
    NAME,
    api::PayPalApi,
    custom_id::{CustomId, CustomMark},
    orders::{amount_at, read_after_change, time_text},
};
use crate::provider_api::{ApiObject, CallEffect, lost_response, path_id, reference_time};

/// The type of object in errors.
const SUBSCRIPTION: &str = "subscription";
/// The beginning of the ids of subscriptions.
const ID_PREFIX: &str = "I-";
/// The largest number of pages of 20 subscriptions that a search reads.
const MAX_SEARCH_PAGES: u32 = 50;
/// Time before the creation of a reference from which subscriptions are searched, for clocks that differ.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(60 * 60);
/// The beginning of the reason of a suspension until the end of a subscription. The mark with the time follows.
const CANCEL_REASON: &str = "Canceled at the end of the period: ";
/// Time for which the page of a change stays open.
const CHANGE_PERIOD: Duration = Duration::from_secs(3 * 60 * 60);

/// Returns whether an id is one of a subscription.
pub(super) fn is_subscription(id: &str) -> bool {
    id.starts_with(ID_PREFIX)
}

impl PayPalApi {
    /// Creates a subscription that the customer approves on PayPal's page.
    pub(super) async fn subscription_checkout(&self, new: &NewCheckout) -> Result<ProviderCheckout, PaymentError> {
        let CheckoutKind::Subscription { price, quantity, trial_end, coupon, .. } = &new.kind else {
            return Err(PaymentError::NotSupported { provider: NAME, operation: "this kind of checkout" });
        };
        if coupon.is_some() {
            return Err(PaymentError::NotSupported { provider: NAME, operation: "coupons" });
        }
        let custom = CustomId::new(&new.reference, Some(&new.customer))?;
        let mut body = json!({
            "plan_id": price,
            "quantity": quantity.to_string(),
            "custom_id": custom.to_text(),
            "application_context": {
                "return_url": new.success_url,
                "cancel_url": new.cancel_url,
                "user_action": "SUBSCRIBE_NOW",
                "shipping_preference": "NO_SHIPPING",
            },
        });
        // The first payment is at the start, so a trial is a later one.
        if let Some(end) = trial_end {
            body["start_time"] = time_text(*end).into();
        }
        let created = self.post("/v1/billing/subscriptions", &body, &new.idempotency_key, SUBSCRIPTION).await;
        let created = created.map_err(|error| match error {
            // Only the lost response has the page on which the customer approves the subscription.
            PaymentError::Unknown { message } => PaymentError::Unavailable { message, retry_after: None },
            error => error,
        })?;
        let checkout = self.checkout_of(&created).ok_or_else(|| malformed(CallEffect::Changes))?;
        Ok(ProviderCheckout { expires_at: Some(new.expires_at), ..checkout })
    }

    /// Returns a subscription as the checkout that has created it.
    pub(super) async fn approved_checkout(&self, id: &str) -> Result<ProviderCheckout, PaymentError> {
        let found = self.subscription_object(id).await?;
        self.checkout_of(&found).ok_or_else(|| malformed(CallEffect::Reads))
    }

    fn checkout_of(&self, object: &ApiObject) -> Option<ProviderCheckout> {
        let subscription = self.subscription_of(object)?;
        let status = match object.text("/status").as_deref() {
            Some("APPROVAL_PENDING") => CheckoutStatus::Open,
            Some("CANCELLED" | "EXPIRED") => CheckoutStatus::Expired,
            _ => CheckoutStatus::Complete,
        };
        Some(ProviderCheckout {
            id: subscription.id.clone(),
            url: page_of(object).filter(|_| status == CheckoutStatus::Open),
            status,
            reference: subscription.reference,
            subscription: (status != CheckoutStatus::Open).then_some(subscription.id),
            payment: None,
            expires_at: None,
        })
    }

    async fn subscription_object(&self, id: &str) -> Result<ApiObject, PaymentError> {
        self.get(&subscription_path(id, "")?, &[], SUBSCRIPTION).await
    }

    /// Returns a subscription.
    pub(super) async fn subscription(&self, id: &str) -> Result<ProviderSubscription, PaymentError> {
        let found = self.subscription_object(id).await?;
        self.subscription_of(&found).ok_or_else(|| malformed(CallEffect::Reads))
    }

    /// Finds the subscription with a reference in the list of all.
    pub(super) async fn find_subscription(
        &self,
        reference: &str,
    ) -> Result<Option<ProviderSubscription>, PaymentError> {
        let start = reference_time(reference).map(|at| time_text(at - CLOCK_TOLERANCE));
        for page in 1..=MAX_SEARCH_PAGES {
            let page_number = page.to_string();
            let mut query = vec![("page_size", "20"), ("page", page_number.as_str())];
            query.extend(start.as_deref().map(|start| ("created_after", start)));
            let found = self.get("/v1/billing/subscriptions", &query, SUBSCRIPTION).await?;
            let subscriptions = found.list("/subscriptions");
            let is_found = |object: &&ApiObject| {
                object.text("/custom_id").is_some_and(|text| CustomId::parse(&text).reference == reference)
            };
            if let Some(id) = subscriptions.iter().find(is_found).and_then(|object| object.text("/id")) {
                // The list has not all fields.
                return self.subscription(&id).await.map(Some);
            }
            if subscriptions.len() < 20 {
                return Ok(None);
            }
        }
        let message = "PayPal has too many subscriptions since the reference was created".to_owned();
        Err(PaymentError::Unavailable { message, retry_after: None })
    }

    /// Returns what a change will cost. PayPal charges nothing before the next period.
    pub(super) async fn preview_change(
        &self,
        id: &str,
        change: &SubscriptionChange,
    ) -> Result<ChangePreview, PaymentError> {
        let subscription = self.subscription(id).await?;
        let now = self.now();
        let path = format!("/v1/billing/plans/{}", path_id(&change.price, "price")?);
        let plan = self.get(&path, &[], "price").await?;
        let cycles = plan.list("/billing_cycles");
        let regular = cycles.iter().find(|cycle| cycle.text("/tenure_type").as_deref() == Some("REGULAR"));
        let price = regular.and_then(|cycle| amount_at(cycle, "/pricing_scheme/fixed_price"));
        let next = price.and_then(|price| {
            let minor = price.minor().checked_mul(i64::try_from(change.quantity).ok()?)?;
            Some(Money::new(minor, price.currency()))
        });
        let effective_at = subscription.period.map_or(now, |(_, end)| end);
        Ok(ChangePreview { due_now: None, next, proration_at: now, effective_at })
    }

    /// Asks for a change. It takes effect only if the customer approves it on PayPal's page, and PayPal charges nothing
    /// for it before the next period, whenever it is wanted.
    pub(super) async fn change_subscription(
        &self,
        id: &str,
        change: &SubscriptionChange,
    ) -> Result<ProviderSubscription, PaymentError> {
        let mut body = json!({ "plan_id": change.price, "quantity": change.quantity.to_string() });
        if let Some(url) = &change.return_url {
            body["application_context"] = json!({
                "return_url": url,
                "cancel_url": url,
                "user_action": "CONTINUE",
                "shipping_preference": "NO_SHIPPING",
            });
        }
        let path = subscription_path(id, "/revise")?;
        let revision = self.post(&path, &body, &change.idempotency_key, SUBSCRIPTION).await?;
        let page = page_of(&revision).ok_or_else(|| malformed(CallEffect::Changes))?;
        let mut subscription = self.subscription(id).await.map_err(read_after_change)?;
        let (id, price) = (change.price.clone(), change.price.clone());
        let item = SubscriptionItem { id, price, quantity: change.quantity, period: None };
        subscription.pending_change = Some((item, self.now() + CHANGE_PERIOD));
        subscription.action_url = Some(page);
        Ok(subscription)
    }

    /// Cancels a subscription. For the end of the period it is suspended, and the time is stored with it: the paid
    /// period is kept, and the customer may come back without another approval.
    pub(super) async fn cancel_subscription(
        &self,
        id: &str,
        when: CancelTime,
        key: &str,
    ) -> Result<ProviderSubscription, PaymentError> {
        let object = self.subscription_object(id).await?;
        let current = self.subscription_of(&object).ok_or_else(|| malformed(CallEffect::Reads))?;
        let is_over = matches!(object.text("/status").as_deref(), Some("CANCELLED" | "EXPIRED"));
        if is_over {
            return Ok(current);
        }
        let end = current.period.map(|(_, end)| end).filter(|end| *end > self.now());
        match (when, end) {
            (CancelTime::PeriodEnd, Some(end)) => {
                // First of all, so that no further period is charged whatever happens to the next call. The reason has
                // the time too: else, without the mark, the subscription would look paused, and the plan be kept.
                let mark = CustomMark::CancelAt(end);
                self.suspend(id, &object, &format!("{CANCEL_REASON}{}", mark.to_text()), key).await?;
                self.mark(id, &object, Some(mark)).await.map_err(read_after_change)?;
            }
            _ => {
                let body = json!({ "reason": "Canceled" });
                self.post(&subscription_path(id, "/cancel")?, &body, key, SUBSCRIPTION).await?;
            }
        }
        self.subscription(id).await.map_err(read_after_change)
    }

    /// Takes back a planned cancellation, or resumes a paused subscription.
    pub(super) async fn resume_subscription(&self, id: &str, key: &str) -> Result<ProviderSubscription, PaymentError> {
        let object = self.subscription_object(id).await?;
        let custom = object.text("/custom_id").map(|text| CustomId::parse(&text));
        if custom.is_some_and(|custom| custom.mark.is_some()) {
            self.mark(id, &object, None).await?;
        }
        if object.text("/status").as_deref() == Some("SUSPENDED") {
            let body = json!({ "reason": "Resumed" });
            self.post(&subscription_path(id, "/activate")?, &body, key, SUBSCRIPTION).await?;
        }
        self.subscription(id).await.map_err(read_after_change)
    }

    /// Pauses the collection of payments.
    pub(super) async fn pause_subscription(&self, id: &str, key: &str) -> Result<ProviderSubscription, PaymentError> {
        let object = self.subscription_object(id).await?;
        self.suspend(id, &object, "Paused", key).await?;
        self.subscription(id).await.map_err(read_after_change)
    }

    async fn suspend(&self, id: &str, object: &ApiObject, reason: &str, key: &str) -> Result<(), PaymentError> {
        if object.text("/status").as_deref() != Some("SUSPENDED") {
            let body = json!({ "reason": reason });
            self.post(&subscription_path(id, "/suspend")?, &body, key, SUBSCRIPTION).await?;
        }
        Ok(())
    }

    async fn mark(&self, id: &str, object: &ApiObject, mark: Option<CustomMark>) -> Result<(), PaymentError> {
        let custom = CustomId::parse(&object.text("/custom_id").unwrap_or_default()).marked(mark);
        let change: Value = json!([{ "op": "replace", "path": "/custom_id", "value": custom.to_text() }]);
        self.patch(&subscription_path(id, "")?, &change, SUBSCRIPTION).await?;
        Ok(())
    }

    /// Returns a subscription in the form of the port. Returns `None` if a field that each one has is missing.
    fn subscription_of(&self, object: &ApiObject) -> Option<ProviderSubscription> {
        let now = self.now();
        let custom = object.text("/custom_id").map(|text| CustomId::parse(&text));
        let is_suspended = object.text("/status").as_deref() == Some("SUSPENDED");
        let reason = object.text("/status_change_note").filter(|_| is_suspended);
        let reason = reason.and_then(|text| CustomMark::parse(text.strip_prefix(CANCEL_REASON)?));
        let cancel_at = match custom.as_ref().and_then(|custom| custom.mark).or(reason) {
            Some(CustomMark::CancelAt(at)) => Some(at),
            _ => None,
        };
        let created_at = object.time("/create_time").unwrap_or(now);
        let start = object.time("/start_time").unwrap_or(created_at);
        let last_payment = object.time("/billing_info/last_payment/time");
        let period_end = object.time("/billing_info/next_billing_time").or(cancel_at);
        let period = period_end.map(|end| (last_payment.unwrap_or(start).min(end), end));
        let is_trial = last_payment.is_none() && start > now;
        let status = status_of(object, cancel_at, now)?;
        let status = match status {
            ProviderSubscriptionStatus::Active if is_trial => ProviderSubscriptionStatus::Trialing,
            status => status,
        };
        let price = object.text("/plan_id")?;
        let quantity = object.integer("/quantity").and_then(|quantity| u64::try_from(quantity).ok()).unwrap_or(1);
        let updated_at = object.time("/update_time").or_else(|| object.time("/status_update_time"));
        let ended_at = match status {
            ProviderSubscriptionStatus::Canceled => cancel_at.filter(|_| is_suspended).or(updated_at),
            _ => None,
        };
        let payer = object.text("/subscriber/payer_id");
        let (reference, customer) = match custom {
            Some(custom) => (Some(custom.reference), custom.customer),
            None => (None, None),
        };
        Some(ProviderSubscription {
            id: object.text("/id")?,
            reference,
            customer: customer.or(payer).unwrap_or_default(),
            status,
            items: vec![SubscriptionItem { id: price.clone(), price, quantity, period }],
            pending_change: None,
            action_url: None,
            period,
            trial_end: is_trial.then_some(start),
            cancel_at,
            ended_at,
            discounts: Vec::new(),
            collection_paused: is_suspended && cancel_at.is_none() && status == ProviderSubscriptionStatus::Active,
            latest_invoice: None,
            version: updated_at.map(Timestamp::as_micros),
            created_at,
        })
    }
}

/// Returns the status. Returns `None` if PayPal states none that is known.
fn status_of(object: &ApiObject, cancel_at: Option<Timestamp>, now: Timestamp) -> Option<ProviderSubscriptionStatus> {
    let failed_payments = object.integer("/billing_info/failed_payments_count").unwrap_or(0);
    Some(match object.text("/status")?.as_str() {
        // An approved subscription is not paid before it is activated.
        "APPROVAL_PENDING" | "APPROVED" => ProviderSubscriptionStatus::Incomplete,
        "ACTIVE" if failed_payments > 0 => ProviderSubscriptionStatus::PastDue,
        "ACTIVE" => ProviderSubscriptionStatus::Active,
        // PayPal suspends a subscription after several failures. The app suspends it to pause or to cancel it.
        "SUSPENDED" if cancel_at.is_some_and(|at| at <= now) => ProviderSubscriptionStatus::Canceled,
        "SUSPENDED" if failed_payments > 0 => ProviderSubscriptionStatus::Unpaid,
        "SUSPENDED" => ProviderSubscriptionStatus::Active,
        "CANCELLED" | "EXPIRED" => ProviderSubscriptionStatus::Canceled,
        _ => return None,
    })
}

fn subscription_path(id: &str, action: &str) -> Result<String, PaymentError> {
    Ok(format!("/v1/billing/subscriptions/{}{action}", path_id(id, SUBSCRIPTION)?))
}

fn malformed(effect: CallEffect) -> PaymentError {
    lost_response(effect, "the subscription has not the documented form")
}

/// Returns the page on which the customer approves a subscription or a change.
fn page_of(object: &ApiObject) -> Option<String> {
    let is_page = |link: &ApiObject| link.text("/rel").as_deref() == Some("approve");
    object.list("/links").into_iter().find(is_page)?.text("/href")
}
