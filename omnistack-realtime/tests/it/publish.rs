//! Tests of publishing: now, and with a transaction.

#![cfg(test)]

use std::time::Duration;

use omnistack_core::{
    http::Error,
    identity::TenantId,
    realtime::{RealtimeChannel, RealtimeMessage, RealtimePublisher},
};
use omnistack_realtime::{ChannelRule, Channels};
use omnistack_testkit::{TestApp, TestClient, TestDatabase, on_each_database};
use serde_json::{Value, json};

use crate::live::{LiveClient, app_with};

fn rooms() -> Channels {
    Channels::new().allow("room:{id}", |_, _| true)
}

fn publisher(app: &TestApp) -> RealtimePublisher {
    app.app().context().get().unwrap()
}

fn tenant(client: &TestClient) -> TenantId {
    client.identity().unwrap().tenant.unwrap()
}

fn room(client: &TestClient) -> RealtimeChannel {
    RealtimeChannel::of_tenant(tenant(client), "room:1").unwrap()
}

async fn publish_in(app: &TestApp, client: &TestClient, data: &Value, commit: bool) {
    let mut tx = app.db().tenant(tenant(client)).begin().await.unwrap();
    publisher(app).publish_in(&mut tx, room(client), data).await.unwrap();
    if commit {
        tx.commit().await.unwrap();
    } else {
        tx.rollback().await.unwrap();
    }
}

on_each_database! {
    async fn messages_reach_the_subscribers_of_their_channel_and_tenant_only(database: TestDatabase) {
        let app = app_with(database, rooms()).await;
        let server = app.listen_with_defaults().await;
        let (ann, bob) = (app.user(), app.user());
        let mut in_room = LiveClient::subscribed(server.address, &ann, "room:1").await;
        let mut in_other_room = LiveClient::subscribed(server.address, &ann, "room:2").await;
        let mut of_other_tenant = LiveClient::subscribed(server.address, &bob, "room:1").await;
        publisher(&app).publish(room(&ann), &json!({ "text": "hello" })).await.unwrap();
        assert_eq!(in_room.message("room:1").await, json!({ "text": "hello" }));
        assert_eq!(in_other_room.waiting_messages().await, Vec::<Value>::new());
        assert_eq!(of_other_tenant.waiting_messages().await, Vec::<Value>::new());
    }

    async fn built_in_channels_reach_a_user_a_tenant_and_all(database: TestDatabase) {
        let app = app_with(database, Channels::new()).await;
        let server = app.listen_with_defaults().await;
        let (ann, bob) = (app.user(), app.user());
        let user = ann.identity().unwrap().user;
        let realtime = publisher(&app);
        for (channel, name) in [
            (RealtimeChannel::user(user), format!("user:{user}")),
            (RealtimeChannel::tenant(tenant(&ann)), "tenant".to_owned()),
            (RealtimeChannel::broadcast(), "broadcast".to_owned()),
        ] {
            let mut subscribed = LiveClient::subscribed(server.address, &ann, &name).await;
            realtime.publish(channel, &name).await.unwrap();
            assert_eq!(subscribed.message(&name).await, json!(name));
        }
        let mut other = LiveClient::connect(server.address, &bob).await;
        let refused = other.command("subscribe", json!({ "channel": format!("user:{user}") })).await;
        assert_eq!(refused["error"]["code"], 103, "{refused}");
    }

    async fn a_message_of_a_transaction_is_delivered_exactly_if_it_commits(database: TestDatabase) {
        let app = app_with(database, rooms()).await;
        let server = app.listen_with_defaults().await;
        let ann = app.user();
        let mut client = LiveClient::subscribed(server.address, &ann, "room:1").await;
        publish_in(&app, &ann, &json!(1), false).await;
        for number in 2..=4 {
            publish_in(&app, &ann, &json!(number), true).await;
        }
        assert_eq!(client.waiting_messages().await, Vec::<Value>::new());
        app.run_events().await;
        for number in 2..=4 {
            assert_eq!(client.message("room:1").await, json!(number));
        }
        // A second run of the dispatcher delivers nothing.
        app.run_events().await;
        assert_eq!(client.waiting_messages().await, Vec::<Value>::new());
    }

    async fn a_client_that_comes_later_recovers_what_was_published(database: TestDatabase) {
        let app = app_with(database, rooms()).await;
        let server = app.listen_with_defaults().await;
        let ann = app.user();
        let mut client = LiveClient::connect(server.address, &ann).await;
        let position = client.command("subscribe", json!({ "channel": "room:1" })).await;
        let epoch = position["subscribe"]["epoch"].clone();
        drop(client);
        publish_in(&app, &ann, &json!("while away"), true).await;
        app.run_events().await;
        let mut client = LiveClient::connect(server.address, &ann).await;
        let request = json!({ "channel": "room:1", "recover": true, "epoch": epoch, "offset": 0 });
        let recovered = client.command("subscribe", request).await;
        assert_eq!(recovered["subscribe"]["recovered"], true, "{recovered}");
        assert_eq!(recovered["subscribe"]["publications"][0]["data"], "while away");
    }
}

