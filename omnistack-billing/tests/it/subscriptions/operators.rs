//! Tests of the routes for operators, of access, and of deleted tenants.

use std::time::Duration;

use omnistack_core::{
    events::TenantDeleted,
    identity::{Identity, Permissions},
    payment::{CheckoutStatus, ProviderSubscriptionStatus},
};
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::{Value, json};

use super::{BILLING, checkout, count, notify, projects, start, subscribe, tenant_of};
use crate::accounts::{audited, put};

const ADMIN: &str = "/api/v1/admin/billing";

on_each_database! {
    async fn operators_see_and_reconcile_subscriptions(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let (first, second) = (app.user(), app.user());
        let id = subscribe(&app, &provider, &first, "pro").await;
        app.clock().advance(Duration::from_secs(1));
        subscribe(&app, &provider, &second, "team").await;
        let operator = app.operator();
        let page = operator.get(format!("{ADMIN}/subscriptions?limit=1")).await.expect(200).json();
        assert_eq!(page["items"][0]["plan"], "team");
        let cursor = page["next_cursor"].as_str().unwrap();
        let page = operator.get(format!("{ADMIN}/subscriptions?limit=1&cursor={cursor}")).await.expect(200).json();
        assert_eq!((&page["items"][0]["external_id"], &page["next_cursor"]), (&json!(id), &Value::Null));
        for (query, found) in [("plan=team", 1), ("status=active", 2), ("status=canceled", 0), ("environment=test", 0)] {
            let page = operator.get(format!("{ADMIN}/subscriptions?{query}")).await.expect(200).json();
            assert_eq!(page["items"].as_array().unwrap().len(), found, "{query}");
        }
        let tenant = tenant_of(&first);
        let page = operator.get(format!("{ADMIN}/subscriptions?tenant={tenant}")).await.expect(200).json();
        let own = page["items"][0]["id"].as_str().unwrap();
        operator.get(format!("{ADMIN}/subscriptions/{own}")).await.expect(200);
        operator.get(format!("{ADMIN}/subscriptions/{tenant}")).await.expect_error(404, "NOT_FOUND");
        operator.get(format!("{ADMIN}/subscriptions?cursor=x")).await.expect_error(422, "VALIDATION_FAILED");

        provider.set_status(&id, ProviderSubscriptionStatus::Canceled);
        let read = operator.post(format!("{ADMIN}/reconcile"), json!({ "subscription": own })).await.expect(200).json();
        assert_eq!(read["subscription"]["status"], "canceled");
        assert_eq!(projects(&app, &first).await, 1);
        operator.post(format!("{ADMIN}/reconcile"), json!({})).await.expect(200);
        app.run_jobs().await;
        operator.post(format!("{ADMIN}/reconcile"), json!({ "subscription": tenant })).await.expect_error(404, "NOT_FOUND");
        assert_eq!(audited(&app, "subscription.reconciled").await.len(), 2);
    }

    async fn tenants_see_only_their_own(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let client = app.user();
        subscribe(&app, &provider, &client, "pro").await;
        let stranger = app.user();
        stranger.get(format!("{BILLING}/subscription")).await.expect_error(404, "NOT_FOUND");
        client.get(format!("{ADMIN}/subscriptions")).await.expect(403);
        let reader = client.identity().unwrap().clone().with_permissions(Permissions::new(["billing:read"]).unwrap());
        let reader = app.client_as(reader);
        reader.get(format!("{BILLING}/subscription")).await.expect(200);
        for path in ["checkout", "portal", "upgrade", "downgrade", "seats", "cancel", "resume"] {
            reader.post(format!("{BILLING}/{path}"), json!({})).await.expect(403);
        }
        let member = Identity::user(reader.identity().unwrap().user).with_permissions(Permissions::none());
        app.client_as(member.for_tenant(tenant_of(&client))).get(format!("{BILLING}/status")).await.expect(403);
    }

    async fn the_subscriptions_of_deleted_tenants_end(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let client = app.user();
        let id = subscribe(&app, &provider, &client, "pro").await;
        app.events().publish(&TenantDeleted::new(tenant_of(&client))).await.unwrap();
        app.run_events().await;
        app.run_jobs().await;
        assert_eq!(provider.world().subscriptions[&id].status, ProviderSubscriptionStatus::Canceled);
        notify(&app, &id).await;
        assert_eq!(count(&app, "select count(*) from omni_subscriptions").await, 0);
        assert_eq!(count(&app, "select count(*) from omni_billing_customers").await, 0);
    }

    async fn pages_of_deleted_tenants_close(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let client = app.user();
        let unpaid = checkout(&client, json!({ "plan": "pro" })).await;
        let paid = checkout(&client, json!({ "plan": "team" })).await;
        // Its event has not arrived yet.
        let id = provider.pay(&paid, app.clock().clock().now());
        app.events().publish(&TenantDeleted::new(tenant_of(&client))).await.unwrap();
        app.run_events().await;
        app.run_jobs().await;
        let world = provider.world();
        assert_eq!(world.checkouts[&unpaid].1.status, CheckoutStatus::Expired);
        assert_eq!(world.subscriptions[&id].status, ProviderSubscriptionStatus::Canceled);
    }

    async fn a_plan_that_an_operator_has_assigned_stays(database: TestDatabase) {
        let (app, provider) = start(database).await;
        let client = app.user();
        let id = subscribe(&app, &provider, &client, "pro").await;
        put(&app, tenant_of(&client), "plan", json!({ "plan": "enterprise" })).await.expect(200);
        provider.set_status(&id, ProviderSubscriptionStatus::Canceled);
        notify(&app, &id).await;
        let status = client.get(format!("{BILLING}/status")).await.expect(200).json();
        assert_eq!((&status["plan"], &status["subscription"]["status"]), (&json!("enterprise"), &json!("canceled")));
    }
}
