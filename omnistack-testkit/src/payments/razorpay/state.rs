//! The objects of the server, and the requests for them.

use std::collections::BTreeMap;

use omnistack_core::clock::Clock;
use serde_json::{Value, json};

use super::{RazorpayFault, RazorpayRequestRecord};

/// A status and a JSON body.
pub(super) type RazorpayResponse = (u16, Value);

/// The objects of the server.
pub(super) struct RazorpayState {
    clock: Clock,
    counter: u64,
    pub(super) customers: BTreeMap<String, Value>,
    pub(super) tokens: Vec<Value>,
    pub(super) orders: BTreeMap<String, Value>,
    pub(super) payments: BTreeMap<String, Value>,
    pub(super) links: BTreeMap<String, Value>,
    pub(super) refunds: BTreeMap<String, Value>,
    pub(super) disputes: BTreeMap<String, Value>,
    pub(super) plans: BTreeMap<String, Value>,
    pub(super) subscriptions: BTreeMap<String, Value>,
    /// Changes of subscriptions at the end of the period.
    pub(super) scheduled: BTreeMap<String, Value>,
    pub(super) invoices: BTreeMap<String, Value>,
    /// The percentage that each offer takes off, and the number of periods if it has a limit.
    pub(super) offers: BTreeMap<String, (i64, Option<i64>)>,
    pub(super) faults: Vec<(String, RazorpayFault)>,
    pub(super) requests: Vec<RazorpayRequestRecord>,
    pub(super) events: Vec<Value>,
}

impl RazorpayState {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            counter: 0,
            customers: BTreeMap::new(),
            tokens: Vec::new(),
            orders: BTreeMap::new(),
            payments: BTreeMap::new(),
            links: BTreeMap::new(),
            refunds: BTreeMap::new(),
            disputes: BTreeMap::new(),
            plans: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            scheduled: BTreeMap::new(),
            invoices: BTreeMap::new(),
            offers: BTreeMap::new(),
            faults: Vec::new(),
            requests: Vec::new(),
            events: Vec::new(),
        }
    }

    pub(super) fn take_fault(&mut self, request: &str) -> Option<RazorpayFault> {
        let index = self.faults.iter().position(|(wanted, _)| wanted == request)?;
        Some(self.faults.remove(index).1)
    }

    /// Returns a new id, `{prefix}_` and 14 digits.
    pub(super) fn new_id(&mut self, prefix: &str) -> String {
        self.counter += 1;
        format!("{prefix}_{:014}", self.counter)
    }

    pub(super) fn now(&self) -> i64 {
        self.clock.now().as_seconds()
    }

    pub(super) fn object(&self, id: &str) -> Option<Value> {
        let all = [
            &self.orders,
            &self.payments,
            &self.links,
            &self.refunds,
            &self.subscriptions,
            &self.invoices,
            &self.customers,
        ];
        all.into_iter().find_map(|objects| objects.get(id)).cloned()
    }

    pub(super) fn set_fields(&mut self, subscription: &str, fields: &Value) {
        let object = self.subscription_mut(subscription);
        for (name, value) in fields.as_object().into_iter().flatten() {
            object[name.as_str()] = value.clone();
        }
    }

    pub(super) fn charges(&self, reference: &str) -> usize {
        let is_of = |payment: &&Value| {
            let places = [&self.orders, &self.links];
            let parents = [&payment["order_id"], &payment["link_id"]];
            let mut parents = parents.into_iter().zip(places);
            let notes = parents.find_map(|(id, objects)| Some(&objects.get(id.as_str()?)?["notes"]));
            notes.is_some_and(|notes| notes["reference"] == reference)
        };
        let taken = self.payments.values().filter(|payment| is_taken(payment));
        taken.filter(is_of).count()
    }

    /// Publishes an event that contains these entities.
    pub(super) fn publish(&mut self, kind: &str, entities: &[(&str, &Value)]) {
        let mut payload = json!({});
        for (name, entity) in entities {
            payload[*name] = json!({ "entity": entity });
        }
        let contains: Vec<_> = entities.iter().map(|(name, _)| *name).collect();
        self.events.push(json!({
            "entity": "event", "account_id": "acc_1", "event": kind, "contains": contains, "payload": payload,
            "created_at": self.now(),
        }));
    }

    pub(super) fn respond(&mut self, request: &RazorpayRequestRecord) -> RazorpayResponse {
        let path: Vec<_> = request.path.split('/').skip(2).collect();
        let (body, query) = (&request.body, &request.query);
        match (request.method.as_str(), path.as_slice()) {
            ("POST", ["customers"]) => self.create_customer(body),
            ("GET", ["customers", id]) => found(self.customers.get(*id)),
            ("GET", ["customers", id, "tokens"]) => {
                collection(self.tokens.iter().filter(|token| token["customer_id"] == *id), query)
            }
            ("POST", ["orders"]) => self.create_order(body),
            ("GET", ["orders"]) => {
                let receipt = parameter(query, "receipt");
                let is_wanted = |order: &&Value| receipt.is_none_or(|receipt| order["receipt"] == receipt);
                collection(self.orders.values().filter(is_wanted), query)
            }
            ("GET", ["orders", id]) => found(self.orders.get(*id)),
            ("PATCH", ["orders", id]) => self.patch_order(id, body),
            ("GET", ["orders", id, "payments"]) => {
                collection(self.payments.values().filter(|payment| payment["order_id"] == *id), query)
            }
            ("POST", ["payments", "create", "recurring"]) => self.charge_token(body),
            ("GET", ["payments"]) => collection(self.payments.values(), query),
            ("GET", ["payments", id]) => found(self.payments.get(*id)),
            ("POST", ["payments", id, "capture"]) => self.capture(id, body),
            ("POST", ["payments", id, "refund"]) => self.refund(id, body),
            ("GET", ["payments", id, "refunds"]) => {
                collection(self.refunds.values().filter(|refund| refund["payment_id"] == *id), query)
            }
            ("POST", ["payment_links"]) => self.create_link(body),
            ("GET", ["payment_links"]) => self.link_list(query),
            ("GET", ["payment_links", id]) => found(self.links.get(*id)),
            ("POST", ["payment_links", id, "cancel"]) => self.cancel_link(id),
            ("POST", ["plans"]) => self.create_plan(body),
            ("GET", ["plans", id]) => found(self.plans.get(*id)),
            ("POST", ["subscriptions"]) => self.create_subscription(body),
            ("GET", ["subscriptions"]) => {
                let from = parameter(query, "from").and_then(|from| from.parse::<i64>().ok()).unwrap_or(0);
                let is_wanted = |object: &&Value| object["created_at"].as_i64() >= Some(from);
                collection(self.subscriptions.values().filter(is_wanted), query)
            }
            ("GET", ["subscriptions", id]) => found(self.subscriptions.get(*id)),
            ("PATCH", ["subscriptions", id]) => self.patch(id, body),
            ("GET", ["subscriptions", id, "retrieve_scheduled_changes"]) => found(self.scheduled.get(*id)),
            ("DELETE", ["subscriptions", id, offer]) => self.remove_offer(id, offer),
            ("POST", ["subscriptions", id, action]) => self.act(id, action, body),
            ("GET", ["invoices"]) => {
                let filters = ["customer_id", "subscription_id"].map(|name| (name, parameter(query, name)));
                let is_wanted = |invoice: &&Value| {
                    filters.iter().all(|(name, wanted)| wanted.is_none_or(|wanted| invoice[*name] == wanted))
                };
                collection(self.invoices.values().rev().filter(is_wanted), query)
            }
            ("GET", ["invoices", id]) => found(self.invoices.get(*id)),
            ("GET", ["disputes", id]) => found(self.disputes.get(*id)),
            _ => refusal(400, "NA", "The requested URL was not found on the server."),
        }
    }

    fn create_customer(&mut self, body: &Value) -> RazorpayResponse {
        let is_same = |customer: &&Value| body["email"].is_string() && customer["email"] == body["email"];
        if let Some(customer) = self.customers.values().find(is_same) {
            return match body["fail_existing"].as_str() {
                Some("0") => (200, customer.clone()),
                _ => refusal(400, "NA", "Customer already exists for the merchant"),
            };
        }
        let id = self.new_id("cust");
        let customer = json!({
            "id": id, "entity": "customer", "name": body["name"], "email": body["email"], "contact": body["contact"],
            "notes": notes(body), "created_at": self.now(),
        });
        self.customers.insert(id, customer.clone());
        (200, customer)
    }

    fn create_plan(&mut self, body: &Value) -> RazorpayResponse {
        let id = self.new_id("plan");
        let mut plan = body.clone();
        plan["id"] = id.as_str().into();
        plan["entity"] = "plan".into();
        self.plans.insert(id, plan.clone());
        (200, plan)
    }

    pub(super) fn subscription_mut(&mut self, id: &str) -> &mut Value {
        self.subscriptions.get_mut(id).unwrap_or_else(|| panic!("no subscription {id}"))
    }
}

