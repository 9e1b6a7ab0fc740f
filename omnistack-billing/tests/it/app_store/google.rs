//! Purchases in Google Play.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use omnistack_billing::Billing;
use omnistack_core::{app::App, config::Config, webhook::WebhookStatus};
use omnistack_testkit::{TestApp, TestClient, TestDatabase, TestResponse, on_each_database};
use serde_json::{Value, json};

use super::{AppleChain, STORES, google_api::GoogleApi, notify, plan_of, purchases, refresh, start};

const MINUTE: Duration = Duration::from_secs(60);

async fn app(database: TestDatabase) -> (TestApp, GoogleApi) {
    let google = GoogleApi::start().await;
    let app = start(database, &Arc::new(AppleChain::issue()), |app| {
        app.set("GOOGLE_PLAY_PACKAGE", "com.example")
            .set("GOOGLE_PLAY_SERVICE_ACCOUNT", google.key.as_str())
            .set("GOOGLE_PLAY_API_URL", google.url())
    })
    .await;
    (app, google)
}

async fn token(client: &TestClient) -> String {
    let token = client.post(format!("{STORES}/google/token"), json!({})).await.expect(200).json();
    token["obfuscated_account_id"].as_str().unwrap().to_owned()
}

/// Returns a purchase of a product until the end of January.
fn purchase(product: &str, account: Option<&str>, state: &str) -> Value {
    let mut purchase = json!({
        "startTime": "2030-01-01T00:00:00Z", "subscriptionState": format!("SUBSCRIPTION_STATE_{state}"),
        "acknowledgementState": "ACKNOWLEDGEMENT_STATE_PENDING",
        "lineItems": [{
            "productId": product, "expiryTime": "2030-02-01T00:00:00Z", "offerDetails": { "basePlanId": "monthly" },
            "autoRenewingPlan": { "autoRenewEnabled": true },
        }],
    });
    if let Some(account) = account {
        purchase["externalAccountIdentifiers"] = json!({ "obfuscatedExternalAccountId": account });
    }
    purchase
}

async fn submit(client: &TestClient, token: &str) -> TestResponse {
    client.post(format!("{STORES}/google/purchases"), json!({ "purchase_token": token })).await
}

/// Returns the body of a notification of Google.
fn notification(token: &str) -> Value {
    let data = json!({
        "version": "1.0", "packageName": "com.example", "eventTimeMillis": "1893456000000",
        "subscriptionNotification": { "version": "1.0", "notificationType": 4, "purchaseToken": token },
    });
    json!({ "message": { "data": STANDARD.encode(data.to_string()), "messageId": "1" }, "subscription": "s" })
}

