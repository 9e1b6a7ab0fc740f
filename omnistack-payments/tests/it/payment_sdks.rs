//! PayPal's and Razorpay's own clients against the wire fakes, so that the fakes behave as the authors of the clients
//! expect. `cargo xtask test --peers` runs them: they need `TEST_PEERS_PYTHON`, a Python with paypal-server-sdk and
//! razorpay, and `TEST_PEERS_PAYMENT_SDKS`, a script for Node with @paypal/paypal-server-sdk and razorpay.

#![cfg(test)]

use std::process::Stdio;

use omnistack_core::clock::Clock;
use omnistack_testkit::payments::{
    paypal::{CLIENT_ID, CLIENT_SECRET, PayPalServer},
    razorpay::{KEY_ID, KEY_SECRET, RazorpayServer},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

/// A program that calls the fakes with the clients of one language.
struct SdkPeer {
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

impl SdkPeer {
    fn start(mut command: Command, paypal: &PayPalServer, razorpay: &RazorpayServer) -> Self {
        command.args([paypal.url().as_str(), CLIENT_ID, CLIENT_SECRET]);
        command.args([razorpay.url().as_str(), KEY_ID, KEY_SECRET]);
        let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn();
        let mut process = started.unwrap();
        let input = process.stdin.take().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { input, lines, _process: process }
    }

    async fn ask(&mut self, call: &str, parameters: Value) -> Result<Value, String> {
        let mut question = parameters;
        question["call"] = call.into();
        self.input.write_all(format!("{question}\n").as_bytes()).await.unwrap();
        let answer = self.lines.next_line().await.unwrap().expect("the peer has ended");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        match answer["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(answer["result"].clone()),
        }
    }

    async fn call(&mut self, call: &str, parameters: Value) -> Value {
        self.ask(call, parameters.clone()).await.unwrap_or_else(|error| panic!("{call} {parameters}: {error}"))
    }
}

#[expect(clippy::disallowed_methods, reason = "a setting of the test, not of the app")]
fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("set {name}, as `cargo xtask test --peers` does"))
}

fn python() -> Command {
    let mut command = Command::new(setting("TEST_PEERS_PYTHON"));
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../xtask/peers/payment_sdks.py"));
    command
}

