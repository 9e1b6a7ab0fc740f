//! Tests of refunds.

use std::time::Duration;

use omnistack_core::http::Method;
use omnistack_payments::{FakeFault, PaymentState, RefundRequest, RefundState};
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::json;

use super::{SETTLED, TestTenant, resolve_due, start};

on_each_database! {
    async fn a_payment_is_refunded_in_parts(database: TestDatabase) {
        let app = start(database).await;
        let tenant = TestTenant::new(&app).await;
        let payment = tenant.pay("a", "tok_ok").await;
        let refund = |key: &str, amount: i64| {
            tenant.ledger.refund(tenant.id, payment.id, RefundRequest::new(key).amount(amount).reason("damaged"))
        };
        for _ in 0..2 {
            let refunded = refund("first", 250).await.unwrap();
            assert_eq!((refunded.status, refunded.refunded), (PaymentState::Succeeded, 250));
            assert_eq!(refunded.refunds.len(), 1);
        }
        for amount in [0, 751] {
            assert_eq!(refund("large", amount).await.unwrap_err().code(), "VALIDATION_FAILED");
        }
        app.clock().advance(Duration::from_secs(1));
        let rest = tenant.ledger.refund(tenant.id, payment.id, RefundRequest::new("rest")).await.unwrap();
        assert_eq!((rest.refunded, rest.refunds[1].amount), (1_000, 750));
        let refused = refund("more", 1).await.unwrap_err();
        assert_eq!(refused.code(), "PAYMENT_NOT_REFUNDABLE");
        let failed = tenant.pay("b", "tok_declined").await;
        let refused = tenant.ledger.refund(tenant.id, failed.id, RefundRequest::new("none")).await.unwrap_err();
        assert_eq!(refused.code(), "PAYMENT_NOT_REFUNDABLE");
        // Events of the refunds arrive afterwards, and add nothing.
        app.run_jobs().await;
        app.run_events().await;
        assert_eq!(tenant.get(&payment).await.refunded, 1_000);
        tenant.check_ledger().await;
    }

    async fn a_payment_has_at_most_a_hundred_refunds(database: TestDatabase) {
        let app = start(database).await;
        let tenant = TestTenant::new(&app).await;
        let payment = tenant.pay("a", "tok_ok").await;
        let refund = |number: i64| {
            let request = RefundRequest::new(format!("refund {number}")).amount(1);
            tenant.ledger.refund(tenant.id, payment.id, request)
        };
        for number in 1..=100 {
            assert_eq!(refund(number).await.unwrap().refunded, number);
        }
        assert_eq!(refund(101).await.unwrap_err().code(), "PAYMENT_NOT_REFUNDABLE");
        // An earlier one is still known by its key.
        assert_eq!(refund(7).await.unwrap().refunded, 100);
        tenant.check_ledger().await;
    }

    async fn a_refund_whose_response_is_lost_is_made_once(database: TestDatabase) {
        let app = start(database).await;
        let tenant = TestTenant::new(&app).await;
        for (key, fault) in [("a", FakeFault::ResponseLost), ("b", FakeFault::RequestLost)] {
            let payment = tenant.pay(key, "tok_ok").await;
            tenant.fault("fake", fault);
            let request = RefundRequest::new("refund").amount(600);
            let unknown = tenant.ledger.refund(tenant.id, payment.id, request.clone()).await.unwrap();
            assert_eq!(unknown.refunds[0].status, RefundState::Unknown);
            // What may be refunded already is not refunded again.
            let second = RefundRequest::new("second").amount(500);
            let refused = tenant.ledger.refund(tenant.id, payment.id, second).await.unwrap_err();
            assert_eq!(refused.code(), "VALIDATION_FAILED");
            app.clock().advance(SETTLED);
            resolve_due(&app).await;
            let refunded = tenant.get(&payment).await;
            assert_eq!((refunded.refunds[0].status, refunded.refunded), (RefundState::Succeeded, 600), "{fault:?}");
            let same = tenant.ledger.refund(tenant.id, payment.id, request).await.unwrap();
            assert_eq!((same.refunds.len(), same.refunded), (1, 600));
        }
        tenant.check_ledger().await;
    }

    async fn a_refund_at_a_provider_that_is_away_fails(database: TestDatabase) {
        let app = start(database).await;
        let tenant = TestTenant::new(&app).await;
        let payment = tenant.pay("a", "tok_ok").await;
        tenant.fault("fake", FakeFault::Unavailable);
        let refused = tenant.ledger.refund(tenant.id, payment.id, RefundRequest::new("a")).await.unwrap_err();
        assert_eq!(refused.code(), "PAYMENT_PROVIDER_UNAVAILABLE");
        assert_eq!(tenant.get(&payment).await.refunds[0].status, RefundState::Failed);
        let refunded = tenant.ledger.refund(tenant.id, payment.id, RefundRequest::new("b")).await.unwrap();
        assert_eq!(refunded.refunded, 1_000);
    }

    async fn a_refund_that_did_not_reach_its_provider_is_made_by_the_same_request(database: TestDatabase) {
        let app = start(database).await;
        let tenant = TestTenant::new(&app).await;
        let payment = tenant.pay("a", "tok_ok").await;
        let path = format!("/{}/refund", payment.id);
        tenant.fault("fake", FakeFault::Unavailable);
        tenant.post(&path, "key", json!({})).await.expect_error(503, "PAYMENT_PROVIDER_UNAVAILABLE");
        let refunded = tenant.post(&path, "key", json!({})).await.expect(200).json();
        assert_eq!((&refunded["refunded"], refunded["refunds"].as_array().unwrap().len()), (&json!(1_000), 1));
        assert_eq!(refunded["refunds"][0]["status"], "succeeded");
        tenant.check_ledger().await;
    }

    async fn a_refund_without_an_account_is_refused_and_not_made_later(database: TestDatabase) {
        let app = start(database).await;
        let tenant = TestTenant::new(&app).await;
        let payment = tenant.ledger.create(tenant.request("a", "tok_ok").provider("fake_b")).await.unwrap();
        let path = "/api/v1/app/services/fake_b/credentials/test";
        tenant.client.delete(path).await.expect(204);
        let refused = tenant.ledger.refund(tenant.id, payment.id, RefundRequest::new("r")).await.unwrap_err();
        assert_eq!(refused.code(), "PAYMENT_ACCOUNT_MISSING");
        let body = json!({ "fields": { "api_key": "fake_test_1" } });
        tenant.client.request(Method::PUT, path).json(body).await.expect(200);
        app.clock().advance(SETTLED);
        resolve_due(&app).await;
        let kept = tenant.get(&payment).await;
        assert_eq!((kept.refunds[0].status, kept.refunded), (RefundState::Failed, 0));
    }
}
