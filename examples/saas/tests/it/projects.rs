//! Tests of projects on each database.

use omnistack::pubsub::PubSub;
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use serde_json::json;

const PROJECTS: &str = "/api/v1/app/projects";

on_each_database! {
    async fn a_project_lives_is_deleted_and_restored(database: TestDatabase) {
        let app = TestApp::start(database, saas::app).await;
        let (alice, bob) = (app.user(), app.user());

        let created = alice.post(PROJECTS, json!({"name": "Apollo"})).await.expect(201);
        let id = created.json()["id"].as_str().unwrap().to_owned();
        let one = format!("{PROJECTS}/{id}");
        assert_eq!(created.header("location"), Some(one.as_str()));
        assert_eq!(alice.get(&one).await.expect(200).json(), created.json());

        alice.post(PROJECTS, json!({"name": "Apollo"})).await.expect_error(409, "ALREADY_EXISTS");
        bob.post(PROJECTS, json!({"name": "Apollo"})).await.expect(201);
        bob.get(&one).await.expect_error(404, "NOT_FOUND");
        bob.patch(&one, json!({"name": "Mine"})).await.expect_error(404, "NOT_FOUND");
        bob.delete(&one).await.expect_error(404, "NOT_FOUND");

        let changed = alice.patch(&one, json!({"description": "to the moon"})).await.expect(200).json();
        assert_eq!((&changed["name"], &changed["description"]), (&json!("Apollo"), &json!("to the moon")));
        let cleared = alice.patch(&one, json!({"description": null})).await.expect(200).json();
        assert_eq!(cleared["description"], json!(null));

        alice.delete(&one).await.expect(204);
        alice.get(&one).await.expect_error(404, "NOT_FOUND");
        alice.delete(&one).await.expect_error(404, "NOT_FOUND");
        assert_eq!(alice.get(PROJECTS).await.expect(200).json()["items"], json!([]));
        let only = alice.get(format!("{PROJECTS}?deleted=only")).await.expect(200).json();
        assert_eq!(only["items"][0]["id"], json!(id));
        alice.request(http::Method::POST, format!("{one}/restore")).await.expect(200);
        alice.get(&one).await.expect(200);
    }

    async fn the_name_of_a_deleted_project_is_free(database: TestDatabase) {
        let app = TestApp::start(database, saas::app).await;
        let alice = app.user();
        let create = async || alice.post(PROJECTS, json!({"name": "Apollo"})).await;
        let path = |project: &serde_json::Value| format!("{PROJECTS}/{}", project["id"].as_str().unwrap());

        let first = path(&create().await.expect(201).json());
        alice.delete(&first).await.expect(204);
        let second = path(&create().await.expect(201).json());
        create().await.expect_error(409, "ALREADY_EXISTS");
        alice.delete(&second).await.expect(204);
        let third = path(&create().await.expect(201).json());

        let taken = json!([{"field": "name", "message": "is taken"}]);
        for deleted in [&first, &second] {
            let refused = alice.request(http::Method::POST, format!("{deleted}/restore")).await;
            assert_eq!(refused.expect_error(409, "ALREADY_EXISTS").json()["error"]["details"]["fields"], taken);
        }
        alice.patch(&third, json!({"name": "Artemis"})).await.expect(200);
        alice.request(http::Method::POST, format!("{first}/restore")).await.expect(200);
        alice.request(http::Method::POST, format!("{second}/restore")).await.expect_error(409, "ALREADY_EXISTS");
    }

    async fn texts_have_limits_that_name_the_field(database: TestDatabase) {
        let app = TestApp::start(database, saas::app).await;
        let alice = app.user();
        let one = alice.post(PROJECTS, json!({"name": "é".repeat(100), "description": ""})).await.expect(201);
        let one = one.header("location").unwrap().to_owned();
        for (field, value, message) in [
            ("name", json!("é".repeat(101)), "must have 1 to 100 characters"),
            ("name", json!(""), "must have 1 to 100 characters"),
            ("name", json!("see evil.example"), "contains a link"),
            ("description", json!("x".repeat(10_001)), "must have at most 10000 characters"),
        ] {
            let mut body = json!({"name": "Apollo"});
            body[field] = value;
            for response in [alice.post(PROJECTS, &body).await, alice.patch(&one, &body).await] {
                let fields = response.expect(422).json()["error"]["details"]["fields"].clone();
                assert_eq!(fields[0]["field"], field);
                assert!(fields[0]["message"].as_str().unwrap().contains(message), "{fields}");
            }
        }
    }

    async fn changes_are_published(database: TestDatabase) {
        let app = TestApp::start(database, saas::app).await;
        let alice = app.user();
        let publisher: PubSub = app.app().context().get().unwrap();
        let mut topic = publisher.subscribe("projects").await;
        let one = alice.post(PROJECTS, json!({"name": "Apollo"})).await.expect(201).header("location").unwrap().to_owned();
        alice.patch(&one, json!({})).await.expect(200);
        alice.patch(&one, json!({"description": "to the moon"})).await.expect(200);
        alice.delete(&one).await.expect(204);
        alice.request(http::Method::POST, format!("{one}/restore")).await.expect(200);
        alice.post(PROJECTS, json!({"name": "Apollo"})).await.expect(409);
        app.run_events().await;
        for change in ["created", "updated", "deleted", "restored"] {
            let message: serde_json::Value = serde_json::from_slice(&topic.try_recv().unwrap()).unwrap();
            let data = &message["data"];
            assert_eq!((&data["resource"], &data["change"]), (&json!("project"), &json!(change)));
            assert!(one.ends_with(data["id"].as_str().unwrap()));
            assert_eq!(data["tenant"], json!(alice.identity().unwrap().tenant));
        }
        assert!(topic.try_recv().is_err());
    }
}
