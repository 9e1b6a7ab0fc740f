//! A wire fake of Stripe's API: form bodies, idempotency keys, customers, prices, checkout sessions, subscriptions,
//! invoices, payment intents, refunds, meter events, and signed webhooks.
//!
//! ```
//! use omnistack_core::clock::Clock;
//! use omnistack_testkit::payments::stripe::{StripeFault, StripeServer};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let stripe = StripeServer::start(Clock::system()).await;
//! stripe.add_price("price_pro", 2900, "usd", "month");
//! stripe.fail_next("/payment_intents", StripeFault::LostResponse);
//! assert!(stripe.url().starts_with("http://127.0.0.1:"));
//! # }
//! ```
//!
//! Payment methods and tokens behave as Stripe's test cards of the same names do:
//!
//! | name contains | a charge |
//! |---|---|
//! | `chargeDeclinedInsufficientFunds`, `chargeDeclinedExpiredCard`, `chargeDeclined` | is declined |
//! | `authenticationRequired`, `threeDSecure` | needs [`StripeServer::authenticate`] |
//! | `createDispute` | succeeds, and is disputed |
//! | `bypassPending`, `visa`, and all others | succeeds |

mod billing;
mod checkout;
mod dispatch;
mod form;
mod payments;
mod state;

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
use http::{HeaderMap, Method, Uri, header};
use http_body_util::{Full, Limited};
use omnistack_core::{clock::Clock, crypto::HmacKey};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

use self::state::{StripeFailure, StripeState};

/// A failure of the server, or of the connection to it.
#[derive(Clone, Debug, PartialEq)]
pub enum StripeFault {
    /// The request is processed, and its response is lost.
    LostResponse,
    /// The request is lost before it is processed.
    LostRequest,
    /// The server responds with this status and JSON, without processing the request.
    Response(u16, Value),
}

/// A request that the server has received.
#[derive(Clone, Debug)]
pub struct StripeRequestRecord {
    /// The method.
    pub method: String,
    /// The path, without `/v1`.
    pub path: String,
    /// The form in the query or the body, as JSON. All values are texts.
    pub form: Value,
    /// The idempotency key.
    pub idempotency_key: Option<String>,
    /// The version of the API that the client asks for.
    pub version: Option<String>,
}

/// A wire fake of Stripe on a free port of 127.0.0.1. See the [module](self) for an example. Dropping it stops the
/// server.
pub struct StripeServer {
    address: SocketAddr,
    state: SharedStripe,
    _server: JoinSet<()>,
}

type SharedStripe = Arc<Mutex<StripeState>>;

impl StripeServer {
    /// Starts a server without objects on the current tokio runtime.
    ///
    /// # Panics
    /// Panics if 127.0.0.1 has no free port.
    pub async fn start(clock: Clock) -> Self {
        let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let (listener, address) = bound
            .and_then(|listener| listener.local_addr().map(|address| (listener, address)))
            .unwrap_or_else(|error| panic!("no free port on 127.0.0.1: {error}"));
        let state = Arc::new(Mutex::new(StripeState::new(clock)));
        let router = Router::new().fallback(respond).with_state(state.clone());
        let mut server = JoinSet::new();
        server.spawn(async move { _ = axum::serve(listener, router).await });
        Self { address, state, _server: server }
    }

    /// Returns the base URL, `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Adds a price. `interval` is `day`, `week`, `month` or `year`.
    pub fn add_price(&self, id: &str, unit_amount: i64, currency: &str, interval: &str) {
        let price = json!({
            "id": id, "object": "price", "active": true, "unit_amount": unit_amount, "currency": currency,
            "type": "recurring", "recurring": { "interval": interval, "interval_count": 1, "usage_type": "licensed" },
        });
        self.lock().insert(price);
    }

    /// Adds an object that no request creates, such as a dispute.
    pub fn add_object(&self, object: Value) {
        self.lock().insert(object);
    }

    /// Lets the next request whose path contains `path` fail. Several calls add up, in their order.
    pub fn fail_next(&self, path: &str, fault: StripeFault) {
        self.lock().faults.push((path.to_owned(), fault));
    }

    /// Hides payments from the search, as Stripe does for about a minute after each change.
    pub fn set_search_lags(&self, lags: bool) {
        self.lock().search_lags = lags;
    }

    /// Returns the requests so far, in order, the failed ones too.
    pub fn requests(&self) -> Vec<StripeRequestRecord> {
        self.lock().requests.clone()
    }

    /// Returns an object.
    pub fn object(&self, id: &str) -> Option<Value> {
        self.lock().get(id).cloned()
    }

    /// Sets fields of an object, as an employee in Stripe's dashboard does.
    ///
    /// # Panics
    /// Panics if there is no such object.
    pub fn patch(&self, id: &str, fields: Value) {
        self.lock().patch(id, fields);
    }

