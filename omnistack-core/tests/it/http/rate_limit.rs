//! Tests of rate limits.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use axum::{
    body::Body,
    extract::{ConnectInfo, State},
    routing::get,
};
use http::request::Parts;
use omnistack_core::{
    app::{App, OwnRoutes},
    http::{Error, Rate, Request, Response},
    id::Id,
    identity::Identity,
    module::{Api, Context, Mount, MountRateLimit},
    rate_limit::RateLimitKey,
};
use omnistack_testkit::{TestApp, TestDatabase, TestResponse};
use serde_json::json;
use tower::ServiceExt as _;
use uuid::Uuid;

use super::support::{module, routes, start};

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

const NAMES: [&str; 3] = ["ratelimit-policy", "ratelimit", "retry-after"];
const LEGACY: [&str; 3] = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];

fn limits(answer: &TestResponse) -> [Option<&str>; 3] {
    NAMES.map(|name| answer.header(name))
}

#[tokio::test]
async fn every_answer_says_where_one_stands() {
    let app = app("3/minute").await;
    let client = app.anonymous();
    let policy = Some("\"default\";q=3;w=60");
    for (path, status, expected) in [
        ("/api/v1/public/hello", 200, [policy, Some("\"default\";r=2;t=20"), None]),
        ("/nowhere", 404, [policy, Some("\"default\";r=1;t=40"), None]),
        ("/openapi.json", 200, [policy, Some("\"default\";r=0;t=60"), None]),
        ("/api/v1/public/hello", 429, [policy, Some("\"default\";r=0;t=60"), Some("20")]),
    ] {
        let answer = client.get(path).await.expect(status);
        assert_eq!(limits(&answer), expected, "{path}");
        assert_eq!(LEGACY.map(|name| answer.header(name)), [None; 3], "{path}");
    }
    app.clock().advance(Duration::from_millis(500));
    let refused = client.get("/api/v1/public/hello").await.expect_error(429, "RATE_LIMIT_EXCEEDED");
    assert_eq!(refused.header("retry-after"), Some("20"), "19.5 s, rounded up");
    assert_eq!(refused.json()["error"]["details"], json!({"retry_after_seconds": 20}));
    assert_eq!(refused.header("x-api-version"), Some("v1"));
    // A client that waits for the time in `Retry-After` is admitted.
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
async fn who_only_knows_the_older_fields_gets_them_too() {
    let mount = module("test", |registry| {
        registry.routes(Mount::public("").rate_limit(Rate::per_minute(2)), hello(), |_| Ok(()));
    });
    let app =
        start(|app| app.with(mount).set("HTTP_RATE_LIMIT", "6000/minute").set("HTTP_RATE_LIMIT_LEGACY", "true")).await;
    for (path, expected) in [
        ("/api/v1/public/hello", ["2", "1", "30"]),
        ("/api/v1/public/hello", ["2", "0", "60"]),
        ("/api/v1/public/hello", ["2", "0", "60"]),
        ("/nowhere", ["6000", "5996", "1"]),
    ] {
        let answer = app.anonymous().get(path).await;
        assert_eq!(LEGACY.map(|name| answer.header(name).unwrap()), expected, "{path}");
        let standing = format!("\"default\";r={};t={}", expected[1], expected[2]);
        assert_eq!(answer.header("ratelimit"), Some(standing.as_str()));
    }
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
        let request = app.anonymous().get("/api/v1/public/hello").client_ip(address.parse::<IpAddr>().unwrap());
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
    // Unauthenticated requests don't use up a user's limit.
    app.anonymous().get("/api/v1/app/hello").await.expect(401);
    bob.get("/api/v1/app/hello").await.expect(200);
    // Each mount has its own count, and a mount without a limit has none.
    app.anonymous().get("/api/v1/public/strict/hello").await.expect(200);
    app.anonymous().get("/api/v1/public/strict/other").await.expect(429);
    assert_eq!(limits(&app.anonymous().get("/api/v1/public/hello").await.expect(200)), [None; 3]);
}

#[tokio::test]
async fn the_inner_limit_is_the_one_that_shows() {
    let app = app("100/minute").await;
    for status in [200, 429] {
        let answer = app.anonymous().get("/api/v1/public/strict/hello").await.expect(status);
        for name in &NAMES[..2] {
            assert_eq!(answer.headers.get_all(*name).iter().count(), 1, "{name}");
        }
        assert_eq!(answer.header("ratelimit-policy"), Some("\"default\";q=1;w=60"));
    }
}

#[tokio::test]
async fn a_balancer_may_look_as_often_as_it_likes() {
    let app = app("1/minute").await;
    let client = app.anonymous();
    for _ in 0..5 {
        for path in ["/health", "/health/ready"] {
            assert_eq!(limits(&client.get(path).await.expect(200)), [None; 3], "{path}");
        }
    }
    client.get("/health/").await.expect(404);
    client.get("/api/v1/public/health").await.expect(429);
    client.get("/health").await.expect(200);
}

#[tokio::test]
async fn a_mount_can_be_exempt_from_the_limit_of_addresses() {
    let event = || Api::new().hidden("/{source}", get(|| async { "event" }));
    let mounts = module("test", move |registry| {
        registry.routes(Mount::public(""), hello(), |_| Ok(()));
        registry.routes(Mount::public("/events").without_rate_limit(), event(), |_| Ok(()));
        // The exemption is that of the mount, not of its paths.
        registry.routes(Mount::public("/events"), hello(), |_| Ok(()));
        let strict = Mount::public("/strict").rate_limit(Rate::per_minute(2)).without_rate_limit();
        registry.routes(strict, event(), |_| Ok(()));
    });
    let app = start(|app| app.with(mounts).set("HTTP_RATE_LIMIT", "3/minute")).await;
    let client = app.anonymous();
    for _ in 0..5 {
        let answer = client.get("/api/v1/public/events/stripe").await.expect(200);
        assert_eq!(limits(&answer), [None; 3]);
    }
    for status in [200, 200, 429] {
        client.get("/api/v1/public/strict/stripe").await.expect(status);
    }
    for (path, status) in [("hello", 200), ("events/hello", 200), ("strict/x/y", 404), ("hello", 429)] {
        client.get(format!("/api/v1/public/{path}")).await.expect(status);
    }
    client.get("/api/v1/public/events/hello").await.expect(429);
    client.get("/api/v1/public/events/stripe").await.expect(200);
}

#[tokio::test]
async fn a_sliding_window_may_be_set() {
    let app = app("4/minute sliding").await;
    let client = app.anonymous();
    // The clock starts at the beginning of a minute.
    for (second, status, expected) in [
        (0, 200, ("\"default\";r=3;t=120", None)),
        (0, 200, ("\"default\";r=2;t=120", None)),
        (0, 200, ("\"default\";r=1;t=120", None)),
        (0, 200, ("\"default\";r=0;t=120", None)),
        (0, 429, ("\"default\";r=0;t=120", Some("75"))),
        (60, 429, ("\"default\";r=0;t=60", Some("15"))),
        (75, 200, ("\"default\";r=0;t=105", None)),
        (75, 429, ("\"default\";r=0;t=105", Some("15"))),
    ] {
        app.clock().set("2030-01-01T00:00:00Z".parse().unwrap());
        app.clock().advance(Duration::from_secs(second));
        let answer = client.get("/api/v1/public/hello").await.expect(status);
        assert_eq!((answer.header("ratelimit").unwrap(), answer.header("retry-after")), expected, "at {second}");
        assert_eq!(answer.header("ratelimit-policy"), Some("\"default\";q=4;w=60"));
    }
}

#[tokio::test]
async fn a_mount_says_whose_requests_count_together_and_what_they_cost() {
    let limit = |by| MountRateLimit::new(Rate::per_minute(4)).by(by);
    let app = start(|app| {
        app.with(module("test", move |registry| {
            for (path, limit) in [
                ("/identity", limit(RateLimitKey::Identity)),
                ("/tenant", limit(RateLimitKey::Tenant)),
                ("/key", limit(RateLimitKey::ApiKey)),
                ("/everybody", limit(RateLimitKey::Global)),
                ("/each", limit(RateLimitKey::Identity).each_route()),
                ("/dear", limit(RateLimitKey::Identity).cost("/hello", 3)),
            ] {
                registry.routes(Mount::app(path).rate_limit(limit), hello(), |_| Ok(()));
            }
        }))
    })
    .await;
    let user = || Identity::user(Id::from_uuid(Uuid::new_v4()));
    let (tenant, key, one) = (Id::from_uuid(Uuid::new_v4()), Id::from_uuid(Uuid::new_v4()), user());
    let mine = app.client_as(one.clone().for_tenant(tenant).with_api_key(key));
    let same_user = app.client_as(one);
    let same_tenant = app.client_as(user().for_tenant(tenant));
    let same_key = app.client_as(user().with_api_key(key));
    let stranger = app.client_as(user());
    // Four requests of one client for `hello`, of which some are admitted; then one request of each other client, and
    // one more of the first client for `other`.
    for (path, let_in, expected) in [
        ("identity", 4, [429, 200, 200, 200, 429]),
        ("tenant", 4, [200, 429, 200, 200, 429]),
        ("key", 4, [200, 200, 429, 200, 429]),
        ("everybody", 4, [429, 429, 429, 429, 429]),
        ("each", 4, [429, 200, 200, 200, 200]),
        ("dear", 1, [429, 200, 200, 200, 200]),
    ] {
        let mut allowed = 0;
        for _ in 0..4 {
            allowed += u32::from(mine.get(format!("/api/v1/app/{path}/hello")).await.status == 200);
        }
        assert_eq!(allowed, let_in, "{path}");
        for (who, (client, status)) in [&same_user, &same_tenant, &same_key, &stranger].iter().zip(expected).enumerate()
        {
            let answer = client.get(format!("/api/v1/app/{path}/hello")).await;
            assert_eq!(answer.status, status, "{path}, {who}");
        }
        assert_eq!(mine.get(format!("/api/v1/app/{path}/other")).await.status, expected[4], "{path}");
    }
}

#[tokio::test]
async fn costs_that_mean_nothing_are_problems() {
    let build = |limit: MountRateLimit| {
        let app = App::builder(TestDatabase::sqlite().config());
        let built = app.with(routes(Mount::public("/a").rate_limit(limit), hello())).build();
        built.map(drop).map_err(|problems| problems.to_string())
    };
    let limit = || MountRateLimit::new(Rate::per_minute(10).burst(5));
    for (limit, expected) in [
        (limit().cost("/hello", 5).cost("other", 1), None),
        (
            limit().cost("/hello", 6),
            Some("/api/v1/public/a/hello costs 6, which is more than the rate limit of 10/minute burst 5 ever allows"),
        ),
        (limit().cost("/helo", 1), Some("sets a rate limit cost for /api/v1/public/a/helo, but mounts no such route")),
    ] {
        match (build(limit), expected) {
            (Ok(()), None) => {}
            (Err(problems), Some(expected)) => assert!(problems.contains(expected), "{problems}"),
            (built, expected) => panic!("{built:?}, not {expected:?}"),
        }
    }
}

/// Calls a route of the app for the caller.
async fn relay(State(own): State<OwnRoutes>, parts: Parts) -> Result<Response, Error> {
    let request = http::Request::get("/api/v1/public/strict/hello").body(Body::empty()).map_err(Error::internal)?;
    own.call(&parts, request).await
}

#[tokio::test]
async fn calls_of_own_routes_are_counted_by_the_address_that_another_server_states() {
    let relays =
        module("relays", |registry| {
            registry
                .routes(Mount::public("/relay"), Api::<OwnRoutes>::new().hidden("/", get(relay)), Context::get)
                .routes(Mount::public("/strict").rate_limit(Rate::per_minute(1)), hello(), |_| Ok(()));
        });
    let app = start(|app| app.with(relays)).await;
    for (peer, status) in [("192.0.2.1:1", 200), ("192.0.2.1:2", 429), ("192.0.2.2:1", 200)] {
        let peer: SocketAddr = peer.parse().unwrap();
        let request: Request =
            http::Request::get("/api/v1/public/relay").extension(ConnectInfo(peer)).body(Body::empty()).unwrap();
        assert_eq!(app.app().service().oneshot(request).await.unwrap().status(), status, "{peer}");
    }
}
