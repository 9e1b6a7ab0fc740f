//! How often somebody may come.

use std::{net::IpAddr, time::Duration};

use axum::routing::get;
use omnistack_core::{
    app::{Api, Mount},
    http::Rate,
};
use omnistack_testkit::{Answer, TestApp};
use serde_json::json;

use super::support::{module, start};

fn hello() -> Api {
    Api::new().hidden("/hello", get(|| async { "hello" })).hidden("/other", get(|| async { "other" }))
}

async fn app(rate: &str) -> TestApp {
    let mounts = module("test", |registry| {
        registry.routes(Mount::public(""), hello(), |_| Ok(()));
        registry.routes(Mount::app("").rate_limit(Rate::per_minute(2)), hello(), |_| Ok(()));
        registry.routes(Mount::public("/strict").rate_limit(Rate::per_minute(1)), hello(), |_| Ok(()));
    });
    start(|app| app.with(mounts).set("HTTP_RATE_LIMIT", rate)).await
}

const NAMES: [&str; 6] =
    ["ratelimit-policy", "ratelimit", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "retry-after"];

fn limits(answer: &Answer) -> [Option<&str>; 6] {
    NAMES.map(|name| answer.header(name))
}

#[tokio::test]
async fn every_answer_says_where_one_stands() {
    let app = app("3/minute").await;
    let client = app.anonymous();
    let policy = Some("\"default\";q=3;w=60");
    for (path, status, expected) in [
        ("/api/v1/public/hello", 200, [policy, Some("\"default\";r=2;t=20"), Some("3"), Some("2"), Some("20"), None]),
        ("/nowhere", 404, [policy, Some("\"default\";r=1;t=40"), Some("3"), Some("1"), Some("40"), None]),
        ("/openapi.json", 200, [policy, Some("\"default\";r=0;t=60"), Some("3"), Some("0"), Some("60"), None]),
        (
            "/api/v1/public/hello",
            429,
            [policy, Some("\"default\";r=0;t=60"), Some("3"), Some("0"), Some("60"), Some("20")],
        ),
    ] {
        let answer = client.get(path).await.expect(status);
        assert_eq!(limits(&answer), expected, "{path}");
    }
    app.clock().advance(Duration::from_millis(500));
    let refused = client.get("/api/v1/public/hello").await.expect_error(429, "RATE_LIMIT_EXCEEDED");
    assert_eq!(refused.header("retry-after"), Some("20"), "19.5 s, rounded up");
    assert_eq!(refused.json()["error"]["details"], json!({"retry_after_seconds": 20}));
    assert_eq!(refused.header("x-api-version"), Some("v1"));
    // Who waits as long as told is let in.
    app.clock().advance(Duration::from_millis(19_500));
    client.get("/api/v1/public/hello").await.expect(200);
    client.get("/api/v1/public/hello").await.expect(429);
    app.clock().advance(Duration::from_mins(1));
    for _ in 0..3 {
        client.get("/api/v1/public/hello").await.expect(200);
    }
    client.get("/api/v1/public/hello").await.expect(429);
}

#[tokio::test]
async fn a_burst_is_what_may_come_at_once() {
    let app = app("60/minute burst 2").await;
    let client = app.anonymous();
    for status in [200, 200, 429] {
        client.get("/api/v1/public/hello").await.expect(status);
    }
    for _ in 0..5 {
        app.clock().advance(Duration::from_secs(1));
        client.get("/api/v1/public/hello").await.expect(200);
        let refused = client.get("/api/v1/public/hello").await.expect(429);
        assert_eq!(refused.header("retry-after"), Some("1"));
    }
}

#[tokio::test]
async fn addresses_are_counted_apart_and_networks_of_ipv6_together() {
    let app = app("1/minute").await;
    for (address, status) in [
        ("1.2.3.4", 200),
        ("1.2.3.4", 429),
        ("1.2.3.5", 200),
        ("::ffff:1.2.3.4", 429),
        ("2001:db8:0:1::1", 200),
        ("2001:db8:0:1:ffff::2", 429),
        ("2001:db8:0:2::1", 200),
    ] {
        let request = app.anonymous().get("/api/v1/public/hello").peer(address.parse::<IpAddr>().unwrap());
        assert_eq!(request.await.status, status, "{address}");
    }
}

#[tokio::test]
async fn callers_of_a_mount_are_counted_by_identity_over_all_its_routes() {
    let app = app("off").await;
    let (alice, bob) = (app.user(), app.user());
    for (client, path, status) in [
        (&alice, "hello", 200),
        (&alice, "other", 200),
        (&alice, "hello", 429),
        (&alice, "other", 429),
        (&bob, "hello", 200),
    ] {
        let answer = client.get(format!("/api/v1/app/{path}")).await.expect(status);
        assert_eq!(answer.header("ratelimit-policy"), Some("\"default\";q=2;w=60"));
    }
    // Nobody's guesses use up somebody's quota.
    app.anonymous().get("/api/v1/app/hello").await.expect(401);
    bob.get("/api/v1/app/hello").await.expect(200);
    // Another mount has a count of its own, and one without a limit none.
    app.anonymous().get("/api/v1/public/strict/hello").await.expect(200);
    app.anonymous().get("/api/v1/public/strict/other").await.expect(429);
    assert_eq!(limits(&app.anonymous().get("/api/v1/public/hello").await.expect(200)), [None; 6]);
}

#[tokio::test]
async fn the_inner_limit_is_the_one_that_shows() {
    let app = app("100/minute").await;
    for status in [200, 429] {
        let answer = app.anonymous().get("/api/v1/public/strict/hello").await.expect(status);
        for name in &NAMES[..5] {
            assert_eq!(answer.headers.get_all(*name).iter().count(), 1, "{name}");
        }
        assert_eq!(answer.header("x-ratelimit-limit"), Some("1"));
    }
}
