//! Subscriptions and their invoices.

use std::time::Duration;

use omnistack_core::{
    clock::Timestamp,
    money::Money,
    payment::{
        CancelTime, ChangePreview, ChangeTime, CheckoutKind, CheckoutStatus, NewCheckout, PaymentError,
        ProviderCheckout, ProviderInvoice, ProviderInvoiceStatus, ProviderSubscription, ProviderSubscriptionStatus,
        SubscriptionChange, SubscriptionItem,
    },
};
use serde_json::json;

use super::{
    NAME,
    api::{RazorpayApi, amount_at, notes, reference_of},
};
use crate::provider_api::{ApiObject, CallEffect, lost_response, path_id, reference_time};

/// The type of object in errors.
pub(super) const SUBSCRIPTION: &str = "subscription";
/// The beginning of the ids of subscriptions.
const ID_PREFIX: &str = "sub_";
/// Number of remaining periods at which further ones are added.
const RENEW_AT_REMAINING: i64 = 2;
/// Largest number of pages of 100 subscriptions that a search reads.
const MAX_SEARCH_PAGES: usize = 20;
/// Number of subscriptions in a page of a search.
pub(super) const PAGE_SIZE: usize = 100;
/// Time before the creation of a reference from which subscriptions are searched, for clocks that differ.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(60 * 60);

/// Returns whether an id is one of a subscription.
pub(super) fn is_subscription(id: &str) -> bool {
    id.starts_with(ID_PREFIX)
}

impl RazorpayApi {
    /// Creates a subscription that the customer authorises on Razorpay's page, or returns the one with the same
    /// reference.
    pub(super) async fn subscription_checkout(&self, new: &NewCheckout) -> Result<ProviderCheckout, PaymentError> {
        let CheckoutKind::Subscription { price, quantity, trial_end, coupon, .. } = &new.kind else {
            return Err(PaymentError::NotSupported { provider: NAME, operation: "this kind of checkout" });
        };
        if let Some(object) = self.find_subscription_object(&new.reference).await? {
            return self.checkout_of(&object).ok_or_else(|| malformed(CallEffect::Reads));
        }
        let plan = self.plan(price).await?;
        let mut body = json!({
            "plan_id": price,
            "total_count": periods_in_ten_years(&plan),
            "quantity": quantity,
            "customer_notify": false,
            "expire_by": new.expires_at.as_seconds(),
            "notes": notes(&new.reference, Some(&new.customer))?,
        });
        // The first payment is at the start, so a trial is a later one.
        if let Some(end) = trial_end {
            body["start_at"] = end.as_seconds().into();
        }
        if let Some(coupon) = coupon {
            body["offer_id"] = coupon.as_str().into();
        }
        let created = self.post("/v1/subscriptions", &body, SUBSCRIPTION).await;
        let created = created.map_err(|error| match error {
            // Only the lost response has the page, and the subscription is found when it is created again.
            PaymentError::Unknown { message } => PaymentError::Unavailable { message, retry_after: None },
            error => error,
        })?;
        self.checkout_of(&created).ok_or_else(|| malformed(CallEffect::Changes))
    }

    /// Returns a subscription as the checkout that has created it.
    pub(super) async fn authorised_checkout(&self, id: &str) -> Result<ProviderCheckout, PaymentError> {
        let found = self.subscription_object(id).await?;
        let checkout = self.checkout_of(&found).ok_or_else(|| malformed(CallEffect::Reads))?;
        let is_paid = found.integer("/paid_count").is_some_and(|paid| paid > 0);
        let payment = if is_paid { self.first_payment(id).await? } else { None };
        Ok(ProviderCheckout { payment, ..checkout })
    }

    /// Returns the payment of the first period of a subscription.
    async fn first_payment(&self, id: &str) -> Result<Option<String>, PaymentError> {
        let count = PAGE_SIZE.to_string();
        let found = self.get("/v1/invoices", &[("subscription_id", id), ("count", count.as_str())], "invoice").await?;
        // The newest is first.
        Ok(found.list("/items").iter().rev().find_map(|invoice| invoice.text("/payment_id")))
    }

