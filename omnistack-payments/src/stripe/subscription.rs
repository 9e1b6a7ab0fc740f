//! Subscriptions that Stripe bills, and their invoices.

use std::time::Duration;

use omnistack_core::{
    clock::Timestamp,
    payment::{
        CancelTime, NewProviderSubscription, PaymentError, ProviderInvoice, ProviderInvoiceStatus,
        ProviderSubscription, ProviderSubscriptionStatus, SubscriptionItem,
    },
};
use serde_json::json;

use super::{
    api::{StripeApi, StripeReply, id_segment},
    checkout::{discounts, trial_settings},
    discount::{DISCOUNTS, discounts_of, has_unstated_discounts},
    error::unreadable,
    object::{StripeObject, metadata},
    payment::PAGE_SIZE,
};

/// The type of object in errors.
pub(super) const SUBSCRIPTION: &str = "subscription";
pub(super) const INVOICE: &str = "invoice";

impl StripeApi {
    /// Creates a subscription.
    pub(super) async fn create_subscription(
        &self,
        new: &NewProviderSubscription,
    ) -> Result<ProviderSubscription, PaymentError> {
        let form = json!({
            "customer": new.customer,
            "items": [{ "price": new.price, "quantity": new.quantity }],
            "discounts": discounts(new.coupon.as_deref()),
            "trial_end": new.trial_end.map(Timestamp::as_seconds),
            "trial_settings": new.trial_end.map(|_| trial_settings(new.trial_end_behavior)),
            "billing_mode": { "type": "flexible" },
            // A declined first payment leaves the subscription `incomplete`, so that the customer can try again.
            "payment_behavior": "allow_incomplete",
            "metadata": metadata(&new.reference, &new.metadata),
        });
        let created = self.post(SUBSCRIPTION, "/subscriptions", form, Some(&new.idempotency_key)).await?;
        created.read(subscription_of)
    }

