//! Tests of request timeouts, with paused time.

use std::{future::pending, time::Duration};

use axum::{
    body::{Body, Bytes},
    routing::{get, post},
};
use omnistack_core::{
    http::Method,
    module::{Api, Mount},
};
use omnistack_testkit::{TestApp, TestClient, TestRequest};
use tokio::time::{Instant, sleep};

use super::support::{module, start};

async fn slow() -> &'static str {
    sleep(Duration::from_secs(45)).await;
    "done"
}

/// Reads the body and never returns.
async fn hangs(_: Bytes) {
    pending::<()>().await;
}

async fn streams() -> Body {
    let pieces = futures_util::stream::unfold(0, |count| async move {
        sleep(Duration::from_secs(20)).await;
        (count < 5).then(|| (Ok::<_, std::io::Error>("piece "), count + 1))
    });
    Body::from_stream(pieces)
}

async fn app() -> TestApp {
    let api = Api::new()
        .hidden("/slow", get(slow))
        .hidden("/body", post(|_: Bytes| async { "read" }).put(hangs).patch(|| async { "unread" }))
        .hidden("/stream", get(streams));
    let mounts = module("test", move |registry| {
        registry.routes(Mount::public(""), api.clone(), |_| Ok(()));
        registry.routes(Mount::public("/hurried").timeout(Duration::from_secs(1)), api.clone(), |_| Ok(()));
        registry.routes(Mount::public("/patient").timeout(Duration::from_mins(1)), api.clone(), |_| Ok(()));
        registry.routes(Mount::public("/endless").no_timeout(), api.clone(), |_| Ok(()));
    });
    let app = start(|app| app.with(mounts)).await;
    tokio::time::pause();
    app
}

/// Returns a body that never ends.
fn endless() -> Body {
    use futures_util::{StreamExt as _, stream};
    Body::from_stream(stream::iter([Ok::<_, std::io::Error>("{")]).chain(stream::pending()))
}

/// A name, the request, the status and error code, and the time until the response in seconds.
type Case = (&'static str, fn(&TestClient) -> TestRequest, u16, &'static str, u64);

const CASES: &[Case] = &[
    ("a slow handler", |c| c.get("/api/v1/public/slow"), 504, "TIMEOUT", 30),
    ("a slow handler of a hurried mount", |c| c.get("/api/v1/public/hurried/slow"), 504, "TIMEOUT", 1),
    ("a slow handler of a patient mount", |c| c.get("/api/v1/public/patient/slow"), 200, "", 45),
    ("a slow handler without a limit", |c| c.get("/api/v1/public/endless/slow"), 200, "", 45),
    ("a slow body", |c| c.request(Method::POST, "/api/v1/public/body").body(endless()), 408, "REQUEST_TIMEOUT", 30),
    (
        "a slow body, hurried",
        |c| c.request(Method::POST, "/api/v1/public/hurried/body").body(endless()),
        408,
        "REQUEST_TIMEOUT",
        1,
    ),
    (
        "a handler that hangs once it has its body",
        |c| c.request(Method::PUT, "/api/v1/public/body").body("{}"),
        504,
        "TIMEOUT",
        30,
    ),
    ("a handler that hangs with an empty body", |c| c.request(Method::PUT, "/api/v1/public/body"), 504, "TIMEOUT", 30),
    (
        "a body that the handler does not read",
        |c| c.request(Method::PATCH, "/api/v1/public/body").body(endless()),
        200,
        "",
        0,
    ),
    ("an answer that has begun is not cut", |c| c.get("/api/v1/public/stream"), 200, "", 120),
];

#[tokio::test]
async fn each_is_answered_in_time() {
    let client = app().await.anonymous();
    for (name, request, status, code, seconds) in CASES {
        let began = Instant::now();
        let answer = request(&client).await;
        println!("{name}: {} {} after {:?}", answer.status, answer.text(), began.elapsed());
        assert_eq!(answer.status, *status, "{name}");
        if *status >= 400 {
            answer.expect_error(*status, code);
        }
        assert_eq!(began.elapsed().as_secs(), *seconds, "{name}");
    }
}

#[tokio::test]
async fn what_is_given_up_is_dropped() {
    struct Held(tokio::sync::mpsc::Sender<()>);
    let (held, mut dropped) = tokio::sync::mpsc::channel(1);
    let held = move || {
        let held = Held(held.clone());
        async move {
            pending::<()>().await;
            drop(held.0);
        }
    };
    let app =
        start(|app| app.with(super::support::routes(Mount::public(""), Api::new().hidden("/held", get(held))))).await;
    tokio::time::pause();
    app.anonymous().get("/api/v1/public/held").await.expect(504);
    drop(app);
    assert_eq!(dropped.recv().await, None, "the handler is gone, and what it held with it");
}
