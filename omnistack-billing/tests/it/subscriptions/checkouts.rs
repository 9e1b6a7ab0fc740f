//! Tests of checkouts.

use std::time::Duration;

use omnistack_core::payment::{DeclineReason, PaymentError, ProviderEventObject, ProviderSubscriptionStatus};
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::{Value, json};

use super::{
    BILLING, checkout, count, notify, projects, provider::lost, reconcile, revenue, send, start, subscribe,
    subscription,
};

on_each_database! {
    async fn a_paid_checkout_gives_the_plan(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let client = app.user();
        let status = client.get(format!("{BILLING}/status")).await.expect(200).json();
        assert_eq!((&status["plan"], &status["subscription"]), (&json!("free"), &Value::Null));
        client.get(format!("{BILLING}/subscription")).await.expect_error(404, "NOT_FOUND");
        let open = checkout(&client, json!({ "plan": "pro", "success_path": "/billing?paid=1" })).await;
        assert_eq!(projects(&app, &client).await, 1);
        {
            let world = provider.world();
            let new = &world.checkouts[&open].0;
            assert!(new.success_url.ends_with("/billing?paid=1") && new.success_url.starts_with("http"), "{new:?}");
        }
        let id = provider.pay(&open, app.clock().clock().now());
        send(&app, ProviderEventObject::Checkout(open)).await;
        assert_eq!(projects(&app, &client).await, 10);
        let shown = subscription(&client).await;
        assert_eq!((&shown["status"], &shown["plan"], &shown["interval"]), (&json!("active"), &json!("pro"), &json!("month")));
        assert_eq!((&shown["entitled"], &shown["payment_due"]), (&json!(true), &json!(false)));
        assert_eq!(revenue(&app).await, [("new".to_owned(), 0, 2_900)]);
        let error = client.post(format!("{BILLING}/checkout"), json!({ "plan": "team" })).await;
        error.expect_error(409, "SUBSCRIPTION_EXISTS");
        let portal = client.post(format!("{BILLING}/portal"), json!({})).await.expect(200).json();
        assert!(portal["url"].as_str().unwrap().contains("/portal/cus_"), "{portal}");

        // After its end, the next checkout is a new subscription.
        app.clock().advance(Duration::from_secs(1));
        provider.set_status(&id, ProviderSubscriptionStatus::Canceled);
        notify(&app, &id).await;
        assert_eq!(projects(&app, &client).await, 1);
        app.clock().advance(Duration::from_secs(1));
        subscribe(&app, &provider, &client, "pro").await;
        let kinds: Vec<_> = revenue(&app).await.into_iter().map(|(kind, ..)| kind).collect();
        assert_eq!(kinds, ["new", "churn", "reactivation"]);
    }

    async fn concurrent_checkouts_are_one(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let client = app.user();
        let requests = (0..10).map(|_| checkout(&client, json!({ "plan": "pro" })));
        let pages = futures_util::future::join_all(requests).await;
        assert!(pages.iter().all(|page| *page == pages[0]), "{pages:?}");
        let counts = {
            let world = provider.world();
            (world.customers.len(), world.checkouts.len())
        };
        assert_eq!(counts, (1, 1));
        assert_eq!(count(&app, "select count(*) from omni_checkouts").await, 1);
        assert_eq!(count(&app, "select count(*) from omni_billing_customers").await, 1);
        // Other terms replace the page.
        let yearly = checkout(&client, json!({ "plan": "pro", "interval": "year" })).await;
        assert_ne!(yearly, pages[0]);
        assert!(provider.world().checkouts[&pages[0]].1.url.is_none());
        assert_eq!(checkout(&client, json!({ "plan": "pro", "interval": "year" })).await, yearly);
    }

    async fn a_lost_answer_makes_no_second_page(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let client = app.user();
        let path = format!("{BILLING}/checkout");
        for what in ["customer", "checkout"] {
            if what == "checkout" {
                // From now on the customer is known, so the next call is that of the checkout.
                checkout(&client, json!({ "plan": "team" })).await;
            }
            provider.fail_next(lost(), true);
            client.post(&path, json!({ "plan": "pro" })).await.expect_error(503, "PAYMENT_UNKNOWN");
            let down = PaymentError::Unavailable { message: "down".to_owned(), retry_after: None };
            provider.fail_next(down, false);
            client.post(&path, json!({ "plan": "pro" })).await.expect_error(503, "PAYMENT_PROVIDER_UNAVAILABLE");
        }
        checkout(&client, json!({ "plan": "pro" })).await;
        let world = provider.world();
        assert_eq!((world.customers.len(), world.checkouts.len()), (1, 2), "{:?}", world.calls);
    }

    async fn a_refused_checkout_can_be_repeated(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let client = app.user();
        checkout(&client, json!({ "plan": "team" })).await;
        provider.fail_next(PaymentError::Rejected { code: None, message: "no such coupon".to_owned() }, false);
        let body = json!({ "plan": "pro", "coupon": "none" });
        client.post(format!("{BILLING}/checkout"), body).await.expect_error(409, "PAYMENT_REJECTED");
        let declined = PaymentError::Declined { reason: DeclineReason::Fraud, code: None, message: String::new() };
        provider.fail_next(declined, false);
        let error = client.post(format!("{BILLING}/checkout"), json!({ "plan": "pro" })).await;
        let error = error.expect_error(402, "PAYMENT_DECLINED").json();
        assert_eq!(error["error"]["details"]["reason"], "generic");
        checkout(&client, json!({ "plan": "pro" })).await;
    }

    async fn an_incomplete_subscription_gives_nothing(database: TestDatabase) {
        let (app, provider) = start(database).await;
        for pays in [true, false] {
            let client = app.user();
            let open = checkout(&client, json!({ "plan": "pro" })).await;
            let now = app.clock().clock().now();
            let id = provider.complete(&open, now, ProviderSubscriptionStatus::Incomplete);
            notify(&app, &id).await;
            assert_eq!((projects(&app, &client).await, &subscription(&client).await["entitled"]), (1, &json!(false)));
            if pays {
                provider.pay_newest(&id);
                notify(&app, &id).await;
                assert_eq!(projects(&app, &client).await, 10);
                continue;
            }
            provider.set_status(&id, ProviderSubscriptionStatus::IncompleteExpired);
            notify(&app, &id).await;
            // A payment of the old one has no effect any more.
            provider.pay_newest(&id);
            notify(&app, &id).await;
            assert_eq!((projects(&app, &client).await, &subscription(&client).await["status"]), (1, &json!("incomplete_expired")));
            send(&app, ProviderEventObject::Checkout(open.clone())).await;
            let second = subscribe(&app, &provider, &client, "pro").await;
            assert_ne!(second, id);
            assert_eq!((projects(&app, &client).await, &subscription(&client).await["status"]), (10, &json!("active")));
        }
    }

    async fn a_lost_event_is_made_up_for_by_reconciliation(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let client = app.user();
        let id = subscribe(&app, &provider, &client, "pro").await;
        provider.set_status(&id, ProviderSubscriptionStatus::Canceled);
        app.clock().advance(Duration::from_secs(2 * 86_400));
        reconcile(&app).await;
        assert_eq!(projects(&app, &client).await, 1);
        // A customer who has paid, and whose events were all lost.
        let open = checkout(&client, json!({ "plan": "team" })).await;
        provider.pay(&open, app.clock().clock().now());
        app.clock().advance(Duration::from_secs(86_400));
        crate::subscriptions::advance(&app).await;
        assert_eq!(projects(&app, &client).await, 99);
    }
}

