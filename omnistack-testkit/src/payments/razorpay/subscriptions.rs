//! Subscriptions and their invoices.

use serde_json::{Value, json};

use super::state::{RazorpayResponse, RazorpayState, missing, notes, refusal};

/// Length of the period of each plan, in seconds.
const PERIOD: i64 = 30 * 24 * 60 * 60;

impl RazorpayState {
    pub(super) fn create_subscription(&mut self, body: &Value) -> RazorpayResponse {
        if !body["plan_id"].as_str().is_some_and(|plan| self.plans.contains_key(plan)) {
            return missing();
        }
        let Some(total) = body["total_count"].as_i64().filter(|total| (1..=36_500).contains(total)) else {
            return refusal(400, "input_validation_failed", "The total count field is required.");
        };
        let (id, now) = (self.new_id("sub"), self.now());
        let start = body["start_at"].as_i64();
        let subscription = json!({
            "id": id, "entity": "subscription", "plan_id": body["plan_id"], "status": "created",
            "current_start": null, "current_end": null, "ended_at": null, "start_at": start,
            "quantity": body["quantity"].as_i64().unwrap_or(1), "notes": notes(body), "charge_at": start,
            "total_count": total, "paid_count": 0, "remaining_count": total, "created_at": now,
            "expire_by": body["expire_by"], "short_url": format!("https://rzp.io/i/{id}"),
            "has_scheduled_changes": false, "change_scheduled_at": null, "offer_id": body["offer_id"],
        });
        self.subscriptions.insert(id, subscription.clone());
        (200, subscription)
    }

    pub(super) fn patch(&mut self, id: &str, body: &Value) -> RazorpayResponse {
        let Some(subscription) = self.subscriptions.get_mut(id) else { return missing() };
        if !matches!(subscription["status"].as_str(), Some("authenticated" | "active")) {
            return refusal(400, "input_validation_failed", "Subscription cannot be updated in this state");
        }
        if body["schedule_change_at"] == "cycle_end" {
            subscription["has_scheduled_changes"] = true.into();
            subscription["change_scheduled_at"] = subscription["current_end"].clone();
            let mut change = subscription.clone();
            copy(body, &mut change, &["plan_id", "quantity"]);
            let answer = subscription.clone();
            self.scheduled.insert(id.to_owned(), change);
            return (200, answer);
        }
        if subscription["has_scheduled_changes"] == true && !body["plan_id"].is_null() {
            return refusal(400, "input_validation_failed", "Cancel the scheduled changes first");
        }
        copy(body, subscription, &["plan_id", "quantity", "remaining_count"]);
        let paid = subscription["paid_count"].as_i64().unwrap_or(0);
        subscription["total_count"] = (paid + subscription["remaining_count"].as_i64().unwrap_or(0)).into();
        let subscription = subscription.clone();
        self.publish("subscription.updated", &[("subscription", &subscription)]);
        (200, subscription)
    }

    /// Cancels, pauses or resumes a subscription.
    pub(super) fn act(&mut self, id: &str, action: &str, body: &Value) -> RazorpayResponse {
        let now = self.now();
        let Some(subscription) = self.subscriptions.get_mut(id) else { return missing() };
        let at_end = body["cancel_at_cycle_end"] == true || body["cancel_at_cycle_end"] == 1;
        let status = subscription["status"].as_str().unwrap_or_default().to_owned();
        let kind = match (action, status.as_str()) {
            ("cancel_scheduled_changes", _) => {
                subscription["has_scheduled_changes"] = false.into();
                subscription["change_scheduled_at"] = Value::Null;
                let subscription = subscription.clone();
                self.scheduled.remove(id);
                return (200, subscription);
            }
            ("cancel", "active") if at_end => {
                subscription["charge_at"] = Value::Null;
                subscription["end_at"] = subscription["current_end"].clone();
                return (200, subscription.clone());
            }
            ("cancel", "cancelled" | "completed" | "expired") => {
                return refusal(400, "input_validation_failed", "Subscription is not cancellable in this state");
            }
            ("cancel", _) => {
                subscription["status"] = "cancelled".into();
                subscription["ended_at"] = now.into();
                "subscription.cancelled"
            }
            ("pause", "active" | "authenticated") => {
                subscription["status"] = "paused".into();
                subscription["charge_at"] = Value::Null;
                "subscription.paused"
            }
            ("resume", "paused") => {
                subscription["status"] = "active".into();
                subscription["charge_at"] = subscription["current_end"].clone();
                "subscription.resumed"
            }
            _ => return refusal(400, "input_validation_failed", "Subscription cannot be changed in this state"),
        };
        let subscription = subscription.clone();
        self.publish(kind, &[("subscription", &subscription)]);
        (200, subscription)
    }

