//! Tests that every error has the same format.

use std::future::Ready;

use axum::{
    extract::{Multipart as ForeignMultipart, Path as ForeignPath, Query as ForeignQuery},
    http::{Method, StatusCode},
    response::IntoResponse,
    routing::{any_service, get, post},
};
use omnistack_core::{
    http::{Error, Json},
    module::Api,
};
use omnistack_testkit::{TestApp, TestClient, TestRequest};
use serde_json::json;

use super::support::public;

const BASE: &str = "/api/v1/public";

fn at(path: &str) -> String {
    format!("{BASE}{path}")
}

async fn app() -> TestApp {
    let synchronous =
        tower::service_fn(|_| -> Ready<Result<axum::response::Response, _>> { panic!("not even a future") });
    let api = Api::new()
        .hidden("/things", post(|| async {}).put(|| async {}))
        .hidden("/foreign", post(|_: ForeignMultipart| async {}).get(|_: ForeignQuery<Needed>| async {}))
        .hidden("/foreign/text", post(|_: String| async {}))
        .hidden("/foreign/{id}", get(|ForeignPath(_): ForeignPath<u32>| async {}))
        .hidden(
            "/own",
            get(|| async { Error::conflict("NO_SEATS_LEFT", "every seat is taken").with_detail("seats", 0) }),
        )
        .hidden("/internal", get(|| async { Error::internal(std::io::Error::other("password is swordfish")) }))
        .hidden("/text/{status}", get(text))
        .hidden("/page", get(|| async { (StatusCode::BAD_REQUEST, axum::response::Html("<b>own</b>")) }))
        .hidden("/json", get(|| async { (StatusCode::BAD_REQUEST, Json(json!({"own": true}))) }))
        .hidden("/panic", get(panics))
        .hidden("/panic/later", get(panics_later))
        .hidden("/panic/any", get(panics_with_a_number))
        .hidden("/panic/now", any_service(synchronous));
    public(api).await
}

#[derive(serde::Deserialize)]
struct Needed {
    #[expect(dead_code, reason = "the value is never created")]
    name: String,
}

async fn panics() {
    panic!("oh no: swordfish");
}

async fn panics_with_a_number() {
    std::panic::panic_any(7);
}

async fn panics_later() {
    tokio::task::yield_now().await;
    panic!("{}", String::from("swordfish"));
}

async fn text(ForeignPath(status): ForeignPath<u16>) -> impl IntoResponse {
    (StatusCode::from_u16(status).unwrap(), "as a framework says it: swordfish")
}

/// A name, the request, and the status and error code of the response.
type Case = (&'static str, fn(&TestClient) -> TestRequest, u16, &'static str);

const CASES: &[Case] = &[
    ("no such route", |c| c.get("/nowhere"), 404, "NOT_FOUND"),
    ("no such route of a version", |c| c.get("/api/v1/nowhere"), 404, "NOT_FOUND"),
    ("no such version", |c| c.get("/api/v9/public/things"), 404, "NOT_FOUND"),
    ("nothing at /api", |c| c.get("/api"), 404, "NOT_FOUND"),
    ("a trailing slash", |c| c.get(at("/things/")), 404, "NOT_FOUND"),
    ("a path that is not UTF-8", |c| c.get("/nowhere/%ff"), 404, "NOT_FOUND"),
    ("another method", |c| c.delete(at("/things")), 405, "METHOD_NOT_ALLOWED"),
    (
        "an unknown method",
        |c| c.request(Method::from_bytes(b"BREW").unwrap(), at("/things")),
        405,
        "METHOD_NOT_ALLOWED",
    ),
    ("the handler's own", |c| c.get(at("/own")), 409, "NO_SEATS_LEFT"),
    ("an internal error", |c| c.get(at("/internal")), 500, "INTERNAL_ERROR"),
    ("a foreign extractor's form", |c| c.post(at("/foreign"), "{}"), 400, "BAD_REQUEST"),
    ("a foreign extractor's query", |c| c.get(at("/foreign?x=1")), 400, "BAD_REQUEST"),
    (
        "a foreign extractor's text",
        |c| c.request(Method::POST, at("/foreign/text")).body(&b"\xff"[..]),
        400,
        "BAD_REQUEST",
    ),
    ("a foreign extractor's path", |c| c.get(at("/foreign/x")), 400, "BAD_REQUEST"),
    ("a foreign extractor's UTF-8", |c| c.get(at("/foreign/%ff")), 400, "BAD_REQUEST"),
    ("plain text", |c| c.get(at("/text/418")), 418, "I_M_A_TEAPOT"),
    ("plain text of our fault", |c| c.get(at("/text/502")), 502, "BAD_GATEWAY"),
    ("an unknown status", |c| c.get(at("/text/499")), 499, "ERROR"),
    ("a panic", |c| c.get(at("/panic")), 500, "INTERNAL_ERROR"),
    ("a panic after a wait", |c| c.get(at("/panic/later")), 500, "INTERNAL_ERROR"),
    ("a panic with a number", |c| c.get(at("/panic/any")), 500, "INTERNAL_ERROR"),
    ("a panic in a service's call", |c| c.get(at("/panic/now")), 500, "INTERNAL_ERROR"),
];

