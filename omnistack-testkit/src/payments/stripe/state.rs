//! The objects of the fake.

use std::collections::BTreeMap;

use omnistack_core::clock::Clock;
use serde_json::{Value, json};

use super::{StripeFault, StripeRequestRecord, form};

/// The version of the API whose layout the objects have.
const API_VERSION: &str = "2026-09-30.endive";

/// An error as Stripe states it.
#[derive(Clone, Debug)]
pub(super) struct StripeFailure {
    pub(super) status: u16,
    pub(super) body: Value,
}

impl StripeFailure {
    pub(super) fn new(status: u16, kind: &str, code: Option<&str>, message: impl Into<String>) -> Self {
        let message: String = message.into();
        Self { status, body: json!({ "error": { "type": kind, "code": code, "message": message } }) }
    }

    pub(super) fn invalid(code: Option<&str>, message: impl Into<String>) -> Self {
        Self::new(400, "invalid_request_error", code, message)
    }

    pub(super) fn missing(kind: &str, id: &str) -> Self {
        Self::new(404, "invalid_request_error", Some("resource_missing"), format!("No such {kind}: '{id}'"))
    }
}

pub(super) type Outcome = Result<Value, StripeFailure>;

/// A stored response: the form that it answered, the status and the body.
type StoredResponse = (Value, u16, Value);

#[derive(Debug)]
pub(super) struct StripeState {
    clock: Clock,
    objects: BTreeMap<String, Value>,
    /// The ids of the objects, in the order of their creation.
    order: Vec<String>,
    responses: BTreeMap<String, StoredResponse>,
    pub(super) meter_events: BTreeMap<String, Value>,
    pub(super) faults: Vec<(String, StripeFault)>,
    pub(super) requests: Vec<StripeRequestRecord>,
    pub(super) events: Vec<Value>,
    pub(super) search_lags: bool,
    next: u64,
}

