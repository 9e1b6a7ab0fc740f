//! Layers on a plain axum router, without the builder.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{
    Extension, Router,
    body::Body,
    extract::ConnectInfo,
    response::IntoResponse as _,
    routing::{get, post},
};
use http::{HeaderName, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::{Layer as _, ServiceExt as _};

use super::*;
use crate::{
    clock::{Clock, MockClock, Timestamp},
    http::{ApiVersion, ErrorForm, Rate, Request, Response},
    identity::{Authenticator, GuardLayer, Identity},
    rate_limit::{RateLimitKey, RateLimitLayer},
};

async fn send(router: &Router, request: http::request::Builder, body: impl Into<Body>) -> Response {
    router.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap()
}

async fn fetch(router: &Router, path: &str) -> Response {
    send(router, http::Request::builder().uri(path), Body::empty()).await
}

async fn text(response: Response) -> String {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

fn hello() -> Router {
    Router::new().route("/", get(|| async { "hello" }))
}

#[tokio::test]
async fn errors_are_rendered_without_a_request_id() {
    let router = hello().layer(ErrorLayer::new(MockClock::at(Timestamp::default()).clock()));
    assert_eq!(text(fetch(&router, "/").await).await, "hello");
    let error: Value = serde_json::from_str(&text(fetch(&router, "/nowhere").await).await).unwrap();
    assert_eq!(error["error"]["code"], "NOT_FOUND");
    assert_eq!(error["error"]["timestamp"], "1970-01-01T00:00:00Z");
    assert_eq!(error["error"].get("request_id"), None);
}

#[tokio::test]
async fn errors_below_a_prefix_have_the_form_of_a_protocol() {
    let form = ErrorForm::new("Fault", |status, error| json!({ "fault": status.as_u16(), "code": error.code }));
    let inner = ErrorForm::new("Refusal", |status, _| json!({ "refused": status.as_u16() }));
    let forms = [("/v1/chat".to_owned(), form), ("/v1/chat/rooms".to_owned(), inner)];
    let forms = ErrorForms::new(forms);
    let router = hello().layer(ErrorLayer::new(MockClock::at(Timestamp::default()).clock()).forms(forms));
    for (path, is_fault) in [("/v1/chat", true), ("/v1/chat/completions", true), ("/v1/chats", false), ("/v1", false)] {
        let response = fetch(&router, path).await;
        assert_eq!(response.headers()["content-type"], "application/json");
        let error: Value = serde_json::from_str(&text(response).await).unwrap();
        let expected = json!({ "fault": 404, "code": "NOT_FOUND" });
        assert_eq!(error == expected, is_fault, "{path}: {error}");
    }
    let below: Value = serde_json::from_str(&text(fetch(&router, "/v1/chat/rooms/7").await).await).unwrap();
    assert_eq!(below, json!({ "refused": 404 }), "the longest prefix counts");
}

#[tokio::test]
async fn a_body_limit_counts_what_is_not_announced() {
    let read =
        |body: Result<axum::body::Bytes, _>| async move { body.map_or(StatusCode::IM_A_TEAPOT, |_| StatusCode::OK) };
    let router = Router::new().route("/", post(read)).layer(BodyLimitLayer::new(3));
    let announced = |length: &str| http::Request::post("/").header("content-length", length);
    assert_eq!(send(&router, announced("3"), "abc").await.status(), StatusCode::OK);
    assert_eq!(send(&router, announced("4"), "abcd").await.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let pieces = |all: &'static str| {
        Body::from_stream(futures_util::stream::iter(all.split_inclusive(' ').map(Ok::<_, std::io::Error>)))
    };
    assert_eq!(send(&router, http::Request::post("/"), pieces("a b")).await.status(), StatusCode::OK);
    let counted = send(&router, http::Request::post("/"), pieces("a b c")).await;
    assert_eq!(counted.status(), StatusCode::IM_A_TEAPOT, "the handler sees that its body was cut");
}

#[tokio::test]
async fn a_limit_lifts_axums_own() {
    let router = Router::new().route("/", post(|body: String| async move { body.len().to_string() }));
    let router = router.layer(BodyLimitLayer::new(8 << 20));
    assert_eq!(text(send(&router, http::Request::post("/"), "x".repeat(4 << 20)).await).await, (4 << 20).to_string());
}

#[tokio::test]
async fn axums_own_connect_info_names_the_client_as_well() {
    let address = |Extension(client): Extension<ClientAddr>| async move { client.0.to_string() };
    let router = Router::new().route("/", get(address)).layer(ClientAddrLayer::new(["10.0.0.0/8".parse().unwrap()]));
    let raw = |value: &[u8]| http::HeaderValue::from_bytes(value).unwrap();
    let from = |peer: &str| http::Request::get("/").extension(ConnectInfo(peer.parse::<SocketAddr>().unwrap()));
    for (request, expected) in [
        (from("9.9.9.9:1").header("x-forwarded-for", "1.2.3.4"), "9.9.9.9"),
        (from("10.0.0.1:1").header("x-forwarded-for", "1.2.3.4"), "1.2.3.4"),
        (from("10.0.0.1:1").header("x-forwarded-for", "6.6.6.6").header("x-forwarded-for", "1.2.3.4"), "1.2.3.4"),
        (from("10.0.0.1:1").header("x-forwarded-for", raw(b"K\xf6ln, 1.2.3.4, 10.0.0.2")), "1.2.3.4"),
        (from("10.0.0.1:1").header("x-forwarded-for", raw(b"1.2.3.4, K\xf6ln, 10.0.0.2")), "10.0.0.2"),
        (from("10.0.0.1:1").extension(PeerAddr("8.8.8.8:1".parse().unwrap())), "8.8.8.8"),
        (http::Request::get("/").header("x-forwarded-for", "1.2.3.4"), "0.0.0.0"),
    ] {
        assert_eq!(text(send(&router, request, Body::empty()).await).await, expected);
    }
}

#[tokio::test]
async fn the_route_is_known_outside_the_router() {
    let limits = RouteLimits { body: 3, timeout: None };
    let route = RouteLimitsLayer::new([("/things/{id}".to_owned(), limits)], limits).unwrap();
    let router = Router::new().route("/things/{id}", get(|| async {})).layer(route);
    let response = fetch(&router, "/things/7").await;
    assert_eq!(response.extensions().get::<MatchedRoute>().unwrap().as_str(), "/things/{id}");
    assert!(fetch(&router, "/nowhere").await.extensions().get::<MatchedRoute>().is_none());
    // A request that the layer rejects has matched its route as well.
    let announced = http::Request::get("/things/7").header("content-length", 4);
    let response = send(&router, announced, Body::from("four")).await;
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert!(response.extensions().get::<MatchedRoute>().is_some());
}

#[tokio::test]
async fn a_version_outside_api_is_nobodys_business() {
    let versions = ApiVersionLayer::new([ApiVersion(2), ApiVersion(10)], &[]);
    let router = Router::new()
        .route("/api/v2/a", get(|| async { "two" }))
        .fallback(|uri: http::Uri| async move { uri.to_string() });
    // Around the router, since the layer changes the path.
    let service = versions.layer(router);
    for (path, version, body) in [
        ("/api/a", Some("v2"), "two"),
        ("/api/v10/a", Some("v10"), "/api/v10/a"),
        ("/api/vendors", Some("v2"), "/api/v2/vendors"),
        ("/api/", Some("v2"), "/api/v2/"),
        ("/other?x", None, "/other?x"),
    ] {
        let request = http::Request::builder().uri(path).body(Body::empty()).unwrap();
        let response = service.clone().oneshot(request).await.unwrap();
        let said = response.headers().get("x-api-version").map(|version| version.to_str().unwrap().to_owned());
        assert_eq!(said.as_deref(), version, "{path}");
        let latest = response.headers().get("x-api-latest-version").is_some_and(|latest| latest == "v10");
        assert_eq!(latest, version.is_some(), "{path}: versions are numbers, not text");
        assert_eq!(text(response).await, body, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_timeout_wakes_a_handler_that_never_will() {
    let router =
        Router::new().route("/", get(std::future::pending::<()>)).layer(TimeoutLayer::new(Duration::from_secs(7)));
    let began = tokio::time::Instant::now();
    assert_eq!(fetch(&router, "/").await.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(began.elapsed().as_secs(), 7);
}

#[tokio::test]
async fn a_rate_may_be_counted_by_cost_and_by_tenant() {
    let clock = MockClock::at(Timestamp::default());
    let user = || crate::id::Id::from_uuid(uuid::Uuid::new_v4());
    let (tenant, other) =
        (crate::id::Id::from_uuid(uuid::Uuid::new_v4()), crate::id::Id::from_uuid(uuid::Uuid::new_v4()));
    let router = hello().layer(RateLimitLayer::new(Rate::per_minute(4), RateLimitKey::Tenant, clock.clock()).cost(2));
    for (identity, status) in [
        (Identity::user(user()).for_tenant(tenant), 200),
        (Identity::user(user()).for_tenant(tenant), 200),
        (Identity::user(user()).for_tenant(tenant), 429),
        (Identity::user(user()).for_tenant(other), 200),
    ] {
        let response = send(&router, http::Request::get("/").extension(identity), Body::empty()).await;
        assert_eq!(response.status(), status);
    }
    // Callers without a tenant are counted by their address.
    let nobody = |address: [u8; 4]| http::Request::get("/").extension(ClientAddr(IpAddr::from(address)));
    for (address, status) in [([1, 1, 1, 1], 200), ([1, 1, 1, 1], 200), ([1, 1, 1, 1], 429), ([2, 2, 2, 2], 200)] {
        assert_eq!(send(&router, nobody(address), Body::empty()).await.status(), status);
    }
}

#[tokio::test]
async fn without_another_layer_clients_are_counted_by_the_peer_of_their_connection() {
    let clock = MockClock::at(Timestamp::default());
    let router = hello().layer(RateLimitLayer::new(Rate::per_minute(1), RateLimitKey::Address, clock.clock()));
    let from = |peer: &str| peer.parse::<SocketAddr>().unwrap();
    let axum = |peer| http::Request::get("/").extension(ConnectInfo(from(peer)));
    let own = |peer| http::Request::get("/").extension(PeerAddr(from(peer)));
    for (request, status) in [
        (axum("127.0.0.1:1"), 200),
        (axum("127.0.0.1:2"), 429),
        (own("127.0.0.1:3"), 429),
        (axum("127.0.0.2:1"), 200),
        (own("127.0.0.3:1"), 200),
    ] {
        assert_eq!(send(&router, request, Body::empty()).await.status(), status);
    }
    // Without an address, clients would share one limit.
    let unknown = hello()
        .layer(RateLimitLayer::new(Rate::per_minute(1), RateLimitKey::Address, clock.clock()))
        .layer(ClientAddrLayer::default());
    for router in [&router, &unknown] {
        for _ in 0..3 {
            let response = fetch(router, "/").await;
            assert_eq!(response.status(), 200);
            assert!(!response.headers().contains_key("ratelimit"));
        }
    }
}

#[tokio::test]
async fn a_guard_passes_a_failure_to_tell_on() {
    struct Away;

    #[async_trait::async_trait]
    impl crate::identity::Authenticate for Away {
        async fn authenticate(&self, _: &http::request::Parts) -> Result<Option<Identity>, crate::http::Error> {
            Err(crate::http::Error::unavailable("ACCOUNTS_UNAVAILABLE", "try again"))
        }
    }

    let router = hello().layer(GuardLayer::new(crate::identity::AccessLevel::App, Authenticator::new(Away)));
    let response = fetch(&router, "/").await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["retry-after"], "1");
}

/// A hook that adds a header to every response.
#[derive(Clone)]
struct Mark(Arc<str>);

impl RequestHook for Mark {
    type After = Self;

    fn request(&self, request: &mut Request) -> Result<Self, Response> {
        if request.headers().contains_key("refuse") {
            return Err(StatusCode::IM_A_TEAPOT.into_response());
        }
        Ok(self.clone())
    }
}

impl ResponseHook for Mark {
    fn response(self, response: &mut Response) {
        response.headers_mut().insert(HeaderName::from_static("marked"), self.0.parse().unwrap());
    }
}

#[tokio::test]
async fn a_hook_is_a_layer() {
    let router = hello().layer(HookLayer(Mark("seen".into())));
    assert_eq!(fetch(&router, "/").await.headers()["marked"], "seen");
    let refused = send(&router, http::Request::get("/").header("refuse", "1"), Body::empty()).await;
    assert_eq!(refused.status(), StatusCode::IM_A_TEAPOT);
    assert!(!refused.headers().contains_key("marked"), "a rejected request skips the response part of the hook");
}

#[cfg(feature = "compression")]
#[tokio::test]
async fn the_whole_stack_stands_alone() {
    let clock = Clock::system();
    let panics = || async { panic!("oh no") as &'static str };
    let router = hello()
        .route("/panic", get(panics))
        .layer(CatchPanicLayer)
        .layer(ErrorLayer::new(clock.clone()))
        .layer(CompressionLayer)
        .layer(SecurityHeadersLayer::default().https(true))
        .layer(ObserveLayer::new(clock.clone()))
        .layer(RequestIdLayer::new(clock));
    for (path, status) in [("/", 200), ("/nowhere", 404), ("/panic", 500)] {
        let response = fetch(&router, path).await;
        assert_eq!(response.status(), status);
        assert!(
            response.headers().contains_key("x-request-id")
                && response.headers().contains_key("strict-transport-security")
        );
    }
}
