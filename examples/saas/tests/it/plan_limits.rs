//! Tests of plans in an app with accounts.

use omnistack::{
    auth::Auth,
    billing::{Billing, PlanCatalogue, PlanDefinition},
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use serde_json::json;

use crate::disabled_webhook::{sign_in, user};

const KEYS: &str = "/api/v1/app/api-keys";
const SESSIONS: &str = "/api/v1/app/auth/sessions";

on_each_database! {
    async fn a_tenant_at_its_limit_secures_its_accounts(database: TestDatabase) {
        let free = PlanDefinition::new("free", "Free").limit("api_requests", 0);
        let billing = Billing::from_env().plans(PlanCatalogue::new([free]).default_plan("free"));
        let app = TestApp::start_with_auth(database, |app| app.with(Auth::built_in()).with(billing)).await;
        let ada = user(&app, "ada@example.com").await;
        let team = format!("/api/v1/app/teams/{}", ada.tenant);
        let client = sign_in(&app, ada).await;
        client.get(format!("{team}/roles")).await.expect_error(402, "PLAN_LIMIT_REACHED");

        for path in ["usage/quotas", "users/me", "tenants/current", "teams"] {
            client.get(format!("/api/v1/app/{path}")).await.expect(200);
        }
        client.get(format!("{team}/members")).await.expect(200);

        let key = json!({ "name": "robot", "scopes": ["*:read"] });
        let key = client.post(KEYS, key).await.expect(201).json();
        client.delete(format!("{KEYS}/{}", key["id"].as_str().unwrap())).await.expect(204);
        app.client_with_token(key["secret"].as_str().unwrap()).get(KEYS).await.expect(401);

        let sessions = client.get(SESSIONS).await.expect(200).json();
        client.delete(format!("{SESSIONS}/{}", sessions["items"][0]["id"].as_str().unwrap())).await.expect(204);
        client.get(SESSIONS).await.expect(401);
    }
}
