//! The objects of the server, and the requests for them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use omnistack_core::clock::{Clock, Timestamp};
use serde_json::{Value, json};

use super::{PayPalFault, PayPalRequestRecord};

/// A status and a JSON body.
pub(super) type Answer = (u16, Value);

/// Time after which a transaction is listed.
const LISTING_DELAY: Duration = Duration::from_secs(3 * 60 * 60);
/// Lifetime of an access token, in seconds.
const TOKEN_SECONDS: u64 = 32_400;

/// The objects of the server.
pub(super) struct PayPalState {
    clock: Clock,
    pub(super) url: String,
    counter: u64,
    pub(super) access_tokens: BTreeSet<String>,
    pub(super) orders: BTreeMap<String, Value>,
    pub(super) plans: BTreeMap<String, Value>,
    pub(super) subscriptions: BTreeMap<String, Value>,
    /// Changes that wait for the approval of the subscriber.
    pub(super) revisions: BTreeMap<String, Value>,
    pub(super) sales: BTreeMap<String, Value>,
    pub(super) disputes: BTreeMap<String, Value>,
    pub(super) tokens: Vec<Value>,
    /// Each transaction with the time at which it is listed.
    transactions: Vec<(Timestamp, Value)>,
    /// The answers by path and idempotency key, with the bodies of their requests.
    answers: BTreeMap<(String, String), (Value, Answer)>,
    pub(super) faults: Vec<(String, PayPalFault)>,
    pub(super) requests: Vec<PayPalRequestRecord>,
    pub(super) events: Vec<Value>,
    pub(super) declines_next: bool,
}

impl PayPalState {
    pub(super) fn new(clock: Clock, url: String) -> Self {
        Self {
            clock,
            url,
            counter: 0,
            access_tokens: BTreeSet::new(),
            orders: BTreeMap::new(),
            plans: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            revisions: BTreeMap::new(),
            sales: BTreeMap::new(),
            disputes: BTreeMap::new(),
            tokens: Vec::new(),
            transactions: Vec::new(),
            answers: BTreeMap::new(),
            faults: Vec::new(),
            requests: Vec::new(),
            events: Vec::new(),
            declines_next: false,
        }
    }

    pub(super) fn take_fault(&mut self, request: &str) -> Option<PayPalFault> {
        let index = self.faults.iter().position(|(wanted, _)| wanted == request)?;
        Some(self.faults.remove(index).1)
    }

    pub(super) fn issue_token(&mut self) -> Answer {
        let token = format!("A21{}", self.new_id());
        self.access_tokens.insert(token.clone());
        (200, json!({ "access_token": token, "token_type": "Bearer", "expires_in": TOKEN_SECONDS, "scope": "" }))
    }