/// Returns the notes of a new object: a list if there are none, as Razorpay does.
pub(super) fn notes(body: &Value) -> Value {
    if body["notes"].is_object() { body["notes"].clone() } else { json!([]) }
}

/// Returns whether a payment has taken money, whatever was sent back later.
pub(super) fn is_taken(payment: &Value) -> bool {
    matches!(payment["status"].as_str(), Some("captured" | "refunded"))
}

/// Returns a parameter of a query.
pub(super) fn parameter<'a>(query: &'a [(String, String)], name: &str) -> Option<&'a str> {
    query.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
}

/// Returns a page of objects.
pub(super) fn collection<'a>(objects: impl Iterator<Item = &'a Value>, query: &[(String, String)]) -> RazorpayResponse {
    let number =
        |name: &str, default: usize| parameter(query, name).and_then(|text| text.parse().ok()).unwrap_or(default);
    let items: Vec<_> = objects.skip(number("skip", 0)).take(number("count", 10).min(100)).collect();
    (200, json!({ "entity": "collection", "count": items.len(), "items": items }))
}

/// Returns the answer with an object, or an error.
pub(super) fn found(object: Option<&Value>) -> RazorpayResponse {
    match object {
        Some(object) => (200, object.clone()),
        None => missing(),
    }
}

/// Returns the error of an object that does not exist: its status is 400.
pub(super) fn missing() -> RazorpayResponse {
    refusal(400, "input_validation_failed", "The id provided does not exist")
}

/// Returns an error in Razorpay's form.
pub(super) fn refusal(status: u16, reason: &str, description: &str) -> RazorpayResponse {
    let code = if status >= 500 { "SERVER_ERROR" } else { "BAD_REQUEST_ERROR" };
    let error = json!({
        "code": code, "description": description, "source": "business", "step": "payment_initiation",
        "reason": reason, "metadata": {},
    });
    (status, json!({ "error": error }))
}
