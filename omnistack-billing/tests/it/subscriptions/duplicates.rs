//! Tests of two subscriptions that are both paid.

use std::time::Duration;

use omnistack_core::payment::{
    PaymentError, PaymentStatus, ProviderEventObject, ProviderSubscriptionStatus, RefundStatus,
};
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::json;

use super::{
    BILLING, advance, checkout, event, notify, projects,
    provider::{lost, usd},
    reconcile, revenue, send, start, tenant_of,
};
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
                    let object = ProviderEventObject::Subscription(id.clone());
                    app.events().publish(&event(object)).await.unwrap();
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
                app.clock().advance(Duration::from_secs(60));
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
            let tenant = tenant_of(&client);
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
                app.clock().advance(Duration::from_secs(6 * 3_600));
                app.run_jobs().await;
            }
            let world = provider.world();
            assert_eq!(world.subscriptions[&second].status, ProviderSubscriptionStatus::Canceled);
            assert_eq!(world.payments[&payment].refunded.minor(), refunded);
        }
    }

    async fn a_duplicate_that_costs_nothing_needs_no_refund(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let client = app.user();
        let first = checkout(&client, json!({ "plan": "pro" })).await;
        let page = checkout(&client, json!({ "plan": "team", "coupon": "FREE" })).await;
        let now = app.clock().clock().now();
        let (first, second) = (provider.pay(&first, now), provider.pay(&page, now));
        provider.edit_invoice(&second, |invoice| (invoice.total, invoice.paid) = (usd(0), usd(0)));
        provider.world().checkouts.get_mut(&page).unwrap().1.payment = None;
        notify(&app, &first).await;
        notify(&app, &second).await;
        app.run_jobs().await;
        let path = format!("/api/v1/admin/billing/subscriptions?tenant={}&cleanup=done", tenant_of(&client));
        let ended = app.operator().get(path).await.expect(200).json();
        assert_eq!((&ended["items"][0]["external_id"], &ended["items"][0]["cleanup_attempts"]), (&json!(second), &json!(0)));
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
        tx.query("delete from omni_jobs where name = 'billing.clean_up_subscription'").execute().await.unwrap();
        tx.commit().await.unwrap();
        // Each night the subscription is read, which changes its row.
        for _ in 0..2 {
            app.clock().advance(Duration::from_secs(86_400));
            reconcile(&app).await;
        }
        assert_eq!(provider.world().subscriptions[&second].status, ProviderSubscriptionStatus::Active);
        app.clock().advance(Duration::from_secs(2 * 3_600));
        advance(&app).await;
        assert_eq!(provider.world().subscriptions[&second].status, ProviderSubscriptionStatus::Canceled);
    }

    async fn a_tenant_has_one_subscription_whatever_the_group_is(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let client = app.user();
        let pages =
            [checkout(&client, json!({ "plan": "pro" })).await, checkout(&client, json!({ "plan": "trial" })).await];
        let now = app.clock().clock().now();
        let [_, second] = pages.each_ref().map(|page| provider.pay(page, now));
        for page in pages {
            send(&app, ProviderEventObject::Checkout(page)).await;
        }
        app.run_jobs().await;
        assert_eq!(provider.world().subscriptions[&second].status, ProviderSubscriptionStatus::Canceled);
        assert_eq!(projects(&app, &client).await, 10);
        for path in ["checkout", "upgrade", "downgrade", "change-preview"] {
            let refused = client.post(format!("{BILLING}/{path}"), json!({ "plan": "trial" })).await;
            let refused = refused.expect_error(409, "SUBSCRIPTION_OF_OTHER_GROUP").json();
            assert_eq!(refused["error"]["details"]["plan"], "pro", "{path}");
        }
        // When the subscription has ended, the trial is still there: the app has ended that of the second page.
        client.post(format!("{BILLING}/cancel"), json!({ "now": true })).await.expect(200);
        app.clock().advance(Duration::from_secs(1));
        let page = client.post(format!("{BILLING}/checkout"), json!({ "plan": "trial" })).await.expect(200).json();
        assert!(!page["trial_end"].is_null(), "{page}");
    }

    async fn a_refund_that_keeps_failing_waits_for_an_operator(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let operator = app.operator();
        let rejected = || PaymentError::Rejected { code: None, message: "the balance is too low".to_owned() };
        let down = || PaymentError::Unavailable { message: "down".to_owned(), retry_after: None };
        // A rejected refund is made once; one that does not arrive, a bounded number of times.
        for (error, attempts) in [(rejected(), 1), (down(), 24)] {
            let client = app.user();
            let (first, second) =
                (checkout(&client, json!({ "plan": "pro" })).await, checkout(&client, json!({ "plan": "team" })).await);
            let now = app.clock().clock().now();
            let (first, second) = (provider.pay(&first, now), provider.pay(&second, now));
            notify(&app, &first).await;
            notify(&app, &second).await;
            provider.world().refund_error = Some(error);
            for _ in 0..40 {
                app.run_jobs().await;
                app.clock().advance(Duration::from_secs(2 * 3_600));
            }
            advance(&app).await;
            let tenant = tenant_of(&client);
            let path = format!("/api/v1/admin/billing/subscriptions?tenant={tenant}&cleanup=failed");
            let page = operator.get(&path).await.expect(200).json();
            let failed = &page["items"][0];
            assert_eq!((&failed["cleanup_attempts"], &failed["external_id"]), (&json!(attempts), &json!(second)));
            assert!(failed["cleanup_error"].is_string() && failed["status"] == "canceled", "{failed}");
            let refunds = || provider.world().calls.iter().filter(|call| call.starts_with("refund_payment")).count();
            let before = refunds();

            provider.world().refund_error = None;
            let id = failed["id"].as_str().unwrap();
            let retry = format!("/api/v1/admin/billing/subscriptions/{id}/retry-cleanup");
            client.post(&retry, json!({})).await.expect(403);
            let begun = operator.post(&retry, json!({})).await.expect(200).json();
            assert_eq!((&begun["cleanup"], &begun["cleanup_attempts"]), (&json!("canceling"), &json!(0)));
            operator.post(&retry, json!({})).await.expect_error(409, "NOTHING_TO_RETRY");
            app.run_jobs().await;
            let shown = operator.get(format!("/api/v1/admin/billing/subscriptions/{id}")).await.expect(200).json();
            assert_eq!((&shown["cleanup"], &shown["cleanup_error"]), (&json!("done"), &json!(null)));
            assert_eq!(refunds(), before + 1);
            let payment = format!("pay_{}", second.trim_start_matches("sub_"));
            assert_eq!(provider.world().payments[&payment].refunded.minor(), 9_900);
            operator.post(&retry, json!({})).await.expect_error(409, "NOTHING_TO_RETRY");
        }
        let none = tenant_of(&app.user());
        let missing = format!("/api/v1/admin/billing/subscriptions/{none}/retry-cleanup");
        operator.post(missing, json!({})).await.expect_error(404, "NOT_FOUND");
        assert_eq!(audited(&app, "subscription.cleanup_failed").await.len(), 2);
        assert_eq!(audited(&app, "subscription.cleanup_retried").await.len(), 2);
    }

    async fn a_refund_that_the_bank_returns_waits_for_an_operator(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let (client, operator) = (app.user(), app.operator());
        let (first, second) =
            (checkout(&client, json!({ "plan": "pro" })).await, checkout(&client, json!({ "plan": "team" })).await);
        let now = app.clock().clock().now();
        let payment = format!("pay_{second}");
        let (first, second) = (provider.pay(&first, now), provider.pay(&second, now));
        notify(&app, &first).await;
        notify(&app, &second).await;
        app.run_jobs().await;
        let failed = "/api/v1/admin/billing/subscriptions?cleanup=failed";
        let refund = ProviderEventObject::Refund { payment: payment.clone(), refund: None };
        send(&app, refund.clone()).await;
        assert_eq!(operator.get(failed).await.expect(200).json()["items"], json!([]));

        {
            let mut world = provider.world();
            world.payments.get_mut(&payment).unwrap().refunded = usd(0);
            world.refunds.get_mut(&payment).unwrap()[0].status = RefundStatus::Failed;
        }
        for _ in 0..2 {
            send(&app, refund.clone()).await;
        }
        let page = operator.get(failed).await.expect(200).json();
        let found = &page["items"][0];
        assert_eq!((&found["external_id"], found["cleanup_error"].is_string()), (&json!(second), true), "{page}");
        assert_eq!(audited(&app, "subscription.cleanup_failed").await.len(), 1);
        let id = found["id"].as_str().unwrap();
        let retry = format!("/api/v1/admin/billing/subscriptions/{id}/retry-cleanup");
        operator.post(retry, json!({})).await.expect(200);
        app.run_jobs().await;
        send(&app, refund).await;
        assert_eq!(operator.get(failed).await.expect(200).json()["items"], json!([]));
        let world = provider.world();
        assert_eq!((world.payments[&payment].refunded, world.refunds[&payment].len()), (usd(9_900), 2));
    }
}
