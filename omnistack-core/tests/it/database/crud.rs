//! Tests of CRUD resources: create, read, update, delete, restore and scopes.

use std::time::Duration;

use omnistack_core::identity::Identity;
use omnistack_testkit::{TestApp, TestClient, TestDatabase, on_each_database};
use serde_json::{Value, json};

use super::shelf::{BOOKS, DRAFTS, NOTICES, Shelf};

on_each_database! {
    async fn a_resource_is_created_and_read_back(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.with(Shelf)).await;
        let caller = app.user();
        let book = json!({
            "code": "b-1", "title": "Momo", "note": "🐢", "pages": -3, "rating": 4.1, "in_print": true,
            "published": "1973-01-01T00:00:00.000001Z", "series": "0191d9c0-0000-7000-8000-000000000001",
        });
        let created = caller.post(BOOKS, &book).await.expect(201);
        let stored = created.json();
        for (name, value) in book.as_object().unwrap() {
            assert_eq!(&stored[name], value, "{name}");
        }
        assert_eq!((&stored["created_at"], &stored["deleted_at"]), (&json!("2030-01-01T00:00:00Z"), &json!(null)));
        let location = created.header("location").unwrap();
        assert_eq!(location, format!("{BOOKS}/{}", stored["id"].as_str().unwrap()));
        assert_eq!(caller.get(location).await.expect(200).json(), stored);
    }

    async fn a_change_leaves_clears_and_replaces(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.with(Shelf)).await;
        let caller = app.user();
        let one = create(&caller, BOOKS, json!({"code": "b", "title": "old", "note": "old"})).await;
        for (change, title, note) in [
            (json!({}), "old", json!("old")),
            (json!({"title": null}), "old", json!("old")),
            (json!({"title": "new"}), "new", json!("old")),
            (json!({"note": null}), "new", json!(null)),
            (json!({"note": "new", "title": ""}), "", json!("new")),
        ] {
            app.clock().advance(Duration::from_secs(1));
            let before = caller.get(&one).await.expect(200).json();
            let after = caller.patch(&one, &change).await.expect(200).json();
            assert_eq!((&after["title"], &after["note"]), (&json!(title), &note), "{change}");
            let touched = after["updated_at"] != before["updated_at"];
            assert_eq!(touched, after["title"] != before["title"] || after["note"] != before["note"], "{change}");
            assert_eq!(after["created_at"], before["created_at"]);
            assert_eq!(caller.get(&one).await.expect(200).json(), after);
        }
    }

    async fn a_deleted_resource_is_gone_until_it_is_restored(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.with(Shelf)).await;
        let caller = app.user();
        let one = create(&caller, BOOKS, json!({"code": "b", "title": "kept"})).await;
        caller.delete(&one).await.expect(204);
        caller.get(&one).await.expect_error(404, "NOT_FOUND");
        caller.patch(&one, json!({"title": "new"})).await.expect_error(404, "NOT_FOUND");
        caller.patch(&one, json!({})).await.expect_error(404, "NOT_FOUND");
        caller.delete(&one).await.expect_error(404, "NOT_FOUND");
        app.clock().advance(Duration::from_secs(1));
        let restored = restore(&caller, &one).await.expect(200).json();
        assert_eq!(
            (&restored["title"], &restored["deleted_at"], &restored["updated_at"]),
            (&json!("kept"), &json!(null), &json!("2030-01-01T00:00:01Z"))
        );
        app.clock().advance(Duration::from_secs(1));
        let again = restore(&caller, &one).await.expect(200).json();
        assert_eq!(again, restored, "one that is not deleted stays as it is");
        assert_eq!(caller.get(&one).await.expect(200).json(), restored);
    }

    async fn without_soft_delete_a_resource_is_gone_for_good(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.with(Shelf)).await;
        let caller = app.user();
        let one = create(&caller, NOTICES, json!({"words": "wet paint"})).await;
        caller.delete(&one).await.expect(204);
        caller.get(&one).await.expect_error(404, "NOT_FOUND");
        caller.delete(&one).await.expect_error(404, "NOT_FOUND");
        restore(&caller, &one).await.expect(404);
        caller.get(format!("{NOTICES}?deleted=include")).await.expect_error(422, "VALIDATION_FAILED");
        create(&caller, NOTICES, json!({"words": "wet paint"})).await;
    }

    async fn strangers_get_404_for_every_operation(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.with(Shelf)).await;
        let alice = app.user();
        let colleague = app.client_as(Identity::user(app.user().identity().unwrap().user)
            .for_tenant(alice.identity().unwrap().tenant.unwrap()));
        // The same user in another tenant.
        let elsewhere = app.client_as(Identity::user(alice.identity().unwrap().user)
            .for_tenant(app.user().identity().unwrap().tenant.unwrap()));
        let book = create(&alice, BOOKS, json!({"code": "b", "title": "t"})).await;
        let draft = create(&alice, DRAFTS, json!({"title": "t"})).await;
        let notice = create(&alice, NOTICES, json!({"words": "w"})).await;
        for (client, path, list, shared) in [
            (&app.user(), &book, BOOKS, false), (&elsewhere, &book, BOOKS, false), (&colleague, &book, BOOKS, true),
            (&app.user(), &draft, DRAFTS, false), (&elsewhere, &draft, DRAFTS, false), (&colleague, &draft, DRAFTS, false),
            (&app.user(), &notice, NOTICES, true), (&elsewhere, &notice, NOTICES, true),
        ] {
            let items = client.get(list).await.expect(200).json();
            assert_eq!(items["items"].as_array().unwrap().len(), usize::from(shared), "{path}");
            assert_eq!(client.get(format!("{list}?page=1")).await.expect(200).json()["total"], json!(usize::from(shared)));
            if shared {
                client.get(path).await.expect(200);
                continue;
            }
            let before = alice.get(path).await.expect(200).json();
            client.get(path).await.expect_error(404, "NOT_FOUND");
            client.patch(path, json!({"title": "stolen"})).await.expect_error(404, "NOT_FOUND");
            client.patch(path, json!({})).await.expect_error(404, "NOT_FOUND");
            client.delete(path).await.expect_error(404, "NOT_FOUND");
            restore(client, path).await.expect_error(404, "NOT_FOUND");
            assert_eq!(alice.get(path).await.expect(200).json(), before);
            alice.delete(path).await.expect(204);
            restore(client, path).await.expect_error(404, "NOT_FOUND");
            alice.get(path).await.expect_error(404, "NOT_FOUND");
            restore(&alice, path).await.expect(200);
        }
    }

    async fn a_caller_without_a_tenant_is_told_so(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.with(Shelf)).await;
        let nomad = app.client_as(Identity::user(app.user().identity().unwrap().user));
        for path in [BOOKS, DRAFTS] {
            nomad.get(path).await.expect_error(403, "TENANT_REQUIRED");
            nomad.post(path, json!({"code": "c", "title": "t"})).await.expect_error(403, "TENANT_REQUIRED");
        }
        nomad.get(NOTICES).await.expect(200);
        app.anonymous().get(BOOKS).await.expect_error(401, "UNAUTHORIZED");
    }

    async fn a_taken_value_is_named(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.with(Shelf)).await;
        let (alice, bob) = (app.user(), app.user());
        create(&alice, BOOKS, json!({"code": "taken"})).await;
        create(&bob, BOOKS, json!({"code": "taken"})).await;
        let other = create(&alice, BOOKS, json!({"code": "free"})).await;
        create(&alice, NOTICES, json!({"words": "taken"})).await;
        create(&alice, DRAFTS, json!({"title": "taken"})).await;
        for (answer, field) in [
            (alice.post(BOOKS, json!({"code": "taken"})).await, "code"),
            (alice.patch(&other, json!({"code": "taken"})).await, "code"),
            (bob.post(NOTICES, json!({"words": "taken"})).await, "words"),
            (alice.post(DRAFTS, json!({"title": "taken"})).await, "title"),
        ] {
            let body = answer.expect_error(409, "ALREADY_EXISTS").json();
            assert_eq!(body["error"]["details"]["fields"], json!([{"field": field, "message": "is taken"}]));
        }
    }

    async fn restoring_what_has_been_replaced_is_a_conflict(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.with(Shelf)).await;
        let caller = app.user();
        let first = create(&caller, DRAFTS, json!({"title": "same"})).await;
        caller.delete(&first).await.expect(204);
        let second = create(&caller, DRAFTS, json!({"title": "same"})).await;
        restore(&caller, &first).await.expect_error(409, "ALREADY_EXISTS");
        caller.delete(&second).await.expect(204);
        restore(&caller, &first).await.expect(200);
    }

    async fn a_body_or_id_of_the_wrong_form_is_refused(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.with(Shelf)).await;
        let caller = app.user();
        let one = create(&caller, BOOKS, json!({"code": "b"})).await;
        for (body, field) in [
            (json!({}), "code"),
            (json!({"code": ""}), "code"),
            (json!({"code": "a", "pages": "many"}), "pages"),
            (json!({"code": "a", "pages": 1e30}), "pages"),
            (json!({"code": "a", "published": "yesterday"}), "published"),
            (json!({"code": "a", "series": "x"}), "series"),
        ] {
            let answer = caller.post(BOOKS, &body).await.expect_error(422, "VALIDATION_FAILED").json();
            assert_eq!(answer["error"]["details"]["fields"][0]["field"], json!(field), "{body}: {answer}");
        }
        caller.post(BOOKS, json!({"code": "a\0b"})).await.expect_error(422, "VALIDATION_FAILED");
        caller.patch(&one, json!({"title": "a\0b"})).await.expect_error(422, "VALIDATION_FAILED");
        caller.get(format!("{BOOKS}/not-an-id")).await.expect_error(422, "VALIDATION_FAILED");
    }
}

/// Creates a resource and returns its path.
async fn create(client: &TestClient, path: &str, body: Value) -> String {
    client.post(path, body).await.expect(201).header("location").unwrap().to_owned()
}

async fn restore(client: &TestClient, path: &str) -> omnistack_testkit::TestResponse {
    client.request(http::Method::POST, format!("{path}/restore")).await
}