    /// Returns the number of charges whose payment has this reference in its metadata, and that took money.
    pub fn charges(&self, reference: &str) -> usize {
        self.lock().charges(reference)
    }

    /// Returns the events so far, in order, in the layout of the pinned version of the API.
    pub fn events(&self) -> Vec<Value> {
        self.lock().events.clone()
    }

    /// Pays on the page of a checkout with a test card, such as `pm_card_visa`. Returns whether the payment succeeded.
    ///
    /// # Panics
    /// Panics if the checkout is not open.
    pub fn complete_checkout(&self, id: &str, card: &str) -> bool {
        self.lock().complete_checkout(id, card)
    }

    /// Confirms or fails the authentication that a payment waits for.
    ///
    /// # Panics
    /// Panics if there is no such payment.
    pub fn authenticate(&self, payment: &str, succeeds: bool) {
        self.lock().authenticate(payment, succeeds);
    }

    /// Bills the next period of a subscription now. Returns the id of the invoice.
    ///
    /// # Panics
    /// Panics if there is no such subscription.
    pub fn renew(&self, subscription: &str) -> String {
        self.lock().renew(subscription)
    }

    /// Returns the header `Stripe-Signature` with which a webhook with this body is sent now.
    ///
    /// # Panics
    /// Panics if the secret is empty.
    pub fn signature(&self, secret: &str, body: &str) -> String {
        let seconds = self.lock().now();
        let key = HmacKey::new(secret).unwrap_or_else(|error| panic!("the secret: {error}"));
        format!("t={seconds},v1={}", key.sign(format!("{seconds}.{body}")).to_hex())
    }

    fn lock(&self) -> MutexGuard<'_, StripeState> {
        lock(&self.state)
    }
}

impl fmt::Debug for StripeServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StripeServer").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Returns an event in the layout of API 2023-10-16: the period is in the subscription, and the subscription in the
/// invoice.
pub fn in_old_layout(event: &Value) -> Value {
    let mut event = event.clone();
    event["api_version"] = json!("2023-10-16");
    let object = &mut event["data"]["object"];
    match object["object"].as_str() {
        Some("subscription") => {
            for field in ["current_period_start", "current_period_end"] {
                object[field] = object["items"]["data"][0][field].clone();
                for item in object["items"]["data"].as_array_mut().into_iter().flatten() {
                    remove(item, field);
                }
            }
        }
        Some("invoice") => {
            object["subscription"] = object["parent"]["subscription_details"]["subscription"].clone();
            object["subscription_details"] =
                json!({ "metadata": object["parent"]["subscription_details"]["metadata"].clone() });
            remove(object, "parent");
        }
        _ => {}
    }
    event
}

fn remove(object: &mut Value, field: &str) {
    if let Some(fields) = object.as_object_mut() {
        fields.remove(field);
    }
}

fn lock(state: &Mutex<StripeState>) -> MutexGuard<'_, StripeState> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn respond(
    State(state): State<SharedStripe>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let path = uri.path().trim_start_matches("/v1").to_owned();
    let encoded = if body.is_empty() { uri.query().unwrap_or_default().as_bytes() } else { &body[..] };
    let form = form::parse(encoded);
    let record = StripeRequestRecord {
        method: method.to_string(),
        path: path.clone(),
        form: form.clone(),
        idempotency_key: header("idempotency-key"),
        version: header("stripe-version"),
    };
    let mut state = lock(&state);
    let fault = state.take_fault(&path);
    state.requests.push(record.clone());
    match &fault {
        Some(StripeFault::LostRequest) => return broken(),
        Some(StripeFault::Response(status, body)) => return json_response(*status, body, false),
        Some(StripeFault::LostResponse) | None => {}
    }
    let authorized = header(header::AUTHORIZATION.as_str()).is_some_and(|value| value.contains("sk_test_"));
    let (status, body, replayed) = if authorized {
        state.respond_once(&record)
    } else {
        let failure = StripeFailure::new(401, "invalid_request_error", None, "Invalid API Key provided");
        (failure.status, failure.body, false)
    };
    if fault.is_some() { broken() } else { json_response(status, &body, replayed) }
}

fn json_response(status: u16, body: &Value, replayed: bool) -> Response {
    let mut response = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/json")
        .header("request-id", "req_test");
    if replayed {
        response = response.header("idempotent-replayed", "true");
    }
    if (400..500).contains(&status) {
        response = response.header("stripe-should-retry", "false");
    }
    response.body(Body::from(body.to_string())).unwrap_or_default()
}

/// Returns a response whose connection breaks before its body is complete.
fn broken() -> Response {
    Response::new(Body::new(Limited::new(Full::new(Bytes::from_static(b"{\"id\":\"lost\"}")), 5)))
}
