//! Presence.

use super::*;
use crate::hub::ConnectionFilter;

#[tokio::test]
async fn users_come_with_their_first_client_and_go_with_their_last() {
    let test = TestHub::start(&[]);
    let mut watcher = test.connect("bob").await;
    watcher.subscribe("room:1").await;
    settle().await;
    let own = watcher.rest();
    assert!(own.iter().all(|line| line["push"]["join"]["info"]["user"] == BOB), "{own:?}");

    let (mut first, mut second) = (test.connect("alice").await, test.connect("alice").await);
    first.subscribe("room:1").await;
    second.subscribe("room:1").await;
    settle().await;
    let joins = watcher.rest();
    assert_eq!(joins.len(), 1, "{joins:?}");
    assert_eq!(joins[0]["push"]["join"]["info"]["user"], ALICE);

    let stats = watcher.command("presence_stats", json!({ "channel": "room:1" })).await;
    assert_eq!(stats["presence_stats"], json!({ "num_clients": 3, "num_users": 2 }));
    let presence = watcher.command("presence", json!({ "channel": "room:1" })).await["presence"]["presence"].clone();
    assert_eq!(presence.as_object().unwrap().len(), 3);
    assert_eq!(presence[second.session.client()]["user"], ALICE);

    drop(first);
    settle().await;
    assert_eq!(watcher.rest(), Vec::<Value>::new());
    second.command("unsubscribe", json!({ "channel": "room:1" })).await;
    settle().await;
    let leaves = watcher.rest();
    assert_eq!(leaves.len(), 1, "{leaves:?}");
    assert_eq!(leaves[0]["push"]["leave"]["info"]["user"], ALICE);
}

#[tokio::test]
async fn the_presence_of_open_connections_is_kept() {
    let test = TestHub::start(&[("REALTIME_PRESENCE_TTL", "30s"), ("REALTIME_PING", "5m")]);
    let mut client = test.connect("alice").await;
    client.subscribe("room:1").await;
    test.advance(120).await;
    let stats = client.command("presence_stats", json!({ "channel": "room:1" })).await;
    assert_eq!(stats["presence_stats"]["num_clients"], 1);
}

#[tokio::test]
async fn a_connection_that_does_not_read_its_end_is_not_kept_present() {
    let test = TestHub::start(&[("REALTIME_PRESENCE_TTL", "30s"), ("REALTIME_PING", "5m")]);
    let mut client = test.connect("alice").await;
    client.subscribe("room:1").await;
    let mut watcher = test.connect("bob").await;
    let filter = ConnectionFilter { user: Some(ALICE.parse().unwrap()), ..ConnectionFilter::default() };
    test.hub.disconnect(&filter, CloseCode::ForceReconnect).await.unwrap();
    test.advance(60).await;
    let stats = watcher.command("presence_stats", json!({ "channel": "room:1" })).await;
    assert!(stats["presence_stats"].is_object(), "{stats}");
    assert_eq!(stats["presence_stats"]["num_clients"].as_u64().unwrap_or_default(), 0, "{stats}");
    drop(client);
}
