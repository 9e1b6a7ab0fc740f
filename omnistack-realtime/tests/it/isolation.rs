//! Tests that clients of a tenant reach nothing of another tenant, over all kinds of channels and commands.

#![cfg(test)]

use std::net::SocketAddr;

use omnistack_core::identity::TenantId;
use omnistack_realtime::RealtimeChannel;
use serde_json::{Value, json};

use crate::support::{Client, EventReader, RealtimeApp};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_tenants_user_reaches_nothing() {
    let test = RealtimeApp::start(|app| app).await;
    let (alice, alices) = test.callers.user();
    let (mallory, mallorys) = test.callers.user();
    let tenant = alice.tenant.unwrap();
    test.serve(async |address| {
        let mut victim = Client::connect(address, &alices).await;
        let own = format!("user:{}", alice.user);
        let tenant_key = tenant.uuid().simple();
        let foreign_keys = [format!("{tenant_key}/room:1"), format!("{tenant_key}/tenant"), format!("-/{own}")];
        let mut kinds = Vec::new();
        for channel in ["room:1", "run:1", "job:1", "stream:1", "tenant", "secret:1", own.as_str()] {
            let subscribed = victim.subscribe(channel).await;
            kinds.push((channel, subscribed["epoch"].as_str().unwrap_or_default().to_owned()));
        }
        for channel in ["room:1", "run:1", "job:1", "stream:1", "tenant", "secret:1"] {
            test.publish(tenant, channel, [7]).await;
            assert_eq!(victim.number().await, 7, "{channel}");
        }
        test.publisher().publish(RealtimeChannel::user(alice.user), &json!({ "number": 7 })).await.unwrap();
        assert_eq!(victim.number().await, 7);

        let mut attacker = Client::connect(address, &mallorys).await;
        for (channel, epoch) in &kinds {
            let history = attacker.call(json!({ "history": { "channel": channel, "limit": -1 } })).await;
            assert!(is_empty(&history["history"]["publications"]), "{channel}: {history}");
            let presence = attacker.call(json!({ "presence": { "channel": channel } })).await;
            assert!(is_empty(&presence["presence"]["presence"]), "{channel}: {presence}");
            let stats = attacker.call(json!({ "presence_stats": { "channel": channel } })).await;
            assert!(stats["presence_stats"]["num_clients"].as_u64().unwrap_or_default() == 0, "{channel}: {stats}");
            // The attacker subscribes from a position of the other tenant.
            let command = json!({ "channel": channel, "recover": true, "offset": 0, "epoch": epoch });
            let subscribed = attacker.call(json!({ "subscribe": command })).await;
            assert!(is_empty(&subscribed["subscribe"]["publications"]), "{channel}: {subscribed}");
            assert!(subscribed["subscribe"]["recovered"] != true, "{channel}: {subscribed}");
            attacker.call(json!({ "publish": { "channel": channel, "data": { "number": 666 } } })).await;
            attacker.call(json!({ "unsubscribe": { "channel": channel } })).await;
        }
        attacker.subscribe("room:1").await;
        for channel in foreign_keys.iter().map(String::as_str).chain([own.as_str(), "operators"]) {
            for method in ["subscribe", "publish", "history", "presence", "presence_stats"] {
                let mut command = json!({});
                command[method] = json!({ "channel": channel, "data": 1 });
                let reply = attacker.call(command).await;
                assert!(matches!(reply["error"]["code"].as_u64(), Some(102 | 103)), "{method} {channel}: {reply}");
            }
        }
        // All users may subscribe to this channel, but only the app publishes there.
        attacker.subscribe("broadcast").await;
        let refused = attacker.call(json!({ "publish": { "channel": "broadcast", "data": 1 } })).await;
        assert_eq!(refused["error"]["code"], 103, "{refused}");

        let (_, epoch) = kinds.iter().find(|(channel, _)| *channel == "run:1").unwrap();
        expect_own_messages_of_a_run(&test, address, (&mallorys, mallory.tenant.unwrap()), epoch).await;

        // The next messages of both users show that neither has got a message of the other.
        test.publish(tenant, "room:1", [8]).await;
        loop {
            let push = victim.push().await;
            assert_ne!(push["pub"]["data"]["number"], 666, "{push}");
            for kind in ["join", "leave"] {
                assert_ne!(push[kind]["info"]["user"], mallory.user.to_string(), "{push}");
            }
            if push["pub"]["data"]["number"] == 8 {
                break;
            }
        }
        test.publish(mallory.tenant.unwrap(), "room:1", [9]).await;
        loop {
            let push = attacker.push().await;
            assert!(!matches!(push["pub"]["data"]["number"].as_u64(), Some(7 | 8)), "{push}");
            if push["pub"]["data"]["number"] == 9 {
                break;
            }
        }
    })
    .await;
}

/// Opens the path of a run and its event stream, from a position of another tenant. Both get only the messages of the
/// caller's own tenant.
async fn expect_own_messages_of_a_run(
    test: &RealtimeApp,
    address: SocketAddr,
    (token, tenant): (&str, TenantId),
    foreign_epoch: &str,
) {
    let authorization = format!("Bearer {token}");
    let header = ("authorization", authorization.as_str());
    let mut by_path = Client::open(address, "/ws/run/1", &[header]).await.unwrap();
    let position = json!({ "run:1": { "recover": true, "offset": 0, "epoch": foreign_epoch } });
    let connected = by_path.call(json!({ "connect": { "subs": position } })).await;
    let run = &connected["connect"]["subs"]["run:1"];
    assert!(run.is_object() && run["recovered"] != true && is_empty(&run["publications"]), "{connected}");
    let path = "/api/v1/app/events?channels=run:1";
    let last = format!("{foreign_epoch}:0");
    let mut events = EventReader::open(test, path, &[header, ("last-event-id", &last)]).await.unwrap();
    assert_eq!(events.event().await.unwrap().kind.as_deref(), Some("missed"));
    test.publish(tenant, "run:1", [9]).await;
    assert_eq!(by_path.number().await, 9);
    let first = loop {
        let event = events.event().await.unwrap();
        if event.kind.as_deref() == Some("message") {
            break event;
        }
    };
    assert_eq!(first.data["data"]["number"], 9);
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_without_a_tenant_has_no_channels_of_tenants() {
    let test = RealtimeApp::start(|app| app).await;
    let (mut user, _) = test.callers.user();
    user.tenant = None;
    let token = test.callers.token_of(&user);
    test.serve(async |address| {
        let mut client = Client::connect(address, &token).await;
        for channel in ["room:1", "tenant"] {
            let reply = client.call(json!({ "subscribe": { "channel": channel } })).await;
            assert!(matches!(reply["error"]["code"].as_u64(), Some(102 | 103)), "{channel}: {reply}");
        }
        client.subscribe(&format!("user:{}", user.user)).await;
        client.subscribe("broadcast").await;
        test.publisher().publish(RealtimeChannel::broadcast(), &json!({ "number": 1 })).await.unwrap();
        assert_eq!(client.number().await, 1);
    })
    .await;
}
