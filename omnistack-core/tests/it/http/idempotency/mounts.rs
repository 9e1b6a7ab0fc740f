//! Tests of the routes that support keys.

use axum::{Router, body::Body, routing::post};
use omnistack_core::{
    clock::Clock,
    http::Method,
    idempotency::{IdempotencyLayer, IdempotencySettings, MIGRATIONS},
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::{
    super::support::{pieces, start},
    till::{TILL, count, keyed, open, replayed},
};
use crate::database::shelf::{BOOKS, Shelf};

#[tokio::test]
async fn a_mount_may_require_a_key_or_ignore_it() {
    let (app, till) = open(TestDatabase::sqlite(), |app| app).await;
    let client = app.user();
    for method in [Method::POST, Method::PATCH] {
        let request = client.request(method.clone(), "/api/v1/app/strict/sell");
        request.await.expect_error(400, "IDEMPOTENCY_KEY_REQUIRED");
    }
    assert_eq!(till.calls(), 0);
    keyed(&client, "/api/v1/app/strict/sell", "k").await.expect(201);
    assert!(replayed(&keyed(&client, "/api/v1/app/strict/sell", "k").await));
    client.get("/api/v1/app/strict/sell").await.expect(201);
    for calls in 3..5 {
        assert!(!replayed(&keyed(&client, "/api/v1/app/lax/sell", "not a key").await.expect(201)));
        assert_eq!(till.calls(), calls);
    }
    // Requests that only read ignore the key.
    for calls in 5..7 {
        client.get(format!("{TILL}/sell")).header("idempotency-key", "k").await.expect(201);
        assert_eq!(till.calls(), calls);
    }
    // The caller is authenticated first.
    keyed(&app.anonymous(), "/api/v1/app/strict/sell", "k").await.expect_error(401, "UNAUTHORIZED");
    app.anonymous().request(Method::POST, "/api/v1/app/strict/sell").await.expect_error(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn a_body_is_held_to_the_routes_limit() {
    let (app, till) = open(TestDatabase::sqlite(), |app| app).await;
    let client = app.user();
    let request = || keyed(&client, "/api/v1/app/small/sell", "k");
    request().body(pieces([b"0123456789", b"0123456789"])).await.expect_error(413, "PAYLOAD_TOO_LARGE");
    let broken = [Ok("01"), Err(std::io::Error::other("gone"))];
    let broken = Body::from_stream(futures_util::stream::iter(broken));
    request().body(broken).await.expect_error(400, "INCOMPLETE_BODY");
    assert_eq!((till.calls(), count(&app, "keys").await), (0, 0));
    // A body in pieces is equal to the same body as a whole.
    let first = request().body(pieces([b"01234", b"56789"])).await.expect(201);
    assert_eq!(first.json()["body"], "0123456789");
    assert!(replayed(&request().body("0123456789").await));
}

on_each_database! {
    async fn resources_are_created_once(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.with(Shelf)).await;
        let client = app.user();
        let book = json!({"code": "b-1", "title": "Momo"});
        let create = || client.post(BOOKS, &book).header("idempotency-key", "k");
        let first = create().await.expect(201);
        let again = create().await.expect(201);
        assert!(replayed(&again));
        assert_eq!((again.json(), again.header("location")), (first.json(), first.header("location")));
        client.post(BOOKS, json!({"code": "b-2"})).header("idempotency-key", "k").await
            .expect_error(409, "IDEMPOTENCY_KEY_REUSED");
        // An error response is stored too.
        for time in 0..2 {
            let refused = client.post(BOOKS, &book).header("idempotency-key", "other").await;
            assert_eq!(replayed(&refused.expect_error(409, "ALREADY_EXISTS")), time > 0);
        }
        let path = first.header("location").unwrap();
        let rename = |title: &str| client.patch(path, json!({"title": title}));
        rename("Jim").header("idempotency-key", "k").await.expect(200);
        rename("Bastian").await.expect(200);
        assert!(replayed(&rename("Jim").header("idempotency-key", "k").await.expect(200)));
        assert_eq!(client.get(path).await.json()["title"], "Bastian", "what came later stays");
        client.delete(path).await.expect(204);
        let restore = || keyed(&client, format!("{path}/restore"), "k");
        restore().await.expect(200);
        client.delete(path).await.expect(204);
        assert!(replayed(&restore().await.expect(200)));
        client.get(path).await.expect(404);
        assert_eq!(client.get(format!("{BOOKS}?deleted=include")).await.json()["items"].as_array().unwrap().len(), 1);
    }

    async fn the_layer_works_alone(database: TestDatabase) {
        let db = database.open_db();
        db.migrate("idempotency", MIGRATIONS).await.unwrap();
        let layer = || IdempotencyLayer::new(db.clone(), Clock::system(), IdempotencySettings::default());
        let made = || Router::new().route("/made", post(|body: String| async move { body }));
        let nested = || Router::new().nest("/a", made().layer(layer())).nest("/b", made().layer(layer()));
        // Alone, and nested within another router that sees every request first.
        for (round, app) in [nested(), nested().layer(layer().required())].into_iter().enumerate() {
            let send = async |path: &str, key: Option<&str>, body: String| {
                let key = key.map(|key| format!("{key}-{round}"));
                let request = key.into_iter().fold(http::Request::post(path), |request, key| request.header("idempotency-key", key));
                let answer = app.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
                (answer.status().as_u16(), answer.headers().contains_key("idempotent-replayed"))
            };
            assert_eq!(send("/a/made", None, String::new()).await, (if round == 0 { 200 } else { 400 }, false));
            assert_eq!(send("/a/made", Some("k"), "1".into()).await, (200, false));
            assert_eq!(send("/a/made", Some("k"), "1".into()).await, (200, true));
            // The rest of the path is the same.
            assert_eq!(send("/b/made", Some("k"), "2".into()).await, (200, false));
            // Without another limit, axum's default limit of 2 MiB applies.
            assert_eq!(send("/b/made", Some("large"), "x".repeat(3 << 20)).await, (413, false));
        }
    }
}

#[tokio::test]
async fn the_description_names_the_header() {
    let app = start(|app| app.with(Shelf)).await;
    let document = app.anonymous().get("/openapi.json").await.expect(200).json();
    let header = |path: &str, method: &str| {
        let parameters = document["paths"][path][method]["parameters"].as_array().cloned().unwrap_or_default();
        parameters.into_iter().find(|parameter| parameter["name"] == "Idempotency-Key").unwrap_or(Value::Null)
    };
    for (path, method, there) in [
        (BOOKS.to_owned(), "post", true),
        (format!("{BOOKS}/{{id}}"), "patch", true),
        (format!("{BOOKS}/{{id}}/restore"), "post", true),
        (BOOKS.to_owned(), "get", false),
        (format!("{BOOKS}/{{id}}"), "delete", false),
    ] {
        let header = header(&path, method);
        assert_eq!(header.is_object(), there, "{method} {path}");
        if there {
            assert_eq!((&header["in"], &header["required"]), (&json!("header"), &json!(false)));
            assert!(document["paths"][&path][method]["responses"]["409"].is_object());
        }
    }
}

#[tokio::test]
async fn an_empty_lease_keeps_the_app_from_being_built() {
    let config = TestDatabase::sqlite().config().with("IDEMPOTENCY_LEASE", "0s");
    let error = omnistack_core::app::App::builder(config).build().unwrap_err().to_string();
    assert!(error.contains("IDEMPOTENCY_LEASE"), "{error}");
}
