//! Tests that a trace continues from a request to the receivers of its webhooks, and from a provider to the handlers.

#![cfg(test)]

use std::sync::{Arc, Mutex};

use axum::{extract::State, routing::post};
use omnistack_core::{
    db::Db,
    http::{Error, StatusCode},
    identity::Identity,
    module::{Api, Module, Mount, Registry},
    trace::TraceContext,
    webhook::{WebhookEvent as _, WebhookPublisher},
};
use omnistack_testkit::{TestDatabase, mock_server::MockResponse, on_each_database};
use serde_json::json;

use crate::{
    delivery::{OrderPaid, Orders, create_endpoint, deliver, receiver},
    inbox::{PUBLIC, Probe, app, signed},
};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const ORDERS: &str = "/api/v1/app/orders";

/// A module with a route that publishes an event.
struct Shop;

impl Module for Shop {
    fn name(&self) -> &'static str {
        "shop"
    }

    fn register(&self, registry: &mut Registry) {
        let api = Api::new().hidden("/", post(order));
        registry.routes(Mount::app("/orders"), api, |ctx| Ok((ctx.get::<Db>()?, ctx.get::<WebhookPublisher>()?)));
    }
}

async fn order(State((db, publisher)): State<(Db, WebhookPublisher)>, caller: Identity) -> Result<StatusCode, Error> {
    let mut tx = db.tenant(caller.require_tenant()?).begin().await?;
    publisher.publish_in(&mut tx, &OrderPaid::example()).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

on_each_database! {
    async fn a_delivery_is_in_the_trace_of_the_request_that_has_published_it(database: TestDatabase) {
        let app = app(database, &Probe::default(), |app| {
            let app = app.set("WEBHOOKS_ALLOW_PRIVATE_ADDRESSES", "true").set("WEBHOOKS_POLL", "10ms");
            app.with(Orders).with(Shop)
        })
        .await;
        let sink = receiver(MockResponse::status(200)).await;
        let owner = app.user();
        create_endpoint(&owner, sink.url(), json!({})).await;
        let request = owner.post(ORDERS, ()).header("traceparent", PARENT).header("tracestate", "vendor=1");
        request.await.expect(204);
        let received = deliver(&app, &sink, 1).await;
        // The receiver is a stranger, which learns nothing of the app's traces.
        assert_eq!((received[0].header("traceparent"), received[0].header("tracestate")), (None, None));

        // A request without a trace begins none, as long as no spans are recorded.
        owner.post(ORDERS, ()).await.expect(204);
        deliver(&app, &sink, 2).await;
        let mut tx = app.db().app_database().all_tenants().begin_read().await.unwrap();
        let mut stored: Vec<(Option<String>, Option<String>)> =
            tx.query("select trace, trace_state from omni_webhook_messages").fetch_all().await.unwrap();
        stored.sort();
        assert_eq!((stored.len(), &stored[0]), (2, &(None, None)));
        assert!(stored[1].0.as_deref().is_some_and(|trace| trace.contains(TRACE_ID)), "{stored:?}");
        assert_eq!(stored[1].1.as_deref(), Some("vendor=1"));
    }

    async fn a_webhook_is_processed_in_the_trace_of_its_request(database: TestDatabase) {
        let (probe, seen) = (Probe::default(), Arc::new(Mutex::new(Vec::new())));
        let traces = Arc::clone(&seen);
        probe.before(move |_, _| {
            traces.lock().unwrap().push(TraceContext::current().map(|trace| trace.trace_id().to_owned()));
            Box::pin(async {})
        });
        let app = app(database, &probe, |app| app).await;
        let event = json!({ "id": "evt_1", "type": "invoice.paid" }).to_string();
        signed(&app, PUBLIC, event).header("traceparent", PARENT).await.expect(200);
        app.run_events().await;
        assert_eq!(*seen.lock().unwrap(), [Some(TRACE_ID.to_owned())]);
    }
}
