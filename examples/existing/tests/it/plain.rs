//! Tests of parts of OmniStack in a plain axum app.

use std::net::SocketAddr;

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{Request, StatusCode},
};
use existing::{
    before::{self, Order},
    plain::{Parts, router},
};
use http_body_util::BodyExt as _;
use omnistack::{
    audit::{AuditChain, AuditStore},
    clock::{Clock, MockClock},
    email::{Mailer, MemoryProvider},
    flags::FlagDefinition,
    id::Id,
    identity::Identity,
};
use omnistack_testkit::{TestDatabase, on_each_database};
use tower::ServiceExt as _;

use super::shop;

/// Sends a request from an address, and returns its status and its body.
async fn send(app: &Router, request: Request<Body>, from: [u8; 4]) -> (StatusCode, String) {
    let mut request = request;
    request.extensions_mut().insert(ConnectInfo(SocketAddr::from((from, 1))));
    let response = app.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

fn order(session: &str, key: &str) -> Request<Body> {
    let request = Request::post("/orders").header("authorization", format!("Bearer {session}"));
    request.header("idempotency-key", key).header("content-type", "text/plain").body(Body::from("tea")).unwrap()
}

on_each_database! {
    async fn an_order_is_one_transaction_with_all_that_follows(database: TestDatabase) {
        let pool = shop(&database).await;
        let sent = MemoryProvider::default();
        let mailer = Mailer::new(sent.clone()).default_sender("shop@example.com".parse().unwrap());
        let (parts, runner, dispatcher) = Parts::start(&pool, Clock::system(), mailer).await.unwrap();
        let app = router(parts.clone());

        let local = [127, 0, 0, 1];
        let (status, number) = send(&app, order("ada", "k-1"), local).await;
        assert_eq!(status, StatusCode::CREATED, "{number}");
        assert_eq!(send(&app, order("ada", "k-1"), local).await, (StatusCode::CREATED, number.clone()), "sent again");
        assert_eq!(send(&app, order("mallory", "k-1"), local).await.0, StatusCode::UNAUTHORIZED);
        let (id, item) = (number.parse().unwrap(), "tea".to_owned());
        assert_eq!(before::orders(&pool, 1).await.unwrap(), [Order { id, item: item.clone(), brewed: false }]);

        runner.run_until_idle().await.unwrap();
        dispatcher.run_until_idle().await.unwrap();
        assert_eq!(before::orders(&pool, 1).await.unwrap(), [Order { id, item, brewed: true }]);
        let mails = sent.sent();
        assert_eq!((mails.len(), mails[0].to[0].mailbox()), (1, "ada@example.com"));
        let (popular,): (i64,) = parts.db.query("select orders from popular_items").fetch_one().await.unwrap();
        assert_eq!(popular, 1);
        let audit = AuditStore::new(parts.db.clone(), Clock::system());
        assert_eq!(audit.verify(AuditChain::App).await.unwrap().entries, 1);
    }

    async fn flags_and_rate_limits_need_no_builder(database: TestDatabase) {
        let pool = shop(&database).await;
        let mailer = Mailer::new(MemoryProvider::default());
        let clock = MockClock::at("2030-01-01T00:00:00Z".parse().unwrap()).clock();
        let (parts, ..) = Parts::start(&pool, clock.clone(), mailer).await.unwrap();
        let app = router(parts.clone());
        let local = [127, 0, 0, 1];
        assert_eq!(send(&app, get("/"), local).await.1, "the shop");
        let operator = Identity::user(Id::new(clock.now()));
        parts.flags.create(FlagDefinition::new("new-shop"), &operator).await.unwrap();
        assert_eq!(send(&app, get("/"), local).await.1, "the new shop");

        for _ in 2..60 {
            assert_eq!(send(&app, get("/"), local).await.0, StatusCode::OK);
        }
        let (status, body) = send(&app, get("/"), local).await;
        assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
        assert!(body.contains("RATE_LIMIT_EXCEEDED"), "{body}");
        assert_eq!(send(&app, get("/"), [127, 0, 0, 2]).await.0, StatusCode::OK, "each address has its own limit");
    }
}
