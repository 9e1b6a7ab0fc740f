//! Tests of the order of events: whatever it is, and however often each arrives, the last state of the provider counts.

use std::time::Duration;

use omnistack_core::payment::{ProviderEventObject, ProviderSubscription, ProviderSubscriptionStatus};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    checkout, count, event, notify, projects,
    provider::{PERIOD, ScriptedProvider},
    send, start, subscription,
};

/// Returns all orders of four things.
fn orders() -> Vec<[usize; 4]> {
    let all = (0..256).map(|n| [n / 64, n / 16 % 4, n / 4 % 4, n % 4]);
    all.filter(|order| (0..4).all(|one| order.contains(&one))).collect()
}

on_each_database! {
    async fn all_orders_of_events_end_in_the_same_state(database: TestDatabase) {
        use ProviderSubscriptionStatus::{Active, Canceled, Incomplete};
        let (app, provider) = start(database).await;
        assert_eq!(orders().len(), 24);
        for with_end in [true, false] {
            for order in orders() {
                let client = app.user();
                let open = checkout(&client, json!({ "plan": "pro" })).await;
                let id = provider.pay(&open, app.clock().clock().now());
                // Created, updated, created again, deleted. A delayed event is delivered while the provider has a later
                // state; one that is early, while it has that of the event.
                let states = [Incomplete, Active, Incomplete, if with_end { Canceled } else { Active }];
                let mut latest = 0;
                for event in order {
                    if [0, 1, 3].contains(&event) {
                        latest = latest.max(event);
                    }
                    provider.set_status(&id, states[latest]);
                    notify(&app, &id).await;
                }
                provider.set_status(&id, states[3]);
                notify(&app, &id).await;
                let shown = subscription(&client).await;
                let expected = if with_end { "canceled" } else { "active" };
                assert_eq!(shown["status"], expected, "{order:?}");
                assert_eq!(projects(&app, &client).await, if with_end { 1 } else { 10 }, "{order:?}");
            }
        }
        assert_eq!(count(&app, "select count(*) from omni_subscriptions").await, 48);
    }

    async fn two_workers_store_one_subscription(database: TestDatabase) {
        let (app, provider) = start(database).await;
        for _ in 0..10 {
            let client = app.user();
            let open = checkout(&client, json!({ "plan": "pro" })).await;
            let id = provider.pay(&open, app.clock().clock().now());
            // Events of the checkout and of its subscription have different keys, so they are processed at once.
            for object in [
                ProviderEventObject::Checkout(open.clone()),
                ProviderEventObject::Subscription(id.clone()),
                ProviderEventObject::Payment(format!("pay_{open}")),
            ] {
                app.events().publish(&event(object)).await.unwrap();
            }
            tokio::join!(app.run_events(), app.run_events());
            assert_eq!(subscription(&client).await["status"], "active");
        }
        assert_eq!(count(&app, "select count(*) from omni_subscriptions").await, 10);
        assert_eq!(count(&app, "select count(*) from omni_subscription_changes").await, 10);
    }

    async fn events_of_nobody_are_ignored(database: TestDatabase) {
        let (app, provider) = start(database).await;
        for object in [
            ProviderEventObject::Subscription("sub_unknown".to_owned()),
            ProviderEventObject::Checkout("cs_unknown".to_owned()),
            ProviderEventObject::Payment("pay_unknown".to_owned()),
            ProviderEventObject::Refund { payment: "pay_unknown".to_owned(), refund: None },
            ProviderEventObject::Dispute { id: "dp_1".to_owned(), payment: None, won: None },
            ProviderEventObject::Invoice { id: "in_1".to_owned(), subscription: None },
            ProviderEventObject::Customer("cus_1".to_owned()),
        ] {
            send(&app, object).await;
        }
        // A subscription that was made by hand, for a customer of no tenant.
        let client = app.user();
        let open = checkout(&client, json!({ "plan": "pro" })).await;
        let id = provider.pay(&open, app.clock().clock().now());
        provider.edit(&id, |subscription| {
            (subscription.reference, subscription.customer) = (None, "cus_other".to_owned());
        });
        notify(&app, &id).await;
        assert_eq!(count(&app, "select count(*) from omni_subscriptions").await, 0);
        // For the customer of a tenant.
        let customer = provider.world().customers.values().next().unwrap().clone();
        provider.edit(&id, |subscription| subscription.customer = customer);
        notify(&app, &id).await;
        assert_eq!(projects(&app, &client).await, 10);
    }
}

