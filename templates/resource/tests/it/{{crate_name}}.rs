//! Tests of the module `{{crate_name}}`.

use omnistack_testkit::{TestApp, TestDatabase};
use serde_json::json;

use crate::app;

const ROUTE: &str = "/api/v1/app/{{project-name}}";

#[tokio::test]
async fn a_tenant_has_its_own_{{crate_name}}() {
    let app = TestApp::start(TestDatabase::sqlite(), app).await;
    let (alice, bob) = (app.user(), app.user());
    let created = alice.post(ROUTE, json!({"title": "First"})).await.expect(201).json();
    alice.post(ROUTE, json!({"title": ""})).await.expect_error(422, "VALIDATION_FAILED");
    let one = format!("{ROUTE}/{}", created["id"].as_str().unwrap());

    let changed = alice.patch(&one, json!({"description": "The first of all"})).await.expect(200).json();
    assert_eq!((&changed["title"], &changed["description"]), (&json!("First"), &json!("The first of all")));
    let found = alice.get(format!("{ROUTE}?q=first&title=First&sort=title")).await.expect(200).json();
    assert_eq!(found["items"].as_array().map(Vec::len), Some(1));

    bob.get(&one).await.expect_error(404, "NOT_FOUND");
    assert_eq!(bob.get(ROUTE).await.expect(200).json()["items"], json!([]));
    app.anonymous().get(ROUTE).await.expect_error(401, "UNAUTHORIZED");

    alice.delete(&one).await.expect(204);
    alice.get(&one).await.expect_error(404, "NOT_FOUND");
    let restored = alice.post(format!("{one}/restore"), ()).await.expect(200).json();
    assert_eq!(restored["title"], "First");
}
