//! Processes that are killed by SIGKILL after each of their statements in turn, while they start a checkout, process
//! the events of a purchase and of a renewal, and refund a duplicate: nothing is lost, and nothing counts twice.

use std::time::Duration;

use axum::body::Body;
use omnistack_core::{
    app::{App, DevIdentity},
    clock::Timestamp,
    http::StatusCode,
    identity::Permissions,
    payment::{ProviderEventObject, ProviderSubscriptionStatus},
};
use omnistack_testkit::{
    TestApp, TestDatabase,
    crash::{CrashChild, CrashCommand, CrashEnd},
    on_each_database,
};
use serde_json::json;
use tower::ServiceExt as _;

use super::{
    BILLING, billing, checkout, count, event, notify, projects,
    provider::{CALL, PERIOD, ScriptedPayments, ScriptedProvider},
    send, start, subscription,
};

/// The variable by which a child gets the plan.
const PLAN: &str = "SUBSCRIPTION_CRASH_PLAN";
/// The variable by which a child gets a paid checkout: its reference, its customer and the time of the payment.
const PAID: &str = "SUBSCRIPTION_CRASH_PAID";

/// Longer than the leases of events and jobs.
const AFTER_THE_LEASES: Duration = Duration::from_secs(600);

/// Returns the app of a child process. Returns `None` if this is not a child.
async fn child() -> Option<(CrashChild, App, ScriptedProvider)> {
    let child = CrashChild::from_env()?;
    let provider = ScriptedProvider::default();
    let app = child.builder().set("USAGE_COUNT_REQUESTS", "false").set("DEV_TOKEN", "dev_crash").with(billing());
    let app = app.with(DevIdentity::default()).with(ScriptedPayments(provider.clone())).build().unwrap();
    // The development token is known from the start on.
    app.start().await.unwrap();
    child.kill_after_statement(app.db(), |_| true);
    Some((child, app, provider))
}

