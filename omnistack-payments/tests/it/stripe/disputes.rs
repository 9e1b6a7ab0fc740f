//! Tests of Stripe's list of disputes, against a scripted server.

use std::time::Duration;

use omnistack_core::{
    clock::Timestamp,
    data_environment::DataEnvironment,
    http::{Method, client::ClientSettings},
    identity::TenantId,
    payment::PaymentError,
};
use omnistack_payments::{DisputeState, PaymentId, PaymentLedger, PaymentRequest, Payments, StripeService};
use omnistack_testkit::{
    TestApp, TestDatabase,
    mock_server::{MockResponse, MockServer},
    on_each_database,
};
use serde_json::{Value, json};

use super::{START, connect, usd};
use crate::payment::{PAYMENTS, find_disputes};

fn dispute(id: &str, payment: &str) -> Value {
    json!({
        "id": id, "object": "dispute", "amount": 500, "currency": "usd", "status": "needs_response",
        "payment_intent": payment, "field_of_next_year": { "deep": [1] },
    })
}

fn list(has_more: bool, disputes: &[Value]) -> MockResponse {
    let page = json!({ "object": "list", "url": "/v1/disputes", "has_more": has_more, "data": disputes });
    MockResponse::json(200, page.to_string())
}

#[tokio::test]
async fn disputes_are_listed_by_pages() {
    let upstream = MockServer::start().await;
    let provider = connect(upstream.url());
    let since: Timestamp = START.parse().unwrap();
    let seconds = since.as_seconds().to_string();
    let first = upstream.expect("GET", "/v1/disputes").query("limit", "100").query("created[gte]", &seconds);
    // One of an unknown form is left out.
    first.reply(list(true, &[dispute("du_3", "pi_3"), json!({ "id": "du_new" }), dispute("du_2", "pi_2")]));
    let mut expanded = dispute("du_1", "pi_1");
    expanded["payment_intent"] = json!({ "id": "pi_1", "object": "payment_intent" });
    let second = upstream.expect("GET", "/v1/disputes").query("starting_after", "du_2").query("created[gte]", &seconds);
    second.reply(list(false, &[expanded]));
    let mut found = Vec::new();
    let mut next: Option<String> = None;
    for _ in 0..2 {
        let page = provider.disputes(since, next.as_deref()).await.unwrap();
        found.extend(page.disputes.into_iter().map(|one| (one.id, one.payment, one.amount, one.won)));
        next = page.next;
    }
    let expected = [3, 2, 1].map(|number| (format!("du_{number}"), Some(format!("pi_{number}")), usd(500), None));
    assert_eq!((found.as_slice(), next), (expected.as_slice(), None));
}

#[tokio::test]
async fn a_list_that_can_not_be_read_is_no_empty_list() {
    let unavailable: fn(&PaymentError) -> bool = |error| matches!(error, PaymentError::Unavailable { .. });
    let rejected: fn(&PaymentError) -> bool = |error| matches!(error, PaymentError::Rejected { .. });
    let unauthorized: fn(&PaymentError) -> bool = |error| matches!(error, PaymentError::Unauthorized { .. });
    let not_found: fn(&PaymentError) -> bool = |error| matches!(error, PaymentError::NotFound { .. });
    let refusal = json!({ "error": {
        "type": "invalid_request_error", "code": "resource_missing", "message": "No such dispute: 'du_9'",
    } });
    for (status, body, is_expected) in [
        (200, json!({ "object": "list" }), unavailable),
        (200, json!({ "data": { "id": "du_1" } }), unavailable),
        (200, json!([]), unavailable),
        (200, json!({ "data": [{ "amount": 500 }], "has_more": true }), unavailable),
        (400, refusal.clone(), rejected),
        (401, refusal.clone(), unauthorized),
        (403, refusal.clone(), unauthorized),
        (404, refusal.clone(), not_found),
        (429, refusal.clone(), unavailable),
        (500, refusal, unavailable),
    ] {
        let response = MockResponse::json(status, body.to_string()).header("stripe-should-retry", "false");
        let upstream = MockServer::script([response]).await;
        let error = connect(upstream.url()).disputes(START.parse().unwrap(), Some("du_9")).await.unwrap_err();
        assert!(is_expected(&error), "{status} {body}: {error}");
    }
}

/// A payment of a tenant whose account is at the server.
struct Paid {
    app: TestApp,
    ledger: PaymentLedger,
    tenant: TenantId,
    payment: PaymentId,
}

