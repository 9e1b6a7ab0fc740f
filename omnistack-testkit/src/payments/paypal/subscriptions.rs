//! Plans, subscriptions, and their payments.

use std::time::Duration;

use omnistack_core::clock::Timestamp;
use serde_json::{Value, json};

use super::state::{Answer, PayPalState, list, parameter, refusal, time_text, units};

/// Length of the period of each plan.
const PERIOD: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Number of failed payments after which a subscription is suspended.
const FAILURE_THRESHOLD: i64 = 3;

impl PayPalState {
    pub(super) fn add_plan(&mut self, id: &str, price: &str, currency: &str) {
        let plan = json!({
            "id": id, "product_id": "PROD-1", "name": id, "status": "ACTIVE", "quantity_supported": true,
            "create_time": self.time(),
            "billing_cycles": [{
                "tenure_type": "REGULAR", "sequence": 1, "total_cycles": 0,
                "frequency": { "interval_unit": "MONTH", "interval_count": 1 },
                "pricing_scheme": { "version": 1, "fixed_price": { "currency_code": currency, "value": price } },
            }],
        });
        self.plans.insert(id.to_owned(), plan);
    }

    pub(super) fn create_plan(&mut self, body: &Value) -> Answer {
        let id = format!("P-{}", self.new_id());
        let mut plan = body.clone();
        plan["id"] = id.as_str().into();
        plan["status"] = "ACTIVE".into();
        plan["create_time"] = self.time();
        self.plans.insert(id, plan.clone());
        (201, plan)
    }

    pub(super) fn create_subscription(&mut self, body: &Value) -> Answer {
        let plan = body["plan_id"].as_str().unwrap_or_default();
        if !self.plans.contains_key(plan) {
            return refusal(404, "INVALID_RESOURCE_ID", "Requested resource ID was not found.");
        }
        let id = format!("I-{}", self.new_id());
        let start = if body["start_time"].is_null() { self.time() } else { body["start_time"].clone() };
        let page = format!("https://www.sandbox.paypal.com/webapps/billing/subscriptions?ba_token={id}");
        let subscription = json!({
            "id": id, "plan_id": plan, "status": "APPROVAL_PENDING", "start_time": start,
            "quantity": if body["quantity"].is_null() { json!("1") } else { body["quantity"].clone() },
            "custom_id": body["custom_id"], "create_time": self.time(), "update_time": self.time(),
            "links": [{ "rel": "approve", "href": page, "method": "GET" }],
        });
        self.subscriptions.insert(id, subscription.clone());
        self.publish("BILLING.SUBSCRIPTION.CREATED", subscription.clone());
        (201, subscription)
    }

    pub(super) fn subscription_list(&self, query: &[(String, String)]) -> Answer {
        let number =
            |name: &str, default: usize| parameter(query, name).and_then(|text| text.parse().ok()).unwrap_or(default);
        let after = parameter(query, "created_after").and_then(|text| text.parse::<Timestamp>().ok());
        let created = |subscription: &Value| -> Option<Timestamp> {
            subscription["create_time"].as_str().and_then(|text| text.parse().ok())
        };
        let all = self.subscriptions.values().filter(|subscription| created(subscription) >= after);
        let size = number("page_size", 10).min(20);
        let page: Vec<_> = all
            .skip(number("page", 1).saturating_sub(1) * size)
            .take(size)
            .map(|subscription| {
                json!({ "id": subscription["id"], "plan_id": subscription["plan_id"],
                    "custom_id": subscription["custom_id"], "status": subscription["status"] })
            })
            .collect();
        (200, json!({ "subscriptions": page }))
    }

    pub(super) fn patch_subscription(&mut self, id: &str, body: &Value) -> Answer {
        let Some(subscription) = self.subscriptions.get_mut(id) else {
            return refusal(404, "INVALID_RESOURCE_ID", "Requested resource ID was not found.");
        };
        if !matches!(subscription["status"].as_str(), Some("ACTIVE" | "SUSPENDED")) {
            return refusal(422, "SUBSCRIPTION_STATUS_INVALID", "Invalid subscription status.");
        }
        for change in list(body) {
            if change["path"] != "/custom_id" {
                return refusal(422, "NOT_PATCHABLE", "Cannot be patched.");
            }
            subscription["custom_id"] = change["value"].clone();
        }
        (204, Value::Null)
    }

