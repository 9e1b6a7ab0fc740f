//! Tests with clients of others: npm's centrifuge over WebSocket and SSE, PyPI's centrifuge-python and websockets, and
//! frames of wsproto. `cargo xtask test --peers` runs them. They need `TEST_PEERS_PYTHON`, a Python with these
//! libraries, and `TEST_PEERS_REALTIME`, a folder with Node's.

#![cfg(test)]

mod replicas;
mod stock;
mod torture;

use std::collections::BTreeSet;

use omnistack_core::{
    id::Id,
    identity::{TenantId, UserId},
};
use serde_json::{Value, json};
use uuid::Uuid;

use self::stock::{StockClient, StockClients};
use crate::replicas::process::{Replica, token};

#[expect(clippy::disallowed_methods, reason = "a setting of the test, not of the app")]
fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("set {name}, as `cargo xtask test --peers` does"))
}

/// The file of a Python script.
fn python_script(name: &str) -> String {
    format!("{}/../xtask/peers/realtime/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// A tenant with users.
#[derive(Clone, Copy)]
struct Tenant(TenantId);

impl Tenant {
    fn new() -> Self {
        Self(Id::from_uuid(Uuid::new_v4()))
    }

    /// Returns an access token of a user, without an expiry and without the permission for secret channels.
    fn token(self, user: UserId) -> String {
        token(self.0, user, "rooms:read", None)
    }

    /// Returns an access token of a user, which expires after a number of seconds.
    fn token_until(self, user: UserId, seconds: i64) -> String {
        token(self.0, user, "rooms:read", Some(seconds))
    }
}

fn user() -> UserId {
    Id::from_uuid(Uuid::new_v4())
}

fn code(answer: &Value) -> i64 {
    answer["error"]["code"].as_i64().unwrap_or_else(|| panic!("no error: {answer}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn stock_clients_use_every_command() {
    for kind in StockClient::ALL {
        let replica = Replica::start(&[]).await;
        let mut stock = StockClients::start(kind);
        let (tenant, alice, bob) = (Tenant::new(), user(), user());
        for (client, user) in [("alice", alice), ("second tab", alice), ("bob", bob)] {
            stock.open(client, replica.address, &[tenant.token(user)]).await;
            let subscribed = stock.subscribe(client, "room:1").await;
            assert_eq!(subscribed["recoverable"], true, "{kind:?}");
        }
        stock.publish("bob", "room:1", 1..=5).await;
        for client in ["alice", "second tab", "bob"] {
            let first = stock.event(client, "publication", Some("room:1")).await;
            assert_eq!(first["data"]["number"], 1, "{kind:?}");
            assert_eq!(first["user"], bob.to_string(), "{kind:?}");
            assert_eq!(stock.numbers(client, "room:1", 4).await, [2, 3, 4, 5], "{kind:?}");
        }

        // A user with two connections is one user.
        let question = json!({ "client": "bob", "channel": "room:1" });
        let counts = stock.ask("presence_stats", question.clone()).await;
        assert_eq!(counts, json!({ "clients": 3, "users": 2 }), "{kind:?}");
        let presence = stock.ask("presence", question).await;
        let users: Vec<&str> = presence["users"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let (alice, bob) = (alice.to_string(), bob.to_string());
        assert_eq!(users.len(), 3, "{kind:?}");
        assert_eq!(users.into_iter().collect::<BTreeSet<_>>(), BTreeSet::from([&*alice, &*bob]), "{kind:?}");
        while stock.event("alice", "join", Some("room:1")).await["user"] != bob {}

        assert_reads_history(&mut stock, kind).await;

        for (channel, expected) in [("secret:1", 103), ("unknown:1", 102)] {
            stock.ask("subscribe", json!({ "client": "bob", "channel": channel })).await;
            assert_eq!(stock.event("bob", "unsubscribed", Some(channel)).await["code"], expected, "{kind:?}");
        }
        assert_eq!(code(&stock.answer("rpc", json!({ "client": "bob", "method": "any" })).await), 104, "{kind:?}");
        let called = stock.ask("rpc", json!({ "client": "bob", "method": "caller" })).await;
        assert_eq!(called["data"], bob, "{kind:?}");
        let refused = json!({ "client": "bob", "channel": "secret:1", "data": 1 });
        assert_eq!(code(&stock.answer("publish", refused).await), 103, "{kind:?}");

        stock.ask("unsubscribe", json!({ "client": "second tab", "channel": "room:1" })).await;
        stock.ask("close", json!({ "client": "bob" })).await;
        while stock.event("alice", "leave", Some("room:1")).await["user"] != bob {}
        stock.publish("second tab", "room:1", 6..=6).await;
        assert_eq!(stock.numbers("alice", "room:1", 1).await, [6], "{kind:?}");
        assert!(stock.waiting("second tab", "publication", Some("room:1")).await.is_empty(), "{kind:?}");
    }
}

/// Checks the history of five messages by limit, position and direction.
async fn assert_reads_history(stock: &mut StockClients, kind: StockClient) {
    let question = |options: Value| json!({ "client": "bob", "channel": "room:1", "options": options });
    let position = stock.ask("history", question(json!({ "limit": 0 }))).await;
    assert_eq!(position["offset"], 5, "{kind:?}");
    let since = |offset: u64| json!({ "offset": offset, "epoch": position["epoch"] });
    for (options, expected) in [
        (json!({ "limit": 0 }), vec![]),
        (json!({ "limit": -1 }), vec![1, 2, 3, 4, 5]),
        (json!({ "limit": 2 }), vec![1, 2]),
        (json!({ "limit": -1, "since": since(3) }), vec![4, 5]),
        (json!({ "limit": 2, "reverse": true }), vec![5, 4]),
        (json!({ "limit": -1, "reverse": true, "since": since(3) }), vec![2, 1]),
    ] {
        let page = stock.ask("history", question(options.clone())).await;
        let publications = page["publications"].as_array().unwrap();
        let numbers: Vec<_> = publications.iter().map(|one| one["data"]["number"].clone()).collect();
        assert_eq!(json!(numbers), json!(expected), "{kind:?} {options}");
    }
    let other = json!({ "limit": -1, "since": { "offset": 1, "epoch": "other" } });
    assert_eq!(code(&stock.answer("history", question(other)).await), 112, "{kind:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn stock_clients_replace_expired_tokens() {
    for kind in StockClient::ALL {
        let replica = Replica::start(&[]).await;
        let mut stock = StockClients::start(kind);
        let (tenant, user) = (Tenant::new(), user());
        // The first is expired, and the second expires while the client is connected.
        let tokens = [tenant.token_until(user, -60), tenant.token_until(user, 4), tenant.token_until(user, 600)];
        stock.open("a", replica.address, &tokens).await;
        assert_eq!(stock.event("a", "error", None).await["code"], 109, "{kind:?}");
        stock.subscribe("a", "room:1").await;
        let attempts = stock.waiting("a", "connecting", None).await.len();
        for asked in 1..=3 {
            assert_eq!(stock.event("a", "token", None).await["asked"], asked, "{kind:?}");
        }
        stock.publish("a", "room:1", 1..=1).await;
        assert_eq!(stock.numbers("a", "room:1", 1).await, [1], "{kind:?}");
        assert_eq!(stock.waiting("a", "connecting", None).await.len(), attempts, "{kind:?}: it stays connected");

        stock.open_unconnected("w", replica.address, &["wrong".to_owned()]).await;
        assert_eq!(stock.event("w", "disconnected", None).await["code"], 3500, "{kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn stock_clients_are_subscribed_by_a_path() {
    for kind in [StockClient::JsWebSocket, StockClient::Python] {
        let replica = Replica::start(&[]).await;
        let mut stock = StockClients::start(kind);
        let (tenant, user) = (Tenant::new(), user());
        let dashboard = (format!("/ws/dashboard/{user}"), format!("user:{user}"));
        for (path, channel) in [("/ws/run/7".to_owned(), "run:7".to_owned()), dashboard] {
            let url = format!("ws://{}{path}", replica.address);
            stock.open_url(&path, &url, None, &[tenant.token(user)]).await;
            stock.event(&path, "subscribed", Some(&channel)).await;
        }
        stock.publish("/ws/run/7", "run:7", 1..=1).await;
        assert_eq!(stock.numbers("/ws/run/7", "run:7", 1).await, [1], "{kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn stock_clients_load_a_state_and_continue_from_its_position() {
    // centrifuge-python can't subscribe from a position that the app has read.
    for kind in [StockClient::JsWebSocket, StockClient::JsSse] {
        let replica = Replica::start(&[]).await;
        let mut stock = StockClients::start(kind);
        let tenant = Tenant::new();
        for client in ["loader", "publisher"] {
            stock.open(client, replica.address, &[tenant.token(user())]).await;
        }
        stock.publish("publisher", "run:1", 1..=3).await;
        let question = json!({ "client": "loader", "channel": "run:1", "options": { "limit": 0 } });
        let position = stock.ask("history", question).await;
        // These messages are published while the client loads the state.
        stock.publish("publisher", "run:1", 4..=6).await;
        let since = json!({ "offset": position["offset"], "epoch": position["epoch"] });
        stock.ask("subscribe", json!({ "client": "loader", "channel": "run:1", "since": since })).await;
        let subscribed = stock.event("loader", "subscribed", Some("run:1")).await;
        assert_eq!(subscribed["recovered"], true, "{kind:?}");
        stock.publish("publisher", "run:1", 7..=7).await;
        assert_eq!(stock.numbers("loader", "run:1", 4).await, [4, 5, 6, 7], "{kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn two_hundred_tabs_of_a_user_get_all_messages() {
    let replica = Replica::start(&[]).await;
    let mut stock = StockClients::start(StockClient::JsWebSocket);
    let (tenant, user) = (Tenant::new(), user());
    let tabs: Vec<_> = (0..200).map(|tab| format!("tab {tab}")).collect();
    for tab in &tabs {
        stock.open(tab, replica.address, &[tenant.token(user)]).await;
        stock.subscribe(tab, "room:1").await;
    }
    stock.publish("tab 0", "room:1", 1..=10).await;
    for tab in &tabs {
        assert_eq!(stock.numbers(tab, "room:1", 10).await, (1..=10).collect::<Vec<_>>(), "{tab}");
    }
    let counts = stock.ask("presence_stats", json!({ "client": "tab 0", "channel": "room:1" })).await;
    assert_eq!(counts, json!({ "clients": 200, "users": 1 }));
}
