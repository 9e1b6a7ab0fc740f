//! Tests against the libraries of the providers themselves. `cargo xtask test --peers` runs them: they need
//! `TEST_PEERS_PYTHON`, a Python with stripe, standardwebhooks, svix, razorpay, twilio, app-store-server-library and
//! PyNaCl, and `TEST_PEERS_WEBHOOKS`, a script for Node with stripe, standardwebhooks, svix and @octokit/webhooks, which
//! is in one folder with the receiver of the book.

#![cfg(test)]

mod apple;
mod receivers;

use std::process::Stdio;

use http::{HeaderMap, HeaderName, HeaderValue};
use omnistack_core::{
    ExposeSecret as _,
    clock::{Clock, Timestamp},
    crypto::HmacKey,
};
use omnistack_testkit::{TestApp, TestDatabase};
use omnistack_webhooks::{RazorpayCheckout, SigningKey, SigningScheme, WebhookVerifier, Webhooks, sign};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

/// A program that signs and verifies with libraries of providers.
struct Peer {
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

impl Peer {
    fn start(mut command: Command) -> Self {
        let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn();
        let mut process = started.unwrap();
        let input = process.stdin.take().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { input, lines, _process: process }
    }

    fn python() -> Self {
        let mut command = Command::new(setting("TEST_PEERS_PYTHON"));
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../xtask/peers/webhooks.py"));
        Self::start(command)
    }

    fn node() -> Self {
        let mut command = Command::new("node");
        command.arg(setting("TEST_PEERS_WEBHOOKS"));
        Self::start(command)
    }

    /// Returns the answer to a question, which may be an error.
    async fn answer(&mut self, question: &Value) -> Value {
        self.input.write_all(format!("{question}\n").as_bytes()).await.unwrap();
        let answer = self.lines.next_line().await.unwrap().expect("the peer has ended");
        serde_json::from_str(&answer).unwrap()
    }

    async fn ask(&mut self, question: Value) -> Value {
        let answer = self.answer(&question).await;
        assert!(answer["error"].is_null(), "{question}: {answer}");
        answer
    }

    /// Returns whether a library has verified a signature. `mismatch` is in the error if it has not.
    async fn verifies(&mut self, question: Value, mismatch: &str) -> bool {
        let answer = self.answer(&question).await;
        if let Some(error) = answer["error"].as_str() {
            assert!(error.contains(mismatch), "{question}: {error}");
            return false;
        }
        answer["verified"].as_bool().unwrap()
    }
}

#[expect(clippy::disallowed_methods, reason = "a setting of the test, not of the app")]
fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("set {name}, as `cargo xtask test --peers` does"))
}

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

async fn start() -> TestApp {
    TestApp::start(TestDatabase::sqlite(), |app| {
        app.with(Webhooks::from_env())
            .set("WEBHOOKS_STRIPE_SECRETS", SECRET)
            .set("WEBHOOKS_STANDARD_SECRETS", SECRET)
            .set("WEBHOOKS_GITHUB_SECRETS", SECRET)
            .set("WEBHOOKS_RAZORPAY_SECRETS", SECRET)
    })
    .await
}

/// Returns the body of an event of a source. It has a character that is not ASCII.
fn body(source: &str) -> Value {
    match source {
        "stripe" => {
            json!({ "id": "evt_1", "object": "event", "type": "invoice.paid", "livemode": true, "created": 1_893_456_000,
                "data": { "object": { "id": "in_é" } } })
        }
        "github" => json!({ "action": "opened", "repository": { "full_name": "acme/é" } }),
        "razorpay" => {
            json!({ "entity": "event", "event": "payment.captured", "created_at": 1_893_456_000,
                "payload": { "payment": { "entity": { "id": "pay_1", "notes": "é" } } } })
        }
        _ => json!({ "type": "user.created", "timestamp": "2030-01-01T00:00:00Z", "data": { "name": "é" } }),
    }
}

#[tokio::test]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn the_inbox_accepts_what_the_providers_libraries_sign() {
    let (mut python, mut node) = (Peer::python(), Peer::node());
    for (peer, libraries) in [
        (
            &mut python,
            [("stripe", "stripe"), ("standardwebhooks", "standard"), ("svix", "standard"), ("razorpay", "razorpay")],
        ),
        (
            &mut node,
            [("stripe", "stripe"), ("standardwebhooks", "standard"), ("svix", "standard"), ("octokit", "github")],
        ),
    ] {
        for (library, source) in libraries {
            let app = start().await;
            let body = body(source).to_string();
            let seconds = app.clock().clock().now().as_seconds();
            let question =
                json!({ "command": "sign", "library": library, "secret": SECRET, "body": body, "seconds": seconds });
            let headers = peer.ask(question).await;
            let send = |body: String| {
                let path = format!("/api/v1/public/webhooks/{source}");
                let mut request = app.anonymous().request(http::Method::POST, path).body(body);
                for (name, value) in headers.as_object().unwrap() {
                    request = request.header(name.as_str(), value.as_str().unwrap());
                }
                request.header("content-type", "application/json")
            };
            assert_eq!(send(body.clone()).await.expect(200).json()["status"], "received", "{library}");
            assert_eq!(send(body.clone()).await.expect(200).json()["status"], "duplicate", "{library}");
            let forged = send(body.replace('é', "e")).await.expect(400).json();
            assert_eq!(forged["error"]["code"], "WEBHOOK_SIGNATURE_INVALID", "{library}");
        }
    }
}

