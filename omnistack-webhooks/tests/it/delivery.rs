//! The delivery of events to the endpoints of tenants: what arrives, and the helpers of all tests of delivery.

#![cfg(test)]

use std::time::Duration;

use omnistack_core::{
    ShutdownToken,
    clock::Timestamp,
    db::{FromRow, QueryEvent, QueryObserver},
    module::{Module, Registry},
    webhook::{WebhookEvent, WebhookPublisher},
};
use omnistack_testkit::{
    TestApp, TestClient, TestDatabase,
    mock_server::{MockResponse, MockServer, ReceivedRequest},
    on_each_database,
};
use omnistack_webhooks::{WebhookVerifier, Webhooks};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use utoipa::ToSchema;
use uuid::Uuid;

/// An order was paid.
#[derive(Serialize, ToSchema)]
pub(crate) struct OrderPaid {
    number: u32,
}

impl WebhookEvent for OrderPaid {
    const TYPE: &'static str = "order.paid";
    const DESCRIPTION: &'static str = "A customer paid an order.";

    fn example() -> Self {
        Self { number: 1 }
    }
}

/// The module that offers the event.
pub(crate) struct Orders;

impl Module for Orders {
    fn name(&self) -> &'static str {
        "orders"
    }

    fn register(&self, registry: &mut Registry) {
        registry.webhook_event::<OrderPaid>();
    }
}

/// Starts an app that may call receivers on this machine. `settings` are set as well.
pub(crate) async fn start<const N: usize>(database: TestDatabase, settings: [(&str, &str); N]) -> TestApp {
    TestApp::start(database, |app| {
        let defaults = [("WEBHOOKS_ALLOW_PRIVATE_ADDRESSES", "true"), ("WEBHOOKS_POLL", "10ms")];
        let app = defaults.into_iter().chain(settings).fold(app, |app, (name, value)| app.set(name, value));
        app.with(Webhooks::from_env()).with(Orders)
    })
    .await
}

/// Starts a receiver that sends this response to every request.
pub(crate) async fn receiver(response: MockResponse) -> MockServer {
    let sink = MockServer::start().await;
    sink.expect_any().times(..).reply(response);
    sink
}

/// An endpoint of a tenant.
pub(crate) struct Endpoint {
    pub(crate) id: Uuid,
    /// The key by which its receiver verifies messages.
    pub(crate) key: String,
}

/// Creates an endpoint for all events. `more` are further fields of the request.
pub(crate) async fn create_endpoint(owner: &TestClient, url: &str, more: Value) -> Endpoint {
    let mut body = json!({ "url": url, "events": ["*"] });
    for (name, value) in more.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    let created = owner.post("/api/v1/app/webhooks/endpoints", body).await.expect_ok().json();
    let endpoint = if created["id"].is_string() { &created } else { &created["endpoint"] };
    let key = endpoint["public_key"].as_str().or(created["secret"].as_str()).unwrap();
    Endpoint { id: endpoint["id"].as_str().unwrap().parse().unwrap(), key: key.to_owned() }
}

/// Publishes an event of the owner's tenant.
pub(crate) async fn publish(app: &TestApp, owner: &TestClient, number: u32) {
    let publisher: WebhookPublisher = app.app().context().get().unwrap();
    let tenant = owner.identity().unwrap().tenant.unwrap();
    let mut tx = app.db().tenant(tenant).begin().await.unwrap();
    publisher.publish_in(&mut tx, &OrderPaid { number }).await.unwrap();
    tx.commit().await.unwrap();
}

/// Runs a worker until `done` has completed, and lets it finish and store what it is sending.
pub(crate) async fn work_until<T>(app: &TestApp, done: impl Future<Output = T>) -> T {
    let shutdown = ShutdownToken::new();
    let until = async {
        let value = done.await;
        shutdown.cancel();
        value
    };
    let ((), value) = tokio::join!(app.app().run_workers(shutdown.clone()), until);
    value
}

/// Runs a worker until `done` has completed, and then kills it: what it is sending is cut off, and no result is stored.
pub(crate) async fn work_and_die<T>(app: &TestApp, done: impl Future<Output = T>) -> T {
    tokio::select! {
        () = app.app().run_workers(ShutdownToken::new()) => panic!("the worker ended by itself"),
        value = done => value,
    }
}

