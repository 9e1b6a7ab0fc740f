//! Tests of two subscriptions that are both paid.

use omnistack_core::payment::{PaymentError, PaymentStatus, ProviderSubscriptionStatus};
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::json;

use super::{advance, checkout, notify, projects, provider::lost, reconcile, revenue, start};
use crate::accounts::audited;

on_each_database! {
    async fn the_second_of_two_paid_subscriptions_is_refunded(database: TestDatabase) {
        let (app, provider) = start(database).await;
        for is_concurrent in [false, true] {
            let client = app.user();
            let (first, second) =
                (checkout(&client, json!({ "plan": "pro" })).await, checkout(&client, json!({ "plan": "team" })).await);
            let now = app.clock().clock().now();
            let (first, second) = (provider.pay(&first, now), provider.pay(&second, now));
            if is_concurrent {
                for id in [&first, &second] {
                    let object = omnistack_core::payment::ProviderEventObject::Subscription(id.clone());
                    app.events().publish(&crate::subscriptions::event(object)).await.unwrap();
                }
                app.run_events().await;
            } else {
                notify(&app, &first).await;
                notify(&app, &second).await;
            }
            // The answer to the first call is lost.
            provider.fail_next(lost(), true);
            for _ in 0..5 {
                app.run_jobs().await;
                app.clock().advance(std::time::Duration::from_secs(60));
            }
            let limit = {
                let world = provider.world();
                let active = |id: &String| world.subscriptions[id].status == ProviderSubscriptionStatus::Active;
                let (kept, ended) = if active(&first) { (&first, &second) } else { (&second, &first) };
                assert!(active(kept) && !active(ended));
                let refunded = |id: &String| world.payments[&format!("pay_{}", id.trim_start_matches("sub_"))].refunded;
                let paid = |id: &String| world.payments[&format!("pay_{}", id.trim_start_matches("sub_"))].captured;
                assert_eq!((refunded(kept).minor(), refunded(ended)), (0, paid(ended)));
                assert!(is_concurrent || kept.as_str() == first);
                if kept.as_str() == first { 10 } else { 99 }
            };
            assert_eq!(projects(&app, &client).await, limit);
            let operator = app.operator();
            let tenant = crate::subscriptions::tenant_of(&client);
            let page = operator.get(format!("/api/v1/admin/billing/subscriptions?tenant={tenant}")).await.expect(200);
            let cleanup: Vec<_> =
                page.json()["items"].as_array().unwrap().iter().map(|one| one["cleanup"].clone()).collect();
            assert!(cleanup.contains(&json!("done")) && cleanup.contains(&json!(null)), "{cleanup:?}");
        }
        assert_eq!(audited(&app, "subscription.duplicate_found").await.len(), 2);
        // Of the duplicates there is no revenue.
        assert!(revenue(&app).await.iter().all(|(kind, ..)| kind == "new"), "{:?}", revenue(&app).await);
    }

    async fn the_payment_of_a_duplicate_is_refunded_when_it_is_decided(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let client = app.user();
        let (first, second) =
            (checkout(&client, json!({ "plan": "pro" })).await, checkout(&client, json!({ "plan": "team" })).await);
        let now = app.clock().clock().now();
        let (first, second) = (provider.pay(&first, now), provider.pay(&second, now));
        let payment = format!("pay_{}", second.trim_start_matches("sub_"));
        // A debit that the bank has not carried out yet.
        provider.world().payments.get_mut(&payment).unwrap().status = PaymentStatus::Processing;
        notify(&app, &first).await;
        notify(&app, &second).await;
        // The provider rejects the cancellation for a reason that passes.
        provider.fail_next(PaymentError::Rejected { code: None, message: "it is locked".to_owned() }, false);
        app.run_jobs().await;
        assert_eq!(provider.world().subscriptions[&second].status, ProviderSubscriptionStatus::Active);
        for (status, refunded) in [(PaymentStatus::Processing, 0), (PaymentStatus::Succeeded, 9_900)] {
            provider.world().payments.get_mut(&payment).unwrap().status = status;
            for _ in 0..5 {
                app.clock().advance(std::time::Duration::from_secs(6 * 3_600));
                app.run_jobs().await;
            }
            let world = provider.world();
            assert_eq!(world.subscriptions[&second].status, ProviderSubscriptionStatus::Canceled);
            assert_eq!(world.payments[&payment].refunded.minor(), refunded);
        }
    }

    async fn a_duplicate_whose_job_has_failed_for_good_is_ended_by_another(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let client = app.user();
        let (first, second) =
            (checkout(&client, json!({ "plan": "pro" })).await, checkout(&client, json!({ "plan": "team" })).await);
        let now = app.clock().clock().now();
        let (first, second) = (provider.pay(&first, now), provider.pay(&second, now));
        notify(&app, &first).await;
        notify(&app, &second).await;
        let mut tx = app.db().app_database().all_tenants().begin().await.unwrap();
        tx.query("delete from omni_jobs where name = 'billing.end_duplicate_subscription'").execute().await.unwrap();
        tx.commit().await.unwrap();
        // Each night the subscription is read, which changes its row.
        for _ in 0..2 {
            app.clock().advance(std::time::Duration::from_secs(86_400));
            reconcile(&app).await;
        }
        assert_eq!(provider.world().subscriptions[&second].status, ProviderSubscriptionStatus::Active);
        app.clock().advance(std::time::Duration::from_secs(2 * 3_600));
        advance(&app).await;
        assert_eq!(provider.world().subscriptions[&second].status, ProviderSubscriptionStatus::Canceled);
    }
}
