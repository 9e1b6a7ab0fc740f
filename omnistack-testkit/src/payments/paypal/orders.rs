//! Orders, and the captures, authorisations and refunds in them.

use serde_json::{Value, json};

use super::state::{Answer, PayPalState, is_exact, list, refusal, units};

impl PayPalState {
    pub(super) fn create_order(&mut self, body: &Value) -> Answer {
        let unit = &body["purchase_units"][0];
        let amount = unit["amount"].clone();
        if !is_exact(&amount["value"], &amount["currency_code"]) {
            return refusal(422, "DECIMALS_NOT_SUPPORTED", "Currency does not support these decimals.");
        }
        let vaulted = ["card", "paypal"]
            .into_iter()
            .find_map(|kind| body["payment_source"][kind]["vault_id"].as_str())
            .map(str::to_owned);
        if vaulted.is_some() && self.is_paid_invoice(&unit["invoice_id"]) {
            return refusal(422, "DUPLICATE_INVOICE_ID", "Duplicate Invoice ID detected.");
        }
        let id = self.new_id();
        let mut unit = unit.clone();
        unit["reference_id"] = "default".into();
        unit["payments"] = json!({ "captures": [], "authorizations": [], "refunds": [] });
        let link = |rel: &str, href: String, method: &str| json!({ "rel": rel, "href": href, "method": method });
        let url = format!("{}/v2/checkout/orders/{id}", self.url);
        let order = json!({
            "id": id, "intent": body["intent"], "status": "PAYER_ACTION_REQUIRED", "purchase_units": [unit],
            "payment_source": { "paypal": {} }, "create_time": self.time(), "update_time": self.time(),
            "links": [
                link("self", url.clone(), "GET"),
                link("payer-action", format!("https://www.sandbox.paypal.com/checkoutnow?token={id}"), "GET"),
            ],
        });
        self.orders.insert(id.clone(), order);
        match vaulted {
            Some(token) => {
                let answer = self.charge(&id, &token);
                if answer.0 >= 400 {
                    self.orders.remove(&id);
                }
                answer
            }
            None => (201, self.orders[&id].clone()),
        }
    }

    /// Returns whether a payment with this `invoice_id` has taken money.
    fn is_paid_invoice(&self, invoice: &Value) -> bool {
        let captures = self.orders.values().flat_map(|order| list(&order["purchase_units"][0]["payments"]["captures"]));
        let mut paid = captures.filter(|capture| capture["status"] != "DECLINED");
        paid.any(|capture| invoice.is_string() && capture["invoice_id"] == *invoice)
    }

    /// Charges a stored payment method at once. The issuer of a card declines in the order, PayPal by an error.
    fn charge(&mut self, id: &str, token: &str) -> Answer {
        let code = match token {
            _ if token.contains("insufficient") => "5120",
            _ if token.contains("expired") => "5400",
            _ if token.contains("declined") => {
                return refusal(422, "INSTRUMENT_DECLINED", "The instrument presented was declined.");
            }
            _ => "0000",
        };
        let intent = self.orders[id]["intent"].as_str().unwrap_or_default().to_owned();
        if intent == "AUTHORIZE" && code == "0000" {
            self.authorize(id);
        } else {
            let amount = self.orders[id]["purchase_units"][0]["amount"].clone();
            let status = if code == "0000" { "COMPLETED" } else { "DECLINED" };
            self.add_capture(id, &amount, status, code);
        }
        (201, self.orders[id].clone())
    }

    pub(super) fn approve(&mut self, id: &str) {
        if self.subscriptions.contains_key(id) {
            self.approve_subscription(id);
            return;
        }
        let time = self.time();
        let order = self.orders.get_mut(id).unwrap_or_else(|| panic!("no order {id}"));
        order["status"] = "APPROVED".into();
        order["update_time"] = time;
        let order = order.clone();
        self.publish("CHECKOUT.ORDER.APPROVED", order);
    }

    pub(super) fn patch_order(&mut self, id: &str, body: &Value) -> Answer {
        let Some(order) = self.orders.get_mut(id) else {
            return refusal(404, "RESOURCE_NOT_FOUND", "The specified resource does not exist.");
        };
        if order["status"] == "COMPLETED" {
            return refusal(422, "ORDER_ALREADY_COMPLETED", "The order cannot be patched after it is completed.");
        }
        for change in list(body) {
            if change["path"] != "/purchase_units/@reference_id=='default'/custom_id" {
                return refusal(422, "NOT_PATCHABLE", "Cannot be patched.");
            }
            order["purchase_units"][0]["custom_id"] = change["value"].clone();
        }
        (204, Value::Null)
    }