/// Runs a worker until the receiver has got this number of requests in total.
pub(crate) async fn deliver(app: &TestApp, sink: &MockServer, requests: usize) -> Vec<ReceivedRequest> {
    work_until(app, sink.wait_for_requests(requests)).await
}

/// A delivery as it is stored.
#[derive(Clone, Debug, PartialEq, FromRow)]
pub(crate) struct StoredDelivery {
    pub(crate) state: String,
    pub(crate) attempts: i64,
    pub(crate) next_at: Option<Timestamp>,
    pub(crate) status_code: Option<i64>,
    pub(crate) error: Option<String>,
}

/// Returns the deliveries to an endpoint, in the order in which their messages were published.
pub(crate) async fn deliveries(app: &TestApp, endpoint: &Endpoint) -> Vec<StoredDelivery> {
    let mut tx = app.db().app_database().all_tenants().begin_read().await.unwrap();
    let sql = "select state, attempts, next_at, status_code, error from omni_webhook_deliveries
        where endpoint_id = $1 order by message_id";
    tx.query(sql).bind(endpoint.id).fetch_all().await.unwrap()
}

/// Returns the states of the deliveries to an endpoint.
pub(crate) async fn states(app: &TestApp, endpoint: &Endpoint) -> Vec<String> {
    deliveries(app, endpoint).await.into_iter().map(|delivery| delivery.state).collect()
}

/// Returns the status of an endpoint and the reason why it is disabled.
pub(crate) async fn status(app: &TestApp, endpoint: &Endpoint) -> (String, Option<String>) {
    let mut tx = app.db().app_database().all_tenants().begin_read().await.unwrap();
    let sql = "select status, disabled_reason from omni_webhook_endpoints where id = $1";
    tx.query(sql).bind(endpoint.id).fetch_one().await.unwrap()
}

/// Counts the statements that store results, to wait for results that no receiver sees.
pub(crate) struct StoredResults(watch::Receiver<usize>);

struct CountResults(watch::Sender<usize>);

impl QueryObserver for CountResults {
    fn observe(&self, event: QueryEvent<'_>) {
        if event.error.is_none() && event.sql.starts_with("with results as") {
            self.0.send_modify(|count| *count += 1);
        }
    }
}

impl StoredResults {
    pub(crate) fn observe(app: &TestApp) -> Self {
        let (sender, receiver) = watch::channel(0);
        app.db().observe(CountResults(sender));
        Self(receiver)
    }

    /// Waits until this number of statements have run.
    pub(crate) async fn wait(&mut self, count: usize) {
        self.0.wait_for(|seen| *seen >= count).await.unwrap();
    }
}

/// Verifies a received request as a receiver does, and returns its message id.
#[track_caller]
pub(crate) fn verify(request: &ReceivedRequest, endpoint: &Endpoint, now: Timestamp) -> String {
    let verifier = WebhookVerifier::new([&endpoint.key]).unwrap();
    verifier.verify(&request.headers, &request.body, now).unwrap().id
}