    /// Closes the page of a subscription.
    pub(super) async fn expire_subscription(&self, id: &str) -> Result<(), PaymentError> {
        match self.authorised_checkout(id).await?.status {
            CheckoutStatus::Expired => Ok(()),
            CheckoutStatus::Open => {
                let body = json!({ "cancel_at_cycle_end": false });
                self.post(&subscription_path(id, "/cancel")?, &body, SUBSCRIPTION).await.map(|_| ())
            }
            CheckoutStatus::Complete => Err(PaymentError::Rejected {
                code: Some("checkout_complete".to_owned()),
                message: "the customer has authorised the subscription; cancel it".to_owned(),
            }),
        }
    }

    fn checkout_of(&self, object: &ApiObject) -> Option<ProviderCheckout> {
        let subscription = self.subscription_of(object)?;
        let status = match object.text("/status").as_deref() {
            Some("created") => CheckoutStatus::Open,
            Some("expired") => CheckoutStatus::Expired,
            Some("cancelled") if object.integer("/paid_count").unwrap_or(0) == 0 => CheckoutStatus::Expired,
            _ => CheckoutStatus::Complete,
        };
        Some(ProviderCheckout {
            id: subscription.id.clone(),
            url: object.text("/short_url").filter(|_| status == CheckoutStatus::Open),
            status,
            reference: subscription.reference,
            subscription: (status == CheckoutStatus::Complete).then_some(subscription.id),
            payment: None,
            expires_at: object.seconds("/expire_by"),
        })
    }

    async fn subscription_object(&self, id: &str) -> Result<ApiObject, PaymentError> {
        self.get(&subscription_path(id, "")?, &[], SUBSCRIPTION).await
    }

    /// Returns a subscription. Adds periods to one that is near its last period: it would end there.
    pub(super) async fn subscription(&self, id: &str) -> Result<ProviderSubscription, PaymentError> {
        let mut object = self.subscription_object(id).await?;
        if is_near_its_end(&object)
            && let Some(renewed) = self.renew(id, &object).await
        {
            object = renewed;
        }
        let mut subscription = self.discounted_subscription(&object).await?;
        if object.flag("/has_scheduled_changes") == Some(true) {
            subscription.pending_change = self.scheduled_change(id).await?;
        }
        Ok(subscription)
    }

    /// Returns a subscription in the form of the port, with its discounts.
    async fn discounted_subscription(&self, object: &ApiObject) -> Result<ProviderSubscription, PaymentError> {
        let subscription = self.subscription_of(object).ok_or_else(|| malformed(CallEffect::Reads))?;
        Ok(ProviderSubscription { discounts: self.discounts_of(object).await?, ..subscription })
    }

    /// Adds periods. Returns `None` if Razorpay refuses it, as for mandates that have an end.
    async fn renew(&self, id: &str, object: &ApiObject) -> Option<ApiObject> {
        let renewed = async {
            let plan = self.plan(&object.text("/plan_id").unwrap_or_default()).await?;
            let body = json!({ "remaining_count": periods_in_ten_years(&plan), "schedule_change_at": "now" });
            self.patch(&subscription_path(id, "")?, &body, SUBSCRIPTION).await
        };
        match renewed.await {
            Ok(object) => Some(object),
            Err(error) => {
                tracing::warn!(
                    target: "omnistack::payments",
                    subscription = id,
                    %error,
                    "Razorpay adds no periods to a subscription, which will end with its last one"
                );
                None
            }
        }
    }

    async fn scheduled_change(&self, id: &str) -> Result<Option<(SubscriptionItem, Timestamp)>, PaymentError> {
        let path = subscription_path(id, "/retrieve_scheduled_changes")?;
        let change = match self.get(&path, &[], SUBSCRIPTION).await {
            Err(PaymentError::NotFound { .. } | PaymentError::Rejected { .. }) => return Ok(None),
            change => change?,
        };
        let Some(price) = change.text("/plan_id") else { return Ok(None) };
        let at = change.seconds("/change_scheduled_at").or_else(|| change.seconds("/current_end"));
        let item = SubscriptionItem { id: price.clone(), price, quantity: quantity_of(&change), period: None };
        Ok(at.map(|at| (item, at)))
    }

    pub(super) async fn plan(&self, id: &str) -> Result<ApiObject, PaymentError> {
        self.get(&format!("/v1/plans/{}", path_id(id, "price")?), &[], "price").await
    }

