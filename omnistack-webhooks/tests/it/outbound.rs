//! Tests of endpoints, publishing and the log, through the routes.

#![cfg(test)]

mod access;
mod configuration;
mod endpoints;
mod exports;
mod log;
mod publishing;
mod secrets;

use omnistack_core::{
    app::AppBuilder,
    audit::{AuditFilter, AuditStore},
    db::Tx,
    identity::{AuthenticationContext, TenantId},
    module::{Module, Registry},
    webhook::{WebhookEvent, WebhookPublisher},
};
use omnistack_testkit::{
    TestApp, TestClient, TestDatabase,
    mock_server::{MockResponse, MockServer},
};
use omnistack_webhooks::Webhooks;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

pub(crate) const WEBHOOKS: &str = "/api/v1/app/webhooks";
pub(crate) const ENDPOINTS: &str = "/api/v1/app/webhooks/endpoints";
pub(crate) const DELIVERIES: &str = "/api/v1/app/webhooks/deliveries";
pub(crate) const ADMIN: &str = "/api/v1/admin/webhooks/endpoints";
/// A URL that is not called.
pub(crate) const URL: &str = "https://receiver.example/hook?token=swordfish";

/// A parcel was sent.
#[derive(Serialize, ToSchema)]
pub(crate) struct ParcelSent {
    /// The number of the parcel.
    number: u32,
}

impl WebhookEvent for ParcelSent {
    const TYPE: &'static str = "parcel.sent";
    const DESCRIPTION: &'static str = "A parcel was handed to the carrier.";
    const VERSION: u32 = 3;

    fn example() -> Self {
        Self { number: 7 }
    }
}

/// A parcel was lost.
#[derive(Serialize, ToSchema)]
pub(crate) struct ParcelLost {
    /// The number of the parcel.
    number: u32,
}

impl WebhookEvent for ParcelLost {
    const TYPE: &'static str = "parcel.lost";
    const DESCRIPTION: &'static str = "The carrier can't find a parcel.";

    fn example() -> Self {
        Self { number: 8 }
    }
}

/// The module that offers both types.
struct Parcels;

impl Module for Parcels {
    fn name(&self) -> &'static str {
        "parcels"
    }

    fn register(&self, registry: &mut Registry) {
        registry.webhook_event::<ParcelSent>().webhook_event::<ParcelLost>();
    }
}

/// Starts an app that may call receivers on this machine.
pub(crate) async fn start(database: TestDatabase, more: impl FnOnce(AppBuilder) -> AppBuilder) -> TestApp {
    TestApp::start(database, |app| {
        more(app.with(Webhooks::from_env()).with(Parcels).set("WEBHOOKS_ALLOW_PRIVATE_ADDRESSES", "true"))
    })
    .await
}

/// Starts a receiver that sends this response to every request.
pub(crate) async fn receiver(response: MockResponse) -> MockServer {
    let server = MockServer::start().await;
    server.expect_any().times(..).reply(response);
    server
}

pub(crate) fn tenant(client: &TestClient) -> TenantId {
    client.identity().unwrap().tenant.unwrap()
}

/// Returns a client of the same user, who has just signed in.
pub(crate) fn freshly_signed_in(app: &TestApp, client: &TestClient) -> TestClient {
    let authentication = AuthenticationContext { authenticated_at: app.clock().clock().now(), second_factor: false };
    app.client_as(client.identity().unwrap().clone().with_authentication(authentication))
}

/// Creates an endpoint for these types.
pub(crate) async fn create(client: &TestClient, url: &str, events: &[&str]) -> Value {
    client.post(ENDPOINTS, json!({ "url": url, "events": events })).await.expect(201).json()
}

/// Returns the path of an endpoint.
pub(crate) fn path(endpoint: &Value) -> String {
    format!("{ENDPOINTS}/{}", endpoint["id"].as_str().unwrap())
}

pub(crate) async fn begin(app: &TestApp, client: &TestClient) -> Tx {
    app.db().tenant(tenant(client)).begin().await.unwrap()
}

pub(crate) fn publisher(app: &TestApp) -> WebhookPublisher {
    app.app().context().get().unwrap()
}

/// Publishes `parcel.sent` for the client's tenant.
pub(crate) async fn publish(app: &TestApp, client: &TestClient, number: u32) {
    let mut tx = begin(app, client).await;
    publisher(app).publish_in(&mut tx, &ParcelSent { number }).await.unwrap();
    tx.commit().await.unwrap();
}

/// Returns the deliveries that match a query, the newest first.
pub(crate) async fn deliveries(client: &TestClient, query: &str) -> Vec<Value> {
    let list = client.get(format!("{DELIVERIES}?{query}")).await.expect(200).json();
    list["items"].as_array().unwrap().clone()
}

/// Returns the states of all deliveries of the client's tenant, the newest first.
pub(crate) async fn states(client: &TestClient) -> Vec<String> {
    let state = |delivery: &Value| delivery["state"].as_str().unwrap().to_owned();
    deliveries(client, "limit=100").await.iter().map(state).collect()
}

/// Returns the actions about webhooks in the audit log of the client's tenant, the oldest first.
pub(crate) async fn audited(app: &TestApp, client: &TestClient) -> Vec<String> {
    let store: AuditStore = app.app().context().get().unwrap();
    let filter = AuditFilter::for_chain(tenant(client)).action("webhook_");
    let mut actions: Vec<_> =
        store.list(&filter, 100, None).await.unwrap().items.into_iter().map(|entry| entry.action).collect();
    actions.reverse();
    actions
}
