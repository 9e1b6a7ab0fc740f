//! A wire fake of Razorpay's API: customers, orders, payments, payment links, refunds, plans, subscriptions, invoices,
//! events, and the three signatures.
//!
//! ```
//! use omnistack_core::clock::Clock;
//! use omnistack_testkit::payments::razorpay::{RazorpayFault, RazorpayServer};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let razorpay = RazorpayServer::start(Clock::system()).await;
//! razorpay.add_plan("plan_pro", 290_000, "INR", "monthly");
//! razorpay.fail_next("POST /v1/orders", RazorpayFault::LostResponse);
//! assert!(razorpay.url().starts_with("http://127.0.0.1:"));
//! # }
//! ```
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
use omnistack_core::{clock::Clock, crypto::HmacKey};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

use self::state::{RazorpayState, refusal};

/// The id of the key that the server accepts.
pub const KEY_ID: &str = "rzp_test_key";
/// The secret of the key that the server accepts.
pub const KEY_SECRET: &str = "razorpay-secret";

/// A failure of the server, or of the connection to it.
#[derive(Clone, Debug, PartialEq)]
pub enum RazorpayFault {
    /// The request is processed, and its response is lost.
    LostResponse,
    /// The request is lost before it is processed.
    LostRequest,
    /// The server responds with this status and JSON, without processing the request.
    Response(u16, Value),
}

/// A request that the server has received.
#[derive(Clone, Debug)]
pub struct RazorpayRequestRecord {
    /// The method.
    pub method: String,
    /// The path.
    pub path: String,
    /// The parameters in the query.
    pub query: Vec<(String, String)>,
    /// The JSON body, or null.
    pub body: Value,
}

/// A wire fake of Razorpay on a free port of 127.0.0.1. See the [module](self) for an example. Dropping it stops the
/// server.
pub struct RazorpayServer {
    address: SocketAddr,
    state: SharedRazorpay,
    _server: JoinSet<()>,
}

type SharedRazorpay = Arc<Mutex<RazorpayState>>;

impl RazorpayServer {
    /// Starts a server without objects on the current tokio runtime.
    ///
    /// # Panics
    /// Panics if 127.0.0.1 has no free port.
    pub async fn start(clock: Clock) -> Self {
        let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let (listener, address) = bound
            .and_then(|listener| listener.local_addr().map(|address| (listener, address)))
            .unwrap_or_else(|error| panic!("no free port on 127.0.0.1: {error}"));
        let state = Arc::new(Mutex::new(RazorpayState::new(clock)));
        let router = Router::new().fallback(respond).with_state(state.clone());
        let mut server = JoinSet::new();
        server.spawn(async move { _ = axum::serve(listener, router).await });
        Self { address, state, _server: server }
    }

    /// Returns the base URL, `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Adds a plan. `period` is `daily`, `weekly`, `monthly` or `yearly`.
    pub fn add_plan(&self, id: &str, amount: i64, currency: &str, period: &str) {
        let item = json!({ "id": format!("item_{id}"), "name": id, "amount": amount, "currency": currency });
        let plan = json!({ "id": id, "entity": "plan", "period": period, "interval": 1, "item": item });
        self.lock().plans.insert(id.to_owned(), plan);
    }

    /// Adds an offer that takes `percent` of the price off, in the first `periods` or in all.
    pub fn add_offer(&self, id: &str, percent: i64, periods: Option<i64>) {
        self.lock().offers.insert(id.to_owned(), (percent, periods));
    }

    /// Adds a dispute, in the form of Razorpay's API.
    pub fn add_dispute(&self, id: &str, dispute: Value) {
        self.lock().disputes.insert(id.to_owned(), dispute);
    }

    /// Stores a payment method of a customer. `fields` are those of the token, such as `{"method": "card", …}`.
    pub fn add_token(&self, customer: &str, id: &str, fields: Value) {
        let mut token = fields;
        token["id"] = id.into();
        token["entity"] = "token".into();
        token["customer_id"] = customer.into();
        self.lock().tokens.push(token);
    }

    /// Lets the next request fail that is `request`: a method and a path, such as `POST /v1/thing`. Several calls add
    /// up, in their order.
    pub fn fail_next(&self, request: &str, fault: RazorpayFault) {
        self.lock().faults.push((request.to_owned(), fault));
    }

    /// Returns the requests so far, in order, the failed ones too.
    pub fn requests(&self) -> Vec<RazorpayRequestRecord> {
        self.lock().requests.clone()
    }

