//! A wire fake of PayPal's API: access tokens, orders, captures, authorisations, refunds, stored payment methods,
//! plans, subscriptions, sales, the list of transactions, and events.
//!
//! ```
//! use omnistack_core::clock::Clock;
//! use omnistack_testkit::payments::paypal::{PayPalFault, PayPalServer};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let paypal = PayPalServer::start(Clock::system()).await;
//! paypal.add_plan("P-PRO", "29.00", "USD");
//! paypal.fail_next("POST /v2/checkout/orders", PayPalFault::LostResponse);
//! assert!(paypal.url().starts_with("http://127.0.0.1:"));
//! # }
//! ```
//!
//! A webhook counts as signed if its signature is `{webhook id}|{transmission id}|{event id}`.
//!
//! A stored payment method whose id contains `declined`, `insufficient` or `expired` is declined when it is charged.

mod orders;
mod state;
mod subscriptions;

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, Method, Uri, header};
use http_body_util::{Full, Limited};
use omnistack_core::clock::Clock;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

use self::state::PayPalState;

/// The id of the client that the server accepts.
pub const CLIENT_ID: &str = "paypal-client";
/// The secret of the client that the server accepts.
pub const CLIENT_SECRET: &str = "paypal-secret";

/// A failure of the server, or of the connection to it.
#[derive(Clone, Debug, PartialEq)]
pub enum PayPalFault {
    /// The request is processed, and its response is lost.
    LostResponse,
    /// The request is lost before it is processed.
    LostRequest,
    /// The server responds with this status and JSON, without processing the request.
    Response(u16, Value),
}

/// A request that the server has received.
#[derive(Clone, Debug)]
pub struct PayPalRequestRecord {
    /// The method.
    pub method: String,
    /// The path.
    pub path: String,
    /// The parameters in the query.
    pub query: Vec<(String, String)>,
    /// The JSON body, or null.
    pub body: Value,
    /// The idempotency key.
    pub request_id: Option<String>,
}

/// A wire fake of PayPal on a free port of 127.0.0.1. See the [module](self) for an example. Dropping it stops the
/// server.
pub struct PayPalServer {
    address: SocketAddr,
    state: SharedPayPal,
    _server: JoinSet<()>,
}

type SharedPayPal = Arc<Mutex<PayPalState>>;

impl PayPalServer {
    /// Starts a server without objects on the current tokio runtime.
    ///
    /// # Panics
    /// Panics if 127.0.0.1 has no free port.
    pub async fn start(clock: Clock) -> Self {
        let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let (listener, address) = bound
            .and_then(|listener| listener.local_addr().map(|address| (listener, address)))
            .unwrap_or_else(|error| panic!("no free port on 127.0.0.1: {error}"));
        let state = Arc::new(Mutex::new(PayPalState::new(clock, format!("http://{address}"))));
        let router = Router::new().fallback(respond).with_state(state.clone());
        let mut server = JoinSet::new();
        server.spawn(async move { _ = axum::serve(listener, router).await });
        Self { address, state, _server: server }
    }

    /// Returns the base URL, `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Adds a monthly plan.
    pub fn add_plan(&self, id: &str, price: &str, currency: &str) {
        self.lock().add_plan(id, price, currency);
    }

    /// Adds a dispute, in the form of PayPal's API.
    pub fn add_dispute(&self, id: &str, dispute: Value) {
        self.lock().disputes.insert(id.to_owned(), dispute);
    }

    /// Stores a payment method of a customer. `source` is the payment source, such as `{"card": {…}}`.
    pub fn add_payment_method(&self, customer: &str, id: &str, source: Value) {
        let token = json!({ "id": id, "customer": { "id": customer }, "payment_source": source });
        self.lock().tokens.push(token);
    }

    /// Lets the next request fail that is `request`: a method and a path, such as `POST /v1/thing`. Several calls add
    /// up, in their order.
    pub fn fail_next(&self, request: &str, fault: PayPalFault) {
        self.lock().faults.push((request.to_owned(), fault));
    }

    /// Declines the next capture or authorisation of an approved order.
    pub fn decline_next(&self) {
        self.lock().declines_next = true;
    }

    /// Makes all access tokens invalid.
    pub fn revoke_tokens(&self) {
        self.lock().access_tokens.clear();
    }

