//! Tests of calls to providers: the events that they could not deliver, and the current state of objects.

use std::time::Duration;

use omnistack_core::{
    app::AppBuilder,
    crypto::KeyRing,
    webhook::{InboundWebhook, SourceEvent, WebhookRequest, WebhookSources},
};
use omnistack_testkit::{
    TestApp, TestDatabase,
    mock_server::{MockResponse, MockServer},
};
use omnistack_webhooks::Webhooks;
use serde_json::{Value, json};

use super::{START, source, start};

async fn stripe(server: &MockServer) -> TestApp {
    start(
        TestDatabase::sqlite(),
        &[
            ("WEBHOOKS_STRIPE_SECRETS", "whsec_1"),
            ("WEBHOOKS_STRIPE_API_KEY", "rk_test_1"),
            ("WEBHOOKS_STRIPE_API_URL", server.url()),
        ],
    )
    .await
}

#[tokio::test]
async fn stripe_returns_events_that_were_not_delivered() {
    let server = MockServer::start().await;
    let page = |ids: &[&str], has_more: bool| {
        let events: Vec<Value> =
            ids.iter().map(|id| json!({ "id": id, "type": "invoice.paid", "created": START })).collect();
        MockResponse::json(200, json!({ "object": "list", "data": events, "has_more": has_more }).to_string())
    };
    server
        .expect("GET", "/v1/events")
        .query("starting_after", "evt_2")
        .query("created[gte]", &(START - 3600).to_string())
        .reply(page(&["evt_3"], false));
    server
        .expect("GET", "/v1/events")
        .query("delivery_success", "false")
        .query("created[gte]", &(START - 3600).to_string())
        .query("limit", "100")
        .header("authorization", "Bearer rk_test_1")
        .reply(page(&["evt_1", "evt_2"], true));
    let app = stripe(&server).await;
    let (source, now) = (source(&app, "stripe"), app.clock().clock().now());
    let missed = source.missed(now - Duration::from_secs(3600)).await.unwrap().unwrap();
    assert_eq!(missed.redelivered, 0);
    let described = missed
        .events
        .iter()
        .map(|(headers, body)| source.describe(&WebhookRequest { url: "", headers, body, now }).unwrap().id);
    assert_eq!(described.collect::<Vec<_>>(), ["evt_1", "evt_2", "evt_3"]);
}

#[tokio::test]
async fn pages_of_stripe_have_an_end() {
    let server = MockServer::start().await;
    let page = json!({ "data": [{ "id": "evt_1", "type": "a" }], "has_more": true }).to_string();
    server.expect("GET", "/v1/events").times(20).reply(MockResponse::json(200, page));
    let app = stripe(&server).await;
    let missed = source(&app, "stripe").missed(app.clock().clock().now()).await.unwrap().unwrap();
    assert_eq!(missed.events.len(), 20);
}

