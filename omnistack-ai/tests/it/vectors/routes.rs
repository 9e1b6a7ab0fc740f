//! The routes of collections, points and searches.

use omnistack_core::{
    http::Method,
    identity::{Identity, Permissions, Plan},
};
use omnistack_testkit::{TestClient, TestDatabase, on_each_database};
use serde_json::{Value, json};

use super::{VECTOR, WordEmbedder, start, tenant};
use crate::accounting::RecordedUsage;

async fn put_points(client: &TestClient, collection: &str, points: Value) {
    let path = format!("{VECTOR}/{collection}/points");
    client.request(Method::PUT, path).json(json!({ "points": points })).await.expect(204);
}

async fn search(client: &TestClient, path: &str, body: Value) -> Vec<String> {
    let found = client.post(format!("{VECTOR}/{path}"), body).await.expect(200).json();
    let id = |found: &Value| found["id"].as_str().unwrap().to_owned();
    found["matches"].as_array().unwrap().iter().map(id).collect()
}

on_each_database! {
    async fn the_default_collection_is_searched_by_meaning_words_and_both(database: TestDatabase) {
        let app = start(database, WordEmbedder::default()).await;
        let client = app.user();
        assert!(search(&client, "search", json!({ "query": "cat" })).await.is_empty());
        put_points(&client, "default", json!([
            { "id": "a", "text": "A cat and a cat", "metadata": { "lang": "en" } },
            { "id": "b", "text": "A dog, a cat", "metadata": { "lang": "de" } },
            { "id": "c", "text": "The ship", "metadata": { "lang": "de" } },
        ])).await;
        for (body, expected) in [
            (json!({ "query": "cat" }), vec!["a", "b", "c"]),
            (json!({ "query": "cat", "limit": 1 }), vec!["a"]),
            (json!({ "query": "cat", "filter": { "lang": "de" } }), vec!["b", "c"]),
            (json!({ "query": "the", "mode": "words" }), vec!["c"]),
            (json!({ "query": "ship the", "mode": "hybrid", "limit": 1 }), vec!["c"]),
            (json!({ "vector": [0, 3, 0, 0, 0], "limit": 1 }), vec!["b"]),
        ] {
            assert_eq!(search(&client, "search", body.clone()).await, expected, "{body}");
            assert_eq!(search(&client, "default/search", body.clone()).await, expected, "{body}");
        }
        let first = client.post(format!("{VECTOR}/search"), json!({ "query": "cat" })).await.expect(200).json();
        assert_eq!((&first["collection"], &first["matches"][0]["text"]), (&json!("default"), &json!("A cat and a cat")));
        let info = client.get(format!("{VECTOR}/default")).await.expect(200).json();
        assert_eq!((&info["points"], &info["dimensions"]), (&json!(3), &json!(5)));
    }

    async fn a_collection_is_created_listed_and_deleted(database: TestDatabase) {
        let app = start(database, WordEmbedder::default()).await;
        let client = app.user();
        for name in ["docs", "apps", "mail"] {
            let made = client.post(VECTOR, json!({ "name": name, "dimensions": 2 })).await.expect(201).json();
            assert_eq!((&made["name"], &made["points"]), (&json!(name), &json!(0)));
        }
        client.post(VECTOR, json!({ "name": "docs", "dimensions": 2 })).await.expect_error(409, "ALREADY_EXISTS");
        let of_model = client.post(VECTOR, json!({ "name": "of-model", "model": "words" })).await.expect(201).json();
        assert_eq!((&of_model["dimensions"], &of_model["model"]), (&json!(5), &json!("words")));

        let page = client.get(format!("{VECTOR}?limit=2")).await.expect(200).json();
        let next = page["next_cursor"].as_str().unwrap();
        let rest = client.get(format!("{VECTOR}?limit=2&cursor={next}")).await.expect(200).json();
        let items = page["items"].as_array().unwrap().iter().chain(rest["items"].as_array().unwrap());
        let names: Vec<_> = items.map(|item| item["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["apps", "docs", "mail", "of-model"]);

        put_points(&client, "docs", json!([{ "id": "a/b #1", "vector": [3, 4], "metadata": { "n": 1 } }])).await;
        let point = client.get(format!("{VECTOR}/docs/points/a%2Fb%20%231")).await.expect(200).json();
        assert_eq!(point, json!({ "id": "a/b #1", "vector": [0.6, 0.8], "text": null, "metadata": { "n": 1 } })
            , "the vector has the length 1");
        client.delete(format!("{VECTOR}/docs/points/a%2Fb%20%231")).await.expect(204);
        client.get(format!("{VECTOR}/docs/points/a%2Fb%20%231")).await.expect_error(404, "NOT_FOUND");

        put_points(&client, "docs", json!([{ "id": "a", "vector": [1, 0] }, { "id": "b", "vector": [0, 1] }])).await;
        client.post(format!("{VECTOR}/docs/points/delete"), json!({ "ids": ["a", "x"] })).await.expect(204);
        assert_eq!(search(&client, "docs/search", json!({ "vector": [1, 0] })).await, ["b"]);

        client.delete(format!("{VECTOR}/docs")).await.expect(204);
        client.delete(format!("{VECTOR}/docs")).await.expect_error(404, "COLLECTION_NOT_FOUND");
        client.post(format!("{VECTOR}/docs/search"), json!({ "vector": [1, 0] })).await
            .expect_error(404, "COLLECTION_NOT_FOUND");
        app.run_jobs().await;
        let mut tx = app.db().app_database().tenant(tenant(&client)).begin_read().await.unwrap();
        let (rows,): (i64,) =
            tx.query("select count(*) from omni_ai_vector_points where tenant_id = $1").bind(tenant(&client))
                .fetch_one().await.unwrap();
        assert_eq!(rows, 0);
        drop(tx);
        client.post(VECTOR, json!({ "name": "docs", "dimensions": 3 })).await.expect(201);
        assert!(search(&client, "docs/search", json!({ "vector": [1, 0, 0] })).await.is_empty());
    }

    async fn requests_that_are_not_accepted_are_named(database: TestDatabase) {
        let app = start(database, WordEmbedder::default()).await;
        let client = app.user();
        client.post(VECTOR, json!({ "name": "docs", "dimensions": 2 })).await.expect(201);
        let field = |body: Value| body["error"]["details"]["fields"][0]["field"].as_str().unwrap_or_default().to_owned();
        for (body, expected) in [
            (json!({ "name": "Docs", "dimensions": 2 }), "name"),
            (json!({ "name": "search", "dimensions": 2 }), "name"),
            (json!({ "name": "x", "dimensions": 5000 }), "dimensions"),
        ] {
            let refused = client.post(VECTOR, body.clone()).await.expect_error(422, "VALIDATION_FAILED").json();
            assert_eq!(field(refused), expected, "{body}");
        }
        for (points, expected) in [
            (json!([]), "points"),
            (json!([{ "id": "a" }]), "points[0]"),
            (json!([{ "id": "a", "vector": [1, 2, 3] }]), "points[0].vector"),
            (json!([{ "id": "a", "vector": [0, 0] }]), "points[0].vector"),
            (json!([{ "id": "a", "vector": [1, 0] }, { "id": "a", "vector": [1, 0] }]), "points[1].id"),
            (json!([{ "id": "a\n", "vector": [1, 0] }]), "points[0].id"),
            (json!([{ "id": "a", "vector": [1, 0], "text": "\u{0}" }]), "body"),
            (json!([{ "id": "a", "vector": [1, 0], "metadata": { "a.b": 1 } }]), "points[0].metadata"),
        ] {
            let put = client.request(Method::PUT, format!("{VECTOR}/docs/points"));
            let refused = put.json(json!({ "points": points })).await.expect_error(422, "VALIDATION_FAILED").json();
            assert_eq!(field(refused), expected, "{points}");
        }
        for (body, expected) in [
            (json!({}), "query"),
            (json!({ "vector": [1, 0], "mode": "words" }), "query"),
            (json!({ "vector": [1] }), "vector"),
            (json!({ "vector": [1, 0], "limit": 101 }), "limit"),
            (json!({ "vector": [1, 0], "filter": { "a": { "like": "x" } } }), "filter.a"),
        ] {
            let path = format!("{VECTOR}/docs/search");
            let refused = client.post(path, body.clone()).await.expect_error(422, "VALIDATION_FAILED").json();
            assert_eq!(field(refused), expected, "{body}");
        }
        let put = client.request(Method::PUT, format!("{VECTOR}/missing/points"));
        put.json(json!({ "points": [{ "id": "a", "vector": [1] }] })).await.expect_error(404, "COLLECTION_NOT_FOUND");
    }

    async fn the_limit_of_the_plan_counts_new_points_only(database: TestDatabase) {
        let plan = Plan::new("small").limit("vector_points", 2);
        let app = crate::accounting::start(database, plan, &RecordedUsage::default()).await;
        let client = app.user();
        client.post(VECTOR, json!({ "name": "docs", "dimensions": 2 })).await.expect(201);
        let two = |y: f32| json!([{ "id": "a", "vector": [1, y] }, { "id": "b", "vector": [y, 1] }]);
        put_points(&client, "docs", two(0.0)).await;
        put_points(&client, "docs", two(0.5)).await;
        let put = client.request(Method::PUT, format!("{VECTOR}/docs/points"));
        let third = json!({ "points": [{ "id": "b", "vector": [1, 0] }, { "id": "c", "vector": [1, 0] }] });
        put.json(third).await.expect_error(402, "PLAN_LIMIT_REACHED");
        assert_eq!(client.get(format!("{VECTOR}/docs")).await.expect(200).json()["points"], 2);
    }

    async fn tenants_do_not_see_each_other(database: TestDatabase) {
        let app = start(database, WordEmbedder::default()).await;
        let (one, other) = (app.user(), app.user());
        put_points(&one, "default", json!([{ "id": "a", "text": "secret cat" }])).await;
        put_points(&other, "default", json!([{ "id": "b", "text": "dog" }])).await;
        for body in [json!({ "query": "cat" }), json!({ "query": "secret", "mode": "words" })] {
            assert!(!search(&other, "search", body).await.contains(&"a".to_owned()));
        }
        other.get(format!("{VECTOR}/default/points/a")).await.expect_error(404, "NOT_FOUND");
        one.post(VECTOR, json!({ "name": "own", "dimensions": 2 })).await.expect(201);
        other.get(format!("{VECTOR}/own")).await.expect_error(404, "COLLECTION_NOT_FOUND");
        other.delete(format!("{VECTOR}/own")).await.expect_error(404, "COLLECTION_NOT_FOUND");
        assert_eq!(search(&one, "search", json!({ "query": "dog" })).await, ["a"]);
    }

    async fn searches_need_the_permission_to_read(database: TestDatabase) {
        let app = start(database, WordEmbedder::default()).await;
        let owner = app.user();
        put_points(&owner, "default", json!([{ "id": "a", "text": "cat" }])).await;
        let member = |permissions: Permissions| {
            let identity = owner.identity().unwrap();
            app.client_as(Identity::user(identity.user).for_tenant(tenant(&owner)).with_permissions(permissions))
        };
        let reader = member("vectors:read".parse().unwrap());
        assert_eq!(search(&reader, "search", json!({ "query": "cat" })).await, ["a"]);
        reader.delete(format!("{VECTOR}/default")).await.expect_error(403, "PERMISSION_DENIED");
        let stranger = member(Permissions::none());
        stranger.post(format!("{VECTOR}/search"), json!({ "query": "cat" })).await.expect_error(403, "PERMISSION_DENIED");
        app.anonymous().post(format!("{VECTOR}/search"), json!({ "query": "cat" })).await.expect(401);
    }
}

/// A query without a condition on the tenant sees only the rows of the transaction's tenant.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_level_security_hides_the_rows_of_others() {
    let app = start(TestDatabase::postgres(), WordEmbedder::default()).await;
    let (one, other) = (app.user(), app.user());
    put_points(&one, "default", json!([{ "id": "a", "text": "cat" }])).await;
    one.post(format!("{VECTOR}/default/documents"), json!({ "id": "d", "text": "dog" })).await.expect(202);
    for table in ["collections", "versions", "points", "documents"] {
        for (client, expected) in [(&one, 1_i64), (&other, 0)] {
            let mut tx = app.db().app_database().tenant(tenant(client)).begin_read().await.unwrap();
            let sql = sqlx::AssertSqlSafe(format!("select count(*) from omni_ai_vector_{table}"));
            let (rows,): (i64,) = tx.query(sql).fetch_one().await.unwrap();
            assert_eq!(rows, expected, "{table}");
        }
    }
}