#[tokio::test]
async fn every_error_has_the_one_form() {
    let client = app().await.anonymous();
    for (name, request, status, code) in CASES {
        let answer = request(&client).await;
        println!("{name}: {} {}", answer.status, answer.text());
        let answer = answer.expect_error(*status, code);
        let error = answer.json()["error"].clone();
        assert_eq!(error["timestamp"], "2030-01-01T00:00:00Z", "{name}");
        assert!(!error["message"].as_str().unwrap().is_empty(), "{name}");
        assert!(*status < 500 || !answer.text().contains("swordfish"), "{name} tells the cause");
    }
}

#[tokio::test]
async fn each_is_a_problem_to_those_who_ask_for_rfc_9457() {
    let client = app().await.anonymous();
    for (name, request, status, code) in CASES {
        let answer =
            request(&client).header("accept", "text/html, application/problem+json;q=0.9").await.expect(*status);
        let problem = answer.json();
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{name}");
        assert_eq!((&problem["code"], &problem["status"]), (&json!(code), &json!(status)), "{name}");
        assert_eq!(problem["type"], "about:blank", "{name}");
        assert!(problem["detail"].is_string(), "{name}");
        assert_eq!(problem["request_id"].as_str(), answer.header("x-request-id"), "{name}");
        assert_eq!(problem["timestamp"], "2030-01-01T00:00:00Z", "{name}");
        assert!(*status < 500 || !answer.text().contains("swordfish"), "{name} tells the cause");
    }
}

#[tokio::test]
async fn only_who_names_it_gets_a_problem() {
    let client = app().await.anonymous();
    for (accept, expected) in [
        ("application/problem+json", "application/problem+json"),
        ("Application/Problem+JSON", "application/problem+json"),
        ("text/html,application/problem+json;q=0.1", "application/problem+json"),
        ("application/json, application/problem+json", "application/problem+json"),
        ("application/json;q=0.5, application/problem+json;q=0.9", "application/problem+json"),
        ("application/problem+json;q=0", "application/json"),
        ("application/problem+json;q=0.0, */*", "application/json"),
        ("application/json, application/problem+json;q=0.5", "application/json"),
        ("application/json", "application/json"),
        ("*/*", "application/json"),
        ("application/problem+xml", "application/json"),
        ("problem+json", "application/json"),
        ("", "application/json"),
        ("\u{e9}", "application/json"),
    ] {
        assert_eq!(
            client.get("/nowhere").header("accept", accept).await.header("content-type"),
            Some(expected),
            "{accept}"
        );
    }
}

#[tokio::test]
async fn the_form_is_complete() {
    let client = app().await.anonymous();
    let answer = client.get(at("/own")).header("x-request-id", "r-1").await;
    let error = json!({
        "code": "NO_SEATS_LEFT",
        "message": "every seat is taken",
        "details": {"seats": 0},
        "request_id": "r-1",
        "timestamp": "2030-01-01T00:00:00Z",
    });
    assert_eq!(answer.json(), json!({"error": error}));
    assert_eq!(answer.header("vary"), Some("accept"), "a cache must not give one form for the other");

    let problem =
        client.get(at("/own")).header("x-request-id", "r-1").header("accept", "application/problem+json").await;
    let expected = json!({
        "type": "about:blank",
        "title": "Conflict",
        "status": 409,
        "detail": "every seat is taken",
        "code": "NO_SEATS_LEFT",
        "details": {"seats": 0},
        "request_id": "r-1",
        "timestamp": "2030-01-01T00:00:00Z",
    });
    assert_eq!(problem.json(), expected);
}

#[tokio::test]
async fn a_method_not_allowed_says_which_are() {
    let client = app().await.anonymous();
    let answer = client.get(at("/things")).await.expect_error(405, "METHOD_NOT_ALLOWED");
    let mut allowed: Vec<_> = answer.header("allow").unwrap().split(',').collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["POST", "PUT"]);
    assert_eq!(client.get("/nowhere").await.expect(404).header("allow"), None);
}

#[tokio::test]
async fn the_text_of_a_foreign_refusal_is_its_message() {
    let client = app().await.anonymous();
    let answer = client.get(at("/text/418")).await;
    assert_eq!(answer.json()["error"]["message"], "as a framework says it: swordfish");
    let length: usize = answer.header("content-length").map_or(answer.body.len(), |length| length.parse().unwrap());
    assert_eq!(length, answer.body.len(), "the old text's length is gone");
}

#[tokio::test]
async fn an_error_with_a_form_of_its_own_keeps_it() {
    let client = app().await.anonymous();
    assert_eq!(client.get(at("/page")).await.expect(400).text(), "<b>own</b>");
    assert_eq!(client.get(at("/json")).await.expect(400).json(), json!({"own": true}));
}

#[tokio::test]
async fn a_panic_is_one_requests_problem() {
    let app = app().await;
    let client = app.anonymous();
    for _ in 0..3 {
        let answer = client.get(at("/panic")).await.expect(500);
        assert_eq!(answer.header("x-api-version"), Some("v1"), "it has what every answer has");
        client.request(Method::PUT, at("/things")).await.expect(200);
    }
}