on_each_database! {
    async fn an_event_arrives_signed(database: TestDatabase) {
        let app = start(database, []).await;
        let sink = receiver(MockResponse::text(200, "thank you")).await;
        let owner = app.user();
        let url = format!("{}/hook?token=1", sink.url());
        let endpoint = create_endpoint(&owner, &url, json!({ "headers": { "x-team": "blue" } })).await;
        publish(&app, &owner, 7).await;
        let received = deliver(&app, &sink, 1).await;

        let request = &received[0];
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/hook"));
        assert_eq!(request.query.as_deref(), Some("token=1"));
        assert_eq!(request.header("content-type"), Some("application/json"));
        assert_eq!(request.header("user-agent"), Some(concat!("omnistack/", env!("CARGO_PKG_VERSION"))));
        assert_eq!(request.header("x-team"), Some("blue"));
        let now = app.clock().clock().now();
        let id = verify(request, &endpoint, now);
        assert!(id.starts_with("msg_") && id.len() == 36, "{id}");
        assert_eq!(request.header("webhook-timestamp"), Some(now.as_seconds().to_string().as_str()));
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!((&body["type"], &body["data"]), (&json!("order.paid"), &json!({ "number": 7 })));

        let expected = StoredDelivery {
            state: "delivered".into(), attempts: 1, next_at: None, status_code: Some(200), error: None,
        };
        assert_eq!(deliveries(&app, &endpoint).await, [expected]);
        let mut tx = app.db().app_database().all_tenants().begin_read().await.unwrap();
        let sql = "select number, at, status_code, error, response from omni_webhook_attempts";
        let log: Vec<(i64, Timestamp, Option<i64>, Option<String>, Option<String>)> =
            tx.query(sql).fetch_all().await.unwrap();
        assert_eq!(log, [(1, now, Some(200), None, Some("thank you".to_owned()))]);
    }

    async fn an_event_is_signed_with_ed25519_if_the_endpoint_says_so(database: TestDatabase) {
        let app = start(database, []).await;
        let sink = receiver(MockResponse::status(204)).await;
        let owner = app.user();
        let endpoint = create_endpoint(&owner, sink.url(), json!({ "scheme": "v1a" })).await;
        publish(&app, &owner, 1).await;
        let received = deliver(&app, &sink, 1).await;

        assert!(endpoint.key.starts_with("whpk_"), "{}", endpoint.key);
        verify(&received[0], &endpoint, app.clock().clock().now());
        assert!(received[0].header("webhook-signature").unwrap().starts_with("v1a,"));
        assert_eq!(states(&app, &endpoint).await, ["delivered"]);
    }

    /// The endpoints and deliveries of all tenants are in the app's database, also with a database for each tenant.
    async fn an_event_of_a_tenant_database_arrives(database: TestDatabase) {
        let app = start(database.with_tenant_databases(), []).await;
        let sink = receiver(MockResponse::status(200)).await;
        let owner = app.user();
        let endpoint = create_endpoint(&owner, sink.url(), json!({})).await;
        publish(&app, &owner, 1).await;
        app.app().relay_tenant_outboxes().await.unwrap();
        let received = deliver(&app, &sink, 1).await;
        verify(&received[0], &endpoint, app.clock().clock().now());
        assert_eq!(states(&app, &endpoint).await, ["delivered"]);
    }

    // Case 38.
    async fn a_retry_has_the_same_id_and_a_fresh_timestamp(database: TestDatabase) {
        let app = start(database, []).await;
        let sink = MockServer::start().await;
        sink.expect_any().times(1).reply(MockResponse::status(503).header("retry-after", "3600"));
        sink.expect_any().times(1).reply(MockResponse::status(200));
        let owner = app.user();
        let endpoint = create_endpoint(&owner, sink.url(), json!({})).await;
        publish(&app, &owner, 1).await;
        let first_at = app.clock().clock().now();
        deliver(&app, &sink, 1).await;
        app.clock().advance(Duration::from_secs(3_600));
        let second_at = app.clock().clock().now();
        let received = deliver(&app, &sink, 2).await;

        let [first, second] = received.as_slice() else { panic!("{received:?}") };
        assert_eq!(verify(first, &endpoint, first_at), verify(second, &endpoint, second_at));
        assert_eq!(first.body, second.body);
        assert_ne!(first.header("webhook-timestamp"), second.header("webhook-timestamp"));
        let verifier = WebhookVerifier::new([&endpoint.key]).unwrap();
        assert!(verifier.verify(&first.headers, &first.body, second_at).is_err(), "the first is too old by then");
        assert_eq!(states(&app, &endpoint).await, ["delivered"]);
    }

    async fn a_message_goes_to_the_endpoints_of_its_tenant_only(database: TestDatabase) {
        let app = start(database, []).await;
        let (ours, theirs) = (receiver(MockResponse::status(200)).await, receiver(MockResponse::status(200)).await);
        let (owner, other) = (app.user(), app.user());
        let endpoint = create_endpoint(&owner, ours.url(), json!({})).await;
        let foreign = create_endpoint(&other, theirs.url(), json!({})).await;
        publish(&app, &owner, 1).await;
        deliver(&app, &ours, 1).await;
        publish(&app, &other, 2).await;
        deliver(&app, &theirs, 1).await;

        assert_eq!(ours.requests().len(), 1);
        verify(&ours.requests()[0], &endpoint, app.clock().clock().now());
        verify(&theirs.requests()[0], &foreign, app.clock().clock().now());
    }
}
