//! Tests that clients of a tenant reach nothing of another tenant, over all kinds of channels and commands.

#![cfg(test)]

use omnistack_realtime::RealtimeChannel;
use serde_json::{Value, json};

use crate::support::{Client, RealtimeApp};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_tenants_user_reaches_nothing() {
    let test = RealtimeApp::start(|app| app).await;
    let (alice, alices) = test.callers.user();
    let (mallory, mallorys) = test.callers.user();
    let tenant = alice.tenant.unwrap();
    test.serve(async |address| {
        let mut victim = Client::connect(address, &alices).await;
        let own = format!("user:{}", alice.user);
        let foreign_key = format!("{}/room:1", tenant.uuid().simple());
        for channel in ["room:1", "run:1", "job:1", "stream:1", "tenant", "secret:1", own.as_str()] {
            victim.subscribe(channel).await;
        }
        for channel in ["room:1", "run:1", "job:1", "tenant", "secret:1"] {
            test.publish(tenant, channel, [7]).await;
            assert_eq!(victim.number().await, 7, "{channel}");
        }
        test.publisher().publish(RealtimeChannel::user(alice.user), &json!({ "number": 7 })).await.unwrap();
        assert_eq!(victim.number().await, 7);

        let mut attacker = Client::connect(address, &mallorys).await;
        for channel in
            ["room:1", "run:1", "job:1", "stream:1", "tenant", "secret:1", own.as_str(), foreign_key.as_str()]
        {
            let history = attacker.call(json!({ "history": { "channel": channel, "limit": -1 } })).await;
            assert!(is_empty(&history["history"]["publications"]), "{channel}: {history}");
            let presence = attacker.call(json!({ "presence": { "channel": channel } })).await;
            assert!(is_empty(&presence["presence"]["presence"]), "{channel}: {presence}");
            let stats = attacker.call(json!({ "presence_stats": { "channel": channel } })).await;
            assert!(stats["presence_stats"]["num_clients"].as_u64().unwrap_or_default() == 0, "{channel}: {stats}");
            let command = json!({ "channel": channel, "recover": true, "offset": 0, "epoch": "" });
            let subscribed = attacker.call(json!({ "subscribe": command })).await;
            assert!(is_empty(&subscribed["subscribe"]["publications"]), "{channel}: {subscribed}");
            attacker.call(json!({ "publish": { "channel": channel, "data": { "number": 666 } } })).await;
        }
        for channel in [&own, &foreign_key] {
            for method in ["subscribe", "publish", "history", "presence", "presence_stats"] {
                let mut command = json!({});
                command[method] = json!({ "channel": channel, "data": 1 });
                let reply = attacker.call(command).await;
                assert!(matches!(reply["error"]["code"].as_u64(), Some(102 | 103)), "{method} {channel}: {reply}");
            }
        }
        // What both get next shows that nothing has crossed.
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
