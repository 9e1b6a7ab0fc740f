//! Tests of coupons.

use omnistack_core::payment::{CheckoutKind, PaymentError, ProviderEventObject};
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::json;

use super::{
    BILLING, checkout, projects,
    provider::{ScriptedProvider, lost},
    send, start, subscribe, subscription,
};
use crate::accounts::audited;

/// Returns the coupon of a checkout at the provider.
fn coupon_of(provider: &ScriptedProvider, checkout: &str) -> Option<String> {
    let world = provider.world();
    let CheckoutKind::Subscription { coupon, .. } = &world.checkouts[checkout].0.kind else { unreachable!() };
    coupon.clone()
}

on_each_database! {
    async fn a_coupon_is_used_and_removed(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let client = app.user();
        let path = format!("{BILLING}/coupon");
        client.delete(&path).await.expect_error(409, "NO_SUBSCRIPTION");
        let body = json!({ "plan": "pro", "coupon": "WELCOME" });
        let page = checkout(&client, body.clone()).await;
        assert_eq!(coupon_of(&provider, &page).as_deref(), Some("WELCOME"));
        assert_eq!(checkout(&client, body).await, page);
        // Without the coupon, it is another page.
        let full = checkout(&client, json!({ "plan": "pro" })).await;
        assert_eq!((coupon_of(&provider, &full), full == page), (None, false));
        let reduced = checkout(&client, json!({ "plan": "pro", "coupon": "WELCOME" })).await;
        provider.pay(&reduced, app.clock().clock().now());
        send(&app, ProviderEventObject::Checkout(reduced)).await;
        assert_eq!((projects(&app, &client).await, &subscription(&client).await["discounted"]), (10, &json!(true)));

        // After a lost answer, the provider is asked with the same key.
        provider.fail_next(lost(), true);
        client.delete(&path).await.expect_error(503, "PAYMENT_UNKNOWN");
        let shown = client.delete(&path).await.expect(200).json();
        assert_eq!((&shown["discounted"], &shown["status"]), (&json!(false), &json!("active")));
        client.delete(&path).await.expect_error(409, "NO_COUPON");
        {
            let world = provider.world();
            let mut keys: Vec<_> = world.calls.iter().filter(|call| call.starts_with("remove_coupon")).collect();
            assert_eq!(keys.len(), 2);
            keys.dedup();
            assert_eq!(keys.len(), 1, "{keys:?}");
        }
        assert_eq!(audited(&app, "subscription.change_requested").await.len(), 1);
    }

    async fn a_coupon_that_can_not_be_is_refused(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let client = app.user();
        let path = format!("{BILLING}/checkout");
        provider.world().has_no_coupons = true;
        let body = json!({ "plan": "pro", "coupon": "WELCOME" });
        let refused = client.post(&path, &body).await.expect_error(409, "COUPONS_NOT_SUPPORTED").json();
        assert_eq!(refused["error"]["message"], "Scripted has no coupons; leave `coupon` out");
        assert!(provider.world().calls.is_empty());
        client.post(&path, json!({ "plan": "pro", "coupon": "" })).await.expect_error(422, "VALIDATION_FAILED");
        // A provider that has coupons, and can't remove them.
        let id = subscribe(&app, &provider, &client, "pro").await;
        provider.edit(&id, |subscription| subscription.discounted = true);
        send(&app, ProviderEventObject::Subscription(id)).await;
        let operation = "removing coupons";
        provider.fail_next(PaymentError::NotSupported { provider: "fake", operation }, false);
        client.delete(format!("{BILLING}/coupon")).await.expect_error(409, "PAYMENT_NOT_SUPPORTED");
        assert_eq!(subscription(&client).await["discounted"], true);
    }
}
