//! Tests of plans: the default plan, plans that are assigned, and who sees them.

use omnistack_billing::{PlanAssignment, PlanChanged};
use omnistack_core::{
    http::Method,
    id::Id,
    identity::{Identity, Permissions},
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{ACCOUNTS, PLAN, accounts, app, audited, entitlements, put, tenant_of};

const PLANS: &str = "/api/v1/public/billing/plans";
const ACCOUNT: &str = "/api/v1/app/billing/account";

/// Returns the tenants of a page of accounts and the cursor of the next one.
async fn page(app: &TestApp, query: &str) -> (Vec<String>, Option<String>) {
    let page = app.operator().get(format!("{ACCOUNTS}?{query}")).await.expect(200).json();
    let items = page["items"].as_array().unwrap();
    let tenants = items.iter().map(|item| item["tenant_id"].as_str().unwrap().to_owned()).collect();
    (tenants, page["next_cursor"].as_str().map(str::to_owned))
}

on_each_database! {
    async fn a_tenant_without_an_account_has_the_default_plan(database: TestDatabase) {
        let app = app(database, |app| app).await;
        let user = app.user();
        let tenant = tenant_of(&user);
        let plan = user.get(PLAN).await.expect(200).json();
        assert_eq!(plan["plan"]["key"], "free");
        assert_eq!(plan["plan"]["limits"], json!({ "projects": 3, "team_members": 3 }));
        assert_eq!((&plan["zone"], &plan["seats"]), (&json!("UTC"), &Value::Null));
        let period = json!({ "start": "2030-01-01T00:00:00Z", "end": "2030-02-01T00:00:00Z" });
        assert_eq!(plan["current_period"], period);

        let entitlements = entitlements(&app);
        let plan = entitlements.plan(tenant).await.unwrap();
        assert!(plan.allows("projects", 3) && !plan.allows("projects", 4) && !plan.has_feature("sso"));
        assert_eq!(entitlements.cached_plan(tenant), Some(plan));
        let error = entitlements.require_feature(tenant, "sso").await.unwrap_err();
        assert!(error.to_string().contains("change to the plan `pro`"), "{error}");

        let account = app.operator().get(format!("{ACCOUNTS}/{tenant}")).await.expect(200).json();
        let expected = json!({
            "tenant_id": tenant, "plan": "free", "plan_version": 1, "plan_name": "Free", "seats": null, "zone": "UTC",
            "current_period": period, "over_limit": [], "overrides": [],
        });
        assert_eq!(account, expected);
        assert_eq!(page(&app, "").await, (vec![], None), "reading an account stores nothing");
    }

    async fn an_assigned_plan_is_seen_at_once(database: TestDatabase) {
        let app = app(database, |app| app).await;
        let (user, other) = (app.user(), app.user());
        let (tenant, entitlements) = (tenant_of(&user), entitlements(&app));
        let mut changes = app.events().subscribe::<PlanChanged>();
        assert_eq!(entitlements.plan(tenant).await.unwrap().key, "free");
        let account = put(&app, tenant, "plan", json!({ "plan": "pro" })).await.expect(200).json();
        assert_eq!((&account["plan"], &account["plan_version"]), (&json!("pro"), &json!(1)));
        assert!(entitlements.plan(tenant).await.unwrap().has_feature("sso"));
        assert_eq!(user.get(PLAN).await.expect(200).json()["plan"]["name"], "Pro");
        assert_eq!(other.get(PLAN).await.expect(200).json()["plan"]["key"], "free");
        assert_eq!(entitlements.plan(tenant_of(&other)).await.unwrap().key, "free");

        let change = changes.try_recv().unwrap();
        assert_eq!((change.tenant, change.version), (tenant, 1));
        assert_eq!((change.from.as_str(), change.to.as_str()), ("free", "pro"));
        put(&app, tenant, "plan", json!({ "plan": "pro", "version": 1 })).await.expect(200);
        assert!(changes.try_recv().is_err(), "the plan has not changed");
        let [entry] = audited(&app, "billing_plan.").await.try_into().unwrap();
        assert_eq!((entry.action.as_str(), entry.tenant), ("billing_plan.assigned", Some(tenant)));
        assert_eq!(entry.resource, Some(format!("billing_account:{tenant}")));
        let details = entry.details.unwrap();
        assert_eq!((&details["plan"], &details["previous_plan"]), (&json!("pro"), &json!("free")));

        // A tenant keeps a plan that was assigned, also if it is the default plan.
        put(&app, tenant, "plan", json!({ "plan": "free" })).await.expect(200);
        assert_eq!(changes.try_recv().unwrap().to, "free");
        put(&app, tenant_of(&other), "plan", json!({ "plan": "free" })).await.expect(200);
        assert!(changes.try_recv().is_err(), "it had this plan");
        assert_eq!(page(&app, "plan=free").await.0.len(), 2);
    }

    async fn a_plan_is_assigned_in_a_transaction_of_the_app(database: TestDatabase) {
        let app = app(database, |app| app).await;
        let (tenant, accounts) = (tenant_of(&app.user()), accounts(&app));
        let entitlements = entitlements(&app);
        assert_eq!(entitlements.plan(tenant).await.unwrap().key, "free");
        for commits in [false, true] {
            let mut tx = app.db().tenant(tenant).begin().await.unwrap();
            accounts.assign_plan_in(&mut tx, tenant, &PlanAssignment::new("pro")).await.unwrap();
            if commits { tx.commit().await.unwrap() } else { tx.rollback().await.unwrap() }
            let expected = if commits { "pro" } else { "free" };
            assert_eq!(entitlements.plan(tenant).await.unwrap().key, expected);
            assert_eq!(accounts.get(tenant).await.unwrap().plan, expected);
        }
        let mut tx = app.db().tenant(tenant).begin().await.unwrap();
        let unknown = accounts.assign_plan_in(&mut tx, tenant, &PlanAssignment::new("pro").version(7)).await;
        assert_eq!(unknown.unwrap_err().status(), 404);
        tx.rollback().await.unwrap();
        let [entry] = audited(&app, "billing_plan.").await.try_into().unwrap();
        assert_eq!(entry.actor, None, "the app itself has assigned it");
    }

    async fn operators_list_accounts(database: TestDatabase) {
        let app = app(database, |app| app).await;
        let mut tenants: Vec<_> = (0..5).map(|_| tenant_of(&app.user())).collect();
        tenants.sort();
        for (n, tenant) in tenants.iter().enumerate() {
            let plan = if n % 2 == 0 { "pro" } else { "enterprise" };
            put(&app, *tenant, "plan", json!({ "plan": plan })).await.expect(200);
        }
        let named = |positions: &[usize]| -> Vec<_> { positions.iter().map(|n| tenants[*n].to_string()).collect() };
        let (first, cursor) = page(&app, "limit=3").await;
        assert_eq!(first, named(&[0, 1, 2]));
        let (rest, end) = page(&app, &format!("limit=3&cursor={}", cursor.unwrap())).await;
        assert_eq!((rest, end), (named(&[3, 4]), None));
        let (first, cursor) = page(&app, "plan=pro&limit=2").await;
        assert_eq!(first, named(&[0, 2]));
        let (rest, end) = page(&app, &format!("plan=pro&limit=2&cursor={}", cursor.unwrap())).await;
        assert_eq!((rest, end), (named(&[4]), None));
        assert_eq!(page(&app, "plan=partner").await, (vec![], None));
    }

    async fn accounts_are_in_the_database_of_the_app(database: TestDatabase) {
        let app = app(database.with_tenant_databases(), |app| app).await;
        let user = app.user();
        put(&app, tenant_of(&user), "plan", json!({ "plan": "pro" })).await.expect(200);
        assert_eq!(user.get(PLAN).await.expect(200).json()["plan"]["key"], "pro");
        assert_eq!(page(&app, "plan=pro").await.0, [tenant_of(&user).to_string()]);
    }
}

#[tokio::test]
async fn listed_plans_are_public() {
    let app = app(TestDatabase::sqlite(), |app| app).await;
    let response = app.anonymous().get(PLANS).await.expect(200);
    assert_eq!(response.header("cache-control"), Some("public, max-age=300"));
    let plans = response.json();
    let keys: Vec<_> = plans["plans"].as_array().unwrap().iter().map(|plan| plan["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["free", "pro", "enterprise"]);
}

#[tokio::test]
async fn callers_need_permissions_and_what_they_send_is_checked() {
    let app = app(TestDatabase::sqlite(), |app| app).await;
    let user = app.user();
    let tenant = tenant_of(&user);
    let account = format!("{ACCOUNTS}/{tenant}");
    let seats = json!({ "seats": 5 });
    let set = json!({ "kind": "feature", "name": "sso", "value": 1, "reason": "a test" });
    for (path, body) in [("plan", json!({ "plan": "pro" })), ("seats", seats), ("overrides", set)] {
        let path = format!("{account}/{path}");
        for (client, status) in [(app.anonymous(), 401), (user.clone(), 403)] {
            client.request(Method::PUT, &path).json(&body).await.expect(status);
        }
    }
    for path in [ACCOUNTS, &account] {
        app.anonymous().get(path).await.expect(401);
        user.get(path).await.expect(403);
    }
    app.anonymous().get(PLAN).await.expect(401);
    let member = |permissions: &str| {
        let permissions: Permissions = permissions.parse().unwrap();
        app.client_as(Identity::user(Id::from_uuid(Uuid::new_v4())).for_tenant(tenant).with_permissions(permissions))
    };
    let zone = json!({ "zone": "Europe/Berlin" });
    member("projects:*").get(PLAN).await.expect_error(403, "PERMISSION_DENIED");
    member("billing:read").get(PLAN).await.expect(200);
    member("billing:read").patch(ACCOUNT, &zone).await.expect_error(403, "PERMISSION_DENIED");
    member("billing:manage").patch(ACCOUNT, &zone).await.expect(200);
    let operator = Identity::user(Id::from_uuid(Uuid::new_v4())).for_tenant(tenant);
    let operator = operator.with_permissions(Permissions::all()).with_impersonator(Id::from_uuid(Uuid::new_v4()));
    app.client_as(operator).patch(ACCOUNT, &zone).await.expect_error(403, "IMPERSONATION_REFUSED");

    for (body, status) in [
        (json!({ "plan": "max" }), 404),
        (json!({ "plan": "pro", "version": 2 }), 404),
        (json!({ "plan": "" }), 422),
        (json!({ "plan": "pro", "version": -1 }), 422),
        (json!({ "plan": "pro", "period": "month" }), 422),
        (json!({}), 422),
    ] {
        put(&app, tenant, "plan", body).await.expect(status);
    }
    let admin = app.operator();
    for query in ["limit=0", "limit=101", "cursor=x", "cursor=1.x", "plans=pro"] {
        admin.get(format!("{ACCOUNTS}?{query}")).await.expect(422);
    }
    admin.get(format!("{ACCOUNTS}/17")).await.expect(422);
}
