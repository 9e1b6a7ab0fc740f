//! Tests of the events of the fake.

use std::{collections::BTreeMap, time::Duration};

use omnistack_core::{
    http::Method,
    payment::{NewRefund, PaymentError, PaymentProvider as _},
};
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::json;

use super::{DAY, card, money, payment, start, start_with, subscription};

on_each_database! {
    async fn each_change_is_an_event_in_the_inbox_of_the_app(database: TestDatabase) {
        let fake = start(database).await;
        let customer = fake.customer_with("tenant", "tok_ok").await;
        let first = fake.provider.create_subscription(&subscription("tenant", &customer, "pro:2900:USD:month")).await;
        fake.app.run_jobs().await;
        let expected = [
            "customer.updated",
            "invoice.created",
            "invoice.paid",
            "payment.succeeded",
            "subscription.created",
            "subscription.updated",
        ];
        assert_eq!(fake.events.kinds(), expected);

        fake.events.clear();
        let id = first.unwrap().id;
        fake.bank.set_quantity(&id, 3).await.unwrap();
        let paid = fake.provider.create_payment(&payment("disputed", "10.00", card("tok_dispute"))).await.unwrap();
        fake.advance(Duration::from_secs(60 * 60)).await;
        assert_eq!(fake.events.kinds(), ["dispute.created", "payment.succeeded", "subscription.updated"]);
        assert!(fake.bank.dispute_payment(&paid.id).await.is_err());

        fake.events.clear();
        let other = fake.provider.create_payment(&payment("other", "10.00", card("tok_ok"))).await.unwrap();
        let dispute = fake.bank.dispute_payment(&other.id).await.unwrap();
        fake.bank.decide_dispute(&dispute, false).await.unwrap();
        assert!(fake.bank.decide_dispute(&dispute, false).await.is_err());
        fake.app.run_jobs().await;
        assert_eq!(fake.events.kinds(), ["dispute.closed", "dispute.created", "payment.succeeded"]);
        // The payer has the money back, and does not get it twice.
        let refund = NewRefund {
            reference: "refund".into(),
            amount: money("10.00"),
            reason: None,
            idempotency_key: "refund".into(),
        };
        let refused = fake.provider.refund_payment(&other.id, &refund).await.unwrap_err();
        assert!(matches!(refused, PaymentError::Rejected { .. }), "{refused}");
    }

    async fn a_dispute_that_comes_early_stops_nothing_else(database: TestDatabase) {
        let fake = start(database).await;
        let paid = fake.provider.create_payment(&payment("disputed", "10.00", card("tok_dispute"))).await.unwrap();
        fake.bank.dispute_payment(&paid.id).await.unwrap();
        fake.app.clock().advance(Duration::from_secs(30 * 60));
        fake.provider.create_payment(&payment("slow", "10.00", card("tok_slow"))).await.unwrap();
        let now = fake.app.clock().clock().now() + Duration::from_secs(60 * 60);
        fake.bank.advance(now).await.unwrap();
        assert_eq!(fake.provider.charges("slow").await.unwrap(), 1);
    }

    async fn in_chaos_each_event_arrives_twice(database: TestDatabase) {
        let fake = start_with(database, &[("FAKE_PAYMENTS_CHAOS", "true")]).await;
        for number in 0..10 {
            let reference = format!("payment-{number}");
            fake.provider.create_payment(&payment(&reference, "10.00", card("tok_ok"))).await.unwrap();
        }
        for _ in 0..30 {
            fake.advance(Duration::from_secs(1)).await;
        }
        let received = fake.events.0.lock().unwrap().clone();
        let mut counts = BTreeMap::<&str, u32>::new();
        for (id, _) in &received {
            *counts.entry(id).or_default() += 1;
        }
        assert_eq!((counts.len(), received.len()), (10, 20));
        assert!(counts.values().all(|count| *count == 2), "{counts:?}");
    }

    async fn trials_are_announced_before_they_end(database: TestDatabase) {
        let fake = start(database).await;
        let customer = fake.customer_with("tenant", "tok_ok").await;
        let mut new = subscription("tenant", &customer, "pro:2900:USD:month");
        new.trial_end = Some(fake.app.clock().clock().now() + 14 * DAY);
        fake.provider.create_subscription(&new).await.unwrap();
        fake.advance(11 * DAY).await;
        assert!(fake.events.kinds().iter().any(|kind| kind == "subscription.trial_will_end"));
        fake.events.clear();
        fake.advance(3 * DAY).await;
        let expected = ["invoice.created", "invoice.paid", "payment.succeeded", "subscription.updated"];
        assert_eq!(fake.events.kinds(), expected);
    }

    async fn only_the_app_itself_sends_events_of_the_fake(database: TestDatabase) {
        let fake = start(database).await;
        let event = json!({ "id": "forged", "type": "payment.succeeded", "created": "2030-01-01T00:00:00Z",
            "environment": "test", "object": { "payment": "x" }, "reference": null });
        let request = fake.app.anonymous().request(Method::POST, "/api/v1/public/webhooks/fake").json(event);
        // Without the module of webhooks there is no such route either.
        assert!(request.await.status.is_client_error());
        assert!(fake.events.kinds().is_empty());
    }
}