    /// Finds the subscription with a reference in the list of all.
    async fn find_subscription_object(&self, reference: &str) -> Result<Option<ApiObject>, PaymentError> {
        let from = reference_time(reference).map(|at| (at - CLOCK_TOLERANCE).as_seconds().to_string());
        for page in 0..MAX_SEARCH_PAGES {
            let (count, skip) = (PAGE_SIZE.to_string(), (page * PAGE_SIZE).to_string());
            let mut query = vec![("count", count.as_str()), ("skip", skip.as_str())];
            query.extend(from.as_deref().map(|from| ("from", from)));
            let found = self.get("/v1/subscriptions", &query, SUBSCRIPTION).await?;
            let found = found.stated_list("/items").ok_or_else(|| malformed(CallEffect::Reads))?;
            let is_last = found.len() < PAGE_SIZE;
            let is_found = |object: &ApiObject| reference_of(object).as_deref() == Some(reference);
            if let Some(object) = found.into_iter().find(is_found) {
                return Ok(Some(object));
            }
            if is_last {
                return Ok(None);
            }
        }
        let message = "Razorpay has too many subscriptions since the reference was created".to_owned();
        Err(PaymentError::Unavailable { message, retry_after: None })
    }

    /// Finds the subscription with a reference.
    pub(super) async fn find_subscription(
        &self,
        reference: &str,
    ) -> Result<Option<ProviderSubscription>, PaymentError> {
        match self.find_subscription_object(reference).await? {
            Some(object) => self.discounted_subscription(&object).await.map(Some),
            None => Ok(None),
        }
    }

    /// Returns what a change will cost. Of a change now, Razorpay computes the difference itself, and states it to no
    /// caller before it charges it.
    pub(super) async fn preview_change(
        &self,
        id: &str,
        change: &SubscriptionChange,
    ) -> Result<ChangePreview, PaymentError> {
        let object = self.subscription_object(id).await?;
        let subscription = self.subscription_of(&object).ok_or_else(|| malformed(CallEffect::Reads))?;
        let plan = self.plan(&change.price).await?;
        let price = plan.get("/item").and_then(|item| amount_at(&item, "/amount"));
        let next = price.and_then(|price| {
            let minor = price.minor().checked_mul(i64::try_from(change.quantity).ok()?)?;
            Some(Money::new(minor, price.currency()))
        });
        let now = self.now();
        let effective_at = match change.when {
            ChangeTime::Now { .. } => now,
            ChangeTime::PeriodEnd => subscription.period.map_or(now, |(_, end)| end),
        };
        Ok(ChangePreview { due_now: None, next, proration_at: now, effective_at })
    }

    /// Changes a subscription, now or at the end of its period. For a change now, Razorpay charges the difference.
    ///
    /// # Errors
    /// Fails with [`PaymentError::Rejected`] if the subscription is not paid by card: Razorpay changes no others.
    pub(super) async fn change_subscription(
        &self,
        id: &str,
        change: &SubscriptionChange,
    ) -> Result<ProviderSubscription, PaymentError> {
        let object = self.subscription_object(id).await?;
        if let Some(method) = object.text("/payment_method").filter(|method| method != "card") {
            let message = format!(
                "Razorpay changes no subscription that is paid by {method}; cancel it at the end of its period, and \
                 subscribe to the other plan"
            );
            return Err(PaymentError::Rejected { code: Some("payment_method_not_changeable".to_owned()), message });
        }
        let is_now = matches!(change.when, ChangeTime::Now { .. });
        let has_scheduled_change = object.flag("/has_scheduled_changes") == Some(true);
        let has_plan = object.text("/plan_id").as_ref() == Some(&change.price);
        let has_terms = has_plan && quantity_of(&object) == change.quantity;
        if is_now && has_scheduled_change {
            // Otherwise the change now would be undone at the end of the period.
            self.post(&subscription_path(id, "/cancel_scheduled_changes")?, &json!({}), SUBSCRIPTION).await?;
        }
        // Updates have no idempotency key: one whose response was lost is not made again.
        if is_now && has_terms {
            return self.subscription(id).await;
        }
        let body = json!({
            "plan_id": change.price,
            "quantity": change.quantity,
            "schedule_change_at": if is_now { "now" } else { "cycle_end" },
            "customer_notify": false,
        });
        self.patch(&subscription_path(id, "")?, &body, SUBSCRIPTION).await?;
        self.subscription(id).await.map_err(read_after_change)
    }

