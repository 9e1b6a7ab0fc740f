//! Stock clients with several replicas: one is killed or shut down, messages are missed, histories are lost, and
//! commands over SSE arrive at another replica.

#![cfg(test)]

use omnistack_testkit::TestRedis;
use serde_json::json;

use super::{
    Tenant,
    stock::{StockClient, StockClients},
    user,
};
use crate::replicas::{balancer::Balancer, process::Replica};

/// Messages that are more than a client recovers.
const MORE_THAN_RECOVERED: u64 = 301;

async fn replicas(redis: &TestRedis) -> [Replica; 2] {
    let url = redis.url();
    let settings = [
        ("REDIS_URL", url.as_str()),
        ("REDIS_PREFIX", "test"),
        ("REALTIME_DRAIN", "1s"),
        ("REALTIME_QUEUE", "256KiB"),
        ("REALTIME_MESSAGE_RATE", "100000/second burst 100000"),
    ];
    [Replica::start(&settings).await, Replica::start(&settings).await]
}

/// Opens the client `reader` behind the balancer, in the channel `run:1`, and the client `publisher` at a replica.
async fn open_reader_and_publisher(stock: &mut StockClients, balancer: &Balancer, replica: &Replica) {
    let tenant = Tenant::new();
    stock.open("reader", balancer.address, &[tenant.token(user())]).await;
    stock.open("publisher", replica.address, &[tenant.token(user())]).await;
    stock.subscribe("reader", "run:1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn stock_clients_recover_from_the_death_of_a_replica_or_are_told() {
    for kind in StockClient::ALL {
        let redis = TestRedis::start().await;
        let [mut dies, lives] = replicas(&redis).await;
        let balancer = Balancer::start(dies.address).await;
        let mut stock = StockClients::start(kind);
        open_reader_and_publisher(&mut stock, &balancer, &lives).await;
        stock.publish("publisher", "run:1", 1..=10).await;
        assert_eq!(stock.numbers("reader", "run:1", 10).await, (1..=10).collect::<Vec<_>>(), "{kind:?}");

        balancer.direct_to(Some(lives.address));
        dies.kill().await;
        stock.publish("publisher", "run:1", 11..=20).await;
        let again = stock.event("reader", "subscribed", Some("run:1")).await;
        assert!(again["was_recovering"] == true && again["recovered"] == true, "{kind:?}: {again}");
        assert_eq!(stock.numbers("reader", "run:1", 10).await, (11..=20).collect::<Vec<_>>(), "{kind:?}");

        // Too many are missed, and then the history is lost.
        for loss in ["messages", "history"] {
            balancer.cut().await;
            match loss {
                "messages" => stock.publish("publisher", "run:1", 1..=MORE_THAN_RECOVERED).await,
                _ => assert_eq!(redis.command("FLUSHALL").unwrap(), "+OK"),
            }
            balancer.direct_to(Some(lives.address));
            let again = stock.event("reader", "subscribed", Some("run:1")).await;
            assert!(again["was_recovering"] == true && again["recovered"] == false, "{kind:?} {loss}: {again}");
            stock.publish("publisher", "run:1", 1000..=1000).await;
            assert_eq!(stock.numbers("reader", "run:1", 1).await, [1000], "{kind:?} {loss}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn stock_clients_move_to_another_replica_at_a_shutdown_without_loss() {
    for kind in StockClient::ALL {
        let redis = TestRedis::start().await;
        let [mut stops, stays] = replicas(&redis).await;
        let balancer = Balancer::start(stops.address).await;
        let mut stock = StockClients::start(kind);
        open_reader_and_publisher(&mut stock, &balancer, &stays).await;
        balancer.direct_to(Some(stays.address));
        tokio::join!(stops.terminate(), stock.publish("publisher", "run:1", 1..=200));
        assert_eq!(stock.event("reader", "connecting", None).await["code"], 3001, "{kind:?}");
        let again = stock.event("reader", "subscribed", Some("run:1")).await;
        assert_eq!(again["recovered"], true, "{kind:?}");
        assert_eq!(stock.numbers("reader", "run:1", 200).await, (1..=200).collect::<Vec<_>>(), "{kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn commands_of_an_event_stream_arrive_at_another_replica() {
    let redis = TestRedis::start().await;
    let [streams, forwards] = replicas(&redis).await;
    let mut stock = StockClients::start(StockClient::JsSse);
    let tenant = Tenant::new();
    for client in ["a", "b"] {
        stock.open_between(client, streams.address, forwards.address, &[tenant.token(user())]).await;
        stock.subscribe(client, "room:1").await;
    }
    stock.publish("a", "room:1", 1..=20).await;
    for client in ["a", "b"] {
        assert_eq!(stock.numbers(client, "room:1", 20).await, (1..=20).collect::<Vec<_>>());
    }
    let counts = stock.ask("presence_stats", json!({ "client": "b", "channel": "room:1" })).await;
    assert_eq!(counts, json!({ "clients": 2, "users": 2 }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn a_stock_client_that_reads_slowly_is_closed_and_comes_back() {
    const NEWEST: u64 = 9_999;
    /// More than the buffers of the operating system take.
    const MESSAGES: u64 = 120;
    const MESSAGE_BYTES: usize = 60_000;
    let redis = TestRedis::start().await;
    let [replica, _other] = replicas(&redis).await;
    let mut stock = StockClients::start(StockClient::JsWebSocket);
    let tenant = Tenant::new();
    for client in ["slow", "publisher"] {
        stock.open(client, replica.address, &[tenant.token(user())]).await;
    }
    stock.subscribe("slow", "wide:1").await;
    stock.ask("pause", json!({ "client": "slow" })).await;
    let padding = "x".repeat(MESSAGE_BYTES);
    for number in 1..=MESSAGES {
        let data = json!({ "number": number, "padding": padding });
        stock.ask("publish", json!({ "client": "publisher", "channel": "wide:1", "data": data })).await;
    }
    stock.ask("resume", json!({ "client": "slow" })).await;
    assert_eq!(stock.event("slow", "connecting", None).await["code"], 3008);
    let again = stock.event("slow", "subscribed", Some("wide:1")).await;
    assert_eq!(again["was_recovering"], true);
    stock.publish("publisher", "wide:1", NEWEST..=NEWEST).await;
    let mut numbers = Vec::new();
    while numbers.last() != Some(&NEWEST) {
        numbers.extend(stock.numbers("slow", "wide:1", 1).await);
    }
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    // What the client has not got, it was told of.
    let got = u64::try_from(numbers.len()).unwrap();
    assert!(got == MESSAGES + 1 || again["recovered"] == false, "{numbers:?}");
}
