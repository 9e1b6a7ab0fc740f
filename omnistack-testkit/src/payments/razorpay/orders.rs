//! Orders, payment links, payments and refunds.

use serde_json::{Value, json};

use super::state::{RazorpayResponse, RazorpayState, is_taken, missing, notes, parameter, refusal};

impl RazorpayState {
    pub(super) fn create_order(&mut self, body: &Value) -> RazorpayResponse {
        if let Some(refused) = refused_amount(body) {
            return refused;
        }
        let id = self.new_id("order");
        let order = json!({
            "id": id, "entity": "order", "amount": body["amount"], "amount_paid": 0, "amount_due": body["amount"],
            "currency": body["currency"], "receipt": body["receipt"], "status": "created", "attempts": 0,
            "notes": notes(body), "created_at": self.now(),
            // Not in Razorpay's answers.
            "capture": if body["payment"]["capture"] == "manual" { "manual" } else { "automatic" },
        });
        self.orders.insert(id, order.clone());
        (200, order)
    }

    pub(super) fn patch_order(&mut self, id: &str, body: &Value) -> RazorpayResponse {
        let Some(order) = self.orders.get_mut(id) else { return missing() };
        order["notes"] = body["notes"].clone();
        (200, order.clone())
    }

    pub(super) fn create_link(&mut self, body: &Value) -> RazorpayResponse {
        if let Some(refused) = refused_amount(body) {
            return refused;
        }
        let is_same = |link: &Value| body["reference_id"].is_string() && link["reference_id"] == body["reference_id"];
        if self.links.values().any(is_same) {
            let description = "payment link creation with duplicate reference_id is not allowed";
            return refusal(400, "input_validation_failed", description);
        }
        let id = self.new_id("plink");
        let link = json!({
            "id": id, "amount": body["amount"], "amount_paid": 0, "currency": body["currency"],
            "description": body["description"], "reference_id": body["reference_id"], "status": "created",
            "short_url": format!("https://rzp.io/i/{id}"), "expire_by": body["expire_by"].as_i64().unwrap_or(0),
            "callback_url": body["callback_url"], "callback_method": body["callback_method"],
            "customer": body["customer"], "payments": null, "notes": body["notes"], "created_at": self.now(),
        });
        self.links.insert(id, link.clone());
        (200, link)
    }

    pub(super) fn link_list(&self, query: &[(String, String)]) -> RazorpayResponse {
        let reference = parameter(query, "reference_id");
        let is_wanted = |link: &&Value| reference.is_none_or(|reference| link["reference_id"] == reference);
        let links: Vec<_> = self.links.values().filter(is_wanted).collect();
        (200, json!({ "payment_links": links }))
    }

    pub(super) fn cancel_link(&mut self, id: &str) -> RazorpayResponse {
        let now = self.now();
        let Some(link) = self.links.get_mut(id) else { return missing() };
        if link["status"] != "created" {
            return refusal(400, "NA", "This action cannot be performed on a payment link in this state");
        }
        link["status"] = "cancelled".into();
        link["cancelled_at"] = now.into();
        let link = link.clone();
        self.publish("payment_link.cancelled", &[("payment_link", &link)]);
        (200, link)
    }

    /// Pays an order or a link. Returns the id of the payment.
    pub(super) fn pay(&mut self, id: &str, failure: Option<&str>) -> String {
        if let Some(link) = self.links.get(id).cloned() {
            let payment = self.add_payment(&link, Value::Null, failure, true);
            let payment_id = payment["id"].clone();
            if let Some(stored) = self.payments.get_mut(&text(&payment_id)) {
                stored["link_id"] = id.into();
            }
            if failure.is_none()
                && let Some(link) = self.links.get_mut(id)
            {
                link["status"] = "paid".into();
                link["amount_paid"] = link["amount"].clone();
                link["payments"] =
                    json!([{ "payment_id": payment_id, "status": "captured", "amount": link["amount"] }]);
                let link = link.clone();
                self.publish("payment_link.paid", &[("payment_link", &link), ("payment", &payment)]);
            }
            return text(&payment_id);
        }
        let order = self.orders.get(id).unwrap_or_else(|| panic!("no order {id}")).clone();
        let is_captured = order["capture"] != "manual";
        let payment = self.add_payment(&order, id.into(), failure, is_captured);
        text(&payment["id"])
    }