    /// Cancels a subscription.
    pub(super) async fn cancel_subscription(
        &self,
        id: &str,
        when: CancelTime,
    ) -> Result<ProviderSubscription, PaymentError> {
        let object = self.subscription_object(id).await?;
        let current = self.discounted_subscription(&object).await?;
        if current.status.is_final() || (when == CancelTime::PeriodEnd && current.cancel_at.is_some()) {
            return Ok(current);
        }
        // Only a period that was paid has an end.
        let is_at_end = when == CancelTime::PeriodEnd && object.seconds("/current_end").is_some();
        let body = json!({ "cancel_at_cycle_end": is_at_end });
        let canceled = self.post(&subscription_path(id, "/cancel")?, &body, SUBSCRIPTION).await?;
        let mut subscription = self.subscription_of(&canceled).ok_or_else(|| malformed(CallEffect::Changes))?;
        subscription.discounts = current.discounts;
        if is_at_end && !subscription.status.is_final() {
            subscription.cancel_at = subscription.cancel_at.or(canceled.seconds("/current_end"));
        }
        Ok(subscription)
    }

    /// Resumes a paused subscription.
    pub(super) async fn resume_subscription(&self, id: &str) -> Result<ProviderSubscription, PaymentError> {
        let current = self.subscription(id).await?;
        if current.collection_paused {
            let body = json!({ "resume_at": "now" });
            self.post(&subscription_path(id, "/resume")?, &body, SUBSCRIPTION).await?;
            return self.subscription(id).await.map_err(read_after_change);
        }
        if current.cancel_at.is_some() {
            return Err(PaymentError::NotSupported { provider: NAME, operation: "taking back a cancellation" });
        }
        Ok(current)
    }

    /// Pauses the collection of payments.
    pub(super) async fn pause_subscription(&self, id: &str) -> Result<ProviderSubscription, PaymentError> {
        let current = self.subscription(id).await?;
        if !current.collection_paused {
            self.post(&subscription_path(id, "/pause")?, &json!({ "pause_at": "now" }), SUBSCRIPTION).await?;
        }
        self.subscription(id).await.map_err(read_after_change)
    }

    /// Returns an invoice.
    pub(super) async fn invoice(&self, id: &str) -> Result<ProviderInvoice, PaymentError> {
        let found = self.get(&format!("/v1/invoices/{}", path_id(id, "invoice")?), &[], "invoice").await?;
        let lost = || lost_response(CallEffect::Reads, "the invoice has not the documented form");
        self.invoice_of(&found).ok_or_else(lost)
    }

    /// Returns the newest invoices of a customer.
    pub(super) async fn invoices(&self, customer: &str, limit: u32) -> Result<Vec<ProviderInvoice>, PaymentError> {
        let count = limit.clamp(1, 100).to_string();
        let query = [("customer_id", customer), ("type", "invoice"), ("count", count.as_str())];
        let found = self.get("/v1/invoices", &query, "invoice").await?;
        Ok(found.list("/items").iter().filter_map(|invoice| self.invoice_of(invoice)).collect())
    }

    fn invoice_of(&self, invoice: &ApiObject) -> Option<ProviderInvoice> {
        let total = amount_at(invoice, "/amount")?;
        let paid = amount_at(invoice, "/amount_paid").unwrap_or(Money::new(0, total.currency()));
        Some(ProviderInvoice {
            id: invoice.text("/id")?,
            number: invoice.text("/invoice_number"),
            // An invoice that was not paid when its subscription was halted stays so, also after later ones are paid.
            status: match invoice.text("/status").as_deref() {
                Some("draft") => ProviderInvoiceStatus::Draft,
                Some("paid") => ProviderInvoiceStatus::Paid,
                Some("cancelled" | "deleted") => ProviderInvoiceStatus::Void,
                Some("expired") => ProviderInvoiceStatus::Uncollectible,
                _ => ProviderInvoiceStatus::Open,
            },
            subscription: invoice.text("/subscription_id"),
            total,
            paid,
            period: invoice.seconds("/billing_start").zip(invoice.seconds("/billing_end")),
            attempts: 0,
            next_attempt_at: None,
            hosted_url: invoice.text("/short_url"),
            pdf_url: None,
            created_at: invoice.seconds("/created_at").unwrap_or_else(|| self.now()),
        })
    }