    /// Removes the offer of a subscription.
    pub(super) fn remove_offer(&mut self, id: &str, offer: &str) -> RazorpayResponse {
        let Some(subscription) = self.subscriptions.get_mut(id) else { return missing() };
        if subscription["offer_id"] != offer {
            return refusal(400, "input_validation_failed", "The offer is not linked to the subscription");
        }
        subscription["offer_id"] = Value::Null;
        (200, subscription.clone())
    }

    /// Returns the amount by which the offer of a subscription reduces the newest period.
    fn reduction(&self, subscription: &Value, gross: i64) -> i64 {
        let offer = subscription["offer_id"].as_str().and_then(|id| self.offers.get(id));
        let Some((percent, periods)) = offer.copied() else { return 0 };
        let is_over = periods.is_some_and(|periods| subscription["paid_count"].as_i64() > Some(periods));
        if is_over { 0 } else { gross * percent / 100 }
    }

    /// Authorises a subscription. Its first period is charged unless it starts later.
    pub(super) fn authorise(&mut self, id: &str) {
        let now = self.now();
        let customer = self.new_id("cust");
        let subscription = self.subscription_mut(id);
        subscription["customer_id"] = customer.into();
        subscription["status"] = "authenticated".into();
        let starts_later = subscription["start_at"].as_i64().is_some_and(|start| start > now);
        let subscription = subscription.clone();
        self.publish("subscription.authenticated", &[("subscription", &subscription)]);
        if !starts_later {
            self.charge(id);
        }
    }

    /// Charges the next period. Returns the id of the invoice.
    pub(super) fn charge(&mut self, id: &str) -> String {
        let (now, invoice_id) = (self.now(), self.new_id("inv"));
        if let Some(change) = self.scheduled.remove(id) {
            let subscription = self.subscription_mut(id);
            copy(&change, subscription, &["plan_id", "quantity"]);
            subscription["has_scheduled_changes"] = false.into();
            subscription["change_scheduled_at"] = Value::Null;
        }
        let is_first = self.subscription_mut(id)["paid_count"] == 0;
        let subscription = self.subscription_mut(id);
        let start = subscription["current_end"].as_i64().unwrap_or(now);
        let paid = subscription["paid_count"].as_i64().unwrap_or(0) + 1;
        let remaining = subscription["total_count"].as_i64().unwrap_or(0) - paid;
        let is_last = remaining <= 0;
        subscription["status"] = if is_last { "completed" } else { "active" }.into();
        subscription["current_start"] = start.into();
        subscription["current_end"] = (start + PERIOD).into();
        subscription["charge_at"] = if is_last { Value::Null } else { (start + PERIOD).into() };
        subscription["paid_count"] = paid.into();
        subscription["remaining_count"] = remaining.into();
        let subscription = subscription.clone();
        let item = &self.plans[subscription["plan_id"].as_str().unwrap_or_default()]["item"];
        let gross = item["amount"].as_i64().unwrap_or(0) * subscription["quantity"].as_i64().unwrap_or(1);
        let amount = gross - self.reduction(&subscription, gross);
        let currency = item["currency"].clone();
        let (_, order) = self.create_order(&json!({ "amount": amount, "currency": currency }));
        let payment = self.add_payment(&order, order["id"].clone(), None, true);
        let invoice = json!({
            "id": invoice_id, "entity": "invoice", "type": "invoice", "invoice_number": null, "status": "paid",
            "subscription_id": id, "customer_id": subscription["customer_id"], "order_id": order["id"],
            "payment_id": payment["id"], "gross_amount": gross, "amount": amount, "amount_paid": amount,
            "currency": currency,
            "billing_start": start, "billing_end": start + PERIOD, "created_at": now,
            "short_url": format!("https://rzp.io/i/{invoice_id}"),
        });
        self.invoices.insert(invoice_id.clone(), invoice.clone());
        if is_first {
            self.publish("subscription.activated", &[("subscription", &subscription)]);
        }
        self.publish("subscription.charged", &[("payment", &payment), ("subscription", &subscription)]);
        self.publish("invoice.paid", &[("payment", &payment), ("order", &order), ("invoice", &invoice)]);
        if is_last {
            self.publish("subscription.completed", &[("subscription", &subscription)]);
        }
        invoice_id
    }
}

/// Copies the fields that are stated.
fn copy(from: &Value, to: &mut Value, fields: &[&str]) {
    for field in fields {
        if !from[*field].is_null() {
            to[*field] = from[*field].clone();
        }
    }
}
