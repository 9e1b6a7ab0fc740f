//! Tests of the limit `services` of a tenant's plan.

#![cfg(test)]

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use omnistack_core::{
    async_trait,
    http::Error,
    identity::{Entitlements, LimitedResources, Plan, PlanNeed, PlanSource, PlanUpgrade, TenantId},
};
use omnistack_testkit::{TestApp, TestClient, TestDatabase, TestResponse, on_each_database};
use serde_json::{Value, json};

use crate::test_service::{SERVICES, put, start, tenant};

/// Plans that limit the number of services, with a limit that changes.
#[derive(Clone)]
struct ServiceLimit(Arc<AtomicU64>);

#[async_trait]
impl PlanSource for ServiceLimit {
    async fn plan(&self, _: TenantId) -> Result<Arc<Plan>, Error> {
        Ok(Arc::new(Plan::new("small").limit("services", self.0.load(Ordering::SeqCst))))
    }

    fn upgrade(&self, _: &Plan, need: PlanNeed<'_>) -> Option<PlanUpgrade> {
        let large = PlanUpgrade { plan: "large".into(), name: "Large".into() };
        matches!(need, PlanNeed::Limit { name: "services", .. }).then_some(large)
    }
}

async fn limited(database: TestDatabase, limit: u64) -> (TestApp, ServiceLimit) {
    let limit = ServiceLimit(Arc::new(AtomicU64::new(limit)));
    let entitlements = Entitlements::new(limit.clone());
    (start(database, |app| app.replace(entitlements)).await, limit)
}

/// Stores credentials of the client's tenant.
async fn store(client: &TestClient, service: &str, environment: &str) -> TestResponse {
    let body = json!({ "fields": { "api_key": format!("{service}_{environment}_1") } });
    put(client, format!("{SERVICES}/{service}/credentials/{environment}"), body).await
}

/// Returns the number of services as the overview of the tenant's plan counts them.
async fn counted(app: &TestApp, client: &TestClient) -> Option<u64> {
    let resources: LimitedResources = app.app().context().get().unwrap();
    resources.count("services", tenant(client)).await.unwrap()
}

on_each_database! {
    async fn a_plan_limits_the_services_of_a_tenant(database: TestDatabase) {
        let (app, limit) = limited(database, 1).await;
        let (owner, other) = (app.user(), app.user());
        assert_eq!(counted(&app, &owner).await, Some(0));
        // Both environments of a service are one service.
        store(&owner, "acme", "live").await.expect(200);
        store(&owner, "acme", "test").await.expect(200);
        let refused = store(&owner, "bolt", "live").await.expect_error(402, "PLAN_LIMIT_REACHED").json();
        let expected = json!({
            "limit": "services", "used": 1, "allowed": 1, "plan": "small",
            "upgrade": { "plan": "large", "name": "Large" },
        });
        assert_eq!(refused["error"]["details"], expected);
        assert_eq!(counted(&app, &owner).await, Some(1));
        // Other tenants have services of their own.
        store(&other, "bolt", "live").await.expect(200);

        limit.0.store(2, Ordering::SeqCst);
        store(&owner, "bolt", "live").await.expect(200);
        assert_eq!(counted(&app, &owner).await, Some(2));

        // After a change to a smaller plan, the credentials of a service that is known can be replaced.
        limit.0.store(0, Ordering::SeqCst);
        store(&owner, "acme", "live").await.expect(200);
        store(&owner, "bolt", "test").await.expect(200);
        for environment in ["live", "test"] {
            owner.delete(format!("{SERVICES}/bolt/credentials/{environment}")).await.expect(204);
        }
        store(&owner, "bolt", "live").await.expect_error(402, "PLAN_LIMIT_REACHED");
        assert_eq!(counted(&app, &owner).await, Some(1));
    }

    async fn concurrent_requests_never_exceed_the_limit(database: TestDatabase) {
        let (app, _) = limited(database, 1).await;
        for _ in 0..5 {
            let owner = app.user();
            let (one, two) = tokio::join!(store(&owner, "acme", "live"), store(&owner, "bolt", "live"));
            let mut statuses = [one.status.as_u16(), two.status.as_u16()];
            statuses.sort_unstable();
            assert_eq!(statuses, [200, 402]);
            assert_eq!(counted(&app, &owner).await, Some(1));
            // Both environments of one service may come at once, too.
            let owner = app.user();
            let (live, test) = tokio::join!(store(&owner, "acme", "live"), store(&owner, "acme", "test"));
            let shown: Value = live.expect(200).json();
            assert_eq!(shown["live"]["configured"], true);
            test.expect(200);
        }
    }
}
