//! Checkout sessions and sessions of the portal.

use serde_json::{Value, json};

use super::{
    form::{integer, object, text},
    payments::CardOutcome,
    state::{Outcome, StripeFailure, StripeState},
};

/// Seconds for which a session is open by default.
const DEFAULT_SESSION_SECONDS: i64 = 24 * 60 * 60;

impl StripeState {
    pub(super) fn create_session(&mut self, form: &Value) -> Outcome {
        let mode = text(form, "/mode").unwrap_or_default();
        let customer = text(form, "/customer");
        if let Some(customer) = customer.filter(|customer| self.get(customer).is_none()) {
            return Err(StripeFailure::invalid(Some("resource_missing"), format!("No such customer: '{customer}'")));
        }
        let line = object(form, "/line_items/0");
        let price = match text(&line, "/price") {
            Some(price) => Some(self.find("price", price)?),
            None => None,
        };
        let unit = price.as_ref().and_then(|price| price["unit_amount"].as_i64());
        let unit = unit.or_else(|| integer(&line, "/price_data/unit_amount")).unwrap_or(0);
        let currency = price.as_ref().and_then(|price| price["currency"].as_str());
        let currency = currency.or_else(|| text(&line, "/price_data/currency")).unwrap_or("usd");
        if mode != "setup" && unit == 0 {
            return Err(StripeFailure::invalid(Some("parameter_missing"), "Missing required param: line_items."));
        }
        let expires_at = integer(form, "/expires_at").unwrap_or(self.now() + DEFAULT_SESSION_SECONDS);
        if expires_at <= self.now() {
            return Err(StripeFailure::invalid(None, "The `expires_at` timestamp must be in the future."));
        }
        let id = self.new_id("cs_test");
        let session = json!({
            "id": id, "object": "checkout.session", "created": self.now(), "livemode": false, "mode": mode,
            "status": "open", "payment_status": "unpaid", "url": format!("https://checkout.stripe.test/c/{id}"),
            "client_reference_id": text(form, "/client_reference_id"), "customer": customer,
            "amount_total": unit * integer(&line, "/quantity").unwrap_or(1), "currency": currency,
            "expires_at": expires_at, "metadata": object(form, "/metadata"), "subscription": null,
            "payment_intent": null, "success_url": text(form, "/success_url"), "form_of_test": form,
        });
        Ok(self.insert(session))
    }

    pub(super) fn expire_session(&mut self, id: &str) -> Outcome {
        let session = self.find("checkout.session", id)?;
        if session["status"] != "open" {
            let message = "Only Checkout Sessions with a status in [\"open\"] can be expired.";
            return Err(StripeFailure::invalid(None, message));
        }
        let session = self.patch(id, json!({ "status": "expired", "url": null }));
        self.emit("checkout.session.expired", &session);
        Ok(session)
    }

    pub(super) fn create_portal(&mut self, form: &Value) -> Outcome {
        let customer = text(form, "/customer").unwrap_or_default();
        self.find("customer", customer)?;
        let id = self.new_id("bps");
        Ok(json!({
            "id": id, "object": "billing_portal.session", "created": self.now(), "customer": customer,
            "return_url": text(form, "/return_url"), "url": format!("https://billing.stripe.test/p/{id}"),
        }))
    }

    pub(super) fn complete_checkout(&mut self, id: &str, card: &str) -> bool {
        let session = self.find("checkout.session", id).unwrap_or_default();
        assert_eq!(session["status"], "open", "the checkout `{id}`");
        if self.card_outcome(card) != CardOutcome::Succeeds {
            return false;
        }
        let form = session["form_of_test"].clone();
        let customer = session["customer"].as_str();
        let method = self.method_of(card, customer);
        let method = self.insert(method)["id"].clone();
        let mut fields = json!({ "status": "complete", "payment_status": "paid", "url": null });
        match session["mode"].as_str() {
            Some("subscription") => {
                let mut wanted = object(&form, "/subscription_data");
                wanted["customer"] = session["customer"].clone();
                wanted["items"] = json!([form["line_items"][0]]);
                wanted["discounts"] = form["discounts"].clone();
                wanted["default_payment_method"] = method;
                let subscription = self.create_subscription(&wanted).unwrap_or_default();
                fields["subscription"] = subscription["id"].clone();
                // A page of a subscription has no payment.
                fields["invoice"] = subscription["latest_invoice"].clone();
            }
            Some("payment") => {
                let mut wanted = object(&form, "/payment_intent_data");
                wanted["amount"] = json!(session["amount_total"].to_string());
                wanted["currency"] = session["currency"].clone();
                wanted["payment_method"] = method;
                wanted["confirm"] = json!("true");
                if let Some(customer) = customer {
                    wanted["customer"] = json!(customer);
                }
                let intent = self.create_intent(&wanted).unwrap_or_default();
                fields["payment_intent"] = intent["id"].clone();
            }
            _ => {
                fields["payment_status"] = json!("no_payment_required");
                let method = self.get(method.as_str().unwrap_or_default()).cloned().unwrap_or_default();
                self.emit("payment_method.attached", &method);
            }
        }
        let session = self.patch(id, fields);
        self.emit("checkout.session.completed", &session);
        true
    }
}
