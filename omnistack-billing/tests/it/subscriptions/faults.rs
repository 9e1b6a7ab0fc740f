//! Tests of what must not take a paid plan away, and of failures of one subscription that must not touch others.

use std::time::Duration;

use omnistack_core::payment::ProviderEventObject;
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::json;

use super::{advance, checkout, notify, projects, provider::PERIOD, reconcile, send, start, subscribe, subscription};

const DAY: Duration = Duration::from_secs(86_400);

on_each_database! {
    async fn a_provider_that_finds_nothing_ends_nothing_that_is_paid(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let client = app.user();
        let id = subscribe(&app, &provider, &client, "pro").await;
        // As with credentials of another account.
        let hidden = provider.world().subscriptions.remove(&id).unwrap();
        notify(&app, &id).await;
        app.clock().advance(DAY * 2);
        reconcile(&app).await;
        assert_eq!((projects(&app, &client).await, &subscription(&client).await["status"]), (10, &json!("active")));
        provider.world().subscriptions.insert(id.clone(), hidden);
        provider.renew(&id, app.clock().clock().now(), true);
        notify(&app, &id).await;
        assert_eq!(projects(&app, &client).await, 10);
        // When nothing is paid any more, it has ended.
        provider.world().subscriptions.remove(&id);
        app.clock().advance(PERIOD + DAY * 8);
        reconcile(&app).await;
        assert_eq!((projects(&app, &client).await, &subscription(&client).await["status"]), (1, &json!("canceled")));
    }

    async fn a_checkout_that_can_not_be_read_keeps_no_other_from_being_read(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let (first, second) = (app.user(), app.user());
        for (client, is_known) in [(&first, false), (&second, true)] {
            let open = checkout(client, json!({ "plan": "pro" })).await;
            let id = provider.pay(&open, app.clock().clock().now());
            if !is_known {
                provider.edit(&id, |subscription| "unknown:1:USD:month".clone_into(&mut subscription.items[0].price));
            }
            app.clock().advance(Duration::from_secs(1));
        }
        // All events are lost.
        app.clock().advance(DAY);
        advance(&app).await;
        assert_eq!((projects(&app, &first).await, projects(&app, &second).await), (1, 10));
    }

    async fn a_paid_page_of_an_earlier_price_gives_its_plan(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let client = app.user();
        let open = checkout(&client, json!({ "plan": "pro" })).await;
        let id = provider.pay(&open, app.clock().clock().now());
        // The plan got another id of its price after the page was opened.
        let mut tx = app.db().app_database().all_tenants().begin().await.unwrap();
        tx.query("update omni_checkouts set price = 'old:2900:USD:month'").execute().await.unwrap();
        tx.commit().await.unwrap();
        provider.edit(&id, |subscription| "old:2900:USD:month".clone_into(&mut subscription.items[0].price));
        send(&app, ProviderEventObject::Checkout(open)).await;
        assert_eq!((projects(&app, &client).await, &subscription(&client).await["interval"]), (10, &json!("month")));
    }
}