#[tokio::test]
async fn errors_of_stripe_have_no_secrets() {
    let server = MockServer::start().await;
    server.expect("GET", "/v1/events").reply(MockResponse::json(401, r#"{"error":{"message":"rk_test_1"}}"#));
    let app = stripe(&server).await;
    let error = source(&app, "stripe").missed(app.clock().clock().now()).await.unwrap_err().to_string();
    assert!(error.contains("401") && !error.contains("rk_test"), "{error}");
}

#[tokio::test]
async fn in_production_a_private_address_is_asked_only_in_an_allowed_network() {
    for (networks, status, requests) in [("10.1.0.0/16", 502, 0), ("10.1.0.0/16,127.0.0.1/32", 200, 1)] {
        let server = MockServer::start().await;
        let page = json!({ "data": [], "has_more": false }).to_string();
        server.expect("GET", "/v1/events").times(..).reply(MockResponse::json(200, page));
        let settings = |app: AppBuilder| {
            app.set("APP_ENV", "production")
                .set("PUBLIC_URL", "https://app.example.com")
                .set("SECRET_KEYS", KeyRing::new_key("test"))
                .set("WEBHOOKS_STRIPE_SECRETS", "whsec_1")
                .set("WEBHOOKS_STRIPE_API_KEY", "rk_test_1")
                .set("WEBHOOKS_STRIPE_API_URL", server.url())
                .set("HTTP_CLIENT_ALLOWED_NETWORKS", networks)
                .with(Webhooks::from_env())
        };
        let app = TestApp::start(TestDatabase::sqlite(), settings).await;
        app.operator().post("/api/v1/admin/webhooks/sources/stripe/poll", json!({})).await.expect(status);
        assert_eq!(server.requests().len(), requests, "{networks}");
    }
}

#[tokio::test]
async fn stripe_returns_the_current_state_of_an_object() {
    let server = MockServer::start().await;
    server
        .expect("GET", "/v1/subscriptions/sub_1")
        .header("authorization", "Bearer rk_test_1")
        .header("stripe-account", "acct_1")
        .reply(MockResponse::json(200, r#"{"id":"sub_1","object":"subscription","status":"canceled"}"#));
    server.expect("GET", "/v1/invoices/in_gone").reply(MockResponse::json(404, "{}"));
    server.expect("GET", "/v1/invoices/in_down").reply(MockResponse::json(500, "{}"));
    let app = stripe(&server).await;
    let sources: WebhookSources = app.app().context().get().unwrap();
    let fetch = async |account: Option<&str>, kind: &str, id: &str| {
        let body = json!({ "account": account, "data": { "object": { "object": kind, "id": id } } }).to_string();
        let now = app.clock().clock().now();
        let request = WebhookRequest { url: "", headers: &http::HeaderMap::new(), body: body.as_bytes(), now };
        let webhook = InboundWebhook::new("stripe", SourceEvent::new("evt_1", "a"), None, &request);
        sources.fetch_object(&webhook).await
    };
    let subscription = fetch(Some("acct_1"), "subscription", "sub_1").await.unwrap().unwrap();
    assert_eq!(subscription["status"], "canceled");
    assert_eq!(fetch(None, "invoice", "in_gone").await.unwrap(), None);
    assert!(fetch(None, "invoice", "in_down").await.unwrap_err().to_string().contains("500"));
    // No request is made for what has no id, or an id that leads elsewhere.
    assert_eq!(fetch(None, "balance", "").await.unwrap(), None);
    assert_eq!(fetch(None, "invoice", "../events").await.unwrap(), None);
}

#[tokio::test]
async fn sources_without_credentials_are_not_asked() {
    let settings = [("WEBHOOKS_STRIPE_SECRETS", "whsec_1"), ("WEBHOOKS_GITHUB_SECRETS", "secret")];
    let app = start(TestDatabase::sqlite(), &settings).await;
    for name in ["stripe", "github"] {
        assert!(source(&app, name).missed(app.clock().clock().now()).await.unwrap().is_none(), "{name}");
    }
}

#[tokio::test]
async fn github_sends_failed_deliveries_again() {
    let server = MockServer::start().await;
    let delivery = |id: u64, guid: &str, minutes: u64, status: &str| {
        let at = format!("2029-12-31T{:02}:{:02}:00Z", 23 - minutes / 60, 59 - minutes % 60);
        let code = if status == "OK" { 200 } else { 502 };
        json!({ "id": id, "guid": guid, "delivered_at": at, "status": status, "status_code": code })
    };
    let failed = "Invalid HTTP Response: 502";
    let second = json!([
        delivery(6, "failed", 30, failed),
        delivery(5, "older", 40, failed),
        delivery(4, "too-old", 120, failed),
    ]);
    let mut first = vec![
        delivery(9, "repaired", 1, "OK"),
        delivery(8, "repaired", 10, failed),
        delivery(7, "failed", 20, failed),
        delivery(3, "gone", 21, failed),
    ];
    first.extend((0..5).map(|attempt| delivery(20 + attempt, "hopeless", 22, failed)));
    let hook = "/orgs/acme/hooks/1/deliveries";
    server.expect("GET", hook).query("cursor", "v1_6").reply(MockResponse::json(200, second.to_string()));
    server.expect("GET", hook).query("per_page", "100").header("authorization", "Bearer ghp_1").reply(
        MockResponse::json(200, Value::from(first).to_string())
            .header("link", "<https://evil.example/x?cursor=v1_6&per_page=100>; rel=\"next\""),
    );
    for (id, status) in [(5, 202), (3, 404), (7, 202)] {
        server.expect("POST", &format!("{hook}/{id}/attempts")).reply(MockResponse::json(status, "{}"));
    }
    let app = start(
        TestDatabase::sqlite(),
        &[
            ("WEBHOOKS_GITHUB_SECRETS", "secret"),
            ("WEBHOOKS_GITHUB_HOOK", "/orgs/acme/hooks/1"),
            ("WEBHOOKS_GITHUB_TOKEN", "ghp_1"),
            ("WEBHOOKS_GITHUB_API_URL", server.url()),
        ],
    )
    .await;
    let since = app.clock().clock().now() - Duration::from_secs(3600);
    let missed = source(&app, "github").missed(since).await.unwrap().unwrap();
    assert_eq!((missed.redelivered, missed.events.len()), (2, 0));
}
