//! The routes of the fake.

use serde_json::{Value, json};

use super::{
    form::{integer, object, text},
    state::{Outcome, StripeFailure, StripeState},
};

impl StripeState {
    pub(super) fn dispatch(&mut self, method: &str, path: &str, form: &Value) -> Outcome {
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        match (method, segments.as_slice()) {
            ("GET", ["balance"]) => {
                Ok(json!({ "object": "balance", "livemode": false, "available": [], "pending": [] }))
            }
            ("POST", ["customers"]) => Ok(self.create_customer(form)),
            ("GET", ["customers", id]) => self.find("customer", id),
            ("POST", ["customers", id]) => self.update_customer(id, form),
            ("GET", ["customers"]) => Ok(self.list("customer", &[("email", text(form, "/email"))], form)),
            ("GET", ["customers", id, "payment_methods"]) => {
                self.find("customer", id)?;
                Ok(self.list("payment_method", &[("customer", Some(*id))], form))
            }
            ("POST", ["products"]) => Ok(self.create_product(form)),
            ("POST", ["prices"]) => self.create_price(form),
            ("GET", ["prices", id]) => self.find("price", id),
            ("POST", ["payment_methods"]) => Ok(self.create_payment_method(form)),
            ("POST", ["payment_methods", id, "attach"]) => self.attach_payment_method(id, form),
            ("POST", ["payment_intents"]) => self.create_intent(form),
            ("GET", ["payment_intents"]) => {
                Ok(self.list("payment_intent", &[("customer", text(form, "/customer"))], form))
            }
            ("GET", ["payment_intents", "search"]) => Ok(self.search_intents(form)),
            ("GET", ["payment_intents", id]) => self.find("payment_intent", id),
            ("POST", ["payment_intents", id, "confirm"]) => self.confirm_intent(id, form),
            ("POST", ["payment_intents", id, "capture"]) => self.capture_intent(id, form),
            ("POST", ["payment_intents", id, "cancel"]) => self.cancel_intent(id),
            ("POST", ["refunds"]) => self.create_refund(form),
            ("GET", ["refunds"]) => Ok(self.list("refund", &[("payment_intent", text(form, "/payment_intent"))], form)),
            ("GET", ["disputes", id]) => self.find("dispute", id),
            ("POST", ["checkout", "sessions"]) => self.create_session(form),
            ("GET", ["checkout", "sessions"]) => {
                Ok(self.list("checkout.session", &[("payment_intent", text(form, "/payment_intent"))], form))
            }
            ("GET", ["checkout", "sessions", id]) => self.find("checkout.session", id),
            ("POST", ["checkout", "sessions", id, "expire"]) => self.expire_session(id),
            ("POST", ["billing_portal", "sessions"]) => self.create_portal(form),
            ("POST", ["subscriptions"]) => self.create_subscription(form),
            ("GET", ["subscriptions"]) => {
                let status = text(form, "/status").filter(|status| *status != "all");
                Ok(self.list("subscription", &[("customer", text(form, "/customer")), ("status", status)], form))
            }
            ("GET", ["subscriptions", id]) => self.find("subscription", id),
            ("POST", ["subscriptions", id]) => self.update_subscription(id, form),
            ("POST", ["subscriptions", id, "resume"]) => self.resume_subscription(id),
            ("DELETE", ["subscriptions", id]) => self.cancel_subscription(id),
            ("POST", ["subscription_schedules"]) => self.create_schedule(form),
            ("POST", ["subscription_schedules", id]) => self.update_schedule(id, form),
            ("POST", ["subscription_schedules", id, "release"]) => self.release_schedule(id),
            ("POST", ["invoices", "create_preview"]) => self.preview_invoice(form),
            ("GET", ["invoices"]) => Ok(self.list("invoice", &[("customer", text(form, "/customer"))], form)),
            ("GET", ["invoices", id]) => self.find("invoice", id),
            ("GET", ["invoice_payments"]) => {
                let intent = text(form, "/payment/payment_intent");
                let filter = [("payment_intent", intent), ("invoice", text(form, "/invoice"))];
                Ok(self.list("invoice_payment", &filter, form))
            }
            ("POST", ["billing", "meter_events"]) => self.create_meter_event(form),
            ("GET", ["events"]) => Ok(self.list("event", &[("type", text(form, "/type"))], form)),
            ("GET", ["events", id]) => self.find("event", id),
            _ => Err(StripeFailure::new(
                404,
                "invalid_request_error",
                None,
                format!("Unrecognized request URL ({method}: /v1{path})"),
            )),
        }
    }

