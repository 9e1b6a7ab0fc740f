//! Tests of payments that fail, and of the mails about subscriptions.

use std::time::Duration;

use omnistack_core::{
    billing_notice::{BillingNotice, BillingNoticeKind},
    payment::{CardExpiry, PaymentMethodKind, ProviderSubscriptionStatus, StoredPaymentMethod},
};
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::json;
use tokio::sync::broadcast::Receiver;

use super::{advance, notify, projects, provider::PERIOD, reconcile, start, subscribe, subscription};

const DAY: Duration = Duration::from_secs(86_400);

/// Returns the notices since the last call.
fn notices(receiver: &mut Receiver<std::sync::Arc<BillingNotice>>) -> Vec<BillingNoticeKind> {
    let mut all = Vec::new();
    while let Ok(notice) = receiver.try_recv() {
        all.push(notice.kind.clone());
    }
    all
}

on_each_database! {
    async fn a_payment_resets_everything_at_once(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let mut receiver = app.events().subscribe::<BillingNotice>();
        let client = app.user();
        let id = subscribe(&app, &provider, &client, "pro").await;
        assert!(matches!(notices(&mut receiver).as_slice(), [BillingNoticeKind::Receipt { amount, .. }] if amount.minor() == 2_900));
        app.clock().advance(PERIOD);
        let now = app.clock().clock().now();
        provider.renew(&id, now, false);
        for attempts in 1..4 {
            provider.edit_invoice(&id, |invoice| invoice.attempts = attempts);
            notify(&app, &id).await;
            let shown = subscription(&client).await;
            assert_eq!((&shown["failed_payments"], &shown["payment_due"]), (&json!(attempts), &json!(true)));
            // The first failure has a notice, and no other one.
            let expected = (attempts == 1).then_some(BillingNoticeKind::PaymentFailed { grace_until: now + DAY * 7 });
            assert_eq!(notices(&mut receiver), expected.into_iter().collect::<Vec<_>>());
            assert_eq!(projects(&app, &client).await, 10);
        }
        app.clock().advance(DAY * 7);
        assert_eq!(projects(&app, &client).await, 10);
        advance(&app).await;
        assert_eq!(projects(&app, &client).await, 1);
        provider.pay_newest(&id);
        notify(&app, &id).await;
        let shown = subscription(&client).await;
        assert_eq!((&shown["failed_payments"], &shown["grace_until"]), (&json!(0), &json!(null)));
        assert_eq!(projects(&app, &client).await, 10);
        // The job that ends the grace has nothing to do.
        advance(&app).await;
        assert_eq!(projects(&app, &client).await, 10);
        assert!(matches!(notices(&mut receiver).as_slice(), [BillingNoticeKind::Receipt { .. }]));
    }

    async fn a_subscription_that_is_given_up_gives_nothing(database: TestDatabase) {
        let (app, provider) = start(database).await;
        for status in [ProviderSubscriptionStatus::Unpaid, ProviderSubscriptionStatus::Canceled] {
            let client = app.user();
            let id = subscribe(&app, &provider, &client, "pro").await;
            provider.renew(&id, app.clock().clock().now(), false);
            notify(&app, &id).await;
            let mut receiver = app.events().subscribe::<BillingNotice>();
            provider.set_status(&id, status);
            notify(&app, &id).await;
            assert_eq!(projects(&app, &client).await, 1);
            let expected = (status == ProviderSubscriptionStatus::Canceled).then_some(BillingNoticeKind::SubscriptionEnded);
            assert_eq!(notices(&mut receiver), expected.into_iter().collect::<Vec<_>>());
        }
    }

    async fn owners_are_told_that_a_card_expires(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let client = app.user();
        let id = subscribe(&app, &provider, &client, "pro").await;
        provider.world().methods.push(StoredPaymentMethod {
            id: "pm_1".to_owned(),
            kind: PaymentMethodKind::Card,
            label: "Visa …4242".to_owned(),
            expires: Some(CardExpiry { month: 1, year: 2030 }),
            is_default: true,
        });
        let methods = client.get("/api/v1/app/billing/payment-methods").await.expect(200).json();
        assert_eq!(methods["items"][0]["label"], "Visa …4242");
        let mut receiver = app.events().subscribe::<BillingNotice>();
        reconcile(&app).await;
        assert!(notices(&mut receiver).is_empty());
        // The period ends on the first of February.
        app.clock().advance(DAY * 25);
        reconcile(&app).await;
        assert_eq!(notices(&mut receiver), [BillingNoticeKind::CardExpiring { month: 1, year: 2030 }]);
        notify(&app, &id).await;
        reconcile(&app).await;
        assert!(notices(&mut receiver).is_empty());
    }
}
