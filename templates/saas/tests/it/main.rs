//! Tests of the app over its HTTP API.

use {{crate_name}}::app;
use omnistack_testkit::{TestApp, TestDatabase};
use serde_json::json;

const PROJECTS: &str = "/api/v1/app/projects";

#[tokio::test]
async fn a_tenant_sees_its_own_projects() {
    let app = TestApp::start(TestDatabase::sqlite(), app).await;
    let (alice, bob) = (app.user(), app.user());

    alice.post(PROJECTS, json!({"name": "Northwind"})).await.expect(201);
    alice.post(PROJECTS, json!({"name": ""})).await.expect_error(422, "VALIDATION_FAILED");

    let hers = alice.get(PROJECTS).await.expect(200).json();
    assert_eq!(hers["items"][0]["name"], "Northwind");
    let his = bob.get(PROJECTS).await.expect(200).json();
    assert_eq!(his["items"], json!([]));
    app.anonymous().get(PROJECTS).await.expect_error(401, "UNAUTHORIZED");

    let first = format!("{PROJECTS}/{}", hers["items"][0]["id"].as_str().unwrap());
    alice.delete(&first).await.expect(204);
    alice.post(PROJECTS, json!({"name": "Northwind"})).await.expect(201);
    alice.post(format!("{first}/restore"), ()).await.expect_error(409, "ALREADY_EXISTS");
}
