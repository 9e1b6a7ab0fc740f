//! The Google Play Developer API of a test.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};

use aws_lc_rs::{
    encoding::AsDer as _,
    rsa::{KeyPair, KeySize},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use omnistack_testkit::mock_server::{MockResponse, MockServer, ReceivedRequest};
use serde_json::{Value, json};

const PREFIX: &str = "/androidpublisher/v3/applications/com.example/purchases/";
const EMAIL: &str = "billing@project.iam.gserviceaccount.com";

/// The purchases that the API knows, and the requests that it has got.
#[derive(Default)]
pub(super) struct GoogleState {
    /// The purchases by their tokens.
    pub(super) purchases: HashMap<String, Value>,
    /// The products and tokens of the acknowledgements.
    pub(super) acknowledged: Vec<(String, String)>,
    /// The number of access tokens.
    pub(super) access_tokens: usize,
    /// The status of the next responses to acknowledgements.
    pub(super) failures: Vec<u16>,
}

/// The server.
pub(super) struct GoogleApi {
    server: MockServer,
    state: Arc<Mutex<GoogleState>>,
    /// The JSON of the key of the service account.
    pub(super) key: String,
}

impl GoogleApi {
    pub(super) async fn start() -> Self {
        let (server, state) = (MockServer::start().await, Arc::new(Mutex::new(GoogleState::default())));
        let known = Arc::clone(&state);
        server.expect_any().times(..).reply_with(move |request| answer(&mut known.lock().unwrap(), request));
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let der = STANDARD.encode(pair.as_der().unwrap().as_ref());
        let key = json!({
            "type": "service_account", "client_email": EMAIL, "private_key_id": "k1",
            "private_key": format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n"),
            "token_uri": format!("{}/token", server.url()),
        });
        Self { server, state, key: key.to_string() }
    }

    pub(super) fn url(&self) -> &str {
        self.server.url()
    }

    pub(super) fn state(&self) -> MutexGuard<'_, GoogleState> {
        self.state.lock().unwrap()
    }

    /// Sets the state of a purchase, and keeps its acknowledgement.
    pub(super) fn set(&self, token: &str, purchase: Value) {
        self.state().purchases.insert(token.to_owned(), purchase);
    }
}

fn answer(state: &mut GoogleState, request: &ReceivedRequest) -> MockResponse {
    if request.path == "/token" {
        let body = request.text();
        let assertion = body.split_once("assertion=").unwrap().1;
        let claims = URL_SAFE_NO_PAD.decode(assertion.split('.').nth(1).unwrap()).unwrap();
        let claims: Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!(claims["iss"], EMAIL);
        state.access_tokens += 1;
        let body = json!({ "access_token": format!("access-{}", state.access_tokens), "expires_in": 3599 });
        return MockResponse::json(200, body.to_string());
    }
    if !request.header("authorization").is_some_and(|header| header.starts_with("Bearer access-")) {
        return MockResponse::json(401, r#"{"error":{"message":"no token"}}"#);
    }
    let path = request.path.strip_prefix(PREFIX).unwrap();
    if let Some(token) = path.strip_prefix("subscriptionsv2/tokens/") {
        return match state.purchases.get(token) {
            Some(purchase) => MockResponse::json(200, purchase.to_string()),
            None => MockResponse::json(404, r#"{"error":{"message":"not found"}}"#),
        };
    }
    let (product, token) = path.strip_prefix("subscriptions/").unwrap().split_once("/tokens/").unwrap();
    let token = token.strip_suffix(":acknowledge").unwrap();
    if let Some(status) = state.failures.pop() {
        return MockResponse::json(status, "{}");
    }
    state.acknowledged.push((product.to_owned(), token.to_owned()));
    state.purchases.get_mut(token).unwrap()["acknowledgementState"] = json!("ACKNOWLEDGEMENT_STATE_ACKNOWLEDGED");
    MockResponse::json(200, "{}")
}
