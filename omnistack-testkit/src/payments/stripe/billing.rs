//! Subscriptions, their schedules and their invoices.

use serde_json::{Value, json};

use super::{
    form::{integer, object, text},
    payments::CardOutcome,
    state::{Outcome, StripeFailure, StripeState},
};

/// Seconds of a day. Months have 30 days here.
const DAY: i64 = 24 * 60 * 60;
/// Seconds after which a change that is not paid is dropped.
const PENDING_UPDATE_SECONDS: i64 = 23 * 60 * 60;

impl StripeState {
    pub(super) fn create_subscription(&mut self, form: &Value) -> Outcome {
        let customer = text(form, "/customer").unwrap_or_default().to_owned();
        self.find("customer", &customer)?;
        let price = self.find("price", text(form, "/items/0/price").unwrap_or_default())?;
        let quantity = integer(form, "/items/0/quantity").unwrap_or(1);
        let now = self.now();
        let trial_end = integer(form, "/trial_end").filter(|end| *end > now);
        let end = trial_end.unwrap_or(now + seconds_of(&price));
        let item = json!({
            "id": self.new_id("si"), "object": "subscription_item", "price": price, "quantity": quantity,
            "current_period_start": now, "current_period_end": end,
        });
        let id = self.new_id("sub");
        let subscription = json!({
            "id": id, "object": "subscription", "created": now, "livemode": false, "customer": customer,
            "status": if trial_end.is_some() { "trialing" } else { "incomplete" }, "currency": price["currency"],
            "items": { "object": "list", "has_more": false, "data": [item] }, "metadata": object(form, "/metadata"),
            "cancel_at": null, "cancel_at_period_end": false, "canceled_at": null, "ended_at": null,
            "pause_collection": null, "pending_update": null, "latest_invoice": null, "schedule": null,
            "trial_end": trial_end, "billing_mode": { "type": "flexible" },
            "trial_settings": object(form, "/trial_settings"), "discounts": discount_ids(form),
            "default_payment_method": text(form, "/default_payment_method"),
        });
        self.insert(subscription);
        let amount = if trial_end.is_some() { 0 } else { amount_of(&price, quantity) };
        let paid = self.bill(&id, amount, "subscription_create");
        if trial_end.is_none() && paid {
            self.patch(&id, json!({ "status": "active" }));
        }
        let subscription = self.find("subscription", &id)?;
        self.emit("customer.subscription.created", &subscription);
        Ok(subscription)
    }