    pub(super) fn revise(&mut self, id: &str, body: &Value) -> Answer {
        if !self.subscriptions.contains_key(id) {
            return refusal(404, "INVALID_RESOURCE_ID", "Requested resource ID was not found.");
        }
        self.revisions.insert(id.to_owned(), body.clone());
        let page = format!("https://www.sandbox.paypal.com/webapps/billing/subscriptions/update?ba_token={id}");
        let links = [json!({ "rel": "approve", "href": page, "method": "GET" })];
        (200, json!({ "plan_id": body["plan_id"], "quantity": body["quantity"], "links": links }))
    }

    pub(super) fn approve_change(&mut self, id: &str) {
        let change = self.revisions.remove(id).unwrap_or_else(|| panic!("no change of {id}"));
        let subscription = self.subscription_mut(id);
        for field in ["plan_id", "quantity"] {
            subscription[field] = change[field].clone();
        }
        self.touch(id, "BILLING.SUBSCRIPTION.UPDATED");
    }

    pub(super) fn change_status(&mut self, id: &str, action: &str, body: &Value) -> Answer {
        let Some(subscription) = self.subscriptions.get_mut(id) else {
            return refusal(404, "INVALID_RESOURCE_ID", "Requested resource ID was not found.");
        };
        let (status, kind) = match (action, subscription["status"].as_str()) {
            ("suspend", Some("ACTIVE")) => ("SUSPENDED", "BILLING.SUBSCRIPTION.SUSPENDED"),
            ("activate", Some("SUSPENDED")) => ("ACTIVE", "BILLING.SUBSCRIPTION.ACTIVATED"),
            ("cancel", Some("ACTIVE" | "SUSPENDED")) => ("CANCELLED", "BILLING.SUBSCRIPTION.CANCELLED"),
            ("suspend" | "activate" | "cancel", _) => {
                return refusal(422, "SUBSCRIPTION_STATUS_INVALID", "Invalid subscription status.");
            }
            _ => return refusal(404, "RESOURCE_NOT_FOUND", "The specified resource does not exist."),
        };
        subscription["status"] = status.into();
        subscription["status_change_note"] = body["reason"].clone();
        // PayPal plans no payment of a subscription that is not active.
        if status == "SUSPENDED" {
            subscription["next_billing_time_of_test"] = subscription["billing_info"]["next_billing_time"].take();
        } else if status == "ACTIVE" {
            subscription["billing_info"]["next_billing_time"] = subscription["next_billing_time_of_test"].clone();
        }
        if status == "CANCELLED" {
            subscription["billing_info"]["next_billing_time"] = Value::Null;
        }
        self.touch(id, kind);
        (204, Value::Null)
    }

    pub(super) fn approve_subscription(&mut self, id: &str) {
        let now = self.now();
        let subscription = self.subscription_mut(id);
        subscription["status"] = "ACTIVE".into();
        subscription["subscriber"] = json!({ "payer_id": "PAYER1", "email_address": "payer@example.com" });
        let start = subscription["start_time"].as_str().and_then(|text| text.parse::<Timestamp>().ok()).unwrap_or(now);
        subscription["billing_info"] = json!({
            "outstanding_balance": { "currency_code": "USD", "value": "0.00" },
            "next_billing_time": time_text(start.max(now)), "failed_payments_count": 0,
        });
        self.touch(id, "BILLING.SUBSCRIPTION.ACTIVATED");
        if start <= now {
            self.renew(id);
        }
    }