    fn create_customer(&mut self, form: &Value) -> Value {
        let customer = json!({
            "id": self.new_id("cus"), "object": "customer", "created": self.now(), "livemode": false,
            "name": text(form, "/name"), "email": text(form, "/email"), "metadata": object(form, "/metadata"),
            "default_source": null, "invoice_settings": { "default_payment_method": null },
        });
        self.emit("customer.created", &customer);
        self.insert(customer)
    }

    fn update_customer(&mut self, id: &str, form: &Value) -> Outcome {
        self.find("customer", id)?;
        if let Some(method) = text(form, "/invoice_settings/default_payment_method") {
            self.find("payment_method", method)?;
            self.patch(id, json!({ "invoice_settings": { "default_payment_method": method } }));
        }
        let metadata = self.merged_metadata(id, form);
        let customer = self.patch(id, json!({ "metadata": metadata }));
        self.emit("customer.updated", &customer);
        Ok(customer)
    }

    fn create_product(&mut self, form: &Value) -> Value {
        let product = json!({
            "id": self.new_id("prod"), "object": "product", "created": self.now(), "name": text(form, "/name"),
            "active": true, "metadata": object(form, "/metadata"),
        });
        self.insert(product)
    }

    fn create_price(&mut self, form: &Value) -> Outcome {
        let Some(amount) = integer(form, "/unit_amount") else {
            return Err(StripeFailure::invalid(Some("parameter_missing"), "Missing required param: unit_amount."));
        };
        let interval = text(form, "/recurring/interval");
        let recurring = interval.map(|interval| json!({ "interval": interval, "interval_count": 1 }));
        let price = json!({
            "id": self.new_id("price"), "object": "price", "created": self.now(), "active": true,
            "unit_amount": amount, "currency": text(form, "/currency"), "product": text(form, "/product"),
            "type": if recurring.is_some() { "recurring" } else { "one_time" }, "recurring": recurring,
        });
        Ok(self.insert(price))
    }

    /// Counts an identifier once, as Stripe does within a day.
    fn create_meter_event(&mut self, form: &Value) -> Outcome {
        let missing =
            |what: &str| StripeFailure::invalid(Some("parameter_missing"), format!("Missing required param: {what}."));
        let identifier = text(form, "/identifier").ok_or_else(|| missing("identifier"))?.to_owned();
        let value = text(form, "/payload/value").ok_or_else(|| missing("payload[value]"))?;
        let customer =
            text(form, "/payload/stripe_customer_id").ok_or_else(|| missing("payload[stripe_customer_id]"))?;
        if value.split_once('.').is_some_and(|(_, decimals)| decimals.len() > 12) {
            return Err(StripeFailure::invalid(None, "The value must have at most 12 decimal places."));
        }
        if self.get(customer).is_none() {
            return Err(StripeFailure::invalid(Some("resource_missing"), format!("No such customer: '{customer}'")));
        }
        if self.meter_events.contains_key(&identifier) {
            let message = format!("An event already exists with identifier {identifier}.");
            return Err(StripeFailure::invalid(None, message));
        }
        let event = json!({
            "object": "billing.meter_event", "created": self.now(), "livemode": false, "identifier": identifier,
            "event_name": text(form, "/event_name"), "payload": object(form, "/payload"),
            "timestamp": integer(form, "/timestamp"),
        });
        self.meter_events.insert(identifier, event.clone());
        Ok(event)
    }
}