impl Paid {
    async fn start(database: TestDatabase, upstream: &MockServer) -> Self {
        let service = StripeService::new(ClientSettings::default().client().unwrap(), upstream.url()).unwrap();
        let app = TestApp::start(database, |app| app.with(Payments::from_env().service(service))).await;
        let client = app.user();
        let key = json!({ "fields": { "api_key": "sk_test_1" } });
        client.request(Method::PUT, "/api/v1/app/services/stripe/credentials/test").json(key).await.expect(200);
        let rules = json!({ "rules": [{ "strategy": "ordered", "services": [{ "name": "stripe" }] }] });
        client.request(Method::PUT, format!("{PAYMENTS}/routes?environment=test")).json(rules).await.expect(200);
        let intent = json!({
            "id": "pi_1", "object": "payment_intent", "created": 1_893_456_000, "amount": 1_000,
            "amount_received": 1_000, "currency": "usd", "status": "succeeded",
            "metadata": { "omnistack_reference": "r" },
        });
        let succeeded = MockResponse::json(200, intent.to_string());
        upstream.expect("POST", "/v1/payment_intents").reply(succeeded.clone());
        upstream.expect("POST", "/v1/payment_intents/pi_1/confirm").reply(succeeded.clone());
        upstream.expect("GET", "/v1/payment_intents/pi_1").times(..).reply(succeeded);
        upstream.expect("GET", "/v1/payment_intents/pi_other").times(..).reply(MockResponse::json(404, "{}"));
        let listed = MockResponse::json(200, dispute("du_1", "pi_1").to_string());
        upstream.expect("GET", "/v1/disputes/du_1").times(..).reply(listed);
        let tenant = client.identity().unwrap().tenant.unwrap();
        let ledger: PaymentLedger = app.app().context().get().unwrap();
        let request = PaymentRequest::new(tenant, "a", usd(1_000)).environment(DataEnvironment::Test);
        let payment = ledger.create(request.token("pm_card_visa")).await.unwrap().id;
        Self { app, ledger, tenant, payment }
    }

    /// Looks for disputes. Returns those of the payment.
    async fn find(&self) -> Vec<DisputeState> {
        find_disputes(&self.app).await;
        let payment = self.ledger.get(self.tenant, self.payment).await.unwrap();
        payment.disputes.iter().map(|dispute| dispute.status).collect()
    }
}

on_each_database! {
    async fn a_search_ends_in_time_and_goes_on(database: TestDatabase) {
        let upstream = MockServer::start().await;
        let paid = Box::pin(Paid::start(database, &upstream)).await;
        // The first page takes as long as a run may take, so that it is read again.
        let clock = paid.app.clock().clone();
        upstream.expect("GET", "/v1/disputes").reply_with(move |_| {
            clock.advance(Duration::from_secs(45 * 60));
            list(true, &[dispute("du_2", "pi_other")])
        });
        assert_eq!(paid.find().await, []);
        let first = || {
            let list = upstream.expect("GET", "/v1/disputes");
            list.matching("the first page", |request| request.query_value("starting_after").is_none())
        };
        first().reply(list(true, &[dispute("du_2", "pi_other")]));
        let busy = upstream.expect("GET", "/v1/disputes").query("starting_after", "du_2");
        busy.reply(MockResponse::json(429, "{}"));
        assert_eq!(paid.find().await, []);

        // The search goes on. If its token is refused, it begins with the first page.
        let refused = upstream.expect("GET", "/v1/disputes").query("starting_after", "du_2");
        refused.reply(MockResponse::json(400, r#"{"error":{"type":"invalid_request_error"}}"#));
        first().reply(list(true, &[dispute("du_3", "pi_other")]));
        let last = upstream.expect("GET", "/v1/disputes").query("starting_after", "du_3");
        last.reply(list(false, &[dispute("du_1", "pi_1")]));
        assert_eq!(paid.find().await, [DisputeState::Open]);

        // The next search asks for what was opened since the day before this one.
        let since = paid.app.clock().clock().now() - Duration::from_secs(86_400);
        let short = first().query("created[gte]", &since.as_seconds().to_string());
        short.reply(list(false, &[dispute("du_1", "pi_1")]));
        assert_eq!(paid.find().await, [DisputeState::Open]);
        upstream.verify();
    }
}