    /// Creates an invoice of a subscription and charges it. Returns whether it is paid.
    fn bill(&mut self, id: &str, amount: i64, reason: &str) -> bool {
        let subscription = self.get(id).cloned().unwrap_or_default();
        let item = &subscription["items"]["data"][0];
        let invoice = self.new_id("in");
        let number = format!("TEST-{}", invoice.trim_start_matches("in_"));
        let object = json!({
            "id": invoice, "object": "invoice", "created": self.now(), "livemode": false,
            "customer": subscription["customer"], "currency": subscription["currency"], "number": number,
            "status": "open", "billing_reason": reason, "total": amount, "amount_due": amount, "amount_paid": 0,
            "amount_remaining": amount, "attempt_count": 0, "next_payment_attempt": null, "metadata": {},
            "parent": {
                "type": "subscription_details",
                "subscription_details": { "subscription": id, "metadata": subscription["metadata"] },
            },
            "period_start": self.now(), "period_end": self.now(),
            "lines": { "object": "list", "data": [{
                "id": format!("il_{invoice}"), "amount": amount,
                "period": { "start": item["current_period_start"], "end": item["current_period_end"] },
            }] },
            "hosted_invoice_url": format!("https://invoice.stripe.test/i/{invoice}"),
            "invoice_pdf": format!("https://invoice.stripe.test/i/{invoice}/pdf"),
        });
        let created = self.insert(object);
        self.patch(id, json!({ "latest_invoice": invoice }));
        self.emit("invoice.finalized", &created);
        if amount == 0 {
            let paid = self.patch(&invoice, json!({ "status": "paid" }));
            self.emit("invoice.paid", &paid);
            return true;
        }
        let own = subscription["default_payment_method"].as_str().map(str::to_owned);
        let method = own.or_else(|| self.default_card(&subscription["customer"]));
        let outcome = method.as_deref().map(|method| self.card_outcome(method));
        let intent = json!({
            "id": self.new_id("pi"), "object": "payment_intent", "created": self.now(), "livemode": false,
            "amount": amount, "amount_received": 0, "amount_capturable": 0, "currency": subscription["currency"],
            "customer": subscription["customer"], "metadata": {}, "capture_method": "automatic",
            "payment_method": method, "latest_charge": null, "next_action": null, "last_payment_error": null,
            "status": "requires_payment_method", "invoice_of_test": invoice,
        });
        let intent = self.insert(intent)["id"].as_str().unwrap_or_default().to_owned();
        let payment = json!({
            "id": self.new_id("inpay"), "object": "invoice_payment", "created": self.now(), "invoice": invoice,
            "payment_intent": intent, "payment": { "type": "payment_intent", "payment_intent": intent },
        });
        self.insert(payment);
        if matches!(outcome, Some(CardOutcome::Succeeds | CardOutcome::Disputed)) {
            self.charge(&intent, outcome == Some(CardOutcome::Disputed));
            self.invoice_paid(&invoice);
            return true;
        }
        let next = self.now() + 3 * DAY;
        let failed = self.patch(&invoice, json!({ "attempt_count": 1, "next_payment_attempt": next }));
        self.emit("invoice.payment_failed", &failed);
        false
    }

    /// Marks an invoice as paid. Its subscription becomes active, and a change that waited for it takes effect.
    pub(super) fn invoice_paid(&mut self, invoice: &str) {
        let Some(open) = self.get(invoice).cloned() else { return };
        let fields = json!({
            "status": "paid", "amount_paid": open["amount_due"], "amount_remaining": 0, "attempt_count": 1,
            "next_payment_attempt": null,
        });
        let paid = self.patch(invoice, fields);
        self.emit("invoice.paid", &paid);
        let id = paid["parent"]["subscription_details"]["subscription"].as_str().unwrap_or_default().to_owned();
        let Some(subscription) = self.get(&id).cloned() else { return };
        let mut fields = json!({});
        if matches!(subscription["status"].as_str(), Some("incomplete" | "past_due" | "unpaid")) {
            fields["status"] = json!("active");
        }
        let pending = &subscription["pending_update"]["subscription_items"];
        if pending.is_array() && subscription["pending_update"]["invoice_of_test"] == invoice {
            fields["items"] = json!({ "object": "list", "has_more": false, "data": pending });
            fields["pending_update"] = Value::Null;
        }
        if fields.as_object().is_some_and(|fields| !fields.is_empty()) {
            let subscription = self.patch(&id, fields);
            self.emit("customer.subscription.updated", &subscription);
        }
    }

    pub(super) fn renew(&mut self, id: &str) -> String {
        let subscription = self.find("subscription", id).unwrap_or_default();
        let mut items = subscription["items"].clone();
        let item = &mut items["data"][0];
        let end = item["current_period_end"].as_i64().unwrap_or(0);
        item["current_period_start"] = json!(end);
        item["current_period_end"] = json!(end + seconds_of(&item["price"]));
        let amount = amount_of(&item["price"], item["quantity"].as_i64().unwrap_or(1));
        self.patch(id, json!({ "items": items }));
        let paid = self.bill(id, amount, "subscription_cycle");
        let subscription = self.patch(id, json!({ "status": if paid { "active" } else { "past_due" } }));
        self.emit("customer.subscription.updated", &subscription);
        subscription["latest_invoice"].as_str().unwrap_or_default().to_owned()
    }