#[tokio::test]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn receivers_libraries_accept_signed_events() {
    let (mut python, mut node) = (Peer::python(), Peer::node());
    // The libraries compare the timestamp with the time of the machine.
    let seconds = Clock::system().now().as_seconds();
    let body = body("standard").to_string();
    let signature = sign(SigningScheme::V1, &[SECRET.into()], "msg_1", seconds, body.as_bytes()).unwrap();
    for peer in [&mut python, &mut node] {
        for (library, prefix) in [("standardwebhooks", "webhook"), ("svix", "svix"), ("svix", "webhook")] {
            let headers = json!({
                format!("{prefix}-id"): "msg_1",
                format!("{prefix}-timestamp"): seconds.to_string(),
                format!("{prefix}-signature"): signature,
            });
            let question =
                json!({ "command": "verify", "library": library, "secret": SECRET, "body": body, "headers": headers });
            assert_eq!(peer.ask(question).await["verified"], true, "{library}");
        }
    }
}

/// No official library verifies `v1a`, so PyNaCl, which is libsodium, takes its place.
#[tokio::test]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn ed25519_signatures_are_those_of_libsodium() {
    const SECONDS: i64 = 1_893_456_000;
    let mut python = Peer::python();
    let body = body("standard").to_string();
    let forged = body.replace('é', "e");

    let secret = SigningKey::generate(SigningScheme::V1a).unwrap();
    let public_key = SigningKey::parse(secret.expose_secret()).unwrap().public_key().unwrap();
    let signature = sign(SigningScheme::V1a, &[secret], "msg_1", SECONDS, body.as_bytes()).unwrap();
    for (sent, seconds, is_signed) in [(&body, SECONDS, true), (&forged, SECONDS, false), (&body, SECONDS + 1, false)] {
        let headers = json!({
            "webhook-id": "msg_1",
            "webhook-timestamp": seconds.to_string(),
            "webhook-signature": signature,
        });
        let question = json!({ "command": "verify_v1a", "public_key": public_key, "body": sent, "headers": headers });
        assert_eq!(python.verifies(question, "BadSignatureError").await, is_signed, "{sent} {seconds}");
    }

    let signed = python.ask(json!({ "command": "sign_v1a", "body": body, "seconds": SECONDS })).await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let headers: HeaderMap = signed["headers"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (HeaderName::try_from(name).unwrap(), HeaderValue::try_from(text(value)).unwrap()))
        .collect();
    let verifier = WebhookVerifier::new([text(&signed["public_key"])]).unwrap();
    let now = Timestamp::from_micros(SECONDS * 1_000_000);
    assert_eq!(verifier.verify(&headers, body.as_bytes(), now).unwrap().id, "msg_1");
    assert!(verifier.verify(&headers, forged.as_bytes(), now).is_err());
    // A key has one signature of a message, and one public key.
    let key = SigningKey::parse(&text(&signed["private_key"])).unwrap();
    assert_eq!(key.sign("msg_1", SECONDS, body.as_bytes()), text(&signed["headers"]["webhook-signature"]));
    assert_eq!(key.public_key(), Some(text(&signed["public_key"])));
}

#[tokio::test]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn razorpays_library_accepts_the_same_checkouts() {
    let mut python = Peer::python();
    let checkout = RazorpayCheckout::new(&"key secret".into()).unwrap();
    let signed = |secret: &str, message: &str| HmacKey::new(secret).unwrap().sign(message).to_hex();
    let right = signed("key secret", "order_é|pay_1");
    for (signature, is_order, is_subscription) in [
        (right.clone(), true, false),
        (signed("key secret", "pay_1|order_é"), false, true),
        (signed("other secret", "order_é|pay_1"), false, false),
        (signed("key secret", "order_é|pay_2"), false, false),
        (signed("key secret", "order_épay_1"), false, false),
        (right[..62].to_owned(), false, false),
        (format!("{right}00"), false, false),
        (String::new(), false, false),
    ] {
        // The id is that of an order in one form, and that of a subscription in the other.
        for (of, expected) in [("order", is_order), ("subscription", is_subscription)] {
            let ours = match of {
                "order" => checkout.verify_order("order_é", "pay_1", &signature),
                _ => checkout.verify_subscription("pay_1", "order_é", &signature),
            };
            let id = format!("{of}_id");
            let parameters = json!({ id: "order_é", "payment_id": "pay_1", "signature": signature });
            let question =
                json!({ "command": "verify_checkout", "secret": "key secret", "of": of, "parameters": parameters });
            let library = python.verifies(question, "SignatureVerificationError").await;
            assert_eq!((ours, library), (expected, expected), "{of} {signature}");
        }
    }
}
