//! Tests of responses sent before the request body is read.

use std::net::SocketAddr;

use axum::routing::post;
use omnistack_core::{
    http::{Error, Json},
    identity::AccessLevel,
    module::{Api, Mount},
};
use omnistack_testkit::TestApp;

use super::{PATIENT, Text, peer::RawClient};
use crate::http::support::{module, start};

async fn app(rate: &str) -> TestApp {
    let open = Api::new()
        .hidden("/forbidden", post(|| async { Error::forbidden("not you") }))
        .hidden("/json", post(|Json(Text(text)): Json<Text>| async { text }))
        .hidden("/unread", post(|| async { "not read" }));
    let guarded = Api::new().hidden("/guarded", post(|| async { "hello" }));
    let routes = module("test", move |registry| {
        registry.routes(Mount::root("", AccessLevel::Public), open.clone(), |_| Ok(()));
        registry.routes(Mount::app(""), guarded.clone(), |_| Ok(()));
    });
    start(|app| app.with(routes).set("HTTP_BODY_LIMIT", "100KB").set("HTTP_RATE_LIMIT", rate)).await
}

/// The path, the headers, and the status of the response sent before the body is read.
const EARLY: [(&str, &str, u16); 8] = [
    ("/api/v1/app/guarded", "", 401),
    ("/forbidden", "", 403),
    ("/nowhere", "", 404),
    ("/health", "", 405),
    ("/json", "content-type: text/plain\r\n", 415),
    ("/json", "content-type: application/json\r\ncontent-encoding: gzip\r\n", 415),
    ("/forbidden", "host: other\r\n", 400),
    ("/unread", "", 200),
];

fn head(path: &str, headers: &str, framing: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: test\r\n{headers}{framing}\r\n\r\n")
}

/// Sends head and body in separate segments, and returns whether the connection is kept open afterwards.
async fn is_kept(address: SocketAddr, head: &str, body: &[u8], status: u16) -> bool {
    let mut peer = RawClient::connect(address).await;
    peer.send(head).await;
    tokio::task::yield_now().await;
    peer.try_send(body).await;
    let reply = peer.reply().await;
    assert_eq!(reply.status, status, "{head} {reply:?}");
    if reply.header("connection") == Some("close") {
        assert!(peer.rest().await.is_empty(), "{head}: closed, as it said");
        return false;
    }
    for _ in 0..2 {
        assert_eq!(peer.get("/health").await.status, 200, "{head}: kept, as it did not say otherwise");
    }
    true
}

#[tokio::test]
async fn the_next_request_is_answered_after_a_body_nobody_read() {
    let app = app("off").await;
    let listening = app.listen(PATIENT).await;
    let body = vec![b'x'; 60_000];
    for (path, headers, status) in EARLY {
        let known = head(path, headers, "content-length: 60000");
        assert!(is_kept(listening.address, &known, &body, status).await, "{path} {status}");
        let chunked = head(path, headers, "transfer-encoding: chunked");
        let chunks = [b"ea60\r\n", &body[..], b"\r\n0\r\n\r\n"].concat();
        assert!(is_kept(listening.address, &chunked, &chunks, status).await, "{path} {status} in chunks");
    }
    // The body is read up to the limit.
    let chunked = head("/json", "content-type: application/json\r\n", "transfer-encoding: chunked");
    let chunks = [b"1adb0\r\n", &vec![b'x'; 110_000][..], b"\r\n0\r\n\r\n"].concat();
    is_kept(listening.address, &chunked, &chunks, 413).await;
}

#[tokio::test]
async fn too_many_requests_leave_the_connection_as_they_found_it() {
    let app = app("1/hour").await;
    let listening = app.listen(PATIENT).await;
    let request = head("/unread", "", "content-length: 3");
    assert!(is_kept(listening.address, &request, b"abc", 200).await);
    assert!(is_kept(listening.address, &request, b"abc", 429).await);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let app = app("off").await;
    let listening = app.listen(PATIENT).await;
    for (path, headers, status) in EARLY {
        for framing in [
            // The body is too long to be read and discarded.
            "content-length: 65537",
            // The client could send the body but does not.
            "content-length: 3",
            "transfer-encoding: chunked",
            // The client sends the body only after `100 Continue`.
            "content-length: 3\r\nexpect: 100-continue",
        ] {
            let mut peer = RawClient::connect(listening.address).await;
            peer.send(head(path, headers, framing)).await;
            let reply = peer.reply().await;
            assert_eq!((reply.status, reply.header("connection")), (status, Some("close")), "{path} {framing}");
            assert!(peer.rest().await.is_empty(), "{path} {framing}");
        }
    }
    let mut peer = RawClient::connect(listening.address).await;
    peer.send(head("/json", "content-type: application/json\r\n", "content-length: 100001")).await;
    let reply = peer.reply().await;
    assert_eq!((reply.status, reply.header("connection")), (413, Some("close")));
}

#[tokio::test]
async fn a_body_that_is_read_changes_nothing() {
    let app = app("off").await;
    let listening = app.listen(PATIENT).await;
    let json = "content-type: application/json\r\n";
    for (framing, body, status) in [
        ("content-length: 4", "\"ab\"", 200),
        ("content-length: 4\r\nexpect: nothing", "\"ab\"", 200),
        ("transfer-encoding: chunked", "4\r\n\"ab\"\r\n0\r\n\r\n", 200),
        ("content-length: 4", "nope", 400),
    ] {
        let request = head("/json", json, framing);
        assert!(is_kept(listening.address, &request, body.as_bytes(), status).await, "{framing}");
    }
}
