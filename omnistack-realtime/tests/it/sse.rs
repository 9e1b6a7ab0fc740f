//! Tests of server-sent events with the POST back-channel.

#![cfg(test)]

use std::time::Duration;

use http::StatusCode;
use omnistack_testkit::TestRedis;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::{EventReader, RealtimeApp};

/// Returns the path that connects with a command, URL-encoded.
pub(crate) fn path(command: &Value) -> String {
    let encoded: String = command.to_string().bytes().fold(String::new(), |text, byte| text + &format!("%{byte:02x}"));
    format!("/api/v1/app/sse?cf_connect={encoded}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_connects_by_a_query_and_sends_commands_by_requests() {
    let test = RealtimeApp::start(|app| app).await;
    let (user, token) = test.callers.user();
    let (_, strangers) = test.callers.user();
    let connect = json!({ "id": 1, "connect": { "token": token } });
    let mut events = EventReader::open(&test, &path(&connect), &[("accept-encoding", "gzip")]).await.unwrap();
    for (name, expected) in [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-store, no-transform"),
        ("x-accel-buffering", "no"),
    ] {
        assert_eq!(events.headers[name], expected);
    }
    assert!(!events.headers.contains_key("content-encoding"));
    let connected = events.event().await.unwrap().data;
    let result = &connected["connect"];
    assert!(result["session"].is_string() && result["pong"] != true, "{connected}");
    let send = |token: Option<&str>, session: &Value, command: &Value| {
        let client = token.map_or(test.app.anonymous(), |token| test.app.client_with_token(token));
        let body = json!({ "session": session, "node": result["node"], "data": command.to_string() });
        client.post("/api/v1/app/emulation", body)
    };
    let subscribe = json!({ "id": 2, "subscribe": { "channel": "room:1" } });
    // The session is a secret, and stock clients send no other credential.
    send(None, &result["session"], &subscribe).await.expect(StatusCode::NO_CONTENT);
    let subscribed = events.event().await.unwrap().data;
    assert!(subscribed["id"] == 2 && subscribed["subscribe"].is_object(), "{subscribed}");
    let history = json!({ "id": 3, "history": { "channel": "room:1" } });
    send(Some(token.as_str()), &result["session"], &history).await.expect(StatusCode::NO_CONTENT);
    loop {
        let line = events.event().await.unwrap().data;
        if line["id"] == 3 {
            break;
        }
    }
    test.publish(user.tenant.unwrap(), "room:1", [7]).await;
    loop {
        let line = events.event().await.unwrap().data;
        if !line["push"]["pub"].is_null() {
            assert_eq!(line["push"]["pub"]["data"]["number"], 7, "{line}");
            break;
        }
    }
    send(Some(strangers.as_str()), &result["session"], &history).await.expect_error(404, "NOT_FOUND");
    send(None, &json!("wrong"), &history).await.expect_error(404, "NOT_FOUND");
    let ended = json!({ "session": result["session"], "node": "ended", "data": history.to_string() });
    test.app.anonymous().post("/api/v1/app/emulation", ended).await.expect_error(404, "NOT_FOUND");
    send(None, &result["session"], &json!("no command")).await.expect(StatusCode::NO_CONTENT);
    let last = events.event().await.unwrap().data;
    assert_eq!(last["push"]["disconnect"]["code"], 3501, "{last}");
    assert!(events.event().await.is_none());
    send(None, &result["session"], &history).await.expect_error(404, "NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_the_last_event() {
    let test = RealtimeApp::start(|app| app).await;
    let connect = json!({ "id": 1, "connect": { "token": "wrong" } });
    let mut events = EventReader::open(&test, &path(&connect), &[]).await.unwrap();
    let last = events.event().await.unwrap().data;
    assert_eq!(last["push"]["disconnect"]["code"], 3500, "{last}");
    assert!(events.event().await.is_none());
    let missing = EventReader::open(&test, "/api/v1/app/sse", &[]).await;
    assert_eq!(missing.unwrap_err(), StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_arrive_by_another_replica() {
    let redis = TestRedis::start().await;
    let (streams, forwards) = (RealtimeApp::replica(&redis).await, RealtimeApp::replica(&redis).await);
    let (_, token) = streams.callers.user();
    streams
        .serve(async |_| {
            let connect = json!({ "id": 1, "connect": { "token": token } });
            let mut events = EventReader::open(&streams, &path(&connect), &[]).await.unwrap();
            let connected = events.event().await.unwrap().data["connect"].clone();
            let subscribe = json!({ "id": 2, "subscribe": { "channel": "stream:1" } }).to_string();
            let body = json!({ "session": connected["session"], "node": connected["node"], "data": subscribe });
            let client = forwards.app.anonymous();
            // Nothing signals that the replica receives what others pass on.
            let forwarded = async {
                while client.post("/api/v1/app/emulation", body.clone()).await.status != StatusCode::NO_CONTENT {}
            };
            timeout(Duration::from_secs(20), forwarded).await.unwrap();
            let subscribed = events.event().await.unwrap().data;
            assert!(subscribed["id"] == 2 && subscribed["subscribe"].is_object(), "{subscribed}");
        })
        .await;
}
