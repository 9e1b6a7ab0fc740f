//! Payment methods, payment intents, charges and refunds.

use serde_json::{Value, json};

use super::{
    form::{integer, object, text},
    state::{Outcome, StripeFailure, StripeState},
};

/// The result of a charge of a test card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CardOutcome {
    Succeeds,
    Disputed,
    Authentication,
    /// The code of the error and the decline code.
    Declined(&'static str, &'static str),
}

impl StripeState {
    pub(super) fn create_payment_method(&mut self, form: &Value) -> Value {
        let card =
            text(form, "/card/token").or_else(|| text(form, "/card/number")).unwrap_or("pm_card_visa").to_owned();
        let method = self.method_of(&card, None);
        self.insert(method)
    }

    /// Returns a payment method that behaves as a test card.
    pub(super) fn method_of(&mut self, card: &str, customer: Option<&str>) -> Value {
        let brand = if card.contains("mastercard") { "mastercard" } else { "visa" };
        json!({
            "id": self.new_id("pm"), "object": "payment_method", "type": "card", "created": self.now(),
            "customer": customer, "livemode": false, "metadata": { "test_card": card },
            "card": { "brand": brand, "last4": "4242", "exp_month": 8, "exp_year": 2034 },
        })
    }

    pub(super) fn attach_payment_method(&mut self, id: &str, form: &Value) -> Outcome {
        let customer = text(form, "/customer").unwrap_or_default().to_owned();
        self.find("customer", &customer)?;
        let method = if self.get(id).is_some() {
            self.patch(id, json!({ "customer": customer }))
        } else {
            let method = self.method_of(id, Some(&customer));
            self.insert(method)
        };
        self.emit("payment_method.attached", &method);
        Ok(method)
    }

    pub(super) fn card_outcome(&self, method: &str) -> CardOutcome {
        let stored = self.get(method).and_then(|method| method["metadata"]["test_card"].as_str());
        let card = stored.unwrap_or(method);
        for (part, outcome) in [
            ("chargeDeclinedInsufficientFunds", CardOutcome::Declined("card_declined", "insufficient_funds")),
            ("chargeDeclinedExpiredCard", CardOutcome::Declined("expired_card", "expired_card")),
            ("chargeDeclinedProcessingError", CardOutcome::Declined("processing_error", "processing_error")),
            ("chargeDeclined", CardOutcome::Declined("card_declined", "generic_decline")),
            ("authenticationRequired", CardOutcome::Authentication),
            ("threeDSecure", CardOutcome::Authentication),
            ("createDispute", CardOutcome::Disputed),
        ] {
            if card.contains(part) {
                return outcome;
            }
        }
        CardOutcome::Succeeds
    }

    pub(super) fn create_intent(&mut self, form: &Value) -> Outcome {
        let missing =
            |what: &str| StripeFailure::invalid(Some("parameter_missing"), format!("Missing required param: {what}."));
        let amount = integer(form, "/amount").ok_or_else(|| missing("amount"))?;
        let currency = text(form, "/currency").ok_or_else(|| missing("currency"))?;
        if amount < 1 {
            return Err(StripeFailure::invalid(Some("parameter_invalid_integer"), "This value must be at least 1."));
        }
        if currency.chars().any(|letter| !letter.is_ascii_lowercase()) {
            return Err(StripeFailure::invalid(None, format!("Invalid currency: {currency}.")));
        }
        let customer = text(form, "/customer");
        if let Some(customer) = customer.filter(|customer| self.get(customer).is_none()) {
            return Err(StripeFailure::invalid(Some("resource_missing"), format!("No such customer: '{customer}'")));
        }
        let method = text(form, "/payment_method").or_else(|| text(form, "/payment_method_data/card/token"));
        let id = self.new_id("pi");
        let intent = json!({
            "id": id, "object": "payment_intent", "created": self.now(), "livemode": false,
            "amount": amount, "amount_received": 0, "amount_capturable": 0, "currency": currency,
            "customer": customer, "description": text(form, "/description"), "metadata": object(form, "/metadata"),
            "capture_method": text(form, "/capture_method").unwrap_or("automatic_async"),
            "payment_method": method, "latest_charge": null, "next_action": null, "last_payment_error": null,
            "client_secret": format!("{id}_secret"),
            "status": if method.is_some() { "requires_confirmation" } else { "requires_payment_method" },
        });
        let intent = self.insert(intent);
        self.emit("payment_intent.created", &intent);
        if text(form, "/confirm") == Some("true") { self.confirm_intent(&id, form) } else { Ok(intent) }
    }

