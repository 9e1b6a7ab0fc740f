//! Tests of several replicas and releases of an app on one database.

use std::{sync::Arc, time::Duration};

use omnistack_billing::{Billing, BillingAccounts, PlanAssignment, PlanCatalogue, PlanDefinition};
use omnistack_core::{
    ShutdownToken,
    app::{App, DevIdentity},
    identity::{Entitlements, TenantId},
    pubsub::PubSub,
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use serde_json::json;
use tokio::time::timeout;

use super::{ACCOUNTS, app, catalogue, catalogue_with, entitlements, pro, put, tenant_of};

/// Builds another replica on the same database, whose release can have other plans.
fn replica(app: &TestApp, plans: PlanCatalogue) -> App {
    let builder = App::builder(app.database().config()).clock(app.clock().clock());
    let builder = builder.with(Billing::from_env().plans(plans));
    builder.with(DevIdentity::default()).set("DEV_TOKEN", "dev_test").build().unwrap()
}

/// Waits until a replica has a plan.
async fn reaches(replica: &App, tenant: TenantId, plan: &str) {
    let entitlements: Entitlements = replica.context().get().unwrap();
    let waited = timeout(Duration::from_secs(10), async {
        while entitlements.plan(tenant).await.unwrap().key != plan {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    assert!(waited.await.is_ok(), "the replica does not see the plan `{plan}`");
}

on_each_database! {
    async fn a_change_reaches_the_other_replica_without_a_message(database: TestDatabase) {
        let app = app(database, |app| app).await;
        let other = Arc::new(replica(&app, catalogue()));
        other.start().await.unwrap();
        let (tenant, unchanged) = (tenant_of(&app.user()), tenant_of(&app.user()));
        let known: Entitlements = other.context().get().unwrap();
        for tenant in [tenant, unchanged] {
            assert_eq!(known.plan(tenant).await.unwrap().key, "free");
        }
        let (shutdown, working) = (ShutdownToken::new(), Arc::clone(&other));
        let asked = shutdown.clone();
        let running = tokio::spawn(async move { working.run_workers(asked).await });
        // Each has a broker of its own, so no message arrives.
        for plan in ["pro", "enterprise"] {
            put(&app, tenant, "plan", json!({ "plan": plan })).await.expect(200);
            reaches(&other, tenant, plan).await;
        }
        let set = json!({ "kind": "limit", "name": "projects", "value": 5, "reason": "a test" });
        put(&app, unchanged, "overrides", set).await.expect(200);
        put(&app, tenant, "plan", json!({ "plan": "pro" })).await.expect(200);
        reaches(&other, tenant, "pro").await;
        assert!(!known.plan(unchanged).await.unwrap().allows("projects", 6));
        shutdown.cancel();
        timeout(Duration::from_secs(30), running).await.unwrap().unwrap();
    }

    async fn a_change_is_published(database: TestDatabase) {
        let publisher = PubSub::default();
        let shared = publisher.clone();
        let app = app(database, |app| app.replace(shared)).await;
        let mut changes = publisher.subscribe("omnistack:billing").await;
        let tenant = tenant_of(&app.user());
        put(&app, tenant, "seats", json!({ "seats": 5 })).await.expect(200);
        let message = timeout(Duration::from_secs(10), changes.recv()).await.unwrap().unwrap();
        assert_eq!(message, tenant.to_string());
    }

    async fn a_customer_keeps_the_version_of_its_plan(database: TestDatabase) {
        let app = app(database, |app| app).await;
        let (user, newer) = (app.user(), tenant_of(&app.user()));
        let tenant = tenant_of(&user);
        put(&app, tenant, "plan", json!({ "plan": "pro" })).await.expect(200);

        let next = replica(&app, catalogue_with(pro().version(2).limit("projects", 50)));
        next.start().await.unwrap();
        let known: Entitlements = next.context().get().unwrap();
        assert_eq!(known.plan(tenant).await.unwrap().limits["projects"], 10);

        // While the old release runs, the new one assigns a version that the old one does not know.
        let accounts: BillingAccounts = next.context().get().unwrap();
        let mut tx = next.db().tenant(newer).begin().await.unwrap();
        accounts.assign_plan_in(&mut tx, newer, &PlanAssignment::new("pro")).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(known.plan(newer).await.unwrap().limits["projects"], 50);
        assert_eq!(entitlements(&app).plan(newer).await.unwrap().limits["projects"], 50);
        let account = app.operator().get(format!("{ACCOUNTS}/{newer}")).await.expect(200).json();
        assert_eq!(account["plan_version"], 2);
        let page = app.operator().get(format!("{ACCOUNTS}?plan=pro")).await.expect(200).json();
        let versions: Vec<_> = page["items"].as_array().unwrap().iter().map(|item| &item["plan_version"]).collect();
        assert_eq!(versions, [1, 2]);

        // A release without the plan still serves its customers.
        let last = replica(&app, PlanCatalogue::default());
        // `free` has other terms there.
        assert!(last.start().await.is_err());
        let free = PlanDefinition::new("basic", "Basic");
        let last = replica(&app, PlanCatalogue::new([free]).default_plan("basic"));
        last.start().await.unwrap();
        let known: Entitlements = last.context().get().unwrap();
        assert_eq!(known.plan(tenant).await.unwrap().limits["projects"], 10);
        assert_eq!(known.plan(tenant_of(&app.user())).await.unwrap().key, "basic");
    }

    async fn a_plan_does_not_change_within_its_version(database: TestDatabase) {
        let app = app(database, |app| app).await;
        let changed = replica(&app, catalogue_with(pro().limit("projects", 11)));
        let error = changed.start().await.unwrap_err().to_string();
        let expected = "the plan `pro` version 1 has changed since it was first used; raise its version";
        assert!(error.contains(expected), "{error}");
        let same = replica(&app, catalogue());
        same.start().await.unwrap();
    }
}
