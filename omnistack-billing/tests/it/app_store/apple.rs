//! Purchases in the App Store.

use std::{sync::Arc, time::Duration};

use omnistack_core::webhook::WebhookStatus;
use omnistack_testkit::{TestApp, TestClient, TestDatabase, TestResponse, on_each_database};
use serde_json::{Value, json};

use super::{AppleChain, STORES, notify, plan_of, purchases, refresh, start};

/// The time of the test clock, 2030-01-01, in milliseconds since 1970.
pub(crate) const NOW: i64 = 1_893_456_000_000;
pub(crate) const DAY: i64 = 86_400_000;

/// Returns the token of the tenant of a client.
pub(crate) async fn token(client: &TestClient) -> String {
    let token = client.post(format!("{STORES}/apple/token"), json!({})).await.expect(200).json();
    token["app_account_token"].as_str().unwrap().to_owned()
}

fn with(mut value: Value, changes: &Value) -> Value {
    for (name, change) in changes.as_object().unwrap() {
        value[name] = change.clone();
    }
    value
}

/// Returns a transaction of a month that begins now.
pub(crate) fn transaction(changes: &Value) -> Value {
    let all = json!({
        "originalTransactionId": "1000", "transactionId": "1001", "bundleId": "com.example",
        "environment": "Production", "type": "Auto-Renewable Subscription", "productId": "pro.monthly",
        "purchaseDate": NOW, "expiresDate": NOW + 30 * DAY, "signedDate": NOW,
    });
    with(all, changes)
}

/// Returns the body of a notification with a status, signed on a day.
pub(crate) fn notification(chain: &AppleChain, status: i64, day: i64, transaction: &Value, renews: bool) -> Value {
    let signed = NOW + day * DAY;
    let environment = &transaction["environment"];
    let renewal = json!({ "environment": environment, "autoRenewStatus": i64::from(renews), "signedDate": signed });
    let payload = json!({
        "notificationType": "DID_RENEW", "notificationUUID": format!("{status}-{day}"), "signedDate": signed,
        "data": {
            "bundleId": "com.example", "appAppleId": 1234, "environment": environment, "status": status,
            "signedTransactionInfo": chain.sign(transaction), "signedRenewalInfo": chain.sign(&renewal),
        },
    });
    json!({ "signedPayload": chain.sign(&payload) })
}

async fn submit(client: &TestClient, signed: &str) -> TestResponse {
    client.post(format!("{STORES}/apple/purchases"), json!({ "signed_transaction": signed })).await
}

pub(crate) async fn app(database: TestDatabase) -> (TestApp, Arc<AppleChain>) {
    let chain = Arc::new(AppleChain::issue());
    let app = start(database, &chain, |app| app).await;
    (app, chain)
}