    pub(super) fn update_subscription(&mut self, id: &str, form: &Value) -> Outcome {
        let subscription = self.find("subscription", id)?;
        if subscription["status"] == "canceled" {
            return Err(StripeFailure::invalid(None, "A canceled subscription can only update its metadata."));
        }
        if form.get("cancel_at").is_some() && form.get("cancel_at_period_end").is_some() {
            return Err(StripeFailure::invalid(None, "You may only specify one of: cancel_at, cancel_at_period_end."));
        }
        let mut fields = json!({ "metadata": self.merged_metadata(id, form) });
        if let Some(at_end) = text(form, "/cancel_at_period_end") {
            let at_end = at_end == "true";
            let end = subscription["items"]["data"][0]["current_period_end"].clone();
            fields["cancel_at_period_end"] = json!(at_end);
            // A date that is not the end of the period stays.
            if at_end || subscription["cancel_at"] == end {
                fields["cancel_at"] = if at_end { end } else { Value::Null };
            }
        }
        if form.get("cancel_at").is_some() {
            fields["cancel_at"] = json!(integer(form, "/cancel_at"));
        }
        if form.get("discounts").is_some() {
            fields["discounts"] = discount_ids(form);
        }
        if let Some(pause) = form.get("pause_collection") {
            fields["pause_collection"] = if pause.is_object() { pause.clone() } else { Value::Null };
        }
        if form.get("items").is_some() {
            if subscription["schedule"].is_string() {
                return Err(StripeFailure::invalid(None, "The subscription is managed by a subscription schedule."));
            }
            self.patch(id, fields);
            return self.change_items(&subscription, form);
        }
        let subscription = self.patch(id, fields);
        self.emit("customer.subscription.updated", &subscription);
        Ok(subscription)
    }

    fn change_items(&mut self, subscription: &Value, form: &Value) -> Outcome {
        let id = subscription["id"].as_str().unwrap_or_default();
        let (item, due) = self.changed_item(subscription, form)?;
        let paid = due <= 0 || self.bill(id, due, "subscription_update");
        let fields = if paid {
            json!({ "items": { "object": "list", "has_more": false, "data": [item] } })
        } else if text(form, "/payment_behavior") == Some("pending_if_incomplete") {
            let invoice = self.get(id).map(|subscription| subscription["latest_invoice"].clone());
            json!({ "pending_update": {
                "expires_at": self.now() + PENDING_UPDATE_SECONDS, "subscription_items": [item],
                "invoice_of_test": invoice,
            } })
        } else {
            json!({ "status": "past_due", "items": { "object": "list", "has_more": false, "data": [item] } })
        };
        let subscription = self.patch(id, fields);
        self.emit("customer.subscription.updated", &subscription);
        Ok(subscription)
    }

    /// Returns the item after a change, and what the rest of the period costs more.
    fn changed_item(&self, subscription: &Value, form: &Value) -> Result<(Value, i64), StripeFailure> {
        let old = &subscription["items"]["data"][0];
        let price = match text(form, "/items/0/price") {
            Some(price) => self.find("price", price)?,
            None => old["price"].clone(),
        };
        let number = |value: &Value| value.as_i64().unwrap_or(0);
        let quantity = integer(form, "/items/0/quantity").unwrap_or(number(&old["quantity"]));
        let (start, end) = (number(&old["current_period_start"]), number(&old["current_period_end"]));
        let at = integer(form, "/proration_date").unwrap_or(self.now()).clamp(start, end);
        let share = |amount: i64| amount * (end - at) / (end - start).max(1);
        let due = share(amount_of(&price, quantity)) - share(amount_of(&old["price"], number(&old["quantity"])));
        let mut item = old.clone();
        item["price"] = price;
        item["quantity"] = json!(quantity);
        Ok((item, due))
    }

