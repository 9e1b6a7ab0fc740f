//! Tests of changes of plans and seats, of cancellations, and of disputes.

use std::time::Duration;

use omnistack_core::{
    billing_notice::{BillingNotice, BillingNoticeKind},
    payment::{DeclineReason, PaymentError, ProviderEventObject, ProviderInvoiceStatus, ProviderSubscriptionStatus},
};
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::{Value, json};

use super::{
    BILLING, advance, count, notify, projects,
    provider::{PERIOD, lost},
    revenue, send, start, start_with, subscribe, subscription,
};
use crate::accounts::{Team, audited};

on_each_database! {
    async fn an_upgrade_counts_when_it_is_paid(database: TestDatabase) {
        let (app, provider) = start(database).await;
        for is_paid in [true, false] {
            let client = app.user();
            let id = subscribe(&app, &provider, &client, "pro").await;
            let body = json!({ "plan": "team" });
            let preview = client.post(format!("{BILLING}/change-preview"), &body).await.expect(200).json();
            assert_eq!((&preview["due_now"]["amount"], &preview["upgrade"]), (&json!("99.00"), &json!(true)));
            provider.world().declines_changes = true;
            let body = json!({ "plan": "team", "proration_at": preview["proration_at"] });
            let shown = client.post(format!("{BILLING}/upgrade"), body).await.expect(200).json();
            assert_eq!((&shown["plan"], &shown["pending"]["plan"]), (&json!("pro"), &json!("team")));
            assert_eq!(projects(&app, &client).await, 10);
            provider.world().declines_changes = false;
            if is_paid {
                provider.pay_newest(&id);
            } else {
                // Abandoned: after 23 hours the provider drops the change and voids its invoice.
                provider.edit(&id, |subscription| subscription.pending_change = None);
                provider.edit_invoice(&id, |invoice| invoice.status = ProviderInvoiceStatus::Void);
            }
            notify(&app, &id).await;
            let shown = subscription(&client).await;
            let plan = if is_paid { "team" } else { "pro" };
            assert_eq!((&shown["plan"], &shown["pending"]), (&json!(plan), &Value::Null));
            assert_eq!(projects(&app, &client).await, if is_paid { 99 } else { 10 });
        }
        assert!(revenue(&app).await.contains(&("expansion".to_owned(), 2_900, 9_900)));
    }

    async fn an_upgrade_waits_for_the_customer_at_a_provider_that_charges_no_difference(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let client = app.user();
        let id = subscribe(&app, &provider, &client, "pro").await;
        provider.world().charges_later = true;
        let page = "https://pay.example/confirm";
        provider.edit(&id, |subscription| subscription.action_url = Some(page.to_owned()));
        let shown = client.post(format!("{BILLING}/upgrade"), json!({ "plan": "team" })).await.expect(200).json();
        assert_eq!((&shown["plan"], &shown["scheduled"]["plan"]), (&json!("pro"), &json!("team")));
        assert_eq!((&shown["scheduled"]["action_url"], &shown["scheduled"]["at"]), (&json!(page), &Value::Null));
        assert_eq!(projects(&app, &client).await, 10);
        // The customer has confirmed it.
        provider.edit(&id, |subscription| {
            "team:9900:USD:month".clone_into(&mut subscription.items[0].price);
            subscription.action_url = None;
        });
        notify(&app, &id).await;
        let shown = subscription(&client).await;
        assert_eq!((&shown["plan"], &shown["scheduled"]), (&json!("pro"), &Value::Null));
        // Nothing was charged for it yet.
        assert_eq!((&shown["pending"]["plan"], &shown["pending"]["at"]), (&json!("team"), &shown["period_end"]));
        assert_eq!(projects(&app, &client).await, 10);
        app.clock().advance(PERIOD);
        provider.renew(&id, app.clock().clock().now(), true);
        notify(&app, &id).await;
        let shown = subscription(&client).await;
        assert_eq!((&shown["plan"], &shown["pending"]), (&json!("team"), &Value::Null));
        assert_eq!(projects(&app, &client).await, 99);
    }

    async fn a_provider_that_changes_before_the_payment_gives_nothing(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let client = app.user();
        let id = subscribe(&app, &provider, &client, "pro").await;
        app.clock().advance(Duration::from_secs(5 * 86_400));
        client.post(format!("{BILLING}/upgrade"), json!({ "plan": "team" })).await.expect(200);
        assert_eq!(projects(&app, &client).await, 99);
        let client = app.user();
        let other = subscribe(&app, &provider, &client, "pro").await;
        assert_ne!(id, other);
        app.clock().advance(Duration::from_secs(5 * 86_400));
        // In the portal of the provider: the price is changed at once, and the card is declined.
        let price = "team:9900:USD:month";
        provider.edit(&other, |subscription| {
            price.clone_into(&mut subscription.items[0].price);
            subscription.status = ProviderSubscriptionStatus::PastDue;
        });
        let now = app.clock().clock().now();
        provider.edit_invoice(&other, |invoice| {
            (invoice.status, invoice.attempts, invoice.created_at) = (ProviderInvoiceStatus::Open, 1, now);
        });
        notify(&app, &other).await;
        assert_eq!(projects(&app, &client).await, 10);
        // Its invoice is voided: the plan is not given for nothing.
        provider.edit_invoice(&other, |invoice| invoice.status = ProviderInvoiceStatus::Void);
        provider.set_status(&other, ProviderSubscriptionStatus::Active);
        notify(&app, &other).await;
        assert_eq!(projects(&app, &client).await, 10);
        assert_eq!(subscription(&client).await["pending"]["plan"], "team");
    }

    async fn a_tenant_that_owes_can_only_pay_less(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let client = app.user();
        let id = subscribe(&app, &provider, &client, "team").await;
        app.clock().advance(PERIOD);
        provider.renew(&id, app.clock().clock().now(), false);
        notify(&app, &id).await;
        let error = client.post(format!("{BILLING}/upgrade"), json!({ "interval": "year", "plan": "pro" })).await;
        error.expect_error(409, "NOT_AN_UPGRADE");
        let shown = client.post(format!("{BILLING}/downgrade"), json!({ "plan": "pro" })).await.expect(200).json();
        assert_eq!((&shown["plan"], &shown["scheduled"]["plan"]), (&json!("team"), &json!("pro")));
        let client = app.user();
        let id = subscribe(&app, &provider, &client, "pro").await;
        provider.renew(&id, app.clock().clock().now(), false);
        notify(&app, &id).await;
        for path in ["upgrade", "change-preview"] {
            let error = client.post(format!("{BILLING}/{path}"), json!({ "plan": "team" })).await;
            error.expect_error(402, "BILLING_PAYMENT_DUE");
        }
        let error = client.post(format!("{BILLING}/checkout"), json!({ "plan": "team" })).await;
        error.expect_error(402, "BILLING_PAYMENT_DUE");
    }

    async fn a_downgrade_waits_for_the_end_of_the_period(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let client = app.user();
        let id = subscribe(&app, &provider, &client, "team").await;
        client.post(format!("{BILLING}/upgrade"), json!({ "plan": "pro" })).await.expect_error(409, "NOT_AN_UPGRADE");
        // The customer confirms it on a page, which stays known.
        let page = "https://pay.example/confirm";
        provider.edit(&id, |subscription| subscription.action_url = Some(page.to_owned()));
        let shown = client.post(format!("{BILLING}/downgrade"), json!({ "plan": "pro" })).await.expect(200).json();
        assert_eq!(shown["scheduled"]["action_url"], page);
        provider.edit(&id, |subscription| subscription.action_url = None);
        assert_eq!(projects(&app, &client).await, 99);
        notify(&app, &id).await;
        let shown = subscription(&client).await;
        assert_eq!((&shown["scheduled"]["plan"], &shown["scheduled"]["action_url"]), (&json!("pro"), &json!(page)));
        app.clock().advance(PERIOD);
        provider.edit(&id, |subscription| "pro:2900:USD:month".clone_into(&mut subscription.items[0].price));
        provider.renew(&id, app.clock().clock().now(), true);
        notify(&app, &id).await;
        let shown = subscription(&client).await;
        assert_eq!((&shown["plan"], &shown["scheduled"]), (&json!("pro"), &Value::Null));
        assert_eq!(projects(&app, &client).await, 10);
        client.post(format!("{BILLING}/downgrade"), json!({ "plan": "team" })).await.expect_error(409, "NOT_A_DOWNGRADE");
        client.post(format!("{BILLING}/downgrade"), json!({ "plan": "pro" })).await.expect_error(409, "NOTHING_TO_CHANGE");
        assert_eq!(revenue(&app).await.last().unwrap(), &("contraction".to_owned(), 9_900, 2_900));
        // By year.
        let shown = client.post(format!("{BILLING}/upgrade"), json!({ "interval": "year" })).await.expect(200).json();
        assert_eq!((&shown["plan"], &shown["interval"]), (&json!("pro"), &json!("year")));
        client.post(format!("{BILLING}/upgrade"), json!({ "interval": "month" })).await.expect_error(409, "NOT_AN_UPGRADE");
        let body = json!({ "interval": "month" });
        let shown = client.post(format!("{BILLING}/downgrade"), body).await.expect(200).json();
        assert_eq!((&shown["interval"], &shown["scheduled"]["interval"]), (&json!("year"), &json!("month")));
    }

    async fn a_cancellation_is_shown_and_taken_back(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let client = app.user();
        let id = subscribe(&app, &provider, &client, "pro").await;
        client.post(format!("{BILLING}/resume"), json!({})).await.expect_error(409, "NOTHING_TO_RESUME");
        for by_provider in [false, true] {
            if by_provider {
                // As its portal does.
                provider.edit(&id, |subscription| subscription.cancel_at = subscription.period.map(|(_, end)| end));
                notify(&app, &id).await;
            } else {
                client.post(format!("{BILLING}/cancel"), json!({})).await.expect(200);
            }
            let shown = subscription(&client).await;
            assert_eq!((&shown["cancel_at"], &shown["renews_at"]), (&shown["period_end"], &Value::Null));
            assert_eq!(projects(&app, &client).await, 10);
            let shown = client.post(format!("{BILLING}/resume"), json!({})).await.expect(200).json();
            assert_eq!((&shown["cancel_at"], &shown["renews_at"]), (&Value::Null, &shown["period_end"]));
        }
        client.post(format!("{BILLING}/cancel"), json!({ "now": true })).await.expect(200);
        assert_eq!((projects(&app, &client).await, &subscription(&client).await["status"]), (1, &json!("canceled")));
        client.post(format!("{BILLING}/resume"), json!({})).await.expect_error(409, "NO_SUBSCRIPTION");
    }

    async fn items_with_different_periods_renew_at_the_earlier_end(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let client = app.user();
        let id = subscribe(&app, &provider, &client, "pro").await;
        let now = app.clock().clock().now();
        let (near, far) = (now + PERIOD, now + PERIOD * 12);
        provider.edit(&id, |subscription| {
            let mut more = subscription.items[0].clone();
            more.period = Some((now, far));
            subscription.items.push(more);
            subscription.period = Some((now, far));
        });
        notify(&app, &id).await;
        let shown = subscription(&client).await;
        assert_eq!((&shown["period_end"], &shown["renews_at"]), (&json!(far), &json!(near)));
    }

    async fn seats_are_at_least_those_in_use(database: TestDatabase) {
        let team = Team::default();
        // Five members and a pending invitation.
        team.set_members(6);
        let added = team.clone();
        let (app, provider) = start_with(database, |app| app.with(added)).await;
        let client = app.user();
        let body = json!({ "plan": "seats", "seats": 5 });
        let error = client.post(format!("{BILLING}/checkout"), body).await.expect_error(409, "SEATS_IN_USE").json();
        assert_eq!(error["error"]["details"]["used"], 6);
        let open = crate::subscriptions::checkout(&client, json!({ "plan": "seats", "seats": 6 })).await;
        let id = provider.pay(&open, app.clock().clock().now());
        notify(&app, &id).await;
        let limit = || async {
            client.get("/api/v1/app/billing/plan").await.expect(200).json()["plan"]["limits"]["team_members"].clone()
        };
        assert_eq!(limit().await, 6);
        let error = client.post(format!("{BILLING}/seats"), json!({ "seats": 5 })).await;
        assert_eq!(error.expect_error(409, "SEATS_IN_USE").json()["error"]["details"]["used"], 6);
        client.post(format!("{BILLING}/seats"), json!({ "seats": 200 })).await.expect(200);
        assert_eq!(limit().await, 200);
        // In the portal of the provider.
        provider.edit(&id, |subscription| subscription.items[0].quantity = 4);
        notify(&app, &id).await;
        let plan = client.get("/api/v1/app/billing/plan").await.expect(200).json();
        assert_eq!(plan["over_limit"], json!([{ "name": "team_members", "used": 6, "limit": 4 }]));
        provider.set_status(&id, ProviderSubscriptionStatus::Canceled);
        notify(&app, &id).await;
        assert_eq!(limit().await, 3);
    }

    async fn a_change_whose_answer_is_lost_is_made_once(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let client = app.user();
        subscribe(&app, &provider, &client, "pro").await;
        provider.fail_next(lost(), true);
        let path = format!("{BILLING}/upgrade");
        client.post(&path, json!({ "plan": "team" })).await.expect_error(503, "PAYMENT_UNKNOWN");
        // The job reads what has become of it.
        app.clock().advance(Duration::from_secs(300));
        advance(&app).await;
        assert_eq!(projects(&app, &client).await, 99);
        assert_eq!(count(&app, "select count(*) from omni_subscriptions where request is not null").await, 0);
        client.post(&path, json!({ "plan": "team" })).await.expect_error(409, "NOTHING_TO_CHANGE");

        // The tenant tries again before.
        let client = app.user();
        subscribe(&app, &provider, &client, "pro").await;
        provider.fail_next(lost(), false);
        client.post(&path, json!({ "plan": "team" })).await.expect_error(503, "PAYMENT_UNKNOWN");
        client.post(&path, json!({ "plan": "team" })).await.expect(200);
        let world = provider.world();
        let mut keys: Vec<_> = world.calls.iter().filter(|call| call.starts_with("change_subscription")).collect();
        assert_eq!(keys.len(), 3);
        keys.dedup();
        assert_eq!(keys.len(), 2, "{keys:?}");
    }

    async fn a_declined_change_is_forgotten(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let client = app.user();
        subscribe(&app, &provider, &client, "pro").await;
        let reason = DeclineReason::InsufficientFunds;
        provider.fail_next(PaymentError::Declined { reason, code: None, message: String::new() }, false);
        let error = client.post(format!("{BILLING}/upgrade"), json!({ "plan": "team" })).await;
        let error = error.expect_error(402, "PAYMENT_DECLINED").json();
        assert_eq!(error["error"]["details"]["reason"], "insufficient_funds");
        assert_eq!(projects(&app, &client).await, 10);
        client.post(format!("{BILLING}/upgrade"), json!({ "plan": "team" })).await.expect(200);
        assert_eq!(projects(&app, &client).await, 99);
    }

    async fn a_dispute_freezes_the_plan(database: TestDatabase) {
        let (app, provider) = start(database).await;
        for won in [true, false] {
            let client = app.user();
            let id = subscribe(&app, &provider, &client, "pro").await;
            let payment = format!("pay_{}", id.trim_start_matches("sub_"));
            let dispute = |won| ProviderEventObject::Dispute {
                id: format!("dp_{payment}"),
                payment: Some(payment.clone()),
                won,
            };
            send(&app, dispute(None)).await;
            assert_eq!((projects(&app, &client).await, &subscription(&client).await["disputed"]), (1, &json!(true)));
            send(&app, dispute(Some(won))).await;
            // An old event does not open it again.
            send(&app, dispute(None)).await;
            assert_eq!(projects(&app, &client).await, if won { 10 } else { 1 });
        }
    }

    async fn a_lost_dispute_can_be_won_later(database: TestDatabase) {
        let (app, provider) = start_with(database, |app| app.set("BILLING_LOST_DISPUTE", "keep")).await;
        let client = app.user();
        let id = subscribe(&app, &provider, &client, "pro").await;
        let payment = format!("pay_{}", id.trim_start_matches("sub_"));
        // The report that it is lost comes again, late.
        for (won, expected) in [(false, 1), (true, 10), (false, 10)] {
            let (id, payment) = ("dp_1".to_owned(), Some(payment.clone()));
            send(&app, ProviderEventObject::Dispute { id, payment, won: Some(won) }).await;
            assert_eq!(projects(&app, &client).await, expected, "{won}");
        }
    }

    async fn a_lost_dispute_ends_the_subscription(database: TestDatabase) {
        use ProviderSubscriptionStatus::{Active, Canceled};
        for (setting, expected) in [("cancel", Canceled), ("keep", Active)] {
            let database = match database.dialect() {
                omnistack_core::db::Dialect::Sqlite => TestDatabase::sqlite(),
                omnistack_core::db::Dialect::Postgres => TestDatabase::postgres(),
            };
            let (app, provider) = start_with(database, |app| app.set("BILLING_LOST_DISPUTE", setting)).await;
            let client = app.user();
            let id = subscribe(&app, &provider, &client, "pro").await;
            let mut receiver = app.events().subscribe::<BillingNotice>();
            let payment = format!("pay_{}", id.trim_start_matches("sub_"));
            let lost_dispute = ProviderEventObject::Dispute {
                id: format!("dp_{payment}"),
                payment: Some(payment.clone()),
                won: Some(false),
            };
            // The first answer of the provider is lost, and the event arrives twice.
            provider.fail_next(lost(), true);
            send(&app, lost_dispute.clone()).await;
            send(&app, lost_dispute).await;
            for _ in 0..3 {
                app.run_jobs().await;
                app.clock().advance(Duration::from_secs(60));
            }
            assert_eq!(projects(&app, &client).await, 1);
            assert_eq!(provider.world().subscriptions[&id].status, expected);
            // The bank has taken the money back: nothing is refunded.
            assert_eq!(provider.world().payments[&payment].refunded.minor(), 0);
            let is_canceled = expected == Canceled;
            assert_eq!(audited(&app, "subscription.dispute_lost").await.len(), 1);
            assert_eq!(audited(&app, "subscription.cancel_requested").await.len(), usize::from(is_canceled));
            let page = app.operator().get("/api/v1/admin/billing/subscriptions").await.expect(200).json();
            let cleanup = if is_canceled { json!("done") } else { Value::Null };
            assert_eq!((&page["items"][0]["status"], &page["items"][0]["cleanup"]), (&json!(expected), &cleanup));
            let told = receiver.try_recv().ok().map(|notice| notice.kind.clone());
            assert_eq!(told, is_canceled.then_some(BillingNoticeKind::SubscriptionEnded));
            if is_canceled {
                app.clock().advance(Duration::from_secs(1));
                // The tenant can buy again.
                subscribe(&app, &provider, &client, "pro").await;
                assert_eq!(projects(&app, &client).await, 10);
            }
        }
    }

    async fn a_change_is_charged_from_the_time_of_a_recent_preview(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let client = app.user();
        subscribe(&app, &provider, &client, "pro").await;
        app.clock().advance(Duration::from_secs(86_400));
        let now = app.clock().clock().now();
        // Shortly before the end of the period, the difference of the price would be almost nothing.
        let late = now + PERIOD - Duration::from_secs(2 * 86_400);
        for at in [late, now + Duration::from_secs(120), now - Duration::from_secs(7_200)] {
            for path in ["change-preview", "upgrade"] {
                let body = json!({ "plan": "team", "proration_at": at });
                client.post(format!("{BILLING}/{path}"), body).await.expect_error(422, "VALIDATION_FAILED");
            }
        }
        assert!(provider.world().calls.iter().all(|call| !call.starts_with("change_subscription")));
        for path in ["change-preview", "upgrade"] {
            let body = json!({ "plan": "team", "proration_at": now - Duration::from_secs(1_800) });
            client.post(format!("{BILLING}/{path}"), body).await.expect(200);
        }
        assert_eq!(projects(&app, &client).await, 99);
    }

    async fn a_change_while_a_renewal_is_due_gives_nothing(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let client = app.user();
        let id = subscribe(&app, &provider, &client, "pro").await;
        app.clock().advance(PERIOD);
        provider.renew(&id, app.clock().clock().now(), false);
        notify(&app, &id).await;
        // In the portal of the provider, which bills the difference by the next invoice.
        provider.edit(&id, |subscription| "team:9900:USD:month".clone_into(&mut subscription.items[0].price));
        notify(&app, &id).await;
        assert_eq!(projects(&app, &client).await, 10);
        assert_eq!(subscription(&client).await["pending"]["plan"], "team");
        provider.pay_newest(&id);
        notify(&app, &id).await;
        assert_eq!(projects(&app, &client).await, 99);
    }

    async fn a_downgrade_is_taken_back(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let client = app.user();
        subscribe(&app, &provider, &client, "team").await;
        let path = format!("{BILLING}/downgrade");
        client.post(&path, json!({ "plan": "team" })).await.expect_error(409, "NOTHING_TO_CHANGE");
        client.post(&path, json!({ "plan": "pro" })).await.expect(200);
        let shown = client.post(&path, json!({ "plan": "team" })).await.expect(200).json();
        assert_eq!((&shown["plan"], &shown["scheduled"]), (&json!("team"), &Value::Null));
        client.post(&path, json!({ "plan": "team" })).await.expect_error(409, "NOTHING_TO_CHANGE");
    }

    async fn another_change_waits_for_a_lost_answer(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let client = app.user();
        subscribe(&app, &provider, &client, "pro").await;
        provider.fail_next(lost(), true);
        client.post(format!("{BILLING}/upgrade"), json!({ "plan": "team" })).await.expect_error(503, "PAYMENT_UNKNOWN");
        let path = format!("{BILLING}/cancel");
        client.post(&path, json!({})).await.expect_error(409, "SUBSCRIPTION_BUSY");
        app.clock().advance(Duration::from_secs(90));
        let shown = client.post(&path, json!({})).await.expect(200).json();
        assert_eq!((&shown["plan"], shown["cancel_at"].is_null()), (&json!("team"), false));
    }
}