    /// Charges the next period. Returns the id of the sale.
    pub(super) fn renew(&mut self, id: &str) -> String {
        let (now, time, sale_id) = (self.now(), self.time(), self.new_id());
        let subscription = self.subscription_mut(id).clone();
        let plan = &self.plans[subscription["plan_id"].as_str().unwrap_or_default()];
        let price = &plan["billing_cycles"][0]["pricing_scheme"]["fixed_price"];
        let quantity: i64 = subscription["quantity"].as_str().and_then(|text| text.parse().ok()).unwrap_or(1);
        let total = units(&price["value"]) * quantity;
        let total = if price["value"].as_str().is_some_and(|value| value.contains('.')) {
            format!("{}.{:02}", total / 100, total % 100)
        } else {
            total.to_string()
        };
        let sale = json!({
            "id": sale_id, "state": "completed", "amount": { "total": total, "currency": price["currency_code"] },
            "billing_agreement_id": id, "custom": subscription["custom_id"], "create_time": time, "update_time": time,
            "transaction_fee": { "value": "0.99", "currency": price["currency_code"] },
        });
        let end = subscription["billing_info"]["next_billing_time"].as_str();
        let end = end.and_then(|text| text.parse::<Timestamp>().ok()).unwrap_or(now) + PERIOD;
        let changed = self.subscription_mut(id);
        changed["billing_info"]["next_billing_time"] = time_text(end).into();
        changed["billing_info"]["failed_payments_count"] = 0.into();
        changed["billing_info"]["last_payment"] =
            json!({ "amount": { "currency_code": price_code(&sale), "value": total }, "time": time });
        let amount = sale["amount"].clone();
        self.list_transaction(&sale_id, "T0002", &amount, &sale["custom"], &Value::Null);
        self.sales.insert(sale_id.clone(), sale.clone());
        self.publish("PAYMENT.SALE.COMPLETED", sale);
        sale_id
    }

    pub(super) fn fail_renewal(&mut self, id: &str) {
        let subscription = self.subscription_mut(id);
        let failures = subscription["billing_info"]["failed_payments_count"].as_i64().unwrap_or(0) + 1;
        subscription["billing_info"]["failed_payments_count"] = failures.into();
        self.touch(id, "BILLING.SUBSCRIPTION.PAYMENT.FAILED");
        if failures >= FAILURE_THRESHOLD {
            self.subscription_mut(id)["status"] = "SUSPENDED".into();
            self.touch(id, "BILLING.SUBSCRIPTION.SUSPENDED");
        }
    }

    pub(super) fn refund_sale(&mut self, id: &str, body: &Value) -> Answer {
        let (refund_id, time) = (self.new_id(), self.time());
        let Some(sale) = self.sales.get_mut(id) else {
            return refusal(404, "INVALID_RESOURCE_ID", "Requested resource ID was not found.");
        };
        let amount = if body["amount"].is_null() { sale["amount"].clone() } else { body["amount"].clone() };
        let (wanted, whole) = (units(&amount["total"]), units(&sale["amount"]["total"]));
        // A sale does not state the sum of its refunds.
        let refunded = sale["refunded_units_of_test"].as_i64().unwrap_or(0) + wanted;
        if refunded > whole {
            return refusal(422, "REFUND_EXCEEDED_TRANSACTION_AMOUNT", "The refund is larger than the sale.");
        }
        sale["refunded_units_of_test"] = refunded.into();
        sale["update_time"] = time.clone();
        sale["state"] = if refunded == whole { "refunded" } else { "partially_refunded" }.into();
        let custom = sale["custom"].clone();
        let refund = json!({
            "id": refund_id, "sale_id": id, "state": "completed", "amount": amount, "custom": custom,
            "invoice_number": body["invoice_number"], "create_time": time,
        });
        let value = format!("-{}", amount["total"].as_str().unwrap_or_default());
        let listed = json!({ "currency_code": amount["currency"], "value": value });
        self.list_refund(&refund_id, id, &listed, &body["invoice_number"]);
        self.publish("PAYMENT.SALE.REFUNDED", refund.clone());
        (201, refund)
    }

    fn subscription_mut(&mut self, id: &str) -> &mut Value {
        self.subscriptions.get_mut(id).unwrap_or_else(|| panic!("no subscription {id}"))
    }

    /// Sets the time of the change, and publishes the event.
    fn touch(&mut self, id: &str, kind: &str) {
        let time = self.time();
        let subscription = self.subscription_mut(id);
        subscription["update_time"] = time;
        let subscription = subscription.clone();
        self.publish(kind, subscription);
    }
}

fn price_code(sale: &Value) -> Value {
    sale["amount"]["currency"].clone()
}