    /// Returns a subscription. Stripe names its discounts, and states them only if it is asked to.
    pub(super) async fn subscription(&self, id: &str) -> Result<ProviderSubscription, PaymentError> {
        let found = self.subscription_object(id).await?;
        if !has_unstated_discounts(found.object()) {
            return found.read(subscription_of);
        }
        let query = json!({ "expand": [DISCOUNTS] });
        match self.get(SUBSCRIPTION, &subscription_path(id)?, query).await {
            Ok(stated) => stated.read(subscription_of),
            // A restricted key may lack the permission for coupons.
            Err(PaymentError::Unauthorized { .. } | PaymentError::Rejected { .. }) => found.read(subscription_of),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn subscription_object(&self, id: &str) -> Result<StripeReply, PaymentError> {
        self.get(SUBSCRIPTION, &subscription_path(id)?, json!({})).await
    }

    /// Finds the subscription with a reference in Stripe's list, which is consistent, unlike its search. A request whose
    /// response was lost can still be in progress, so the caller asks only when the call that created the subscription
    /// has ended, and repeats that call with its idempotency key if there is none.
    pub(super) async fn find_subscription(
        &self,
        reference: &str,
    ) -> Result<Option<ProviderSubscription>, PaymentError> {
        let mut found: Option<ProviderSubscription> = None;
        self.each_since(SUBSCRIPTION, "/subscriptions", json!({ "status": "all" }), reference, |subscription| {
            // The newest is first. One that still lives counts more than one that has ended.
            let replaces = found.as_ref().is_none_or(|found| found.status.is_final());
            if let Some(candidate) = subscription_of(subscription).filter(|_| replaces)
                && (found.is_none() || !candidate.status.is_final())
            {
                found = Some(candidate);
            }
        })
        .await?;
        Ok(found)
    }

    /// Cancels a subscription now or at the end of its period.
    pub(super) async fn cancel_subscription(
        &self,
        id: &str,
        when: CancelTime,
        key: &str,
    ) -> Result<ProviderSubscription, PaymentError> {
        let path = subscription_path(id)?;
        match when {
            CancelTime::PeriodEnd => {
                self.release_schedule(id, key).await?;
                let form = json!({ "cancel_at_period_end": true });
                self.post(SUBSCRIPTION, &path, form, Some(key)).await?.read(subscription_of)
            }
            CancelTime::Now => match self.delete(SUBSCRIPTION, &path).await {
                Ok(canceled) => canceled.read(subscription_of),
                // Stripe does not find a canceled subscription to cancel it again.
                Err(PaymentError::NotFound { .. } | PaymentError::Rejected { .. }) => {
                    let current = self.subscription(id).await?;
                    if current.status.is_final() {
                        return Ok(current);
                    }
                    Err(PaymentError::Rejected { code: None, message: "Stripe did not cancel it".to_owned() })
                }
                Err(error) => Err(error),
            },
        }
    }

    /// Takes back a planned cancellation and a pause.
    pub(super) async fn resume_subscription(&self, id: &str, key: &str) -> Result<ProviderSubscription, PaymentError> {
        let path = subscription_path(id)?;
        let current = self.subscription_object(id).await?;
        let object = current.object();
        if object.text("/status") == Some("paused") {
            let form = json!({ "billing_cycle_anchor": "now" });
            return self.post(SUBSCRIPTION, &format!("{path}/resume"), form, Some(key)).await?.read(subscription_of);
        }
        let mut form = json!({});
        // Stripe accepts only one of the two in a request. With flexible billing, each can be set without the other.
        if object.flag("/cancel_at_period_end") {
            form["cancel_at_period_end"] = json!(false);
        } else if object.time("/cancel_at").is_some() {
            form["cancel_at"] = json!("");
        }
        if object.object("/pause_collection").is_some() {
            form["pause_collection"] = json!("");
        }
        if form.as_object().is_none_or(serde_json::Map::is_empty) {
            return current.read(subscription_of);
        }
        let resumed = self.post(SUBSCRIPTION, &path, form, Some(key)).await?;
        if resumed.object().time("/cancel_at").is_none() {
            return resumed.read(subscription_of);
        }
        // A date beside the end of the period is taken back by itself.
        let form = json!({ "cancel_at": "" });
        self.post(SUBSCRIPTION, &path, form, Some(&format!("{key}:date"))).await?.read(subscription_of)
    }

    /// Removes the coupons and promotion codes of a subscription.
    pub(super) async fn remove_coupon(&self, id: &str, key: &str) -> Result<ProviderSubscription, PaymentError> {
        // An empty value clears the list.
        let form = json!({ "discounts": "" });
        self.post(SUBSCRIPTION, &subscription_path(id)?, form, Some(key)).await?.read(subscription_of)
    }

    /// Pauses the collection of payments. Invoices of the time until then are void.
    pub(super) async fn pause_subscription(&self, id: &str, key: &str) -> Result<ProviderSubscription, PaymentError> {
        let form = json!({ "pause_collection": { "behavior": "void" } });
        self.post(SUBSCRIPTION, &subscription_path(id)?, form, Some(key)).await?.read(subscription_of)
    }

    /// Returns an invoice.
    pub(super) async fn invoice(&self, id: &str) -> Result<ProviderInvoice, PaymentError> {
        self.get(INVOICE, &format!("/invoices/{}", id_segment(INVOICE, id)?), json!({})).await?.read(invoice_of)
    }

    /// Returns the newest invoices of a customer.
    pub(super) async fn invoices(&self, customer: &str, limit: u32) -> Result<Vec<ProviderInvoice>, PaymentError> {
        let query = json!({ "customer": customer, "limit": limit.clamp(1, PAGE_SIZE) });
        let invoices = self.get(INVOICE, "/invoices", query).await?;
        let found = invoices.object().items("/data").map(invoice_of).collect::<Option<_>>();
        found.ok_or_else(|| unreadable(false, "an invoice of another form"))
    }
}

/// Returns the path of a subscription.
pub(super) fn subscription_path(id: &str) -> Result<String, PaymentError> {
    Ok(format!("/subscriptions/{}", id_segment(SUBSCRIPTION, id)?))
}

/// Reads a subscription. Since API 2025-03-31 each item has its own period, before the subscription has it.
pub(super) fn subscription_of(subscription: StripeObject<'_>) -> Option<ProviderSubscription> {
    let of_all = period(subscription);
    let items: Vec<_> = subscription.items("/items").filter_map(|item| item_of(item, of_all)).collect();
    let start = items.iter().filter_map(|item| item.period).map(|(start, _)| start).min();
    let end = items.iter().filter_map(|item| item.period).map(|(_, end)| end).max();
    let period = start.zip(end).or(of_all);
    let pending = subscription.items("/pending_update/subscription_items").next();
    let pending = pending.and_then(|item| item_of(item, None));
    // Stripe's page and its API state the same cancellation in different fields.
    let at_period_end = period.filter(|_| subscription.flag("/cancel_at_period_end")).map(|(_, end)| end);
    Some(ProviderSubscription {
        id: subscription.owned("/id")?,
        reference: subscription.reference(),
        customer: subscription.id_at("/customer")?.to_owned(),
        status: subscription_status(subscription.text("/status")?)?,
        items,
        pending_change: pending.zip(subscription.time("/pending_update/expires_at")),
        action_url: None,
        period,
        trial_end: subscription.time("/trial_end"),
        cancel_at: subscription.time("/cancel_at").or(at_period_end),
        ended_at: subscription.time("/ended_at"),
        collection_paused: subscription.object("/pause_collection").is_some(),
        discounts: discounts_of(subscription),
        latest_invoice: subscription.id_at("/latest_invoice").map(str::to_owned),
        // Stripe's objects have none.
        version: None,
        created_at: subscription.time("/created")?,
    })
}

fn subscription_status(name: &str) -> Option<ProviderSubscriptionStatus> {
    Some(match name {
        "incomplete" => ProviderSubscriptionStatus::Incomplete,
        "incomplete_expired" => ProviderSubscriptionStatus::IncompleteExpired,
        "trialing" => ProviderSubscriptionStatus::Trialing,
        "active" => ProviderSubscriptionStatus::Active,
        "past_due" => ProviderSubscriptionStatus::PastDue,
        "unpaid" => ProviderSubscriptionStatus::Unpaid,
        "paused" => ProviderSubscriptionStatus::Paused,
        "canceled" => ProviderSubscriptionStatus::Canceled,
        _ => return None,
    })
}

/// Reads an item. A metered price has no quantity.
fn item_of(item: StripeObject<'_>, of_all: Option<(Timestamp, Timestamp)>) -> Option<SubscriptionItem> {
    let price = item.id_at("/price").or_else(|| item.id_at("/plan"))?;
    let quantity = item.integer("/quantity").and_then(|quantity| u64::try_from(quantity).ok());
    Some(SubscriptionItem {
        id: item.owned("/id")?,
        price: price.to_owned(),
        quantity: quantity.unwrap_or(1),
        period: period(item).or(of_all),
    })
}

fn period(object: StripeObject<'_>) -> Option<(Timestamp, Timestamp)> {
    object.time("/current_period_start").zip(object.time("/current_period_end"))
}

/// Reads an invoice.
pub(super) fn invoice_of(invoice: StripeObject<'_>) -> Option<ProviderInvoice> {
    let status = match invoice.text("/status")? {
        "draft" => ProviderInvoiceStatus::Draft,
        "open" => ProviderInvoiceStatus::Open,
        "paid" => ProviderInvoiceStatus::Paid,
        "void" => ProviderInvoiceStatus::Void,
        "uncollectible" => ProviderInvoiceStatus::Uncollectible,
        _ => return None,
    };
    Some(ProviderInvoice {
        id: invoice.owned("/id")?,
        number: invoice.owned("/number"),
        status,
        subscription: invoice.billed_subscription().map(str::to_owned),
        total: invoice.money("/total")?,
        paid: invoice.money("/amount_paid")?,
        period: billed_period(invoice),
        attempts: invoice.integer("/attempt_count").and_then(|count| u32::try_from(count).ok()).unwrap_or(0),
        next_attempt_at: invoice.time("/next_payment_attempt"),
        hosted_url: invoice.owned("/hosted_invoice_url"),
        pdf_url: invoice.owned("/invoice_pdf"),
        created_at: invoice.time("/created")?,
    })
}

/// Returns the billed period: that of the longest line, since lines of a changed plan bill a part of it. The invoice's
/// own period is that in which its lines were collected.
fn billed_period(invoice: StripeObject<'_>) -> Option<(Timestamp, Timestamp)> {
    let lines = invoice.items("/lines").filter_map(|line| line.time("/period/start").zip(line.time("/period/end")));
    let longest = lines.max_by_key(|(start, end)| end.duration_since(*start));
    let longest = longest.filter(|(start, end)| end.duration_since(*start) > Duration::ZERO);
    longest.or_else(|| invoice.time("/period_start").zip(invoice.time("/period_end")))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn read(further: Value) -> ProviderSubscription {
        let mut object = json!({
            "id": "sub_1", "customer": "cus_1", "status": "active", "created": 100,
            "items": { "data": [
                { "id": "si_1", "price": { "id": "price_1" }, "quantity": 3,
                    "current_period_start": 200, "current_period_end": 400 },
            ] },
        });
        for (name, value) in further.as_object().unwrap() {
            object[name] = value.clone();
        }
        subscription_of(StripeObject::new(&object)).unwrap()
    }

    #[test]
    fn a_planned_cancellation_is_read_in_all_its_forms() {
        for (fields, expected) in [
            (json!({ "cancel_at_period_end": false, "cancel_at": null }), None),
            (json!({ "cancel_at_period_end": true, "cancel_at": null }), Some(at(400))),
            (json!({ "cancel_at_period_end": false, "cancel_at": 350 }), Some(at(350))),
            (json!({ "cancel_at_period_end": true, "cancel_at": 350 }), Some(at(350))),
        ] {
            assert_eq!(read(fields.clone()).cancel_at, expected, "{fields}");
        }
    }

    #[test]
    fn both_layouts_of_periods_are_read() {
        let new = read(json!({}));
        let old = read(json!({
            "current_period_start": 200, "current_period_end": 400,
            "items": { "data": [{ "id": "si_1", "plan": { "id": "price_1" }, "quantity": 3 }] },
        }));
        assert_eq!(new, old);
        assert_eq!(new.period, Some((at(200), at(400))));

        let two = read(json!({ "items": { "data": [
            { "id": "si_1", "price": { "id": "p" }, "current_period_start": 200, "current_period_end": 400 },
            { "id": "si_2", "price": { "id": "q" }, "current_period_start": 100, "current_period_end": 900 },
        ] } }));
        assert_eq!(two.period, Some((at(100), at(900))));
        assert_eq!(two.items.iter().map(|item| item.period.unwrap().1).min(), Some(at(400)));
        assert_eq!(two.items[1].quantity, 1);
    }

    #[test]
    fn a_change_that_waits_for_its_payment_is_apart() {
        let changed = read(json!({ "pending_update": {
            "expires_at": 300,
            "subscription_items": [{ "id": "si_1", "price": { "id": "price_2" }, "quantity": 9 }],
        } }));
        assert_eq!(changed.items[0].price, "price_1");
        let (item, expires_at) = changed.pending_change.unwrap();
        assert_eq!((item.price.as_str(), item.quantity, expires_at), ("price_2", 9, at(300)));
    }

    #[test]
    fn both_layouts_of_invoices_are_read() {
        let invoice = |further: Value| {
            let mut object = json!({
                "id": "in_1", "status": "open", "total": 2900, "amount_paid": 0, "currency": "usd", "created": 100,
                "attempt_count": 2, "period_start": 100, "period_end": 100,
                "lines": { "data": [
                    { "period": { "start": 250, "end": 400 } }, { "period": { "start": 200, "end": 400 } },
                ] },
            });
            for (name, value) in further.as_object().unwrap() {
                object[name] = value.clone();
            }
            invoice_of(StripeObject::new(&object)).unwrap()
        };
        let old = invoice(json!({ "subscription": "sub_1" }));
        let new = invoice(json!({ "parent": { "subscription_details": { "subscription": "sub_1" } } }));
        assert_eq!(old, new);
        assert_eq!((old.subscription.as_deref(), old.period), (Some("sub_1"), Some((at(200), at(400)))));
    }
}
