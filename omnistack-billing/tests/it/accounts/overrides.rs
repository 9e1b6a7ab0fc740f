//! Tests of overrides.

use std::time::Duration;

use omnistack_core::{
    async_trait,
    identity::{Plan, TenantId},
    jobs::{Job, JobContext, JobError},
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{ACCOUNTS, PLAN, app, audited, entitlements, put, tenant_of};

const HOUR: Duration = Duration::from_secs(3_600);

/// The job of the module, as its schedule enqueues it.
#[derive(Serialize, Deserialize)]
struct DeleteOverrides {}

#[async_trait]
impl Job for DeleteOverrides {
    const NAME: &'static str = "billing.delete_expired_overrides";
    type State = ();

    async fn run(self, (): &(), _: &JobContext) -> Result<(), JobError> {
        Ok(())
    }
}

/// Sets an override, and returns it.
async fn set(app: &TestApp, tenant: TenantId, kind: &str, name: &str, value: Value) -> Value {
    let body = json!({ "kind": kind, "name": name, "value": value, "reason": "a test" });
    put(app, tenant, "overrides", body).await.expect(200).json()
}

/// Returns the number of overrides that are stored.
async fn stored(app: &TestApp) -> i64 {
    let mut tx = app.db().all_tenants().begin_read().await.unwrap();
    let (count,): (i64,) = tx.query("select count(*) from omni_plan_overrides").fetch_one().await.unwrap();
    tx.commit().await.unwrap();
    count
}

on_each_database! {
    async fn an_override_replaces_what_the_plan_has(database: TestDatabase) {
        let app = app(database, |app| app).await;
        let (user, other) = (app.user(), app.user());
        let tenant = tenant_of(&user);
        for client in [&user, &other] {
            put(&app, tenant_of(client), "plan", json!({ "plan": "pro" })).await.expect(200);
        }
        let entitlements = entitlements(&app);
        let before = entitlements.plan(tenant).await.unwrap();
        let cases: [(&str, &str, Value, fn(&Plan) -> bool); 8] = [
            ("limit", "projects", json!(50), |plan| plan.allows("projects", 50) && !plan.allows("projects", 51)),
            ("limit", "projects", json!(0), |plan| !plan.allows("projects", 1)),
            ("limit", "projects", Value::Null, |plan| plan.allows("projects", u64::MAX)),
            ("limit", "storage", json!(7), |plan| plan.limits["storage_bytes"] == 7),
            ("feature", "ai", json!(1), |plan| plan.has_feature("ai") && plan.has_feature("sso")),
            ("feature", "sso", json!(0), |plan| !plan.has_feature("sso") && plan.has_feature("export")),
            ("feature", "sso", json!(1), |plan| plan.has_feature("sso")),
            ("feature", "*", json!(1), |plan| plan.has_feature("anything")),
        ];
        for (kind, name, value, holds) in cases {
            let id = set(&app, tenant, kind, name, value.clone()).await["id"].as_str().unwrap().to_owned();
            assert!(holds(&entitlements.plan(tenant).await.unwrap()), "{kind} {name} {value}");
            assert_eq!(*entitlements.plan(tenant_of(&other)).await.unwrap(), *before);
            let account = app.operator().get(format!("{ACCOUNTS}/{tenant}")).await.expect(200).json();
            assert_eq!(account["overrides"].as_array().unwrap().len(), 1);
            assert_eq!((&account["overrides"][0]["id"], &account["overrides"][0]["value"]), (&json!(id), &value));
            // That of another tenant does not exist.
            let of_other = format!("{ACCOUNTS}/{}/overrides/{id}", tenant_of(&other));
            app.operator().delete(of_other).await.expect_error(404, "NOT_FOUND");
            let path = format!("{ACCOUNTS}/{tenant}/overrides/{id}");
            app.operator().delete(&path).await.expect(204);
            assert_eq!(*entitlements.plan(tenant).await.unwrap(), *before);
            app.operator().delete(&path).await.expect_error(404, "NOT_FOUND");
        }
    }

    async fn an_override_replaces_that_of_the_same_name(database: TestDatabase) {
        let app = app(database, |app| app).await;
        let user = app.user();
        let tenant = tenant_of(&user);
        let first = set(&app, tenant, "limit", "requests_per_month", json!(1)).await;
        let second = set(&app, tenant, "limit", "api_requests", json!(2)).await;
        set(&app, tenant, "feature", "api_requests", json!(1)).await;
        assert_eq!((stored(&app).await, first["id"] == second["id"]), (2, false));
        let plan = entitlements(&app).plan(tenant).await.unwrap();
        assert!(plan.limits["api_requests"] == 2 && plan.has_feature("api_requests"));

        // The tenant sees what differs, without the reason.
        let differences = user.get(PLAN).await.expect(200).json()["differences"].clone();
        let expected = json!([
            { "kind": "feature", "name": "api_requests", "value": 1, "expires_at": null },
            { "kind": "limit", "name": "api_requests", "value": 2, "expires_at": null },
        ]);
        assert_eq!(differences, expected);
        let path = format!("{ACCOUNTS}/{tenant}/overrides/{}", second["id"].as_str().unwrap());
        let operator = app.operator();
        operator.delete(path).await.expect(204);
        let entries = audited(&app, "plan_override.").await;
        let actions: Vec<_> = entries.iter().map(|entry| entry.action.as_str()).collect();
        assert_eq!(actions, ["plan_override.set", "plan_override.set", "plan_override.set", "plan_override.removed"]);
        assert!(entries.iter().all(|entry| entry.tenant == Some(tenant) && entry.actor.is_some()));
        assert_eq!(entries[3].actor, operator.identity().map(|identity| identity.user));
        assert_eq!(entries[0].details.as_ref().unwrap()["reason"], "a test");
    }

    async fn an_override_expires(database: TestDatabase) {
        let app = app(database, |app| app).await;
        let user = app.user();
        let (tenant, entitlements) = (tenant_of(&user), entitlements(&app));
        for (name, expires_at) in [("a", "2030-01-01T01:00:00Z"), ("b", "2030-01-01T02:00:00Z")] {
            let mut body = json!({ "kind": "feature", "name": name, "value": 1, "reason": "a test" });
            body["expires_at"] = json!(expires_at);
            put(&app, tenant, "overrides", body).await.expect(200);
        }
        set(&app, tenant, "feature", "c", json!(1)).await;
        for (advance, expected) in [
            (Duration::ZERO, &["a", "b", "c"][..]),
            (Duration::from_micros(3_599_999_999), &["a", "b", "c"]),
            (Duration::from_micros(1), &["b", "c"]),
            (HOUR, &["c"]),
        ] {
            app.clock().advance(advance);
            assert_eq!(entitlements.plan(tenant).await.unwrap().features, expected);
            assert_eq!(entitlements.cached_plan(tenant).unwrap().features, expected);
            let shown = user.get(PLAN).await.expect(200).json()["plan"]["features"].clone();
            assert_eq!(shown, json!(expected));
        }
        // Expired ones are kept for 90 days.
        for (advance, expected) in [(HOUR * (24 * 90 - 1), 3), (Duration::from_micros(1), 2), (HOUR * 24, 1)] {
            app.clock().advance(advance);
            app.jobs().enqueue(DeleteOverrides {}).await.unwrap();
            app.run_jobs().await;
            assert_eq!(stored(&app).await, expected);
        }
    }
}

#[tokio::test]
async fn values_that_can_not_hold_are_rejected() {
    let app = app(TestDatabase::sqlite(), |app| app).await;
    let tenant = tenant_of(&app.user());
    put(&app, tenant, "plan", json!({ "plan": "enterprise" })).await.expect(200);
    for (body, field) in [
        (json!({ "kind": "feature", "name": "sso", "value": 0, "reason": "x" }), "name"),
        (json!({ "kind": "feature", "name": "sso", "value": 2, "reason": "x" }), "value"),
        (json!({ "kind": "feature", "name": "sso", "value": null, "reason": "x" }), "value"),
        (json!({ "kind": "feature", "name": "sso", "reason": "x" }), "value"),
        (json!({ "kind": "limit", "name": "projects", "value": -1, "reason": "x" }), "value"),
        (json!({ "kind": "limit", "name": "projects", "value": 1.5, "reason": "x" }), "value"),
        (json!({ "kind": "limit", "name": "pro jects", "value": 1, "reason": "x" }), "name"),
        (json!({ "kind": "limit", "name": "projects", "value": 1, "reason": "" }), "reason"),
        (json!({ "kind": "limit", "name": "projects", "value": 1 }), "reason"),
        (json!({ "kind": "price", "name": "projects", "value": 1, "reason": "x" }), "kind"),
        (
            json!({
                "kind": "limit", "name": "projects", "value": 1, "reason": "x", "expires_at": "2030-01-01T00:00:00Z",
            }),
            "expires_at",
        ),
    ] {
        let error = put(&app, tenant, "overrides", body.clone()).await.expect_error(422, "VALIDATION_FAILED").json();
        assert_eq!(error["error"]["details"]["fields"][0]["field"], field, "{body}");
    }
    assert_eq!(stored(&app).await, 0);
    assert!(audited(&app, "plan_override.").await.is_empty());
}