    /// Returns an order, a payment, a payment link, a subscription, an invoice or a refund.
    pub fn object(&self, id: &str) -> Option<Value> {
        self.lock().object(id)
    }

    /// Sets fields of a subscription, as time and employees of Razorpay do.
    ///
    /// # Panics
    /// Panics if there is no such subscription.
    pub fn patch_subscription(&self, id: &str, fields: &Value) {
        self.lock().set_fields(id, fields);
    }

    /// Returns the number of payments that took money and have this reference in the notes of their order or link.
    pub fn charges(&self, reference: &str) -> usize {
        self.lock().charges(reference)
    }

    /// Returns the events so far, in order.
    pub fn events(&self) -> Vec<Value> {
        self.lock().events.clone()
    }

    /// Pays an order in a checkout of the app, or a payment link on its page. The money is taken at once, unless the
    /// order is captured later. Returns the id of the payment.
    ///
    /// # Panics
    /// Panics if there is no such object.
    pub fn pay(&self, id: &str) -> String {
        self.lock().pay(id, None)
    }

    /// Fails to pay an order or a payment link. Returns the id of the payment.
    ///
    /// # Panics
    /// Panics if there is no such object.
    pub fn fail_to_pay(&self, id: &str) -> String {
        self.lock().pay(id, Some("insufficient_funds"))
    }

    /// Authorises a subscription on its page, as the customer does. Its first period is charged unless it starts later.
    ///
    /// # Panics
    /// Panics if there is no such subscription.
    pub fn authorise(&self, subscription: &str) {
        self.lock().authorise(subscription);
    }

    /// Charges the next period of a subscription now. Returns the id of the invoice.
    ///
    /// # Panics
    /// Panics if there is no such subscription.
    pub fn charge(&self, subscription: &str) -> String {
        self.lock().charge(subscription)
    }

    /// Returns the signature of a checkout of an order.
    pub fn sign_order(order: &str, payment: &str) -> String {
        sign(KEY_SECRET, &format!("{order}|{payment}"))
    }

    /// Returns the signature of the page of a subscription.
    pub fn sign_subscription(payment: &str, subscription: &str) -> String {
        sign(KEY_SECRET, &format!("{payment}|{subscription}"))
    }

    /// Returns the signature of the page of a payment link.
    pub fn sign_link(link: &str, reference: &str, status: &str, payment: &str) -> String {
        sign(KEY_SECRET, &format!("{link}|{reference}|{status}|{payment}"))
    }

    /// Returns the signature of a webhook with this body.
    pub fn sign_webhook(secret: &str, body: &str) -> String {
        sign(secret, body)
    }

    fn lock(&self) -> MutexGuard<'_, RazorpayState> {
        lock(&self.state)
    }
}

impl fmt::Debug for RazorpayServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RazorpayServer").field("address", &self.address).finish_non_exhaustive()
    }
}

fn sign(secret: &str, message: &str) -> String {
    HmacKey::new(secret).unwrap_or_else(|error| panic!("the secret: {error}")).sign(message).to_hex()
}

fn lock(state: &Mutex<RazorpayState>) -> MutexGuard<'_, RazorpayState> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn respond(
    State(state): State<SharedRazorpay>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let path = uri.path().to_owned();
    let record = RazorpayRequestRecord {
        method: method.to_string(),
        path: path.clone(),
        query: super::query::parse(&uri),
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    };
    let mut state = lock(&state);
    let fault = state.take_fault(&format!("{method} {path}"));
    state.requests.push(record.clone());
    match &fault {
        Some(RazorpayFault::LostRequest) => return broken(),
        Some(RazorpayFault::Response(status, body)) => return json_response(*status, body),
        Some(RazorpayFault::LostResponse) | None => {}
    }
    let key = format!("Basic {}", STANDARD.encode(format!("{KEY_ID}:{KEY_SECRET}")));
    let is_authorized = headers.get(header::AUTHORIZATION).is_some_and(|value| value.as_bytes() == key.as_bytes());
    let (status, body) =
        if is_authorized { state.respond(&record) } else { refusal(401, "NA", "Authentication failed") };
    if fault.is_some() { broken() } else { json_response(status, &body) }
}

fn json_response(status: u16, body: &Value) -> Response {
    let response = Response::builder().status(status).header(header::CONTENT_TYPE, "application/json");
    response.body(Body::from(body.to_string())).unwrap_or_default()
}

/// Returns a response whose connection breaks before its body is complete.
fn broken() -> Response {
    Response::new(Body::new(Limited::new(Full::new(Bytes::from_static(b"{\"id\":\"lost\"}")), 5)))
}