    /// Captures or authorises an approved order.
    pub(super) fn take_order(&mut self, id: &str, intent: &str) -> Answer {
        let Some(order) = self.orders.get(id) else {
            return refusal(404, "RESOURCE_NOT_FOUND", "The specified resource does not exist.");
        };
        if order["intent"] != intent {
            return refusal(422, "ACTION_DOES_NOT_MATCH_INTENT", "The action does not match the intent.");
        }
        match order["status"].as_str() {
            Some("APPROVED") => {}
            Some("COMPLETED") if intent == "CAPTURE" => {
                return refusal(422, "ORDER_ALREADY_CAPTURED", "Order already captured.");
            }
            Some("COMPLETED") => return refusal(422, "ORDER_ALREADY_AUTHORIZED", "Order already authorized."),
            _ => return refusal(422, "ORDER_NOT_APPROVED", "Payer has not yet approved the Order for payment."),
        }
        if std::mem::take(&mut self.declines_next) {
            return refusal(422, "INSTRUMENT_DECLINED", "The instrument presented was declined.");
        }
        if intent == "CAPTURE" {
            let amount = order["purchase_units"][0]["amount"].clone();
            self.add_capture(id, &amount, "COMPLETED", "0000");
        } else {
            self.authorize(id);
        }
        // The response has the payments, but not the other fields of the purchase unit.
        let order = &self.orders[id];
        let unit = json!({ "reference_id": "default", "payments": order["purchase_units"][0]["payments"] });
        (201, json!({ "id": id, "status": order["status"], "purchase_units": [unit], "links": [] }))
    }

    fn authorize(&mut self, id: &str) {
        let (authorization_id, time) = (self.new_id(), self.time());
        let order = self.orders.get_mut(id).unwrap_or_else(|| panic!("no order {id}"));
        let unit = &order["purchase_units"][0];
        let authorization = json!({
            "id": authorization_id, "status": "CREATED", "amount": unit["amount"], "custom_id": unit["custom_id"],
            "create_time": time, "supplementary_data": { "related_ids": { "order_id": id } },
        });
        order["status"] = "COMPLETED".into();
        order["purchase_units"][0]["payments"]["authorizations"] = json!([authorization]);
        let unit = order["purchase_units"][0].clone();
        self.list_transaction(&authorization_id, "T1300", &unit["amount"], &unit["custom_id"], &unit["invoice_id"]);
        self.publish("PAYMENT.AUTHORIZATION.CREATED", authorization);
    }

    fn add_capture(&mut self, order: &str, amount: &Value, status: &str, code: &str) -> Value {
        let (id, time, order_id) = (self.new_id(), self.time(), order);
        let order = self.orders.get_mut(order_id).unwrap_or_else(|| panic!("no order {order_id}"));
        let unit = &order["purchase_units"][0];
        let (custom, invoice) = (unit["custom_id"].clone(), unit["invoice_id"].clone());
        let currency = &amount["currency_code"];
        let fee = if matches!(currency.as_str(), Some("HUF" | "JPY" | "TWD")) { "1" } else { "0.99" };
        let mut capture = json!({
            "id": id, "status": status, "amount": amount, "final_capture": true, "custom_id": custom,
            "invoice_id": invoice, "create_time": time, "update_time": time,
            "processor_response": { "response_code": code },
            "supplementary_data": { "related_ids": { "order_id": order_id } },
            "links": [{ "rel": "self", "href": format!("{}/v2/payments/captures/{id}", self.url), "method": "GET" }],
        });
        if status == "COMPLETED" {
            let fee = json!({ "currency_code": currency, "value": fee });
            capture["seller_receivable_breakdown"] = json!({ "gross_amount": amount, "paypal_fee": fee });
        }
        order["status"] = "COMPLETED".into();
        if let Some(captures) = order["purchase_units"][0]["payments"]["captures"].as_array_mut() {
            captures.push(capture.clone());
        }
        if status == "COMPLETED" {
            self.list_transaction(&id, "T0006", amount, &custom, &invoice);
        }
        let kind = if status == "COMPLETED" { "PAYMENT.CAPTURE.COMPLETED" } else { "PAYMENT.CAPTURE.DECLINED" };
        self.publish(kind, capture.clone());
        capture
    }

    /// Returns the id of the order with a capture or an authorisation.
    fn order_with(&self, kind: &str, id: &str) -> Option<String> {
        let has = |order: &Value| list(&order["purchase_units"][0]["payments"][kind]).any(|item| item["id"] == id);
        self.orders.iter().find(|(_, order)| has(order)).map(|(order, _)| order.clone())
    }

