//! Tests of tickets.

#![cfg(test)]

use std::time::Duration;

use http::StatusCode;
use serde_json::json;

use crate::support::{Client, RealtimeApp, SOCKET};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_opens_one_connection_within_its_time() {
    let test = RealtimeApp::start(|app| app).await;
    let (user, token) = test.callers.user();
    let caller = test.app.client_with_token(token.as_str());
    let ticket = async || {
        let answer = caller.post("/api/v1/app/ws/ticket", json!({})).await.expect(StatusCode::OK).json();
        format!("{SOCKET}?ticket={}", answer["ticket"].as_str().unwrap())
    };
    test.app.anonymous().post("/api/v1/app/ws/ticket", json!({})).await.expect(StatusCode::UNAUTHORIZED);
    test.serve(async |address| {
        let path = ticket().await;
        let mut client = Client::open(address, &path, &[]).await.unwrap();
        let reply = client.call(json!({ "connect": {} })).await;
        assert!(reply["connect"].is_object(), "{reply}");
        client.subscribe(&format!("user:{}", user.user)).await;
        let refused = |opened: Result<Client, StatusCode>| opened.unwrap_err();
        assert_eq!(refused(Client::open(address, &path, &[]).await), StatusCode::UNAUTHORIZED, "used twice");

        let late = ticket().await;
        test.app.clock().advance(Duration::from_secs(31));
        assert_eq!(refused(Client::open(address, &late, &[]).await), StatusCode::UNAUTHORIZED, "expired");
        let wrong = format!("{SOCKET}?ticket=omni_ticket_wrong");
        assert_eq!(refused(Client::open(address, &wrong, &[]).await), StatusCode::UNAUTHORIZED, "invented");

        // The sign-in behind a ticket is checked again.
        let revoked = ticket().await;
        test.callers.revoke(&token);
        assert_eq!(refused(Client::open(address, &revoked, &[]).await), StatusCode::UNAUTHORIZED, "revoked");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_many_requests_with_a_ticket_opens_a_connection() {
    let test = RealtimeApp::start(|app| app).await;
    let (_, token) = test.callers.user();
    let answer = test.app.client_with_token(token).post("/api/v1/app/ws/ticket", json!({})).await.expect_ok().json();
    let path = format!("{SOCKET}?ticket={}", answer["ticket"].as_str().unwrap());
    test.serve(async |address| {
        let mut attempts = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let path = path.clone();
            attempts.spawn(async move { Client::open(address, &path, &[]).await.map(drop) });
        }
        let opened = attempts.join_all().await.into_iter().flatten().count();
        assert_eq!(opened, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_in_the_query_needs_the_setting() {
    for (setting, expected) in [("false", Some(StatusCode::BAD_REQUEST)), ("true", None)] {
        let test = RealtimeApp::start(|app| app.set("REALTIME_TOKEN_IN_QUERY", setting)).await;
        let (_, token) = test.callers.user();
        test.serve(async |address| {
            let opened = Client::open(address, &format!("{SOCKET}?token={token}"), &[]).await;
            assert_eq!(opened.err(), expected, "{setting}");
        })
        .await;
    }
}
