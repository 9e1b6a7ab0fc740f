//! Requests of tenants, limited by their plans.

#![cfg(test)]

use axum::routing::get;
use omnistack_billing::{Billing, PlanCatalogue, PlanDefinition};
use omnistack_core::{
    http::Rate,
    module::{Api, Module, Mount, Registry},
};
use omnistack_testkit::{TestApp, TestClient, TestDatabase, on_each_database};
use serde_json::json;

use crate::ledger::{ledger, sum, tenant_of};

const REPORTS: &str = "/api/v1/app/reports";
/// A route without plan limits.
const CREDENTIALS: &str = "/api/v1/app/credentials";
/// A route whose requests do not count.
const RELAY: &str = "/api/v1/app/relay";

/// A module with routes for tenants.
struct Reports;

impl Module for Reports {
    fn name(&self) -> &'static str {
        "reports"
    }

    fn register(&self, registry: &mut Registry) {
        let api = || Api::<()>::new().hidden("/", get(|| async { "none" }));
        registry.routes(Mount::app("/reports"), api(), |_| Ok(()));
        registry.routes(Mount::app("/credentials").without_plan_limits(), api(), |_| Ok(()));
        registry.routes(Mount::app("/relay").without_usage(), api(), |_| Ok(()));
    }
}

async fn start(database: TestDatabase, free: PlanDefinition) -> TestApp {
    let pro = PlanDefinition::new("pro", "Pro").limit("api_requests", 1_000);
    let plans = PlanCatalogue::new([free, pro]).default_plan("free");
    TestApp::start(database, |app| app.with(Billing::from_env().plans(plans)).with(Reports)).await
}

fn free() -> PlanDefinition {
    PlanDefinition::new("free", "Free")
}

/// Sends requests until one is refused, at most `most`. Returns how many were not.
async fn requests(client: &TestClient, most: u32) -> u32 {
    for count in 0..most {
        if client.get(REPORTS).await.status != 200 {
            return count;
        }
    }
    most
}

on_each_database! {
    async fn a_plan_limits_the_requests_of_a_period(database: TestDatabase) {
        let app = start(database, free().limit("requests_per_month", 3)).await;
        let (owner, other) = (app.user(), app.user());
        assert_eq!(requests(&owner, 10).await, 3);
        let refused = owner.get(REPORTS).await.expect_error(402, "PLAN_LIMIT_REACHED").json();
        assert_eq!(refused["error"]["details"]["upgrade"], json!({ "plan": "pro", "name": "Pro" }));
        assert_eq!(refused["error"]["details"]["allowed"], 3);
        assert_eq!(requests(&other, 2).await, 2, "another tenant has its own limit");
        ledger(&app).flush().await.unwrap();
        assert_eq!(sum(&app, tenant_of(&owner), "period", "api_requests").await, 3, "what is refused is not counted");
        app.clock().set("2030-02-01T00:00:00Z".parse().unwrap());
        assert_eq!(requests(&owner, 10).await, 3);
    }

    async fn a_soft_limit_refuses_no_request(database: TestDatabase) {
        let app = start(database, free().limit("api_requests", 3).soft_limit("api_requests")).await;
        let owner = app.user();
        assert_eq!(requests(&owner, 10).await, 10);
        ledger(&app).flush().await.unwrap();
        assert_eq!(sum(&app, tenant_of(&owner), "period", "api_requests").await, 10);
    }

    async fn a_plan_limits_the_rate_of_requests(database: TestDatabase) {
        let app = start(database, free().rate_limit(Rate::per_minute(4))).await;
        let owner = app.user();
        assert_eq!(requests(&owner, 10).await, 4);
        let refused = owner.get(REPORTS).await.expect_error(429, "RATE_LIMIT_EXCEEDED");
        assert_eq!(refused.header("retry-after"), Some("15"));
        // A route without plan limits has the rate limit all the same.
        owner.get(CREDENTIALS).await.expect_error(429, "RATE_LIMIT_EXCEEDED");
        // What only passes a request on does not count: the request that it makes does.
        owner.get(RELAY).await.expect(200);
        let body = json!({ "plan": "pro" });
        let account = format!("/api/v1/admin/billing/accounts/{}/plan", tenant_of(&owner));
        app.operator().request(http::Method::PUT, account).json(body).await.expect_ok();
        assert_eq!(requests(&owner, 10).await, 10, "a larger plan applies at once");
    }

    async fn a_tenant_at_its_limit_reaches_routes_without_plan_limits(database: TestDatabase) {
        let app = start(database, free().limit("api_requests", 2)).await;
        let owner = app.user();
        assert_eq!(requests(&owner, 10).await, 2);
        let about_the_plan = ["/api/v1/app/billing/plan", "/api/v1/app/billing/usage", "/api/v1/app/usage/quotas"];
        let open = [CREDENTIALS, "/api/v1/app/billing/wallet", "/api/v1/app/usage/metrics"];
        for path in about_the_plan.into_iter().chain(open) {
            owner.get(path).await.expect(200);
        }
        owner.get(RELAY).await.expect(200);
        owner.get(REPORTS).await.expect_error(402, "PLAN_LIMIT_REACHED");
        // An operator who has selected the tenant is not locked out, and does not use its requests.
        let operator = owner.identity().unwrap().clone().into_operator();
        app.client_as(operator).get("/api/v1/admin/billing/accounts").await.expect(200);
        ledger(&app).flush().await.unwrap();
        let counted = sum(&app, tenant_of(&owner), "period", "api_requests").await;
        assert_eq!(counted, 8, "what is open counts, a relay does not");
    }

    async fn requests_without_a_tenant_are_not_limited(database: TestDatabase) {
        let app = start(database, free().limit("api_requests", 0)).await;
        app.anonymous().get("/api/v1/public/billing/plans").await.expect(200);
        app.user().get(REPORTS).await.expect_error(402, "PLAN_LIMIT_REACHED");
    }
}