    pub(super) fn confirm_intent(&mut self, id: &str, form: &Value) -> Outcome {
        let intent = self.find("payment_intent", id)?;
        if !matches!(intent["status"].as_str(), Some("requires_confirmation" | "requires_payment_method")) {
            return Err(unexpected_state(&intent, "confirm"));
        }
        let given = text(form, "/confirmation_token").or_else(|| text(form, "/payment_method"));
        let Some(method) = given.or_else(|| intent["payment_method"].as_str()).map(str::to_owned) else {
            let message = "You cannot confirm this PaymentIntent because it's missing a payment method.";
            return Err(StripeFailure::invalid(Some("payment_intent_unexpected_state"), message));
        };
        self.patch(id, json!({ "payment_method": method }));
        match self.card_outcome(&method) {
            CardOutcome::Succeeds => Ok(self.charge(id, false)),
            CardOutcome::Disputed => Ok(self.charge(id, true)),
            CardOutcome::Authentication if text(form, "/off_session") == Some("true") => {
                Err(self.decline(id, "authentication_required", "authentication_required"))
            }
            CardOutcome::Authentication => {
                let action = match text(form, "/return_url") {
                    Some(url) => json!({
                        "type": "redirect_to_url",
                        "redirect_to_url": { "url": format!("https://hooks.stripe.test/3d/{id}"), "return_url": url },
                    }),
                    None => json!({ "type": "use_stripe_sdk" }),
                };
                let intent = self.patch(id, json!({ "status": "requires_action", "next_action": action }));
                self.emit("payment_intent.requires_action", &intent);
                Ok(intent)
            }
            CardOutcome::Declined(code, decline_code) => Err(self.decline(id, code, decline_code)),
        }
    }

    /// Takes the money of a payment, or reserves it if the payment is captured manually.
    pub(super) fn charge(&mut self, id: &str, disputed: bool) -> Value {
        let intent = self.get(id).cloned().unwrap_or_default();
        let manual = intent["capture_method"] == "manual";
        let amount = intent["amount"].as_i64().unwrap_or(0);
        let transaction = (!manual).then(|| self.balance_transaction(amount, &intent["currency"]));
        let charge = json!({
            "id": self.new_id("ch"), "object": "charge", "created": self.now(), "amount": amount,
            "amount_captured": if manual { 0 } else { amount }, "amount_refunded": 0, "captured": !manual,
            "currency": intent["currency"], "customer": intent["customer"], "payment_intent": id,
            "balance_transaction": transaction, "status": "succeeded", "refunded": false, "disputed": disputed,
            "metadata": intent["metadata"], "paid": true,
        });
        let charge = self.insert(charge);
        let intent = self.patch(
            id,
            json!({
                "status": if manual { "requires_capture" } else { "succeeded" },
                "amount_received": if manual { 0 } else { amount },
                "amount_capturable": if manual { amount } else { 0 },
                "latest_charge": charge["id"], "next_action": null, "last_payment_error": null,
            }),
        );
        self.emit("charge.succeeded", &charge);
        self.emit(
            if manual { "payment_intent.amount_capturable_updated" } else { "payment_intent.succeeded" },
            &intent,
        );
        if disputed {
            let dispute = json!({
                "id": self.new_id("du"), "object": "dispute", "created": self.now(), "amount": amount,
                "currency": intent["currency"], "charge": charge["id"], "payment_intent": id,
                "status": "needs_response", "reason": "fraudulent", "metadata": {},
            });
            let dispute = self.insert(dispute);
            self.emit("charge.dispute.created", &dispute);
        }
        intent
    }

    fn balance_transaction(&mut self, amount: i64, currency: &Value) -> Value {
        let fee = (amount * 29 + 500) / 1000 + 30;
        let transaction = json!({
            "id": self.new_id("txn"), "object": "balance_transaction", "created": self.now(), "amount": amount,
            "fee": fee, "net": amount - fee, "currency": currency, "type": "charge", "status": "pending",
        });
        self.insert(transaction)["id"].clone()
    }

    fn decline(&mut self, id: &str, code: &str, decline_code: &str) -> StripeFailure {
        let mut failure = StripeFailure::new(402, "card_error", Some(code), "Your card was declined.");
        failure.body["error"]["decline_code"] = json!(decline_code);
        let intent = self.patch(
            id,
            json!({
                "status": "requires_payment_method", "payment_method": null, "next_action": null,
                "last_payment_error": failure.body["error"],
            }),
        );
        failure.body["error"]["payment_intent"] = intent.clone();
        self.emit("payment_intent.payment_failed", &intent);
        failure
    }

