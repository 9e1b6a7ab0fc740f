//! Tests of trials.

use std::time::Duration;

use omnistack_core::{
    billing_notice::{BillingNotice, BillingNoticeKind},
    events::TenantDeleted,
    id::Id,
    identity::Identity,
    payment::{CheckoutKind, ProviderEventObject, ProviderSubscriptionStatus, TrialEndBehavior},
};
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    BILLING, advance, checkout, count, notify, projects, provider::lost, send, start_with, subscribe, subscription,
    tenant_of,
};

const DAY: Duration = Duration::from_secs(86_400);

on_each_database! {
    async fn a_trial_is_used_once(database: TestDatabase) {
        for per_user in [false, true] {
            let database = match database.dialect() {
                omnistack_core::db::Dialect::Sqlite => TestDatabase::sqlite(),
                omnistack_core::db::Dialect::Postgres => TestDatabase::postgres(),
            };
            let set = if per_user { "true" } else { "false" };
            let (app, provider) = start_with(database, |app| app.set("BILLING_ONE_TRIAL_PER_USER", set)).await;
            let client = app.user();
            let id = subscribe(&app, &provider, &client, "trial").await;
            let shown = subscription(&client).await;
            assert_eq!((&shown["status"], &shown["entitled"]), (&json!("trialing"), &json!(true)));
            assert_eq!(projects(&app, &client).await, 5);
            provider.set_status(&id, ProviderSubscriptionStatus::Canceled);
            notify(&app, &id).await;
            app.clock().advance(DAY * 30);
            let path = format!("{BILLING}/checkout");
            let again = client.post(&path, json!({ "plan": "trial" })).await.expect(200).json();
            assert_eq!(again["trial_end"], Value::Null);
            let offers = client.get(format!("{BILLING}/plans")).await.expect(200).json();
            assert_eq!(offers["plans"][4]["trial_days"], 0);

            let user = client.identity().unwrap().user;
            let permissions = client.identity().unwrap().permissions.clone();
            let other = Identity::user(user).with_permissions(permissions).for_tenant(Id::from_uuid(Uuid::new_v4()));
            let other = app.client_as(other).post(&path, json!({ "plan": "trial" })).await.expect(200).json();
            assert_eq!(other["trial_end"].is_null(), per_user);
            let stranger = app.user().post(&path, json!({ "plan": "trial" })).await.expect(200).json();
            assert!(!stranger["trial_end"].is_null());
        }
    }

    async fn a_trial_ends_as_the_provider_says(database: TestDatabase) {
        use ProviderSubscriptionStatus::{Canceled, PastDue, Paused};
        let (app, provider) = start_with(database, |app| app).await;
        for (status, limit) in [(Paused, 1), (Canceled, 1), (PastDue, 5)] {
            let client = app.user();
            let id = subscribe(&app, &provider, &client, "trial").await;
            let mut receiver = app.events().subscribe::<BillingNotice>();
            app.clock().advance(DAY * 10);
            advance(&app).await;
            assert!(receiver.try_recv().is_err());
            app.clock().advance(DAY);
            advance(&app).await;
            advance(&app).await;
            let told = receiver.try_recv().unwrap();
            assert!(matches!(told.kind, BillingNoticeKind::TrialEnding { .. }), "{told:?}");
            assert_eq!(told.plan, "Trial");
            assert!(receiver.try_recv().is_err());
            app.clock().advance(DAY * 3);
            provider.set_status(&id, status);
            notify(&app, &id).await;
            let shown = subscription(&client).await;
            assert_eq!((&shown["status"], &shown["collection_paused"]), (&json!(status), &json!(false)));
            assert_eq!(projects(&app, &client).await, limit);
            if status == Paused {
                client.post(format!("{BILLING}/resume"), json!({})).await.expect(200);
                assert_eq!(projects(&app, &client).await, 5);
            }
        }
        // A pause of the collection is another thing.
        let client = app.user();
        let open = checkout(&client, json!({ "plan": "pro" })).await;
        let id = provider.pay(&open, app.clock().clock().now());
        send(&app, ProviderEventObject::Checkout(open)).await;
        provider.edit(&id, |subscription| subscription.collection_paused = true);
        notify(&app, &id).await;
        let shown = subscription(&client).await;
        assert_eq!((&shown["status"], &shown["collection_paused"]), (&json!("active"), &json!(true)));
        assert_eq!(projects(&app, &client).await, 10);
    }

    async fn an_open_page_does_not_give_a_trial_that_was_used_meanwhile(database: TestDatabase) {
        let (app, provider) = start_with(database, |app| app).await;
        let client = app.user();
        let path = format!("{BILLING}/checkout");
        let first = client.post(&path, json!({ "plan": "trial" })).await.expect(200).json();
        assert!(!first["trial_end"].is_null());
        // By another plan of the group.
        let mut tx = app.db().app_database().all_tenants().begin().await.unwrap();
        let sql = "insert into omni_trials (tenant_id, environment, plan_group, provider, subscription, started_at)
            values ($1, 'live', 'trials', 'fake', 'sub_other', $2)";
        tx.query(sql).bind(tenant_of(&client)).bind(app.clock().clock().now()).execute().await.unwrap();
        tx.commit().await.unwrap();
        let second = client.post(&path, json!({ "plan": "trial" })).await.expect(200).json();
        assert!(second["trial_end"].is_null() && second["url"] != first["url"]);
        let page = first["url"].as_str().unwrap().trim_start_matches("https://pay.example/");
        assert!(provider.world().checkouts[page].1.url.is_none());
    }

    async fn a_lost_answer_is_read_also_when_the_trial_ends_soon(database: TestDatabase) {
        let (app, provider) = start_with(database, |app| app).await;
        let client = app.user();
        subscribe(&app, &provider, &client, "trial").await;
        provider.fail_next(lost(), true);
        client.post(format!("{BILLING}/cancel"), json!({})).await.expect_error(503, "PAYMENT_UNKNOWN");
        app.clock().advance(DAY * 12);
        // The first run tells the owners that the trial ends.
        for _ in 0..3 {
            advance(&app).await;
            app.clock().advance(Duration::from_secs(300));
        }
        assert_eq!(count(&app, "select count(*) from omni_subscriptions where request is not null").await, 0);
        assert!(!subscription(&client).await["cancel_at"].is_null());
    }

    async fn the_trial_of_a_user_outlives_its_tenant(database: TestDatabase) {
        let (app, provider) = start_with(database, |app| app.set("BILLING_ONE_TRIAL_PER_USER", "true")).await;
        let client = app.user();
        subscribe(&app, &provider, &client, "trial").await;
        app.events().publish(&TenantDeleted::new(tenant_of(&client))).await.unwrap();
        app.run_events().await;
        app.run_jobs().await;
        assert_eq!(count(&app, "select count(*) from omni_subscriptions").await, 0);
        let user = client.identity().unwrap().user;
        let permissions = client.identity().unwrap().permissions.clone();
        let other = Identity::user(user).with_permissions(permissions).for_tenant(Id::from_uuid(Uuid::new_v4()));
        let page = app.client_as(other).post(format!("{BILLING}/checkout"), json!({ "plan": "trial" })).await;
        assert_eq!(page.expect(200).json()["trial_end"], Value::Null);
    }

    async fn a_trial_needs_no_card_if_the_plan_says_so(database: TestDatabase) {
        let (app, provider) = start_with(database, |app| app).await;
        let client = app.user();
        for (plan, expected) in [("trial", None), ("open", Some(TrialEndBehavior::Cancel)), ("pro", None)] {
            let page = checkout(&client, json!({ "plan": plan })).await;
            {
                let world = provider.world();
                let kind = &world.checkouts[&page].0.kind;
                let CheckoutKind::Subscription { trial_end, trial_end_behavior, .. } = kind else { unreachable!() };
                assert_eq!((trial_end.is_some(), trial_end_behavior), (plan != "pro", &expected), "{plan}");
            }
            // After a lost answer, the provider is asked for the same again.
            let mut tx = app.db().app_database().all_tenants().begin().await.unwrap();
            let sql = "update omni_checkouts set status = 'creating', external_id = null, url = null";
            tx.query(sql).execute().await.unwrap();
            tx.commit().await.unwrap();
            assert_eq!(checkout(&client, json!({ "plan": plan })).await, page);
        }
        let id = subscribe(&app, &provider, &client, "open").await;
        assert_eq!(projects(&app, &client).await, 5);
        app.clock().advance(DAY * 14);
        provider.set_status(&id, ProviderSubscriptionStatus::Canceled);
        notify(&app, &id).await;
        assert_eq!((projects(&app, &client).await, &subscription(&client).await["status"]), (1, &json!("canceled")));
        // The trial is used, so a payment method is needed.
        app.clock().advance(Duration::from_secs(1));
        let page = checkout(&client, json!({ "plan": "open" })).await;
        let world = provider.world();
        let kind = &world.checkouts[&page].0.kind;
        let CheckoutKind::Subscription { trial_end, trial_end_behavior, .. } = kind else { unreachable!() };
        assert_eq!((trial_end, trial_end_behavior), (&None, &None));
    }
}
