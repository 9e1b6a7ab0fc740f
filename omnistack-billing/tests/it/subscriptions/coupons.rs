//! Tests of coupons.

use std::time::Duration;

use omnistack_core::{
    money::{Currency, Money},
    payment::{
        CheckoutKind, DiscountDuration, DiscountReduction, PaymentError, ProviderEventObject,
        ProviderSubscriptionStatus, SubscriptionDiscount,
    },
};
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::json;

use super::{
    BILLING, advance, checkout, notify, projects,
    provider::{ScriptedProvider, lost, percent_off, usd},
    revenue, send, start, subscribe, subscription,
};
use crate::accounts::audited;

const REVENUE: &str = "/api/v1/admin/billing/revenue";

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
        provider.edit(&id, |subscription| subscription.discounts = vec![percent_off(20)]);
        send(&app, ProviderEventObject::Subscription(id)).await;
        let operation = "removing coupons";
        provider.fail_next(PaymentError::NotSupported { provider: "fake", operation }, false);
        client.delete(format!("{BILLING}/coupon")).await.expect_error(409, "PAYMENT_NOT_SUPPORTED");
        assert_eq!(subscription(&client).await["discounted"], true);
    }

    async fn recurring_discounts_lower_the_recurring_revenue_while_they_last(database: TestDatabase) {
        use DiscountReduction::{Amount, BasisPoints, Unknown};
        let (app, provider) = start(database).await;
        let once = DiscountDuration::Once;
        let months = DiscountDuration::Until(app.clock().clock().now() + Duration::from_secs(60 * 86_400));
        let forever = DiscountDuration::Forever;
        let euros = Amount(Money::new(500, Currency::EUR));
        // The interval of `pro`, the discounts, and the revenue of a month while they last and after two months.
        let cases = [
            ("month", vec![], 2_900, 2_900),
            ("month", vec![(BasisPoints(2_000), once)], 2_900, 2_900),
            ("month", vec![(BasisPoints(2_000), months)], 2_320, 2_900),
            ("month", vec![(BasisPoints(2_000), forever)], 2_320, 2_320),
            ("month", vec![(Amount(usd(500)), once)], 2_900, 2_900),
            ("month", vec![(Amount(usd(500)), months)], 2_400, 2_900),
            ("month", vec![(Amount(usd(500)), forever)], 2_400, 2_400),
            ("month", vec![(Amount(usd(9_900)), forever)], 0, 0),
            ("month", vec![(BasisPoints(10_000), months)], 0, 2_900),
            ("month", vec![(BasisPoints(5_000), months), (Amount(usd(450)), forever)], 1_000, 2_450),
            ("month", vec![(Unknown, forever), (euros, forever)], 2_900, 2_900),
            ("year", vec![(BasisPoints(5_000), forever)], 1_209, 1_209),
            ("year", vec![(Amount(usd(12_000)), months)], 1_417, 2_417),
        ];
        let report = async || {
            let report = app.operator().get(REVENUE).await.expect(200).json();
            report["currencies"][0].clone()
        };
        let (mut total, mut total_after, mut customers) = (0, 0, 0);
        for (interval, discounts, before, after) in cases {
            let page = checkout(&app.user(), json!({ "plan": "pro", "interval": interval })).await;
            let id = provider.pay(&page, app.clock().clock().now());
            let discount = |(reduction, duration)| SubscriptionDiscount { reduction, duration };
            let discounts: Vec<_> = discounts.into_iter().map(discount).collect();
            provider.edit(&id, |subscription| subscription.discounts.clone_from(&discounts));
            send(&app, ProviderEventObject::Checkout(page)).await;
            (total, total_after) = (total + before, total_after + after);
            customers += i64::from(before > 0);
            let usd = report().await;
            assert_eq!((&usd["mrr"], &usd["customers"]), (&json!(total), &json!(customers)), "{interval} {discounts:?}");
        }
        let usd = report().await;
        assert_eq!((&usd["changes"]["new"], &usd["changes"]["new_customers"]), (&json!(total), &json!(customers)));
        assert_eq!(usd["average_revenue"], (2 * total + customers) / (2 * customers));

        app.clock().advance(Duration::from_secs(60 * 86_400));
        advance(&app).await;
        let usd = report().await;
        assert_eq!((&usd["mrr"], &usd["customers"]), (&json!(total_after), &json!(customers + 1)));
        // A tenant whose first months were free pays for the first time.
        let changes = &usd["changes"];
        assert_eq!((&changes["new"], &changes["new_customers"]), (&json!(2_900), &json!(1)));
        assert_eq!(changes["expansion"], total_after - total - 2_900);
        assert_eq!((&changes["churn"], &changes["contraction"]), (&json!(0), &json!(0)));
    }

    async fn a_discount_is_no_churn(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let client = app.user();
        let id = subscribe(&app, &provider, &client, "pro").await;
        // The discount in percent that the provider states, and the change of the revenue.
        for (percent, kind, before, after) in
            [(50, "contraction", 2_900, 1_450), (100, "contraction", 1_450, 0), (20, "expansion", 0, 2_320)]
        {
            app.clock().advance(Duration::from_secs(60));
            provider.edit(&id, |subscription| subscription.discounts = vec![percent_off(percent)]);
            notify(&app, &id).await;
            assert_eq!(revenue(&app).await.last(), Some(&(kind.to_owned(), before, after)), "{percent}");
        }
        for (status, kind, before, after) in [
            (ProviderSubscriptionStatus::Unpaid, "churn", 2_320, 0),
            (ProviderSubscriptionStatus::Active, "reactivation", 0, 2_320),
        ] {
            app.clock().advance(Duration::from_secs(60));
            provider.set_status(&id, status);
            notify(&app, &id).await;
            assert_eq!(revenue(&app).await.last(), Some(&(kind.to_owned(), before, after)), "{kind}");
        }
    }
}