on_each_database! {
    async fn a_transaction_of_a_device_gives_the_plan(database: TestDatabase) {
        let (app, chain) = app(database).await;
        let (user, other) = (app.user(), app.user());
        let token = token(&user).await;
        let signed = chain.sign(&transaction(&json!({ "appAccountToken": token })));
        let answer = submit(&user, &signed).await.expect(200).json();
        assert_eq!((&answer["status"], &answer["environment"]), (&json!("active"), &json!("live")));
        assert_eq!(answer["period_end"], "2030-01-31T00:00:00Z");
        assert_eq!(plan_of(&app, &user).await, "pro");
        submit(&user, &signed).await.expect(200);
        assert_eq!(purchases(&user).await.len(), 1, "the same again changes nothing");
        submit(&other, &signed).await.expect_error(409, "STORE_PURCHASE_OF_OTHER_TENANT");
        assert_eq!(plan_of(&app, &other).await, "free");
    }

    async fn what_apple_has_not_signed_for_this_app_is_refused(database: TestDatabase) {
        let (app, chain) = app(database).await;
        let user = app.user();
        let forged = AppleChain::issue().sign(&transaction(&json!({})));
        let other_app = chain.sign(&transaction(&json!({ "bundleId": "com.other" })));
        let xcode = chain.sign(&transaction(&json!({ "environment": "Xcode" })));
        let consumable = chain.sign(&transaction(&json!({ "type": "Consumable" })));
        for signed in [forged.as_str(), &other_app, &xcode, &consumable, "a.b.c"] {
            submit(&user, signed).await.expect_error(422, "STORE_PURCHASE_INVALID");
        }
        assert!(purchases(&user).await.is_empty());
        let forged = notification(&AppleChain::issue(), 1, 0, &transaction(&json!({})), true);
        assert!(notify(&app, "apple", &forged).await.is_err());
    }

    async fn notifications_change_the_subscription_in_any_order(database: TestDatabase) {
        let (app, chain) = app(database).await;
        let user = app.user();
        let token = token(&user).await;
        let of = |changes: &Value| with(transaction(&json!({ "appAccountToken": token })), changes);
        let bought = notification(&chain, 1, 0, &of(&json!({})), true);
        let failed = notification(&chain, 4, 30, &of(&json!({})), true);
        let next = of(&json!({ "purchaseDate": NOW + 31 * DAY, "expiresDate": NOW + 60 * DAY }));
        let renewed = notification(&chain, 1, 31, &next, true);
        let expired = notification(&chain, 2, 60, &next, false);

        assert_eq!(notify(&app, "apple", &bought).await.unwrap().status, WebhookStatus::Processed);
        assert_eq!(plan_of(&app, &user).await, "pro");
        notify(&app, "apple", &failed).await.unwrap();
        assert_eq!(purchases(&user).await[0][3], "past_due");
        assert_eq!(plan_of(&app, &user).await, "pro", "in the grace period");
        // The device sends the payment that it knows, which says nothing of the grace period.
        app.clock().advance(Duration::from_secs(30 * 86_400 + 60));
        submit(&user, &chain.sign(&of(&json!({ "signedDate": NOW + 30 * DAY + 1000 })))).await.expect(200);
        assert_eq!(purchases(&user).await[0][3], "past_due");
        notify(&app, "apple", &renewed).await.unwrap();
        // Again, and late.
        notify(&app, "apple", &failed).await.unwrap();
        notify(&app, "apple", &bought).await.unwrap();
        let list = user.get(STORES).await.expect(200).json();
        assert_eq!((&list["items"][0]["status"], list["items"].as_array().unwrap().len()), (&json!("active"), 1));
        assert_eq!(list["items"][0]["period_end"], "2030-03-02T00:00:00Z");
        notify(&app, "apple", &expired).await.unwrap();
        assert_eq!(plan_of(&app, &user).await, "free");
    }

    async fn a_planned_end_is_shown_and_a_refund_ends_at_once(database: TestDatabase) {
        let (app, chain) = app(database).await;
        let user = app.user();
        let token = token(&user).await;
        let bought = transaction(&json!({ "appAccountToken": token }));
        notify(&app, "apple", &notification(&chain, 1, 1, &bought, false)).await.unwrap();
        let list = user.get(STORES).await.expect(200).json();
        assert_eq!(list["items"][0]["cancel_at"], "2030-01-31T00:00:00Z");
        assert_eq!(plan_of(&app, &user).await, "pro");
        let refunded = with(bought, &json!({ "revocationDate": NOW + 2 * DAY }));
        notify(&app, "apple", &notification(&chain, 5, 2, &refunded, false)).await.unwrap();
        assert_eq!(plan_of(&app, &user).await, "free");
    }

    async fn a_purchase_of_the_sandbox_is_kept_apart(database: TestDatabase) {
        let (app, chain) = app(database).await;
        let user = app.user();
        let token = token(&user).await;
        let sandbox = transaction(&json!({ "environment": "Sandbox", "appAccountToken": token }));
        let received = notify(&app, "apple", &notification(&chain, 1, 0, &sandbox, true)).await.unwrap();
        assert_eq!(received.status, WebhookStatus::Processed, "App Review buys in the sandbox: it is not refused");
        let expected = ["apple", "test", "pro.monthly", "active"].map(str::to_owned);
        assert_eq!(purchases(&user).await, [expected]);
        assert_eq!(plan_of(&app, &user).await, "free");
    }

    async fn a_purchase_without_a_known_tenant_waits_for_its_device(database: TestDatabase) {
        let (app, chain) = app(database).await;
        let user = app.user();
        let unknown = transaction(&json!({ "appAccountToken": "0197a2a4-8c00-7000-8000-000000000001" }));
        for transaction in [&unknown, &transaction(&json!({}))] {
            let received = notify(&app, "apple", &notification(&chain, 1, 0, transaction, true)).await.unwrap();
            assert_eq!(received.status, WebhookStatus::Ignored);
        }
        submit(&user, &chain.sign(&transaction(&json!({})))).await.expect(200);
        assert_eq!(plan_of(&app, &user).await, "pro");
    }

    async fn a_refund_before_the_claim_of_the_purchase_counts(database: TestDatabase) {
        let (app, chain) = app(database).await;
        let (user, other) = (app.user(), app.user());
        let bought = transaction(&json!({}));
        let refunded = with(bought.clone(), &json!({ "revocationDate": NOW + 2 * DAY }));
        let refund = notification(&chain, 5, 2, &refunded, false);
        // The notification of the purchase arrives after that of its refund.
        for body in [&refund, &notification(&chain, 1, 0, &bought, true)] {
            assert_eq!(notify(&app, "apple", body).await.unwrap().status, WebhookStatus::Ignored);
        }
        // The device has the transaction as it was before.
        for _ in 0..2 {
            let claimed = submit(&user, &chain.sign(&bought)).await.expect(200).json();
            assert_eq!(claimed["status"], "canceled");
        }
        assert_eq!(plan_of(&app, &user).await, "free");
        submit(&other, &chain.sign(&bought)).await.expect_error(409, "STORE_PURCHASE_OF_OTHER_TENANT");
        let sql = "select count(*) from omni_store_unclaimed";
        assert_eq!(app.db().app_database().query(sql).fetch_one::<(i64,)>().await.unwrap(), (0,));
        // It is bought again.
        let next = with(bought, &json!({ "purchaseDate": NOW + 3 * DAY, "expiresDate": NOW + 33 * DAY }));
        notify(&app, "apple", &notification(&chain, 1, 3, &next, true)).await.unwrap();
        assert_eq!(plan_of(&app, &user).await, "pro");
    }

    async fn a_state_that_no_tenant_claims_is_deleted_after_400_days(database: TestDatabase) {
        let (app, chain) = app(database).await;
        notify(&app, "apple", &notification(&chain, 1, 0, &transaction(&json!({})), true)).await.unwrap();
        let count = async || {
            let sql = "select count(*) from omni_store_unclaimed";
            app.db().app_database().query(sql).fetch_one::<(i64,)>().await.unwrap().0
        };
        refresh(&app).await;
        assert_eq!(count().await, 1);
        app.clock().advance(Duration::from_secs(401 * 86_400));
        refresh(&app).await;
        assert_eq!(count().await, 0);
    }

    async fn a_subscription_ends_when_apple_is_silent(database: TestDatabase) {
        let (app, chain) = app(database).await;
        let user = app.user();
        submit(&user, &chain.sign(&transaction(&json!({})))).await.expect(200);
        app.clock().advance(Duration::from_secs(38 * 86_400));
        refresh(&app).await;
        assert_eq!(purchases(&user).await[0][3], "canceled");
        assert_eq!(plan_of(&app, &user).await, "free");
    }
}