    pub(super) fn authenticate(&mut self, id: &str, succeeds: bool) {
        if succeeds {
            self.charge(id, false);
        } else {
            self.decline(id, "payment_intent_authentication_failure", "authentication_not_handled");
        }
        let invoice = self.get(id).and_then(|intent| intent["invoice_of_test"].as_str()).map(str::to_owned);
        if let Some(invoice) = invoice.filter(|_| succeeds) {
            self.invoice_paid(&invoice);
        }
    }

    pub(super) fn capture_intent(&mut self, id: &str, form: &Value) -> Outcome {
        let intent = self.find("payment_intent", id)?;
        if intent["status"] != "requires_capture" {
            return Err(unexpected_state(&intent, "capture"));
        }
        let whole = intent["amount"].as_i64().unwrap_or(0);
        let amount = integer(form, "/amount_to_capture").unwrap_or(whole);
        if amount > whole {
            return Err(StripeFailure::invalid(
                Some("amount_too_large"),
                "You cannot capture more than was authorized.",
            ));
        }
        let transaction = self.balance_transaction(amount, &intent["currency"]);
        let charge = intent["latest_charge"].as_str().unwrap_or_default();
        let fields = json!({ "captured": true, "amount_captured": amount, "balance_transaction": transaction });
        self.patch(charge, fields);
        let fields = json!({ "status": "succeeded", "amount_received": amount, "amount_capturable": 0 });
        let intent = self.patch(id, fields);
        self.emit("payment_intent.succeeded", &intent);
        Ok(intent)
    }

    pub(super) fn cancel_intent(&mut self, id: &str) -> Outcome {
        let intent = self.find("payment_intent", id)?;
        if matches!(intent["status"].as_str(), Some("succeeded" | "canceled" | "processing")) {
            return Err(unexpected_state(&intent, "cancel"));
        }
        let intent = self.patch(id, json!({ "status": "canceled", "amount_capturable": 0, "next_action": null }));
        self.emit("payment_intent.canceled", &intent);
        Ok(intent)
    }

    /// Answers searches of the form `metadata['name']:'value'`.
    pub(super) fn search_intents(&self, form: &Value) -> Value {
        let query = text(form, "/query").unwrap_or_default();
        let parts: Vec<&str> = query.split('\'').collect();
        let mut found = self.list("payment_intent", &[], &json!({ "limit": "100" }));
        if let (Some(items), &[_, name, _, value, ..]) = (found["data"].as_array_mut(), parts.as_slice()) {
            items.retain(|intent| !self.search_lags && intent["metadata"][name] == value);
        }
        found["object"] = json!("search_result");
        found
    }

    pub(super) fn create_refund(&mut self, form: &Value) -> Outcome {
        let id = text(form, "/payment_intent").unwrap_or_default().to_owned();
        let intent = self.find("payment_intent", &id)?;
        let charge = self.find("charge", intent["latest_charge"].as_str().unwrap_or_default())?;
        let number = |field: &str| charge[field].as_i64().unwrap_or(0);
        let rest = number("amount_captured") - number("amount_refunded");
        let amount = integer(form, "/amount").unwrap_or(rest);
        if rest == 0 {
            return Err(StripeFailure::invalid(
                Some("charge_already_refunded"),
                "The charge has already been refunded.",
            ));
        }
        if amount > rest {
            let message = format!("Refund amount ({amount}) is greater than unrefunded amount on charge ({rest})");
            return Err(StripeFailure::invalid(None, message));
        }
        let refunded = number("amount_refunded") + amount;
        let whole = refunded == number("amount_captured");
        let refund = json!({
            "id": self.new_id("re"), "object": "refund", "created": self.now(), "amount": amount,
            "currency": intent["currency"], "charge": charge["id"], "payment_intent": id, "status": "succeeded",
            "reason": text(form, "/reason"), "metadata": object(form, "/metadata"),
        });
        let refund = self.insert(refund);
        let fields = json!({ "amount_refunded": refunded, "refunded": whole });
        let charge = self.patch(charge["id"].as_str().unwrap_or_default(), fields);
        self.emit("charge.refunded", &charge);
        self.emit("refund.created", &refund);
        Ok(refund)
    }
}

fn unexpected_state(intent: &Value, action: &str) -> StripeFailure {
    let status = intent["status"].as_str().unwrap_or_default();
    let message = format!("You cannot {action} this PaymentIntent because it has a status of {status}.");
    StripeFailure::invalid(Some("payment_intent_unexpected_state"), message)
}
