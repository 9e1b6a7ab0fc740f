//! Tests of trials.

use std::time::Duration;

use omnistack_core::{
    billing_notice::{BillingNotice, BillingNoticeKind},
    id::Id,
    identity::Identity,
    payment::{ProviderEventObject, ProviderSubscriptionStatus},
};
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{BILLING, advance, checkout, notify, projects, send, start_with, subscribe, subscription};

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
}