    pub(super) fn capture(&self, id: &str) -> Answer {
        let Some(order) = self.order_with("captures", id) else {
            return refusal(404, "RESOURCE_NOT_FOUND", "The specified resource does not exist.");
        };
        let captures = &self.orders[&order]["purchase_units"][0]["payments"]["captures"];
        (200, list(captures).find(|capture| capture["id"] == id).cloned().unwrap_or_default())
    }

    pub(super) fn authorization(&self, id: &str) -> Answer {
        let Some(order) = self.order_with("authorizations", id) else {
            return refusal(404, "RESOURCE_NOT_FOUND", "The specified resource does not exist.");
        };
        (200, self.orders[&order]["purchase_units"][0]["payments"]["authorizations"][0].clone())
    }

    pub(super) fn capture_authorization(&mut self, id: &str, body: &Value) -> Answer {
        let Some(order) = self.order_with("authorizations", id) else {
            return refusal(404, "RESOURCE_NOT_FOUND", "The specified resource does not exist.");
        };
        let unit = &self.orders[&order]["purchase_units"][0];
        let authorization = &unit["payments"]["authorizations"][0];
        if authorization["status"] != "CREATED" {
            return refusal(422, "AUTHORIZATION_ALREADY_CAPTURED", "Authorization has already been captured.");
        }
        let amount = if body["amount"].is_null() { unit["amount"].clone() } else { body["amount"].clone() };
        let whole = &unit["amount"];
        let status = if units(&amount["value"]) < units(&whole["value"]) { "PARTIALLY_CAPTURED" } else { "CAPTURED" };
        let capture = self.add_capture(&order, &amount, "COMPLETED", "0000");
        self.set_authorization(&order, status);
        (201, capture)
    }

    pub(super) fn void_authorization(&mut self, id: &str) -> Answer {
        let Some(order) = self.order_with("authorizations", id) else {
            return refusal(404, "RESOURCE_NOT_FOUND", "The specified resource does not exist.");
        };
        self.set_authorization(&order, "VOIDED");
        (204, Value::Null)
    }

    fn set_authorization(&mut self, order: &str, status: &str) {
        if let Some(order) = self.orders.get_mut(order) {
            order["purchase_units"][0]["payments"]["authorizations"][0]["status"] = status.into();
        }
    }

    pub(super) fn refund_capture(&mut self, id: &str, body: &Value) -> Answer {
        let Some(order_id) = self.order_with("captures", id) else {
            return refusal(404, "RESOURCE_NOT_FOUND", "The specified resource does not exist.");
        };
        let (refund_id, time) = (self.new_id(), self.time());
        let up = format!("{}/v2/payments/captures/{id}", self.url);
        let payments = &self.orders[&order_id]["purchase_units"][0]["payments"];
        let taken = list(&payments["captures"]).find(|capture| capture["id"] == id).cloned().unwrap_or_default();
        let amount = if body["amount"].is_null() { taken["amount"].clone() } else { body["amount"].clone() };
        let of_capture = list(&payments["refunds"]).filter(|refund| refund["links"][0]["href"] == up.as_str());
        let returned: i64 = of_capture.map(|refund| units(&refund["amount"]["value"])).sum();
        let total = returned + units(&amount["value"]);
        if total > units(&taken["amount"]["value"]) {
            return refusal(422, "REFUND_AMOUNT_EXCEEDED", "The refund amount must be less than the capture amount.");
        }
        let refund = json!({
            "id": refund_id, "status": "COMPLETED", "amount": amount, "invoice_id": body["invoice_id"],
            "custom_id": body["custom_id"], "note_to_payer": body["note_to_payer"], "create_time": time,
            "links": [{ "rel": "up", "href": up, "method": "GET" }],
        });
        let status = if total == units(&taken["amount"]["value"]) { "REFUNDED" } else { "PARTIALLY_REFUNDED" };
        if let Some(order) = self.orders.get_mut(&order_id) {
            let payments = &mut order["purchase_units"][0]["payments"];
            for capture in payments["captures"].as_array_mut().into_iter().flatten() {
                if capture["id"] == id {
                    capture["status"] = status.into();
                }
            }
            if let Some(refunds) = payments["refunds"].as_array_mut() {
                refunds.push(refund.clone());
            }
        }
        self.list_transaction(&refund_id, "T1107", &amount, &taken["custom_id"], &taken["invoice_id"]);
        self.publish("PAYMENT.CAPTURE.REFUNDED", refund.clone());
        (201, refund)
    }
}