    /// Returns a new id of 17 digits.
    pub(super) fn new_id(&mut self) -> String {
        self.counter += 1;
        format!("{:017}", self.counter)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Returns the time to the second, as PayPal states it.
    pub(super) fn time(&self) -> Value {
        time_text(self.now()).into()
    }

    pub(super) fn object(&self, id: &str) -> Option<Value> {
        [&self.orders, &self.subscriptions, &self.sales].into_iter().find_map(|objects| objects.get(id)).cloned()
    }

    pub(super) fn publish(&mut self, kind: &str, resource: Value) {
        let id = format!("WH-{}", self.new_id());
        let link = format!("https://api.sandbox.paypal.com/v1/notifications/webhooks-events/{id}");
        let event = json!({
            "id": id, "event_version": "1.0", "create_time": self.time(), "event_type": kind, "resource": resource,
            "links": [{ "rel": "self", "href": link }],
        });
        self.events.push(event);
    }

    /// Adds a transaction, which is listed later.
    pub(super) fn list_transaction(&mut self, id: &str, code: &str, amount: &Value, custom: &Value, invoice: &Value) {
        let transaction = json!({ "transaction_info": {
            "transaction_id": id, "transaction_event_code": code, "transaction_status": "S",
            "transaction_initiation_date": self.time(), "transaction_amount": amount,
            "custom_field": custom, "invoice_id": invoice,
        }});
        self.transactions.push((self.now() + LISTING_DELAY, transaction));
    }

    /// Adds the transaction of a refund, which names the payment that it is of.
    pub(super) fn list_refund(&mut self, id: &str, payment: &str, amount: &Value, invoice: &Value) {
        let transaction = json!({ "transaction_info": {
            "transaction_id": id, "transaction_event_code": "T1107", "transaction_status": "S",
            "transaction_initiation_date": self.time(), "transaction_amount": amount, "invoice_id": invoice,
            "paypal_reference_id": payment, "paypal_reference_id_type": "TXN",
        }});
        self.transactions.push((self.now() + LISTING_DELAY, transaction));
    }

    pub(super) fn charges(&self, reference: &str) -> usize {
        let is_of = |custom: &Value| custom.as_str().is_some_and(|custom| custom.contains(reference));
        let captures = self.orders.values().flat_map(|order| list(&order["purchase_units"][0]["payments"]["captures"]));
        let captures = captures.filter(|capture| {
            let is_taken = matches!(capture["status"].as_str(), Some("COMPLETED" | "PARTIALLY_REFUNDED" | "REFUNDED"));
            is_taken && is_of(&capture["custom_id"])
        });
        captures.count() + self.sales.values().filter(|sale| is_of(&sale["custom"])).count()
    }

    /// Responds to a request. A request with the idempotency key of an earlier one gets its answer.
    pub(super) fn respond_once(&mut self, request: &PayPalRequestRecord) -> Answer {
        let Some(key) = request.request_id.clone().filter(|_| request.method == "POST") else {
            return self.respond(request);
        };
        let place = (request.path.clone(), key);
        if let Some((body, answer)) = self.answers.get(&place) {
            if *body != request.body {
                return refusal(422, "DUPLICATE_REQUEST_ID", "The value of PayPal-Request-Id was already used");
            }
            return answer.clone();
        }
        let answer = self.respond(request);
        if answer.0 < 400 {
            self.answers.insert(place, (request.body.clone(), answer.clone()));
        }
        answer
    }

    fn respond(&mut self, request: &PayPalRequestRecord) -> Answer {
        let path: Vec<_> = request.path.split('/').skip(1).collect();
        let body = &request.body;
        match (request.method.as_str(), path.as_slice()) {
            ("POST", ["v2", "checkout", "orders"]) => self.create_order(body),
            ("GET", ["v2", "checkout", "orders", id]) => found(self.orders.get(*id)),
            ("PATCH", ["v2", "checkout", "orders", id]) => self.patch_order(id, body),
            ("POST", ["v2", "checkout", "orders", id, "capture"]) => self.take_order(id, "CAPTURE"),
            ("POST", ["v2", "checkout", "orders", id, "authorize"]) => self.take_order(id, "AUTHORIZE"),
            ("GET", ["v2", "payments", "captures", id]) => self.capture(id),
            ("GET", ["v2", "payments", "authorizations", id]) => self.authorization(id),
            ("POST", ["v2", "payments", "captures", id, "refund"]) => self.refund_capture(id, body),
            ("POST", ["v2", "payments", "authorizations", id, "capture"]) => self.capture_authorization(id, body),
            ("POST", ["v2", "payments", "authorizations", id, "void"]) => self.void_authorization(id),
            ("POST", ["v1", "billing", "plans"]) => self.create_plan(body),
            ("GET", ["v1", "billing", "plans", id]) => found(self.plans.get(*id)),
            ("POST", ["v1", "billing", "subscriptions"]) => self.create_subscription(body),
            ("GET", ["v1", "billing", "subscriptions"]) => self.subscription_list(&request.query),
            ("GET", ["v1", "billing", "subscriptions", id]) => found(self.subscriptions.get(*id)),
            ("PATCH", ["v1", "billing", "subscriptions", id]) => self.patch_subscription(id, body),
            ("POST", ["v1", "billing", "subscriptions", id, "revise"]) => self.revise(id, body),
            ("POST", ["v1", "billing", "subscriptions", id, action]) => self.change_status(id, action, body),
            ("GET", ["v1", "payments", "sale", id]) => found(self.sales.get(*id)),
            ("POST", ["v1", "payments", "sale", id, "refund"]) => self.refund_sale(id, body),
            ("GET", ["v1", "customer", "disputes", id]) => found(self.disputes.get(*id)),
            ("POST", ["v1", "notifications", "verify-webhook-signature"]) => {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let parts = [&body["webhook_id"], &body["transmission_id"], &body["webhook_event"]["id"]].map(text);
                let is_signed = body["transmission_sig"] == parts.join("|");
                (200, json!({ "verification_status": if is_signed { "SUCCESS" } else { "FAILURE" } }))
            }
            ("GET", ["v1", "reporting", "transactions"]) => self.transaction_list(&request.query),
            ("GET", ["v3", "vault", "payment-tokens"]) => self.token_list(&request.query),
            _ => refusal(404, "RESOURCE_NOT_FOUND", "The specified resource does not exist."),
        }
    }

    fn transaction_list(&self, query: &[(String, String)]) -> Answer {
        let time = |name: &str| parameter(query, name).and_then(|text| text.parse::<Timestamp>().ok());
        let (Some(start), Some(end)) = (time("start_date"), time("end_date")) else {
            return refusal(400, "INVALID_REQUEST", "start_date and end_date are required");
        };
        if end.duration_since(start) > Duration::from_secs(31 * 24 * 60 * 60) {
            return refusal(400, "INVALID_REQUEST", "Date range is greater than 31 days");
        }
        let now = self.now();
        let code = parameter(query, "transaction_type");
        let is_wanted = |transaction: &&Value| {
            code.is_none_or(|code| transaction["transaction_info"]["transaction_event_code"] == code)
        };
        let listed: Vec<_> = self
            .transactions
            .iter()
            .filter(|(at, _)| *at <= now && *at - LISTING_DELAY >= start && *at - LISTING_DELAY <= end)
            .map(|(_, transaction)| transaction)
            .filter(is_wanted)
            .collect();
        (200, json!({ "transaction_details": listed, "total_items": listed.len(), "total_pages": 1, "page": 1 }))
    }

    fn token_list(&self, query: &[(String, String)]) -> Answer {
        let customer = parameter(query, "customer_id").unwrap_or_default();
        let tokens: Vec<_> = self.tokens.iter().filter(|token| token["customer"]["id"] == customer).collect();
        if tokens.is_empty() {
            return refusal(404, "RESOURCE_NOT_FOUND", "The specified resource does not exist.");
        }
        (200, json!({ "total_items": tokens.len(), "payment_tokens": tokens, "customer": { "id": customer } }))
    }
}

/// Returns the answer with an object, or 404.
fn found(object: Option<&Value>) -> Answer {
    match object {
        Some(object) => (200, object.clone()),
        None => refusal(404, "RESOURCE_NOT_FOUND", "The specified resource does not exist."),
    }
}

/// Returns a parameter of a query.
pub(super) fn parameter<'a>(query: &'a [(String, String)], name: &str) -> Option<&'a str> {
    query.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
}