on_each_database! {
    async fn a_refund_that_google_asks_about_is_passed_on(database: TestDatabase) {
        let (app, _google) = app(database).await;
        for (review, expected) in [
            (json!({ "orderId": "GPA.1", "refundReason": 7 }), WebhookStatus::Processed),
            (json!({ "orderId": "GPA.2" }), WebhookStatus::Processed),
            (json!({ "orderId": "" }), WebhookStatus::Ignored),
            (json!({}), WebhookStatus::Ignored),
        ] {
            let data = json!({
                "version": "1.0", "packageName": "com.example", "eventTimeMillis": "1893456000000",
                "pendingRefundReviewNotification": review,
            });
            let body = json!({ "message": { "data": STANDARD.encode(data.to_string()), "messageId": "1" } });
            assert_eq!(notify(&app, "google-play", &body).await.unwrap().status, expected, "{review}");
        }
    }

    async fn a_purchase_is_acknowledged_by_the_server(database: TestDatabase) {
        let (app, google) = app(database).await;
        let (user, other) = (app.user(), app.user());
        let account = token(&user).await;
        google.set("token-1", purchase("pro", Some(&account), "ACTIVE"));
        // The notification may arrive before the device sends the purchase.
        let received = notify(&app, "google-play", &notification("token-1")).await.unwrap();
        assert_eq!(received.status, WebhookStatus::Processed);
        assert_eq!(plan_of(&app, &user).await, "pro");
        assert!(google.state().acknowledged.is_empty());
        app.run_jobs().await;
        assert_eq!(google.state().acknowledged, [("pro".to_owned(), "token-1".to_owned())]);
        submit(&user, "token-1").await.expect(200);
        submit(&other, "token-1").await.expect_error(409, "STORE_PURCHASE_OF_OTHER_TENANT");
        app.run_jobs().await;
        assert_eq!(google.state().acknowledged.len(), 1, "once");
        assert_eq!(google.state().access_tokens, 1, "a token is used for an hour");
    }

    async fn an_acknowledgement_that_fails_is_made_again(database: TestDatabase) {
        let (app, google) = app(database).await;
        let user = app.user();
        google.set("token-1", purchase("pro", None, "ACTIVE"));
        google.state().failures = vec![503, 500];
        submit(&user, "token-1").await.expect(200);
        for _ in 0..5 {
            app.run_jobs().await;
            app.clock().advance(MINUTE);
        }
        assert_eq!(google.state().acknowledged.len(), 1);
    }

    async fn a_payment_that_is_pending_gives_nothing_yet(database: TestDatabase) {
        let (app, google) = app(database).await;
        let user = app.user();
        google.set("token-1", purchase("pro", None, "PENDING"));
        let answer = submit(&user, "token-1").await.expect(200).json();
        assert_eq!(answer["status"], "incomplete");
        app.run_jobs().await;
        assert_eq!((plan_of(&app, &user).await.as_str(), google.state().acknowledged.len()), ("free", 0));
        google.set("token-1", purchase("pro", None, "ACTIVE"));
        notify(&app, "google-play", &notification("token-1")).await.unwrap();
        app.run_jobs().await;
        assert_eq!((plan_of(&app, &user).await.as_str(), google.state().acknowledged.len()), ("pro", 1));
    }

    async fn an_upgrade_replaces_the_linked_purchase(database: TestDatabase) {
        let (app, google) = app(database).await;
        let user = app.user();
        google.set("token-1", purchase("pro", None, "ACTIVE"));
        submit(&user, "token-1").await.expect(200);
        app.clock().advance(MINUTE);
        let mut upgrade = purchase("team", None, "ACTIVE");
        upgrade["linkedPurchaseToken"] = json!("token-1");
        google.set("token-2", upgrade);
        // It has no token of the tenant; the purchase that it replaces has a tenant.
        notify(&app, "google-play", &notification("token-2")).await.unwrap();
        assert_eq!(plan_of(&app, &user).await, "team");
        app.clock().advance(MINUTE);
        // Google still reports the former purchase.
        notify(&app, "google-play", &notification("token-1")).await.unwrap();
        google.set("token-1", purchase("pro", None, "EXPIRED"));
        notify(&app, "google-play", &notification("token-1")).await.unwrap();
        assert_eq!(plan_of(&app, &user).await, "team");
        let mut all = purchases(&user).await;
        all.sort();
        let expected = [["google", "live", "pro:monthly", "canceled"], ["google", "live", "team:monthly", "active"]];
        assert_eq!(all, expected.map(|row| row.map(str::to_owned)));
    }

    async fn an_expired_purchase_does_not_end_the_one_that_continues_it(database: TestDatabase) {
        let (app, google) = app(database).await;
        let user = app.user();
        google.set("token-1", purchase("pro", None, "ACTIVE"));
        submit(&user, "token-1").await.expect(200);
        app.clock().advance(MINUTE);
        google.set("token-1", purchase("pro", None, "EXPIRED"));
        notify(&app, "google-play", &notification("token-1")).await.unwrap();
        assert_eq!(plan_of(&app, &user).await, "free");
        // The customer subscribes again in the store, without the app.
        app.clock().advance(MINUTE);
        let mut again = purchase("pro", None, "ACTIVE");
        again["outOfAppPurchaseContext"] = json!({ "expiredPurchaseToken": "token-1" });
        google.set("token-2", again);
        notify(&app, "google-play", &notification("token-2")).await.unwrap();
        assert_eq!(plan_of(&app, &user).await, "pro");
        // A notification of the former purchase, which is late.
        app.clock().advance(MINUTE);
        let mut late = notification("token-1");
        late["message"]["messageId"] = json!("late");
        notify(&app, "google-play", &late).await.unwrap();
        assert_eq!(plan_of(&app, &user).await, "pro");
    }

    async fn each_state_of_google_has_its_effect(database: TestDatabase) {
        let (app, google) = app(database).await;
        let user = app.user();
        google.set("token-1", purchase("pro", None, "ACTIVE"));
        submit(&user, "token-1").await.expect(200);
        for (state, status, plan) in [
            ("CANCELED", "active", "pro"),
            ("IN_GRACE_PERIOD", "past_due", "pro"),
            ("ON_HOLD", "unpaid", "free"),
            ("ACTIVE", "active", "pro"),
            ("PAUSED", "paused", "free"),
            ("EXPIRED", "canceled", "free"),
        ] {
            app.clock().advance(MINUTE);
            google.set("token-1", purchase("pro", None, state));
            notify(&app, "google-play", &notification("token-1")).await.unwrap();
            assert_eq!(purchases(&user).await[0][3], status, "{state}");
            assert_eq!(plan_of(&app, &user).await, plan, "{state}");
        }
    }

    async fn the_purchase_of_a_tester_is_kept_apart(database: TestDatabase) {
        let (app, google) = app(database).await;
        let user = app.user();
        let mut test = purchase("pro", None, "ACTIVE");
        test["testPurchase"] = json!({});
        google.set("token-1", test);
        let answer = submit(&user, "token-1").await.expect(200).json();
        assert_eq!(answer["environment"], "test");
        assert_eq!(plan_of(&app, &user).await, "free");
    }

    async fn a_renewal_that_was_not_notified_is_found(database: TestDatabase) {
        let (app, google) = app(database).await;
        let user = app.user();
        google.set("token-1", purchase("pro", None, "ACTIVE"));
        submit(&user, "token-1").await.expect(200);
        let mut renewed = purchase("pro", None, "ACTIVE");
        renewed["lineItems"][0]["expiryTime"] = json!("2030-03-01T00:00:00Z");
        google.set("token-1", renewed);
        app.clock().advance(Duration::from_secs(32 * 86_400));
        refresh(&app).await;
        let list = user.get(STORES).await.expect(200).json();
        assert_eq!(list["items"][0]["period_end"], "2030-03-01T00:00:00Z");
        // Google forgets purchases that have ended long ago.
        google.state().purchases.clear();
        app.clock().advance(Duration::from_secs(100 * 86_400));
        refresh(&app).await;
        assert_eq!((plan_of(&app, &user).await.as_str(), purchases(&user).await[0][3].as_str()), ("free", "canceled"));
    }

    async fn other_tokens_are_refused(database: TestDatabase) {
        let (app, google) = app(database).await;
        let user = app.user();
        for token in ["unknown", "a/b", "..", "a?b"] {
            submit(&user, token).await.expect_error(422, "STORE_PURCHASE_INVALID");
        }
        google.set("token-1", purchase("pro", None, "ACTIVE"));
        let received = notify(&app, "google-play", &notification("token-1")).await.unwrap();
        assert_eq!(received.status, WebhookStatus::Ignored, "it has no tenant");
        app.run_jobs().await;
        assert!(google.state().acknowledged.is_empty(), "Google refunds what no tenant can use");
    }
}

#[tokio::test]
async fn the_settings_are_checked_at_start_up() {
    let missing = [("GOOGLE_PLAY_PACKAGE", "com.example")];
    let wrong = [("GOOGLE_PLAY_PACKAGE", "com.example"), ("GOOGLE_PLAY_SERVICE_ACCOUNT", "{}")];
    for settings in [missing.as_slice(), &wrong] {
        let all = [("DATABASE_URL", "sqlite::memory:")].iter().chain(settings).copied();
        let built = App::builder(Config::from_pairs(all)).with(Billing::from_env()).build();
        let report = built.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(report.contains("GOOGLE_PLAY_SERVICE_ACCOUNT"), "{report}");
    }
}