impl StripeState {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            objects: BTreeMap::new(),
            order: Vec::new(),
            responses: BTreeMap::new(),
            meter_events: BTreeMap::new(),
            faults: Vec::new(),
            requests: Vec::new(),
            events: Vec::new(),
            search_lags: false,
            next: 1,
        }
    }

    /// Returns the time in seconds since 1970.
    pub(super) fn now(&self) -> i64 {
        self.clock.now().as_seconds()
    }

    pub(super) fn take_fault(&mut self, path: &str) -> Option<StripeFault> {
        let position = self.faults.iter().position(|(part, _)| path.contains(part.as_str()))?;
        Some(self.faults.remove(position).1)
    }

    /// Responds to a request, or repeats the response to an earlier one with the same idempotency key.
    pub(super) fn respond_once(&mut self, request: &StripeRequestRecord) -> (u16, Value, bool) {
        let key = request.idempotency_key.clone().filter(|_| request.method == "POST");
        let fingerprint = json!([request.path, request.form]);
        if let Some((answered, status, body)) = key.as_ref().and_then(|key| self.responses.get(key)) {
            if *answered == fingerprint {
                return (*status, body.clone(), true);
            }
            let message =
                "Keys for idempotent requests can only be used with the same parameters they were first used with";
            let failure = StripeFailure::new(400, "idempotency_error", None, message);
            return (failure.status, failure.body, false);
        }
        let (status, body) = match self.dispatch(&request.method, &request.path, &request.form) {
            Ok(mut body) => {
                for path in request.form["expand"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                    let path: Vec<&str> = path.split('.').collect();
                    self.expand(&mut body, &path);
                }
                (200, body)
            }
            Err(failure) => (failure.status, failure.body),
        };
        if let Some(key) = key {
            self.responses.insert(key, (fingerprint, status, body.clone()));
        }
        (status, body, false)
    }

    /// Replaces ids by the objects that they name.
    fn expand(&self, value: &mut Value, path: &[&str]) {
        if let Some(found) = value.as_str().and_then(|id| self.objects.get(id)) {
            *value = found.clone();
        }
        match (value, path.split_first()) {
            (Value::Array(items), _) => items.iter_mut().for_each(|item| self.expand(item, path)),
            (Value::Object(fields), Some((first, rest))) => {
                if let Some(field) = fields.get_mut(*first) {
                    self.expand(field, rest);
                }
            }
            _ => {}
        }
    }

    pub(super) fn new_id(&mut self, prefix: &str) -> String {
        let number = self.next;
        self.next += 1;
        format!("{prefix}_{number:010}")
    }

    /// Stores an object and returns it.
    pub(super) fn insert(&mut self, object: Value) -> Value {
        let id = object["id"].as_str().unwrap_or_default().to_owned();
        if self.objects.insert(id.clone(), object.clone()).is_none() {
            self.order.push(id);
        }
        object
    }

    pub(super) fn get(&self, id: &str) -> Option<&Value> {
        self.objects.get(id)
    }

    /// Returns an object of a type.
    pub(super) fn find(&self, kind: &str, id: &str) -> Outcome {
        let found = self.objects.get(id).filter(|object| object["object"] == kind);
        found.cloned().ok_or_else(|| StripeFailure::missing(kind, id))
    }

    /// Sets fields of an object, and returns it.
    pub(super) fn patch(&mut self, id: &str, fields: Value) -> Value {
        let object = self.objects.get_mut(id).unwrap_or_else(|| panic!("Stripe has no object `{id}`"));
        for (name, value) in fields.as_object().into_iter().flatten() {
            object[name] = value.clone();
        }
        object.clone()
    }

    /// Adds metadata of a form to that of an object.
    pub(super) fn merged_metadata(&self, id: &str, form: &Value) -> Value {
        let mut merged = self.objects.get(id).map_or_else(|| json!({}), |object| object["metadata"].clone());
        for (name, value) in form::object(form, "/metadata").as_object().into_iter().flatten() {
            merged[name] = value.clone();
        }
        merged
    }

    /// Returns a page of the objects of a type whose fields equal those of the filter, the newest first.
    pub(super) fn list(&self, kind: &str, filter: &[(&str, Option<&str>)], query: &Value) -> Value {
        let limit = form::integer(query, "/limit").and_then(|limit| usize::try_from(limit).ok()).unwrap_or(10);
        let earliest = form::integer(query, "/created/gte").unwrap_or(i64::MIN);
        let matches = |object: &&Value| {
            object["object"] == kind
                && object["created"].as_i64().is_none_or(|created| created >= earliest)
                && filter.iter().all(|(field, value)| value.is_none_or(|value| object[*field] == value))
        };
        let all = self.order.iter().rev().filter_map(|id| self.objects.get(id)).filter(matches);
        let after = form::text(query, "/starting_after");
        let mut rest: Vec<&Value> = all.collect();
        if let Some(position) = after.and_then(|after| rest.iter().position(|object| object["id"] == after)) {
            rest.drain(..=position);
        }
        let page: Vec<&Value> = rest.iter().take(limit).copied().collect();
        json!({ "object": "list", "url": format!("/v1/{kind}s"), "has_more": rest.len() > page.len(), "data": page })
    }

    /// Records an event about an object.
    pub(super) fn emit(&mut self, kind: &str, object: &Value) {
        let event = json!({
            "id": self.new_id("evt"), "object": "event", "type": kind, "api_version": API_VERSION,
            "created": self.now(), "livemode": false, "pending_webhooks": 1, "data": { "object": object },
        });
        self.events.push(event.clone());
        self.insert(event);
    }

    pub(super) fn charges(&self, reference: &str) -> usize {
        let intents = self.objects.values().filter(|object| object["object"] == "payment_intent");
        let of_reference = intents.filter(|intent| intent["metadata"]["omnistack_reference"] == reference);
        of_reference.filter(|intent| intent["amount_received"].as_i64().unwrap_or(0) > 0).count()
    }

    /// Returns the default payment method of a customer, or else one that is attached to it.
    pub(super) fn default_card(&self, customer: &Value) -> Option<String> {
        let customer = self.objects.get(customer.as_str()?)?;
        let default = customer["invoice_settings"]["default_payment_method"].as_str();
        let attached = || {
            let methods = self.objects.values().filter(|object| object["object"] == "payment_method");
            methods.filter(|method| method["customer"] == customer["id"]).find_map(|method| method["id"].as_str())
        };
        default.or_else(attached).map(str::to_owned)
    }
}
