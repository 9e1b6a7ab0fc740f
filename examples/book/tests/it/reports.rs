//! Tests of the queries in the chapter "Database".

use book_examples::reports::{ProjectsPerDay, by_day, copy, prefix_all};
use omnistack::{audit::AuditLog, crud::Crud};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use saas::projects::Project;
use serde_json::json;

// ANCHOR: test
on_each_database! {
    async fn reports_see_one_tenant(database: TestDatabase) {
        let app = TestApp::start(database, saas::app).await;
        let (alice, bob) = (app.user(), app.user());
        let created = alice.post("/api/v1/app/projects", json!({"name": "Apollo"})).await.expect(201).json();
        bob.post("/api/v1/app/projects", json!({"name": "Gemini"})).await.expect(201);

        let caller = alice.identity().unwrap();
        let days = by_day(app.db(), caller.tenant.unwrap()).await.unwrap();
        assert_eq!(days, [ProjectsPerDay { day: "2030-01-01".into(), projects: 1 }]);

        let (crud, audit) = (app.app().context().get::<Crud<Project>>().unwrap(), AuditLog::default());
        let id = created["id"].as_str().unwrap().parse().unwrap();
        assert_eq!(copy(&crud, &audit, caller, id).await.unwrap().name, "Copy of Apollo");
        assert_eq!(prefix_all(app.db(), &audit, caller, "2030: ".into()).await.unwrap(), 2);
        let left = bob.get("/api/v1/app/projects").await.expect(200).json();
        assert_eq!(left["items"][0]["name"], "Gemini");
    }
}
// ANCHOR_END: test