#[tokio::test]
async fn of_two_messages_with_the_same_key_one_is_delivered() {
    let app = app_with(TestDatabase::sqlite(), rooms()).await;
    let server = app.listen_with_defaults().await;
    let ann = app.user();
    let mut client = LiveClient::subscribed(server.address, &ann, "room:1").await;
    let send = |data: &'static str, key: &'static str| {
        let message = RealtimeMessage::new(room(&ann), &data).unwrap().with_key(key);
        let realtime = publisher(&app);
        async move { realtime.send(message).await }
    };
    send("first", "a").await.unwrap();
    send("again", "a").await.unwrap();
    send("second", "b").await.unwrap();
    assert_eq!(client.message("room:1").await, "first");
    assert_eq!(client.message("room:1").await, "second");
}

#[tokio::test]
async fn a_latest_value_reaches_a_client_that_subscribes_later() {
    let jobs = ChannelRule::new("job:{id}").subscribe(|_, _| true).latest_value();
    let app = app_with(TestDatabase::sqlite(), Channels::new().rule(jobs)).await;
    let server = app.listen_with_defaults().await;
    let ann = app.user();
    let channel = RealtimeChannel::of_tenant(tenant(&ann), "job:7").unwrap();
    for percent in [10, 20, 30] {
        publisher(&app).publish(channel.clone(), &percent).await.unwrap();
    }
    let mut client = LiveClient::connect(server.address, &ann).await;
    let reply = client.command("subscribe", json!({ "channel": "job:7" })).await;
    assert_eq!(reply["subscribe"]["publications"][0]["data"], 30, "{reply}");
}

#[tokio::test]
async fn messages_in_channels_without_a_rule_are_not_stored() {
    let app = app_with(TestDatabase::sqlite(), rooms()).await;
    let ann = app.user();
    for (name, stored) in [("jobs:1", 0), ("room:1", 1)] {
        let channel = RealtimeChannel::of_tenant(tenant(&ann), name).unwrap();
        publisher(&app).publish(channel.clone(), &"now").await.unwrap();
        let mut tx = app.db().tenant(tenant(&ann)).begin().await.unwrap();
        publisher(&app).publish_in(&mut tx, channel, &"with the commit").await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(app.run_events().await, stored, "{name}");
    }
}

#[tokio::test]
async fn an_app_without_the_module_delivers_nothing_and_stores_nothing() {
    let app = TestApp::start(TestDatabase::sqlite(), |app| app).await;
    let realtime = publisher(&app);
    assert!(!realtime.is_enabled());
    let result: Result<(), Error> = realtime.publish(RealtimeChannel::broadcast(), &"hello").await;
    result.unwrap();
    let mut tx = app.db().begin().await.unwrap();
    realtime.publish_in(&mut tx, RealtimeChannel::broadcast(), &"hello").await.unwrap();
    tx.commit().await.unwrap();
    app.clock().advance(Duration::from_secs(60));
    assert_eq!(app.run_events().await, 0);
}