/// Returns the items of a list.
pub(super) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Returns an error in PayPal's form.
pub(super) fn refusal(status: u16, issue: &str, description: &str) -> Answer {
    let name = match status {
        404 => "RESOURCE_NOT_FOUND",
        422 => "UNPROCESSABLE_ENTITY",
        _ => "INVALID_REQUEST",
    };
    let details = [json!({ "issue": issue, "description": description })];
    (status, json!({ "name": name, "message": description, "debug_id": "debug", "details": details }))
}

/// Returns a time to the second.
pub(super) fn time_text(time: Timestamp) -> String {
    Timestamp::from_micros(time.as_seconds().saturating_mul(1_000_000)).to_string()
}

/// Returns the number of units of the last decimal of an amount.
pub(super) fn units(value: &Value) -> i64 {
    value.as_str().unwrap_or_default().replace('.', "").parse().unwrap_or(0)
}

/// Returns whether an amount has the decimals that PayPal requires for its currency.
pub(super) fn is_exact(value: &Value, currency: &Value) -> bool {
    let decimals = value.as_str().and_then(|value| value.split_once('.')).map_or(0, |(_, decimals)| decimals.len());
    let expected = if matches!(currency.as_str(), Some("HUF" | "JPY" | "TWD")) { 0 } else { 2 };
    value.is_string() && decimals == expected
}