#[tokio::test]
#[ignore = "a child process of other tests"]
async fn child_that_starts_a_checkout() {
    let Some((child, app, _)) = child().await else { return };
    let request = http::Request::post(format!("{BILLING}/checkout"))
        .header("content-type", "application/json")
        .header("authorization", "Bearer dev_crash")
        .body(Body::from(json!({ "plan": child.variable(PLAN) }).to_string()))
        .unwrap();
    let response = app.service().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
#[ignore = "a child process of other tests"]
async fn child_that_processes_an_event() {
    let Some((child, app, provider)) = child().await else { return };
    restore_paid(&child, &provider, "pro:2900:USD:month");
    app.dispatcher().run_until_idle().await.unwrap();
}

/// Creates the subscription of the paid checkout in `PAID`. Returns its id.
fn restore_paid(child: &CrashChild, provider: &ScriptedProvider, price: &str) -> String {
    let text = child.variable(PAID);
    let [reference, customer, paid_at]: [&str; 3] = text.split(' ').collect::<Vec<_>>().try_into().unwrap();
    let paid = provider.restore(reference, customer, price, child.now());
    provider.pay(&paid, Timestamp::from_micros(paid_at.parse().unwrap()))
}

#[tokio::test]
#[ignore = "a child process of other tests"]
async fn child_that_processes_a_renewal() {
    let Some((child, app, provider)) = child().await else { return };
    let id = restore_paid(&child, &provider, "pro:2900:USD:month");
    provider.renew(&id, child.now(), false);
    provider.pay_newest(&id);
    app.dispatcher().run_until_idle().await.unwrap();
}

#[tokio::test]
#[ignore = "a child process of other tests"]
async fn child_that_refunds_a_duplicate() {
    let Some((child, app, provider)) = child().await else { return };
    restore_paid(&child, &provider, "team:9900:USD:month");
    provider.world().prints_calls = true;
    app.runner().run_until_idle().await.unwrap();
}

/// Runs a child to its end, with one variable.
async fn run(app: &TestApp, child: &str, statement: usize, (name, value): (&str, &str)) -> CrashEnd {
    CrashCommand::new(app, &format!("subscriptions::crash::{child}"), statement).env(name, value).run().await
}

/// Returns the text by which a child restores a checkout that was paid.
fn paid_text(provider: &ScriptedProvider, checkout: &str, paid_at: Timestamp) -> String {
    let world = provider.world();
    let new = &world.checkouts[checkout].0;
    format!("{} {} {}", new.reference, new.customer, paid_at.as_micros())
}

on_each_database! {
    async fn a_killed_checkout_is_continued(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let client = app.client_as(DevIdentity::identity().with_permissions(Permissions::all()));
        let mut deaths = 0;
        loop {
            let CrashEnd { was_killed, .. } = run(&app, "child_that_starts_a_checkout", deaths + 1, (PLAN, "pro")).await;
            assert!(count(&app, "select count(*) from omni_checkouts where status in ('creating', 'open')").await <= 1);
            let page = checkout(&client, json!({ "plan": "pro" })).await;
            let open = "select count(*) from omni_checkouts where status = 'open'";
            assert_eq!(count(&app, open).await, 1, "after {deaths}");
            assert_eq!(count(&app, "select count(*) from omni_billing_customers").await, 1, "after {deaths}");
            // The next child starts anew.
            let mut tx = app.db().app_database().all_tenants().begin().await.unwrap();
            tx.query("delete from omni_checkouts").execute().await.unwrap();
            tx.query("delete from omni_billing_customers").execute().await.unwrap();
            tx.commit().await.unwrap();
            provider.world().checkouts.remove(&page);
            if !was_killed {
                break;
            }
            deaths += 1;
        }
        assert!(deaths >= 8, "{deaths}");
        // The same key, so one customer.
        assert_eq!(provider.world().customers.len(), 1);
    }

    async fn an_event_that_is_processed_by_a_killed_process_counts_once(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let mut deaths = 0;
        loop {
            let client = app.user();
            let open = checkout(&client, json!({ "plan": "pro" })).await;
            let now = app.clock().clock().now();
            let paid = paid_text(&provider, &open, now);
            let id = provider.pay(&open, now);
            app.events().publish(&event(ProviderEventObject::Subscription(id))).await.unwrap();
            let CrashEnd { was_killed, .. } = run(&app, "child_that_processes_an_event", deaths + 1, (PAID, &paid)).await;
            app.clock().advance(AFTER_THE_LEASES);
            app.run_events().await;
            app.run_jobs().await;
            assert_eq!(subscription(&client).await["status"], "active", "after {deaths}");
            deaths += 1;
            let bought = i64::try_from(deaths).unwrap();
            assert_eq!(count(&app, "select count(*) from omni_subscriptions").await, bought);
            assert_eq!(count(&app, "select count(*) from omni_subscription_changes").await, bought);
            let assigned = "select count(*) from omni_billing_accounts where plan = 'pro'";
            assert_eq!(count(&app, assigned).await, bought);
            if !was_killed {
                break;
            }
        }
        assert!(deaths >= 8, "{deaths}");
    }

    async fn a_renewal_that_is_processed_by_a_killed_process_counts_once(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let mut deaths = 0;
        loop {
            let client = app.user();
            let open = checkout(&client, json!({ "plan": "pro" })).await;
            let bought = app.clock().clock().now();
            let paid = paid_text(&provider, &open, bought);
            let id = provider.pay(&open, bought);
            send(&app, ProviderEventObject::Checkout(open)).await;
            app.clock().advance(PERIOD);
            let renewed = app.clock().clock().now();
            provider.renew(&id, renewed, false);
            notify(&app, &id).await;
            assert_eq!(subscription(&client).await["status"], "past_due");
            provider.pay_newest(&id);
            let invoice = provider.world().subscriptions[&id].latest_invoice.clone().unwrap();
            let object = ProviderEventObject::Invoice { id: invoice, subscription: Some(id) };
            app.events().publish(&event(object)).await.unwrap();
            let CrashEnd { was_killed, .. } = run(&app, "child_that_processes_a_renewal", deaths + 1, (PAID, &paid)).await;
            app.clock().advance(AFTER_THE_LEASES);
            app.run_events().await;
            app.run_jobs().await;
            deaths += 1;
            let shown = subscription(&client).await;
            assert_eq!((&shown["status"], &shown["failed_payments"]), (&json!("active"), &json!(0)), "after {deaths}");
            assert_eq!(shown["period_end"], json!(renewed + PERIOD), "after {deaths}");
            assert_eq!(projects(&app, &client).await, 10, "after {deaths}");
            let times = i64::try_from(deaths).unwrap();
            assert_eq!(count(&app, "select count(*) from omni_subscriptions").await, times);
            assert_eq!(count(&app, "select count(*) from omni_subscription_changes").await, times);
            assert_eq!(count(&app, "select count(*) from omni_provider_invoices").await, times);
            if !was_killed {
                break;
            }
        }
        assert!(deaths >= 8, "{deaths}");
    }

    async fn a_duplicate_that_is_refunded_by_a_killed_process_is_refunded_once(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let mut deaths = 0;
        loop {
            let client = app.user();
            let (first, second) =
                (checkout(&client, json!({ "plan": "pro" })).await, checkout(&client, json!({ "plan": "team" })).await);
            let now = app.clock().clock().now();
            let (text, payment) = (paid_text(&provider, &second, now), format!("pay_{second}"));
            provider.pay(&first, now);
            let duplicate = provider.pay(&second, now);
            for page in [first, second] {
                send(&app, ProviderEventObject::Checkout(page)).await;
            }
            provider.world().calls.clear();
            let end = run(&app, "child_that_refunds_a_duplicate", deaths + 1, (PAID, &text)).await;
            // The calls that took effect, with their idempotency keys. The provider is the same for both processes.
            let calls: Vec<_> = end.printed_after(CALL).map(str::to_owned).collect();
            for call in &calls {
                let mut world = provider.world();
                if call.starts_with("cancel_subscription") {
                    world.subscriptions.get_mut(&duplicate).unwrap().status = ProviderSubscriptionStatus::Canceled;
                } else {
                    assert!(call.starts_with("refund_payment"), "{call}");
                    let paid = world.payments.get_mut(&payment).unwrap();
                    paid.refunded = paid.captured;
                }
            }
            for _ in 0..3 {
                app.clock().advance(AFTER_THE_LEASES);
                app.run_jobs().await;
            }
            deaths += 1;
            {
                let world = provider.world();
                assert_eq!(world.subscriptions[&duplicate].status, ProviderSubscriptionStatus::Canceled);
                assert_eq!(world.payments[&payment].refunded.minor(), 9_900, "after {deaths}");
                let refunds = calls.iter().chain(&world.calls);
                let refunds = refunds.filter(|call| call.starts_with("refund_payment")).count();
                assert_eq!(refunds, 1, "after {deaths}: {calls:?} {:?}", world.calls);
            }
            let times = i64::try_from(deaths).unwrap();
            let done = "select count(*) from omni_subscriptions where cleanup = 'done'";
            assert_eq!(count(&app, done).await, times, "after {deaths}");
            assert_eq!(projects(&app, &client).await, 10);
            if !end.was_killed {
                break;
            }
        }
        assert!(deaths >= 8, "{deaths}");
    }
}
