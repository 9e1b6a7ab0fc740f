//! Tests of WebSockets: delivery, history, recovery, presence, slow clients, rights, shutdown.

#![cfg(test)]

use std::time::Duration;

use http::StatusCode;
use omnistack_core::{
    identity::{IDENTITY_CHANGES_TOPIC, IdentityScope, Permissions},
    pubsub::PubSub,
};
use omnistack_realtime::RealtimeChannel;
use omnistack_testkit::TestRedis;
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Client, RealtimeApp, SOCKET};

fn numbers(publications: &Value) -> Vec<u64> {
    let publications = publications.as_array().map(Vec::as_slice).unwrap_or_default();
    publications.iter().map(|publication| publication["data"]["number"].as_u64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_signs_in_subscribes_and_receives_in_order() {
    let test = RealtimeApp::start(|app| app).await;
    let (user, token) = test.callers.user();
    let tenant = user.tenant.unwrap();
    test.serve(async |address| {
        let mut client = Client::open(address, SOCKET, &[]).await.unwrap();
        // As stock clients do: all in one frame.
        client
            .send(format!(
                "{}\n{}\n",
                json!({ "id": 1, "connect": { "token": token, "name": "js" } }),
                json!({ "id": 2, "subscribe": { "channel": "room:1", "flag": 1 } })
            ))
            .await;
        let connected = client.line().await;
        assert_eq!((&connected["id"], &connected["connect"]["ping"]), (&json!(1), &json!(25)), "{connected}");
        let subscribed = client.line().await;
        assert_eq!((&subscribed["id"], subscribed["subscribe"].is_object()), (&json!(2), true), "{subscribed}");
        test.publish(tenant, "room:1", 1..=100).await;
        for number in 1..=100 {
            assert_eq!(client.number().await, number);
        }
        let published = client.call(json!({ "publish": { "channel": "room:1", "data": { "number": 101 } } })).await;
        assert!(published["publish"].is_object(), "{published}");
        assert_eq!(client.number().await, 101);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_history_is_read_by_limit_position_and_direction() {
    let test = RealtimeApp::start(|app| app).await;
    let (user, token) = test.callers.user();
    test.publish(user.tenant.unwrap(), "run:1", 1..=5).await;
    test.serve(async |address| {
        let mut client = Client::connect(address, &token).await;
        let position = client.call(json!({ "history": { "channel": "run:1" } })).await["history"].clone();
        assert_eq!(position["offset"], 5, "{position}");
        let since = json!({ "offset": 2, "epoch": position["epoch"] });
        let backwards = json!({ "offset": 4, "epoch": position["epoch"] });
        for (request, expected) in [
            (json!({ "limit": 0 }), vec![]),
            (json!({ "limit": -1 }), vec![1, 2, 3, 4, 5]),
            (json!({ "limit": 2 }), vec![1, 2]),
            (json!({ "limit": -1, "since": since }), vec![3, 4, 5]),
            (json!({ "limit": 2, "reverse": true }), vec![5, 4]),
            (json!({ "limit": -1, "reverse": true, "since": backwards }), vec![3, 2, 1]),
        ] {
            let mut command = json!({ "history": request });
            command["history"]["channel"] = "run:1".into();
            let reply = client.call(command).await;
            assert_eq!(numbers(&reply["history"]["publications"]), expected, "{request}: {reply}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_recovers_all_that_it_has_missed_or_is_told() {
    let test = RealtimeApp::start(|app| app).await;
    let (user, token) = test.callers.user();
    let tenant = user.tenant.unwrap();
    test.serve(async |address| {
        let mut client = Client::connect(address, &token).await;
        let position = client.subscribe("run:1").await;
        let epoch = &position["epoch"];
        drop(client);
        test.publish(tenant, "run:1", 1..=301).await;
        for (offset, epoch, expected) in [
            (301, epoch, Some(vec![])),
            (298, epoch, Some(vec![299, 300, 301])),
            (1, epoch, Some((2..=301).collect::<Vec<_>>())),
            (0, epoch, None),
            (298, &json!("another"), None),
        ] {
            let mut client = Client::connect(address, &token).await;
            let command = json!({ "subscribe": {
                "channel": "run:1", "recover": true, "offset": offset, "epoch": epoch,
            } });
            let reply = client.call(command).await["subscribe"].clone();
            assert_eq!(reply["was_recovering"], true, "{reply}");
            assert_eq!(
                reply["recovered"].as_bool().unwrap_or_default(),
                expected.is_some(),
                "{offset} {epoch}: {reply}"
            );
            assert_eq!(numbers(&reply["publications"]), expected.unwrap_or_default());
            let refused = json!({ "subscribe": {
                "channel": "run:1", "recover": true, "offset": 298, "epoch": "another", "flag": 2,
            } });
            client.call(json!({ "unsubscribe": { "channel": "run:1" } })).await;
            assert_eq!(client.call(refused).await["error"]["code"], 112);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_a_latest_value_channel_begins_with_the_newest_message() {
    let test = RealtimeApp::start(|app| app).await;
    let (user, token) = test.callers.user();
    test.publish(user.tenant.unwrap(), "job:1", 1..=3).await;
    test.serve(async |address| {
        let mut client = Client::connect(address, &token).await;
        let subscribed = client.subscribe("job:1").await;
        let first = match numbers(&subscribed["publications"]).as_slice() {
            [] => client.number().await,
            [newest] => *newest,
            more => panic!("{more:?}"),
        };
        assert_eq!(first, 3);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn presence_counts_users_and_tells_the_first_and_the_last_connection() {
    let test = RealtimeApp::start(|app| app).await;
    let (alice, alices) = test.callers.user();
    let (bob, bobs) = test.callers.user_of(alice.tenant.unwrap());
    test.serve(async |address| {
        let mut watcher = Client::connect(address, &alices).await;
        watcher.subscribe("room:1").await;
        let mut tabs = Vec::new();
        for _ in 0..2 {
            let mut tab = Client::connect(address, &bobs).await;
            tab.subscribe("room:1").await;
            tabs.push(tab);
        }
        let stats = watcher.call(json!({ "presence_stats": { "channel": "room:1" } })).await;
        assert_eq!(stats["presence_stats"], json!({ "num_clients": 3, "num_users": 2 }));
        let presence = watcher.call(json!({ "presence": { "channel": "room:1" } })).await;
        assert_eq!(presence["presence"]["presence"].as_object().map(|clients| clients.len()), Some(3), "{presence}");
        drop(tabs);
        let mut seen = Vec::new();
        while seen.last() != Some(&("leave", bob.user.to_string())) {
            let push = watcher.push().await;
            for kind in ["join", "leave"] {
                if let Some(user) = push[kind]["info"]["user"].as_str() {
                    seen.push((kind, user.to_owned()));
                }
            }
        }
        seen.retain(|(_, user)| *user == bob.user.to_string());
        assert_eq!(seen.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), ["join", "leave"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_is_closed_and_the_others_are_not() {
    let test = RealtimeApp::start(|app| app.set("REALTIME_QUEUE", "256KiB")).await;
    let (user, token) = test.callers.user();
    let tenant = user.tenant.unwrap();
    test.serve(async |address| {
        let mut slow = Client::connect(address, &token).await;
        let mut fast = Client::connect(address, &token).await;
        slow.subscribe("stream:1").await;
        fast.subscribe("stream:1").await;
        let (publisher, padding) = (test.publisher(), "x".repeat(60_000));
        // More than the buffers of the operating system take.
        for number in 0..150_u64 {
            let channel = RealtimeChannel::of_tenant(tenant, "stream:1").unwrap();
            publisher.publish(channel, &json!({ "number": number, "padding": padding })).await.unwrap();
            assert_eq!(fast.number().await, number);
        }
        assert_eq!(slow.closed().await, 3008);
        let reply = fast.call(json!({ "publish": { "channel": "room:1", "data": 1 } })).await;
        assert!(reply["publish"].is_object(), "{reply}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_clients_of_a_channel_get_all_messages_in_order_also_one_that_pauses() {
    let test = RealtimeApp::start(|app| app.set("REALTIME_QUEUE", "32MiB")).await;
    let (user, token) = test.callers.user();
    let tenant = user.tenant.unwrap();
    test.serve(async |address| {
        let mut clients = Vec::new();
        for _ in 0..20 {
            let mut client = Client::connect(address, &token).await;
            client.subscribe("stream:1").await;
            clients.push(client);
        }
        test.publish(tenant, "stream:1", 0..100).await;
        for client in &mut clients {
            for number in 0..100 {
                assert_eq!(client.number().await, number);
            }
        }
        // More than the buffers of the operating system take.
        clients.truncate(3);
        let mut paused = clients.pop().unwrap();
        let channel = || RealtimeChannel::of_tenant(tenant, "stream:1").unwrap();
        let (publisher, padding) = (test.publisher(), "x".repeat(60_000));
        for number in 100..250_u64 {
            publisher.publish(channel(), &json!({ "number": number, "padding": padding })).await.unwrap();
            for client in &mut clients {
                assert_eq!(client.number().await, number);
            }
        }
        for number in 100..250 {
            assert_eq!(paused.number().await, number);
        }
        let reply = paused.call(json!({ "publish": { "channel": "room:1", "data": 1 } })).await;
        assert!(reply["publish"].is_object(), "{reply}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_paths_of_runs_and_dashboards_subscribe_by_themselves() {
    let test = RealtimeApp::start(|app| app).await;
    let (user, token) = test.callers.user();
    let (stranger, _) = test.callers.user();
    let authorization = format!("Bearer {token}");
    let header = [("authorization", authorization.as_str())];
    test.serve(async |address| {
        for prefix in ["/ws", SOCKET] {
            let dashboard = (format!("/dashboard/{}", user.user), format!("user:{}", user.user));
            for (path, channel) in [("/run/7".to_owned(), "run:7".to_owned()), dashboard] {
                let mut client = Client::open(address, &format!("{prefix}{path}"), &header).await.unwrap();
                let reply = client.call(json!({ "connect": {} })).await;
                assert!(reply["connect"]["subs"][&channel].is_object(), "{prefix}{path}: {reply}");
            }
            let path = format!("{prefix}/dashboard/{}", stranger.user);
            let mut client = Client::open(address, &path, &header).await.unwrap();
            let reply = client.call(json!({ "connect": {} })).await;
            assert_eq!(reply["error"]["code"], 103, "{reply}");
            assert_eq!(client.closed().await, 3507);
        }
        let mut client = Client::open(address, "/ws/run/7", &header).await.unwrap();
        client.call(json!({ "connect": {} })).await;
        test.publish(user.tenant.unwrap(), "run:7", [1]).await;
        assert_eq!(client.number().await, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cookie_signs_in_from_the_apps_own_pages_only() {
    let test = RealtimeApp::start(|app| app.set("PUBLIC_URL", "https://app.example.com")).await;
    let (_, token) = test.callers.user();
    let cookie = format!("session={token}");
    test.serve(async |address| {
        let own = [("cookie", cookie.as_str()), ("origin", "https://app.example.com")];
        let mut client = Client::open(address, SOCKET, &own).await.unwrap();
        let reply = client.call(json!({ "connect": {} })).await;
        assert!(reply["connect"].is_object(), "{reply}");
        for origin in ["https://evil.example", "null", "https://app.example.com.evil.example"] {
            let foreign = [("cookie", cookie.as_str()), ("origin", origin)];
            assert_eq!(Client::open(address, SOCKET, &foreign).await.unwrap_err(), StatusCode::FORBIDDEN, "{origin}");
        }
        let wrong = [("authorization", "Bearer wrong")];
        assert_eq!(Client::open(address, SOCKET, &wrong).await.unwrap_err(), StatusCode::UNAUTHORIZED);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_rights_reaches_open_connections() {
    let test = RealtimeApp::start(|app| app).await;
    let (user, token) = test.callers.user();
    let changes: PubSub = test.app.app().context().get().unwrap();
    let scope = IdentityScope::User(user.user);
    test.serve(async |address| {
        let mut client = Client::connect(address, &token).await;
        client.subscribe("secret:1").await;
        client.subscribe("room:1").await;
        test.callers.set(&token, &user.clone().with_permissions(Permissions::none()));
        changes.publish(IDENTITY_CHANGES_TOPIC, scope.to_string()).await;
        let ended = loop {
            let push = client.push().await;
            if push["unsubscribe"].is_object() {
                break push;
            }
        };
        assert_eq!((&ended["channel"], &ended["unsubscribe"]["code"]), (&json!("secret:1"), &json!(2000)));
        test.callers.revoke(&token);
        changes.publish(IDENTITY_CHANGES_TOPIC, scope.to_string()).await;
        assert_eq!(client.closed().await, 3500);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_rights_on_another_replica_reaches_open_connections() {
    let redis = TestRedis::start().await;
    let (serves, revokes) = (RealtimeApp::replica(&redis).await, RealtimeApp::replica(&redis).await);
    let (user, token) = serves.callers.user();
    let changes: PubSub = revokes.app.app().context().get().unwrap();
    let scope = IdentityScope::User(user.user);
    serves
        .serve(async |address| {
            let mut client = Client::connect(address, &token).await;
            serves.callers.revoke(&token);
            // Nothing signals that the replica follows the changes of others.
            let code = loop {
                changes.publish(IDENTITY_CHANGES_TOPIC, scope.to_string()).await;
                if let Ok(code) = timeout(Duration::from_secs(1), client.closed()).await {
                    break code;
                }
            };
            assert_eq!(code, 3500);
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_told_of_the_shutdown_and_the_server_waits_for_them() {
    let test = RealtimeApp::start(|app| app.set("REALTIME_DRAIN", "0s")).await;
    let (_, token) = test.callers.user();
    test.serve_until(async |address, shutdown| {
        let mut clients = Vec::new();
        for _ in 0..20 {
            clients.push(Client::connect(address, &token).await);
        }
        shutdown.cancel();
        for mut client in clients {
            assert_eq!(client.closed().await, 3001);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_client_and_an_expired_token_end_the_connection() {
    let test = RealtimeApp::start(|app| app).await;
    let (user, token) = test.callers.user();
    let clock = test.app.clock();
    let expiring = test.callers.token_until(&user, clock.clock().now() + Duration::from_secs(60));
    test.serve(async |address| {
        let mut silent = Client::connect(address, &token).await;
        clock.advance(Duration::from_secs(26));
        // The client reads the ping and does not answer.
        while silent.raw().await != Message::text("{}") {}
        clock.advance(Duration::from_secs(11));
        assert_eq!(silent.closed().await, 3012);

        let mut client = Client::open(address, SOCKET, &[]).await.unwrap();
        let reply = client.call(json!({ "connect": { "token": expiring } })).await;
        assert_eq!((&reply["connect"]["expires"], &reply["connect"]["ttl"]), (&json!(true), &json!(23)), "{reply}");
        let later = test.callers.token_until(&user, clock.clock().now() + Duration::from_secs(600));
        let reply = client.call(json!({ "refresh": { "token": later } })).await;
        assert_eq!(reply["refresh"]["ttl"], 600, "{reply}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_cuts_idle_connections_finds_none() {
    /// Time after which proxies commonly cut a connection without traffic.
    const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
    let test = RealtimeApp::start(|app| app).await;
    let (_, token) = test.callers.user();
    let clock = test.app.clock();
    test.serve(async |address| {
        let mut client = Client::connect(address, &token).await;
        let mut last_traffic = clock.clock().now();
        for _ in 0..10 {
            // The client only answers pings.
            clock.advance(Duration::from_secs(26));
            while client.raw().await != Message::text("{}") {}
            client.send("{}").await;
            client.is_read().await;
            let now = clock.clock().now();
            assert!(now.duration_since(last_traffic) < IDLE_TIMEOUT);
            last_traffic = now;
        }
        client.subscribe("room:1").await;
    })
    .await;
}
