//! Tests of refunds of payments for credits.

use omnistack_billing::{CreditPayment, Credits, NewGrant, UseCredits, Wallets};
use omnistack_core::{
    payment::{PaymentStatus, ProviderEventObject, ProviderPayment},
    usage::DataEnvironment,
};
use omnistack_testkit::{TestDatabase, on_each_database};

use super::{handle, provider::usd, send, start, subscribe, tenant_of};

on_each_database! {
    async fn credits_are_taken_back_by_the_sum_of_the_refunds(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let tenant = tenant_of(&app.user());
        let payment = ProviderPayment {
            id: "pay_1".to_owned(),
            reference: None,
            status: PaymentStatus::Succeeded,
            amount: usd(1_000),
            captured: usd(1_000),
            refunded: usd(0),
            fee: None,
            action_url: None,
            failure: None,
            subscription: None,
            created_at: app.clock().clock().now(),
        };
        provider.world().payments.insert("pay_1".to_owned(), payment);
        let wallets: Wallets = app.app().context().get().unwrap();
        for _ in 0..2 {
            // A second event of the payment grants nothing more.
            let mut tx = app.db().app_database().tenant(tenant).begin().await.unwrap();
            let grant = NewGrant::new(tenant, "payment/pay_1", Credits::from(1_000));
            let bought = CreditPayment::new("fake", "pay_1", usd(1_000), grant);
            handle(&app).grant_paid_credits_in(&mut tx, bought).await.unwrap();
            tx.commit().await.unwrap();
        }
        let mut tx = app.db().app_database().tenant(tenant).begin().await.unwrap();
        wallets.use_in(&mut tx, UseCredits::new(tenant, "work", Credits::from(100))).await.unwrap();
        tx.commit().await.unwrap();
        let event = |refund: &str| ProviderEventObject::Refund {
            payment: "pay_1".to_owned(),
            refund: Some(refund.to_owned()),
        };
        for (refunded, balance) in [(0, 900), (250, 650), (500, 400), (1_000, 0)] {
            provider.world().payments.get_mut("pay_1").unwrap().refunded = usd(refunded);
            // Each event arrives twice.
            for _ in 0..2 {
                send(&app, event(&format!("re_{refunded}"))).await;
                let left = wallets.balance(tenant, DataEnvironment::Live).await.unwrap().balance;
                assert_eq!(left, Credits::from(balance), "{refunded}");
            }
        }
        // An old answer of the provider gives nothing back.
        provider.world().payments.get_mut("pay_1").unwrap().refunded = usd(250);
        send(&app, event("re_old")).await;
        let left = wallets.balance(tenant, DataEnvironment::Live).await.unwrap().balance;
        assert_eq!(left, Credits::ZERO);
    }

    async fn credits_are_taken_back_after_a_lost_dispute(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let client = app.user();
        let id = subscribe(&app, &provider, &client, "pro").await;
        let payment = format!("pay_{}", id.trim_start_matches("sub_"));
        // It is a payment for credits only.
        provider.world().payments.get_mut(&payment).unwrap().subscription = None;
        let tenant = tenant_of(&client);
        let wallets: Wallets = app.app().context().get().unwrap();
        let mut tx = app.db().app_database().tenant(tenant).begin().await.unwrap();
        let grant = NewGrant::new(tenant, "payment/1", Credits::from(1_000));
        let bought = CreditPayment::new("fake", payment.clone(), usd(2_900), grant);
        handle(&app).grant_paid_credits_in(&mut tx, bought).await.unwrap();
        wallets.use_in(&mut tx, UseCredits::new(tenant, "work", Credits::from(100))).await.unwrap();
        tx.commit().await.unwrap();
        for (won, balance) in [(None, 900), (Some(false), 0), (Some(false), 0)] {
            let dispute = ProviderEventObject::Dispute { id: "dp_1".to_owned(), payment: Some(payment.clone()), won };
            send(&app, dispute).await;
            let left = wallets.balance(tenant, DataEnvironment::Live).await.unwrap().balance;
            assert_eq!(left, Credits::from(balance), "{won:?}");
        }
    }

    async fn a_refund_that_is_reported_before_the_credits_counts(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let client = app.user();
        let id = subscribe(&app, &provider, &client, "pro").await;
        let payment = format!("pay_{}", id.trim_start_matches("sub_"));
        provider.world().payments.get_mut(&payment).unwrap().refunded = usd(1_450);
        send(&app, ProviderEventObject::Refund { payment: payment.clone(), refund: None }).await;
        let tenant = tenant_of(&client);
        for _ in 0..2 {
            let mut tx = app.db().app_database().tenant(tenant).begin().await.unwrap();
            let grant = NewGrant::new(tenant, "payment/1", Credits::from(1_000));
            let bought = CreditPayment::new("fake", payment.clone(), usd(2_900), grant);
            handle(&app).grant_paid_credits_in(&mut tx, bought).await.unwrap();
            tx.commit().await.unwrap();
            let wallets: Wallets = app.app().context().get().unwrap();
            let left = wallets.balance(tenant, DataEnvironment::Live).await.unwrap().balance;
            assert_eq!(left, Credits::from(500));
        }
    }
}