    pub(super) fn preview_invoice(&mut self, form: &Value) -> Outcome {
        let subscription = self.find("subscription", text(form, "/subscription").unwrap_or_default())?;
        let details = object(form, "/subscription_details");
        let (item, due) = self.changed_item(&subscription, &details)?;
        let recurring = amount_of(&item["price"], item["quantity"].as_i64().unwrap_or(1));
        let amount = if text(form, "/preview_mode") == Some("recurring") { recurring } else { due.max(0) };
        Ok(json!({
            "object": "invoice", "created": self.now(), "currency": subscription["currency"], "status": "draft",
            "total": amount, "amount_due": amount, "amount_paid": 0,
        }))
    }

    pub(super) fn resume_subscription(&mut self, id: &str) -> Outcome {
        let subscription = self.find("subscription", id)?;
        if subscription["status"] != "paused" {
            return Err(StripeFailure::invalid(None, "Only paused subscriptions can be resumed."));
        }
        let subscription = self.patch(id, json!({ "status": "active" }));
        self.emit("customer.subscription.resumed", &subscription);
        Ok(subscription)
    }

    pub(super) fn cancel_subscription(&mut self, id: &str) -> Outcome {
        let subscription = self.find("subscription", id)?;
        if subscription["status"] == "canceled" {
            return Err(StripeFailure::missing("subscription", id));
        }
        let now = self.now();
        let subscription = self.patch(id, json!({ "status": "canceled", "canceled_at": now, "ended_at": now }));
        self.emit("customer.subscription.deleted", &subscription);
        Ok(subscription)
    }

    pub(super) fn create_schedule(&mut self, form: &Value) -> Outcome {
        let id = text(form, "/from_subscription").unwrap_or_default().to_owned();
        let subscription = self.find("subscription", &id)?;
        if subscription["schedule"].is_string() {
            return Err(StripeFailure::invalid(None, "The subscription already has a schedule."));
        }
        let schedule = json!({
            "id": self.new_id("sub_sched"), "object": "subscription_schedule", "created": self.now(),
            "subscription": id, "status": "active", "phases": [], "end_behavior": "release",
        });
        let schedule = self.insert(schedule);
        self.patch(&id, json!({ "schedule": schedule["id"] }));
        Ok(schedule)
    }

    pub(super) fn update_schedule(&mut self, id: &str, form: &Value) -> Outcome {
        self.find("subscription_schedule", id)?;
        for phase in form["phases"].as_array().into_iter().flatten() {
            self.find("price", text(phase, "/items/0/price").unwrap_or_default())?;
        }
        let schedule = self.patch(id, json!({ "phases": form["phases"] }));
        self.emit("subscription_schedule.updated", &schedule);
        Ok(schedule)
    }

    pub(super) fn release_schedule(&mut self, id: &str) -> Outcome {
        let schedule = self.find("subscription_schedule", id)?;
        let subscription = schedule["subscription"].as_str().unwrap_or_default().to_owned();
        self.patch(&subscription, json!({ "schedule": null }));
        let fields = json!({ "status": "released", "subscription": null, "released_subscription": subscription });
        let schedule = self.patch(id, fields);
        self.emit("subscription_schedule.released", &schedule);
        Ok(schedule)
    }
}

/// Returns the ids of the discounts that a form asks for. An empty text clears them.
fn discount_ids(form: &Value) -> Value {
    let asked = form.get("discounts").and_then(Value::as_array);
    let coupons = asked.into_iter().flatten().filter_map(|discount| text(discount, "/coupon"));
    coupons.map(|coupon| format!("di_{coupon}")).collect()
}

fn amount_of(price: &Value, quantity: i64) -> i64 {
    price["unit_amount"].as_i64().unwrap_or(0) * quantity
}

fn seconds_of(price: &Value) -> i64 {
    match price["recurring"]["interval"].as_str() {
        Some("day") => DAY,
        Some("week") => 7 * DAY,
        Some("year") => 365 * DAY,
        _ => 30 * DAY,
    }
}
