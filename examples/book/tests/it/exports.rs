//! Tests of the permissions and plans in the chapter "Writing a module".

use book_examples::exports::{Contracts, Exports};
use omnistack::{
    identity::{Identity, TenantId, UserId},
    uuid::Uuid,
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use saas::projects::Projects;
use serde_json::json;

const EXPORTS: &str = "/api/v1/app/exports";
const PROJECTS: &str = "/api/v1/app/projects";

on_each_database! {
    async fn exports_need_a_permission_and_a_plan(database: TestDatabase) {
        let customer = TenantId::from_uuid(Uuid::from_u128(7));
        let contracts = Contracts([customer].into());
        let app = TestApp::start(database, |app| app.with(Projects).with(Exports).with(contracts)).await;

        let free = app.user();
        for name in ["Apollo", "Gemini"] {
            free.post(PROJECTS, json!({"name": name})).await.expect(201);
        }
        free.post(PROJECTS, json!({"name": "Mercury"})).await.expect_error(402, "PLAN_LIMIT_REACHED");
        let refused = free.post(EXPORTS, json!({})).await.expect_error(403, "FEATURE_NOT_IN_PLAN");
        assert_eq!(refused.json()["error"]["details"]["upgrade"]["plan"], "contract");

        let member = |permissions: &str| {
            let user = Identity::user(UserId::from_uuid(Uuid::from_u128(8))).for_tenant(customer);
            app.client_as(user.with_permissions(permissions.parse().unwrap()))
        };
        let owner = member("*");
        for name in ["Apollo", "Gemini", "Mercury"] {
            owner.post(PROJECTS, json!({"name": name})).await.expect(201);
        }
        let found = owner.get(format!("{PROJECTS}?name=Gemini")).await.expect(200).json();
        owner.delete(format!("{PROJECTS}/{}", found["items"][0]["id"].as_str().unwrap())).await.expect(204);

        let developer = member("*:read *:write");
        let names = developer.post(EXPORTS, json!({})).await.expect(200).json();
        assert_eq!(names, json!(["Apollo", "Mercury"]));
        let all = json!({"with_deleted": true});
        developer.post(EXPORTS, all.clone()).await.expect_error(403, "PERMISSION_DENIED");
        let names = owner.post(EXPORTS, all).await.expect(200).json();
        assert_eq!(names, json!(["Apollo", "Gemini", "Mercury"]));
        member("*:read").post(EXPORTS, json!({})).await.expect_error(403, "PERMISSION_DENIED");
    }
}