fn node() -> Command {
    let mut command = Command::new("node");
    command.arg(setting("TEST_PEERS_PAYMENT_SDKS"));
    command
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[tokio::test]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn paypals_clients_pay_and_subscribe_at_the_fake() {
    for command in [python(), node()] {
        let (paypal, razorpay) =
            (PayPalServer::start(Clock::system()).await, RazorpayServer::start(Clock::system()).await);
        paypal.add_plan("P-PRO", "29.00", "USD");
        let mut peer = SdkPeer::start(command, &paypal, &razorpay);
        let order = json!({
            "intent": "CAPTURE",
            "purchase_units": [{ "custom_id": "pay_1", "amount": { "currency_code": "USD", "value": "10.00" } }],
        });
        let create = json!({ "body": order, "key": "key-1" });
        let created = peer.call("paypal.create_order", create.clone()).await;
        assert_eq!(peer.call("paypal.create_order", create).await["id"], created["id"]);
        let id = text(&created["id"]);
        let capture = json!({ "id": id, "key": "key-2" });
        assert!(peer.ask("paypal.capture_order", capture.clone()).await.is_err(), "it is not approved");
        paypal.approve(id);
        let captured = peer.call("paypal.capture_order", capture).await;
        assert_eq!(captured["status"], "COMPLETED");
        let payment = text(&captured["purchase_units"][0]["payments"]["captures"][0]["id"]);
        let amount = json!({ "currency_code": "USD", "value": "2.50" });
        let refund = json!({ "id": payment, "body": { "amount": amount }, "key": "key-3" });
        assert_eq!(peer.call("paypal.refund", refund).await["status"], "COMPLETED");
        let order = peer.call("paypal.get_order", json!({ "id": id })).await;
        let status = &order["purchase_units"][0]["payments"]["captures"][0]["status"];
        assert_eq!(status, "PARTIALLY_REFUNDED");
        assert!(peer.ask("paypal.get_order", json!({ "id": "NONE" })).await.is_err());

        let body = json!({ "plan_id": "P-PRO", "quantity": "2", "custom_id": "sub_1" });
        let subscription = peer.call("paypal.create_subscription", json!({ "body": body })).await;
        let id = text(&subscription["id"]);
        paypal.approve(id);
        let active = peer.call("paypal.get_subscription", json!({ "id": id })).await;
        assert_eq!((&active["status"], &active["quantity"]), (&json!("ACTIVE"), &json!("2")));
        peer.call("paypal.suspend_subscription", json!({ "id": id })).await;
        assert_eq!(paypal.object(id).unwrap()["status"], "SUSPENDED");
    }
}

#[tokio::test]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn razorpays_clients_pay_and_subscribe_at_the_fake() {
    for command in [python(), node()] {
        let (paypal, razorpay) =
            (PayPalServer::start(Clock::system()).await, RazorpayServer::start(Clock::system()).await);
        razorpay.add_plan("plan_pro", 290_000, "INR", "monthly");
        let mut peer = SdkPeer::start(command, &paypal, &razorpay);
        let customer = json!({ "name": "Ada", "email": "ada@example.com", "fail_existing": "0" });
        let first = peer.call("razorpay.create_customer", json!({ "body": customer.clone() })).await;
        assert_eq!(peer.call("razorpay.create_customer", json!({ "body": customer })).await["id"], first["id"]);

        let capture = json!({ "capture": "manual" });
        let order = json!({ "amount": 1000, "currency": "INR", "receipt": "pay_1", "payment": capture });
        let order = peer.call("razorpay.create_order", json!({ "body": order })).await;
        let order = text(&order["id"]);
        let payment = razorpay.pay(order);
        let payments = peer.call("razorpay.order_payments", json!({ "id": order })).await;
        assert_eq!(payments["items"][0]["status"], "authorized");
        let capture = json!({ "id": payment, "amount": 1000, "currency": "INR" });
        assert_eq!(peer.call("razorpay.capture", capture).await["status"], "captured");
        let refund = json!({ "amount": 250, "receipt": "ref_1" });
        let refund = peer.call("razorpay.refund", json!({ "id": payment, "body": refund })).await;
        assert_eq!(refund["status"], "processed");
        let too_much = json!({ "amount": 751, "receipt": "ref_2" });
        assert!(peer.ask("razorpay.refund", json!({ "id": payment, "body": too_much })).await.is_err());

        let link = json!({ "amount": 1000, "currency": "INR", "reference_id": "link_1", "description": "A thing" });
        let link = peer.call("razorpay.create_link", json!({ "body": link })).await;
        let id = json!({ "id": link["id"] });
        assert_eq!(peer.call("razorpay.cancel_link", id).await["status"], "cancelled");
        let body = json!({ "plan_id": "plan_pro", "total_count": 12, "quantity": 1, "customer_notify": 0 });
        let subscription = peer.call("razorpay.create_subscription", json!({ "body": body })).await;
        let id = text(&subscription["id"]);
        razorpay.authorise(id);
        let active = peer.call("razorpay.get_subscription", json!({ "id": id })).await;
        assert_eq!((&active["status"], &active["paid_count"]), (&json!("active"), &json!(1)));
    }
}

/// Case 44.
#[tokio::test]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn razorpays_clients_accept_the_signatures_of_the_fake() {
    for command in [python(), node()] {
        let (paypal, razorpay) =
            (PayPalServer::start(Clock::system()).await, RazorpayServer::start(Clock::system()).await);
        let mut peer = SdkPeer::start(command, &paypal, &razorpay);
        let order = RazorpayServer::sign_order("order_1", "pay_1");
        let verify = |signature: &str| json!({ "order": "order_1", "payment": "pay_1", "signature": signature });
        peer.call("razorpay.verify_order", verify(&order)).await;
        let other = RazorpayServer::sign_subscription("pay_1", "order_1");
        assert!(peer.ask("razorpay.verify_order", verify(&other)).await.is_err());

        let signature = RazorpayServer::sign_subscription("pay_1", "sub_1");
        let subscription = json!({ "payment": "pay_1", "subscription": "sub_1", "signature": signature });
        peer.call("razorpay.verify_subscription", subscription).await;
        let signature = RazorpayServer::sign_link("plink_1", "ref", "paid", "pay_1");
        let link = json!({
            "link": "plink_1", "reference": "ref", "status": "paid", "payment": "pay_1", "signature": signature,
        });
        peer.call("razorpay.verify_link", link).await;
        let body = r#"{"event":"payment.captured","note":"caf\u00e9"}"#;
        let signature = RazorpayServer::sign_webhook("webhook secret", body);
        let verify = |body: &str| json!({ "body": body, "signature": signature, "secret": "webhook secret" });
        peer.call("razorpay.verify_webhook", verify(body)).await;
        let rewritten = serde_json::from_str::<Value>(body).unwrap().to_string();
        assert!(peer.ask("razorpay.verify_webhook", verify(&rewritten)).await.is_err());
    }
}
