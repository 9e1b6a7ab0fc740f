//! Tests against the libraries of the providers themselves. `cargo xtask test --peers` runs them: they need
//! `TEST_PEERS_PYTHON`, a Python with stripe, standardwebhooks, svix, razorpay and twilio, and `TEST_PEERS_WEBHOOKS`, a
//! script for Node with stripe, standardwebhooks, svix and @octokit/webhooks.

#![cfg(test)]

use std::process::Stdio;

use omnistack_core::clock::Clock;
use omnistack_testkit::{TestApp, TestDatabase};
use omnistack_webhooks::{SigningScheme, Webhooks, sign};
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

    async fn ask(&mut self, question: Value) -> Value {
        self.input.write_all(format!("{question}\n").as_bytes()).await.unwrap();
        let answer = self.lines.next_line().await.unwrap().expect("the peer has ended");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert!(answer["error"].is_null(), "{question}: {answer}");
        answer
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
        (&mut python, [("stripe", "stripe"), ("standardwebhooks", "standard"), ("svix", "standard"), ("razorpay", "razorpay")]),
        (&mut node, [("stripe", "stripe"), ("standardwebhooks", "standard"), ("svix", "standard"), ("octokit", "github")]),
    ] {
        for (library, source) in libraries {
            let app = start().await;
            let body = body(source).to_string();
            let seconds = app.clock().clock().now().as_seconds();
            let question = json!({ "command": "sign", "library": library, "secret": SECRET, "body": body, "seconds": seconds });
            let headers = peer.ask(question).await;
            let send = |body: String| {
                let mut request = app.anonymous().post(format!("/api/v1/public/webhooks/{source}"), body);
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