    /// Returns a subscription in the form of the port, without its discounts. Returns `None` if a field is missing that
    /// each subscription has.
    fn subscription_of(&self, object: &ApiObject) -> Option<ProviderSubscription> {
        let now = self.now();
        let created_at = object.seconds("/created_at").unwrap_or(now);
        let trial_end = object.seconds("/start_at").filter(|start| *start > now);
        let (status, collection_paused) = match object.text("/status")?.as_str() {
            "created" => (ProviderSubscriptionStatus::Incomplete, false),
            "authenticated" if trial_end.is_some() => (ProviderSubscriptionStatus::Trialing, false),
            // The mandate is there, and the first payment follows.
            "authenticated" => (ProviderSubscriptionStatus::Incomplete, false),
            "active" => (ProviderSubscriptionStatus::Active, false),
            "pending" => (ProviderSubscriptionStatus::PastDue, false),
            "halted" => (ProviderSubscriptionStatus::Unpaid, false),
            // Customers can pause the mandate at their bank: then nothing is paid, and nothing is given.
            "paused" if object.text("/pause_initiated_by").as_deref() == Some("customer") => {
                (ProviderSubscriptionStatus::Paused, true)
            }
            "paused" => (ProviderSubscriptionStatus::Active, true),
            "cancelled" | "completed" => (ProviderSubscriptionStatus::Canceled, false),
            "expired" => (ProviderSubscriptionStatus::IncompleteExpired, false),
            _ => return None,
        };
        let current = object.seconds("/current_start").zip(object.seconds("/current_end"));
        let period = current.or_else(|| {
            let end = trial_end.filter(|_| status == ProviderSubscriptionStatus::Trialing)?;
            Some((created_at, end))
        });
        let price = object.text("/plan_id")?;
        let customer = object.text("/notes/customer").or_else(|| object.text("/customer_id"));
        // A subscription that ends with its period has no next charge.
        let ends = status == ProviderSubscriptionStatus::Active
            && !collection_paused
            && object.seconds("/charge_at").is_none();
        let ended_at = object.seconds("/ended_at");
        Some(ProviderSubscription {
            id: object.text("/id")?,
            reference: reference_of(object),
            customer: customer.unwrap_or_default(),
            status,
            items: vec![SubscriptionItem { id: price.clone(), price, quantity: quantity_of(object), period }],
            pending_change: None,
            action_url: None,
            period,
            trial_end: trial_end.filter(|_| status == ProviderSubscriptionStatus::Trialing),
            cancel_at: current.map(|(_, end)| end).filter(|_| ends),
            ended_at: ended_at.filter(|_| status.is_final()),
            collection_paused,
            discounts: Vec::new(),
            latest_invoice: None,
            version: None,
            created_at,
        })
    }
}

/// Returns whether a subscription that goes on has few periods left.
fn is_near_its_end(object: &ApiObject) -> bool {
    object.text("/status").as_deref() == Some("active")
        && object.seconds("/charge_at").is_some()
        && object.flag("/has_scheduled_changes") != Some(true)
        && object.integer("/remaining_count").is_some_and(|remaining| remaining <= RENEW_AT_REMAINING)
}

/// Returns the number of periods of a plan in ten years.
fn periods_in_ten_years(plan: &ApiObject) -> i64 {
    let periods = match plan.text("/period").as_deref() {
        Some("daily") => 3_650,
        Some("weekly") => 520,
        Some("yearly") => 10,
        Some("quarterly") => 40,
        _ => 120,
    };
    (periods / plan.integer("/interval").unwrap_or(1).max(1)).max(1)
}

pub(super) fn quantity_of(object: &ApiObject) -> u64 {
    object.integer("/quantity").and_then(|quantity| u64::try_from(quantity).ok()).unwrap_or(1)
}

pub(super) fn subscription_path(id: &str, action: &str) -> Result<String, PaymentError> {
    Ok(format!("/v1/subscriptions/{}{action}", path_id(id, SUBSCRIPTION)?))
}

fn malformed(effect: CallEffect) -> PaymentError {
    lost_response(effect, "the subscription has not the documented form")
}

/// Returns the error of a read that follows a change: the change may have taken effect.
pub(super) fn read_after_change(error: PaymentError) -> PaymentError {
    PaymentError::Unknown { message: format!("the changed subscription could not be read: {error}") }
}