/// An event at the provider.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Renewed,
    RenewalFailed,
    Paid,
    PlanChanged,
    PlannedEnd,
    Unpaid,
    Ended,
}

fn happen(app: &TestApp, provider: &ScriptedProvider, id: &str, what: Happening) {
    let now = app.clock().clock().now();
    if provider.world().subscriptions[id].status.is_final() {
        return;
    }
    match what {
        Happening::Renewed => provider.renew(id, now, true),
        Happening::RenewalFailed => provider.renew(id, now, false),
        Happening::Paid => provider.pay_newest(id),
        Happening::PlanChanged => provider.edit(id, |subscription: &mut ProviderSubscription| {
            let is_pro = subscription.items[0].price.starts_with("pro");
            subscription.items[0].price = if is_pro { "team:9900:USD:month" } else { "pro:2900:USD:month" }.to_owned();
        }),
        Happening::PlannedEnd => provider.edit(id, |subscription| {
            subscription.cancel_at = match subscription.cancel_at {
                None => subscription.period.map(|(_, end)| end),
                Some(_) => None,
            };
        }),
        Happening::Unpaid => provider.set_status(id, ProviderSubscriptionStatus::Unpaid),
        Happening::Ended => provider.set_status(id, ProviderSubscriptionStatus::Canceled),
    }
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => Just(Happening::Renewed),
        3 => Just(Happening::RenewalFailed),
        3 => Just(Happening::Paid),
        3 => Just(Happening::PlanChanged),
        2 => Just(Happening::PlannedEnd),
        1 => Just(Happening::Unpaid),
        1 => Just(Happening::Ended),
    ]
}

/// Returns what of a subscription must not depend on the events that have arrived.
async fn outcome(app: &TestApp, client: &omnistack_testkit::TestClient) -> (Value, u64) {
    let mut shown = subscription(client).await;
    for name in ["id", "tenant_id", "grace_until", "ended_at"] {
        shown.as_object_mut().unwrap().remove(name).unwrap();
    }
    (shown, projects(app, client).await)
}

/// One tenant gets an event after each happening. The other one gets some of them, late and twice, or again after a
/// failure, and the last one as all providers deliver it: at some time.
async fn deliver(database: TestDatabase, happenings: &[(Happening, usize)]) {
    let (app, provider) = start(database).await;
    let (first, second) = (app.user(), app.user());
    let mut ids = Vec::new();
    for client in [&first, &second] {
        let open = checkout(client, json!({ "plan": "pro" })).await;
        ids.push(provider.pay(&open, app.clock().clock().now()));
    }
    notify(&app, &ids[0]).await;
    for (what, deliveries) in happenings {
        app.clock().advance(PERIOD);
        for id in &ids {
            happen(&app, &provider, id, *what);
        }
        notify(&app, &ids[0]).await;
        for delivery in 0..*deliveries {
            // The third delivery fails. It is retried before the next one.
            provider.world().failing_reads = u32::from(delivery == 2);
            notify(&app, &ids[1]).await;
            provider.world().failing_reads = 0;
        }
    }
    // A change of the plan is paid at last: what is paid must not depend on what was seen in between.
    for id in &ids {
        app.clock().advance(Duration::from_secs(1));
        happen(&app, &provider, id, Happening::Paid);
    }
    for id in [&ids[0], &ids[1], &ids[1]] {
        notify(&app, id).await;
    }
    // Longer than the delay of a retry.
    app.clock().advance(Duration::from_secs(3_600));
    app.run_events().await;
    let mut outcomes = [outcome(&app, &first).await, outcome(&app, &second).await];
    for (shown, _) in &mut outcomes {
        if shown["status"] == "canceled" {
            // What was left unpaid at the end is not compared.
            for name in ["plan", "pending"] {
                shown.as_object_mut().unwrap().remove(name);
            }
        }
    }
    assert_eq!(outcomes[0], outcomes[1], "{happenings:?}");
}

fn happenings() -> impl Strategy<Value = Vec<(Happening, usize)>> {
    prop::collection::vec((happening(), 0_usize..5), 1..12)
}

fn block_on(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(test);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_delivery_of_events_ends_in_the_same_state(all in happenings()) {
        block_on(deliver(TestDatabase::sqlite(), &all));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_delivery_of_events_ends_in_the_same_state_on_postgres(all in happenings()) {
        block_on(deliver(TestDatabase::postgres(), &all));
    }
}