    /// Returns the requests so far, in order, the failed ones too.
    pub fn requests(&self) -> Vec<PayPalRequestRecord> {
        self.lock().requests.clone()
    }

    /// Returns an order, a subscription or a sale.
    pub fn object(&self, id: &str) -> Option<Value> {
        self.lock().object(id)
    }

    /// Returns the number of captures and sales with this text in their `custom_id` that took money.
    pub fn charges(&self, reference: &str) -> usize {
        self.lock().charges(reference)
    }

    /// Returns the events so far, in order.
    pub fn events(&self) -> Vec<Value> {
        self.lock().events.clone()
    }

    /// Approves an order or a subscription on PayPal's page, as the payer does. A subscription is active then, and its
    /// first period is paid unless it starts later.
    ///
    /// # Panics
    /// Panics if there is no such object.
    pub fn approve(&self, id: &str) {
        self.lock().approve(id);
    }

    /// Approves the change of a subscription that was asked for last.
    ///
    /// # Panics
    /// Panics if there is no such change.
    pub fn approve_change(&self, id: &str) {
        self.lock().approve_change(id);
    }

    /// Charges the next period of a subscription now. Returns the id of the sale.
    ///
    /// # Panics
    /// Panics if there is no such subscription.
    pub fn renew(&self, subscription: &str) -> String {
        self.lock().renew(subscription)
    }

    /// Lets the payment of a period fail. The third failure suspends the subscription.
    ///
    /// # Panics
    /// Panics if there is no such subscription.
    pub fn fail_renewal(&self, subscription: &str) {
        self.lock().fail_renewal(subscription);
    }

    fn lock(&self) -> MutexGuard<'_, PayPalState> {
        lock(&self.state)
    }
}

impl fmt::Debug for PayPalServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PayPalServer").field("address", &self.address).finish_non_exhaustive()
    }
}

fn lock(state: &Mutex<PayPalState>) -> MutexGuard<'_, PayPalState> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn respond(
    State(state): State<SharedPayPal>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let path = uri.path().to_owned();
    let record = PayPalRequestRecord {
        method: method.to_string(),
        path: path.clone(),
        query: super::query::parse(&uri),
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        request_id: header("paypal-request-id"),
    };
    let mut state = lock(&state);
    let fault = state.take_fault(&format!("{method} {path}"));
    state.requests.push(record.clone());
    match &fault {
        Some(PayPalFault::LostRequest) => return broken(),
        Some(PayPalFault::Response(status, body)) => return json_response(*status, body),
        Some(PayPalFault::LostResponse) | None => {}
    }
    let authorization = header(header::AUTHORIZATION.as_str()).unwrap_or_default();
    let (status, body) = if path == "/v1/oauth2/token" {
        let client = format!("Basic {}", STANDARD.encode(format!("{CLIENT_ID}:{CLIENT_SECRET}")));
        if authorization == client && String::from_utf8_lossy(&body).contains("grant_type=client_credentials") {
            state.issue_token()
        } else {
            (401, json!({ "error": "invalid_client", "error_description": "Client Authentication failed" }))
        }
    } else if authorization.strip_prefix("Bearer ").is_some_and(|token| state.access_tokens.contains(token)) {
        state.respond_once(&record)
    } else {
        (401, json!({ "error": "invalid_token", "error_description": "The token passed in was not found" }))
    };
    if fault.is_some() { broken() } else { json_response(status, &body) }
}

fn json_response(status: u16, body: &Value) -> Response {
    let response = Response::builder().status(status).header("paypal-debug-id", "debug");
    let body = if body.is_null() { Body::empty() } else { Body::from(without_nulls(body).to_string()) };
    response.header(header::CONTENT_TYPE, "application/json").body(body).unwrap_or_default()
}

/// Returns a value without the fields that are null, which PayPal leaves out.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(_, value)| !value.is_null());
            Value::Object(fields.map(|(name, value)| (name.clone(), without_nulls(value))).collect())
        }
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

/// Returns a response whose connection breaks before its body is complete.
fn broken() -> Response {
    Response::new(Body::new(Limited::new(Full::new(Bytes::from_static(b"{\"id\":\"lost\"}")), 5)))
}
