//! Tests of the receivers of the book, in Python and Node, which verify events with the official libraries.

use std::{
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::Stdio,
};

use omnistack_core::clock::Clock;
use omnistack_testkit::{TestApp, TestDatabase};
use omnistack_webhooks::Webhooks;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

use super::{SECRET, setting};
use crate::delivery::{Orders, StoredResults, create_endpoint, deliveries, publish, states, work_until};

/// A receiver: a program that prints its address, and then each event that it has verified.
struct Receiver {
    lines: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

impl Receiver {
    /// Starts a receiver, and waits until it listens.
    async fn start(mut command: Command, port: u16, secret: &str) -> Self {
        command.env("PORT", port.to_string()).env("WEBHOOK_SECRET", secret);
        let mut process = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut receiver = Self { lines, _process: process };
        assert_eq!(receiver.read().await["address"], address(port));
        receiver
    }

    async fn read(&mut self) -> Value {
        let line = self.lines.next_line().await.unwrap().expect("the receiver has ended");
        serde_json::from_str(&line).unwrap()
    }
}

fn python() -> Command {
    let mut command = Command::new(setting("TEST_PEERS_PYTHON"));
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../xtask/peers/webhooks_receiver.py"));
    command
}

fn node() -> Command {
    let mut command = Command::new("node");
    command.arg(Path::new(&setting("TEST_PEERS_WEBHOOKS")).with_file_name("receiver.mjs"));
    command
}

/// Returns a port that is free at this moment. The receiver can't choose it, because it is started with the secret of
/// an endpoint that has its address.
fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn address(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// Starts an app with the time of the machine, with which the libraries compare timestamps.
async fn start() -> TestApp {
    TestApp::start(TestDatabase::sqlite(), |app| {
        app.clock(Clock::system())
            .set("WEBHOOKS_ALLOW_PRIVATE_ADDRESSES", "true")
            .set("WEBHOOKS_POLL", "10ms")
            .with(Webhooks::from_env())
            .with(Orders)
    })
    .await
}

async fn assert_verifies(receiver: fn() -> Command) {
    let app = start().await;
    let (owner, port) = (app.user(), free_port());
    let endpoint = create_endpoint(&owner, &address(port), json!({})).await;
    let mut program = Receiver::start(receiver(), port, &endpoint.key).await;
    for number in [7, 8] {
        publish(&app, &owner, number).await;
        let received = work_until(&app, program.read()).await;
        assert!(received["id"].as_str().unwrap().starts_with("msg_"), "{received}");
        assert_eq!(received["event"]["type"], "order.paid");
        assert_eq!(received["event"]["data"], json!({ "number": number }));
    }
    assert_eq!(states(&app, &endpoint).await, ["delivered", "delivered"]);

    // A receiver with another secret refuses the event.
    let (other, port) = (app.user(), free_port());
    let endpoint = create_endpoint(&other, &address(port), json!({})).await;
    let _program = Receiver::start(receiver(), port, SECRET).await;
    let mut results = StoredResults::observe(&app);
    publish(&app, &other, 9).await;
    work_until(&app, results.wait(1)).await;
    let refused = deliveries(&app, &endpoint).await.remove(0);
    assert_eq!((refused.state.as_str(), refused.status_code), ("pending", Some(400)));
}

#[tokio::test]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn the_receiver_in_python_verifies_events() {
    assert_verifies(python).await;
}

#[tokio::test]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn the_receiver_in_node_verifies_events() {
    assert_verifies(node).await;
}
