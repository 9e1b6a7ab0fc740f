//! Tests of the response headers that OWASP recommends.

use axum::{response::Html, routing::get};
use omnistack_core::{
    http::{Method, StatusCode},
    module::{Api, Mount},
};
use omnistack_testkit::TestApp;

use super::support::{routes, start};

async fn panics() {
    panic!("oh no");
}

const EVERYWHERE: [(&str, &str); 5] = [
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ("cache-control", "no-store"),
    ("cross-origin-resource-policy", "same-origin"),
];

const ON_PAGES: [(&str, &str); 3] = [
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
];

async fn app(environment: &str) -> TestApp {
    let api = Api::new()
        .hidden("/plain", get(|| async { "hello" }))
        .hidden("/page", get(|| async { Html("<!doctype html>") }))
        .hidden("/panic", get(panics))
        .hidden("/known", get(|| async { (StatusCode::NOT_MODIFIED, [("etag", "\"v1\"")]) }))
        .hidden(
            "/own",
            get(|| async { ([("cache-control", "public, max-age=60"), ("x-frame-options", "SAMEORIGIN")], "hello") }),
        );
    start(|app| app.with(routes(Mount::public(""), api)).set("APP_ENV", environment)).await
}

#[tokio::test]
async fn they_are_on_every_answer() {
    let client = app("test").await.anonymous();
    for (method, path, status, page) in [
        (Method::GET, "/api/v1/public/plain", 200, false),
        (Method::HEAD, "/api/v1/public/plain", 200, false),
        (Method::GET, "/api/v1/public/page", 200, true),
        (Method::DELETE, "/api/v1/public/plain", 405, false),
        (Method::GET, "/api/v1/public/panic", 500, false),
        (Method::GET, "/nowhere", 404, false),
        (Method::GET, "/health", 200, false),
    ] {
        let answer = client.request(method, path).await.expect(status);
        for (name, value) in EVERYWHERE {
            assert_eq!(answer.header(name), Some(value), "{path}: {name}");
        }
        for (name, value) in ON_PAGES {
            assert_eq!(answer.header(name), page.then_some(value), "{path}: {name}");
        }
    }
}

#[tokio::test]
async fn a_handlers_own_are_kept() {
    let client = app("test").await.anonymous();
    let answer = client.get("/api/v1/public/own").await.expect(200);
    for (name, value) in [
        ("cache-control", "public, max-age=60"),
        ("x-frame-options", "SAMEORIGIN"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(answer.headers.get_all(name).iter().collect::<Vec<_>>(), [value]);
    }
}

/// A cache would replace the headers of its stored response by these (RFC 9111, section 3.2).
#[tokio::test]
async fn an_answer_the_client_has_gets_none() {
    let client = app("production").await.anonymous();
    let answer = client.get("/api/v1/public/known").await.expect(304);
    for (name, _) in EVERYWHERE.iter().chain(&ON_PAGES).chain(&[("strict-transport-security", "")]) {
        assert_eq!(answer.header(name), None, "{name}");
    }
    assert_eq!(answer.header("etag"), Some("\"v1\""));
}

#[tokio::test]
async fn https_is_demanded_in_production_only() {
    for (environment, expected) in
        [("development", None), ("test", None), ("production", Some("max-age=63072000; includeSubDomains"))]
    {
        let client = app(environment).await.anonymous();
        for path in ["/api/v1/public/plain", "/nowhere"] {
            assert_eq!(client.get(path).await.header("strict-transport-security"), expected, "{environment} {path}");
        }
    }
}