#[tokio::test]
async fn what_can_not_be_bought_is_refused() {
    let (app, _) = start(TestDatabase::sqlite()).await;
    let client = app.user();
    for (body, status, code) in [
        (json!({ "plan": "none" }), 404, "NOT_FOUND"),
        (json!({ "plan": "free" }), 409, "PLAN_NOT_SOLD"),
        (json!({ "plan": "enterprise" }), 409, "PLAN_NOT_SOLD"),
        (json!({ "plan": "team", "interval": "year" }), 409, "PLAN_NOT_SOLD"),
        (json!({ "plan": "pro", "seats": 2 }), 409, "PLAN_NOT_PER_SEAT"),
        (json!({ "plan": "pro", "provider": "other" }), 422, "VALIDATION_FAILED"),
        (json!({ "plan": "pro", "interval": "fortnight" }), 422, "VALIDATION_FAILED"),
        (json!({ "plan": "seats", "seats": 0 }), 422, "VALIDATION_FAILED"),
        (json!({ "plan": "pro", "success_path": "https://evil.example" }), 422, "VALIDATION_FAILED"),
        (json!({ "plan": "pro", "success_path": "//evil.example" }), 422, "VALIDATION_FAILED"),
        (json!({ "plan": "pro", "cancel_path": "/\\evil.example" }), 422, "VALIDATION_FAILED"),
    ] {
        client.post(format!("{BILLING}/checkout"), &body).await.expect_error(status, code);
    }
    for path in ["cancel", "upgrade"] {
        client.post(format!("{BILLING}/{path}"), json!({})).await.expect_error(409, "NO_SUBSCRIPTION");
    }
    client.post(format!("{BILLING}/portal"), json!({})).await.expect_error(409, "NO_BILLING_CUSTOMER");
    let offers = client.get(format!("{BILLING}/plans")).await.expect(200).json();
    let offers = offers["plans"].as_array().unwrap();
    let prices: Vec<_> = offers.iter().map(|offer| offer["prices"].as_array().unwrap().len()).collect();
    assert_eq!(prices, [0, 2, 1, 1, 1, 0]);
    let days: Vec<_> = offers.iter().map(|offer| offer["trial_days"].as_u64().unwrap()).collect();
    assert_eq!(days, [0, 0, 0, 0, 14, 0]);
}