    /// Adds a payment of an order, a link or an invoice, and publishes its event.
    pub(super) fn add_payment(
        &mut self,
        parent: &Value,
        order: Value,
        failure: Option<&str>,
        is_captured: bool,
    ) -> Value {
        let id = self.new_id("pay");
        let status = match failure {
            Some(_) => "failed",
            None if is_captured => "captured",
            None => "authorized",
        };
        let amount = parent["amount"].as_i64().unwrap_or(0);
        let payment = json!({
            "id": id, "entity": "payment", "amount": amount, "currency": parent["currency"], "status": status,
            "order_id": order, "invoice_id": null, "method": "card", "amount_refunded": 0, "captured": is_captured,
            "fee": if status == "captured" { json!(amount * 236 / 10_000) } else { Value::Null },
            "notes": parent["notes"], "error_reason": failure, "created_at": self.now(),
            "error_description": failure.map(|_| "Your payment was declined"),
        });
        self.payments.insert(id, payment.clone());
        let kind = format!("payment.{status}");
        self.publish(&kind, &[("payment", &payment)]);
        let paid = payment["order_id"].as_str().and_then(|order| self.orders.get_mut(order)).map(|order| {
            order["attempts"] = (order["attempts"].as_i64().unwrap_or(0) + 1).into();
            order["status"] = if status == "captured" { "paid" } else { "attempted" }.into();
            order.clone()
        });
        if let Some(order) = paid.filter(|_| status == "captured") {
            self.publish("order.paid", &[("payment", &payment), ("order", &order)]);
        }
        payment
    }

    pub(super) fn charge_token(&mut self, body: &Value) -> RazorpayResponse {
        let order_id = text(&body["order_id"]);
        let Some(order) = self.orders.get(&order_id).cloned() else { return missing() };
        let token = text(&body["token"]);
        let is_known = self
            .tokens
            .iter()
            .any(|stored| stored["id"] == token.as_str() && stored["customer_id"] == body["customer_id"]);
        if !is_known {
            return missing();
        }
        if order["status"] == "paid" {
            return refusal(400, "input_validation_failed", "Payment already done for this order.");
        }
        let failure = match token.as_str() {
            token if token.contains("insufficient") => Some("insufficient_funds"),
            token if token.contains("expired") => Some("card_expired"),
            token if token.contains("declined") => Some("payment_failed"),
            _ => None,
        };
        let is_captured = order["capture"] != "manual";
        let payment = self.add_payment(&order, order_id.as_str().into(), failure, is_captured);
        if let Some(reason) = failure {
            let (status, mut answer) = refusal(400, reason, "Your payment was declined");
            answer["error"]["metadata"] = json!({ "payment_id": payment["id"], "order_id": order_id });
            return (status, answer);
        }
        (200, json!({ "razorpay_payment_id": payment["id"], "razorpay_order_id": order_id }))
    }

    pub(super) fn capture(&mut self, id: &str, body: &Value) -> RazorpayResponse {
        let Some(payment) = self.payments.get_mut(id) else { return missing() };
        if payment["status"] != "authorized" {
            return refusal(400, "input_validation_failed", "This payment has already been captured");
        }
        if payment["amount"] != body["amount"] {
            return refusal(400, "input_validation_failed", "Capture amount must be equal to the amount authorized");
        }
        payment["status"] = "captured".into();
        payment["captured"] = true.into();
        let payment = payment.clone();
        if let Some(order) = payment["order_id"].as_str().and_then(|order| self.orders.get_mut(order)) {
            order["status"] = "paid".into();
        }
        self.publish("payment.captured", &[("payment", &payment)]);
        (200, payment)
    }

    pub(super) fn refund(&mut self, id: &str, body: &Value) -> RazorpayResponse {
        let (refund_id, now) = (self.new_id("rfnd"), self.now());
        let is_same = |refund: &Value| body["receipt"].is_string() && refund["receipt"] == body["receipt"];
        if self.refunds.values().any(is_same) {
            return refusal(400, "input_validation_failed", "The receipt has already been used");
        }
        let Some(payment) = self.payments.get_mut(id) else { return missing() };
        let (whole, returned) =
            (payment["amount"].as_i64().unwrap_or(0), payment["amount_refunded"].as_i64().unwrap_or(0));
        let amount = integer(&body["amount"]).unwrap_or(whole - returned);
        if !is_taken(payment) || returned + amount > whole {
            let description = "The total refund amount is greater than the refund payment amount";
            return refusal(400, "input_validation_failed", description);
        }
        payment["amount_refunded"] = (returned + amount).into();
        if returned + amount == whole {
            payment["status"] = "refunded".into();
        }
        let payment = payment.clone();
        let refund = json!({
            "id": refund_id, "entity": "refund", "amount": amount, "currency": payment["currency"],
            "payment_id": id, "receipt": body["receipt"], "notes": notes(body), "status": "processed",
            "speed_processed": "normal", "created_at": now,
        });
        self.refunds.insert(refund_id, refund.clone());
        self.publish("refund.processed", &[("refund", &refund), ("payment", &payment)]);
        (200, refund)
    }
}

/// Returns the error of an amount that is no positive integer, or of no currency.
fn refused_amount(body: &Value) -> Option<RazorpayResponse> {
    let is_valid = integer(&body["amount"]).is_some_and(|amount| amount > 0) && body["currency"].is_string();
    let description = "The amount must be an integer of at least 1";
    (!is_valid).then(|| refusal(400, "input_validation_failed", description))
}

/// Returns an integer, which clients may send as a text.
fn integer(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
