//! Tests of query strings and path parameters.

use axum::routing::get;
use garde::Validate;
use omnistack_core::{
    http::{Json, Path, Query},
    id::Id,
    module::Api,
};
use omnistack_testkit::TestClient;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::support::public;

#[derive(Deserialize, Serialize, Validate)]
struct Search {
    #[garde(length(chars, min = 1))]
    q: String,
    #[garde(inner(range(max = 100)))]
    limit: Option<u32>,
}

enum Thing {}

async fn client() -> TestClient {
    let search = |Query(search): Query<Search>| async { Json(search) };
    let api = Api::new()
        .hidden("/search", get(search))
        .hidden("/things/{id}", get(|Path(id): Path<Id<Thing>>| async move { id.to_string() }))
        .hidden("/names/{name}", get(|Path(name): Path<String>| async move { name }))
        .hidden("/pairs/{a}/{b}", get(|Path((a, b)): Path<(u8, String)>| async move { format!("{a} {b}") }));
    public(api).await.anonymous()
}

#[tokio::test]
async fn what_is_declared_is_read() {
    let client = client().await;
    for (query, expected) in [
        ("q=a", json!({"q": "a", "limit": null})),
        ("q=a+b%20c&limit=5", json!({"q": "a b c", "limit": 5})),
        ("&&q=%C3%A9&", json!({"q": "é", "limit": null})),
    ] {
        assert_eq!(client.get(format!("/api/v1/public/search?{query}")).await.expect(200).json(), expected);
    }
}

#[tokio::test]
async fn what_is_not_acceptable_is_named() {
    let client = client().await;
    for (query, field, message) in [
        ("q=a&limti=5", "limti", "is not a parameter of this route"),
        ("q=a&Q=b", "Q", "is not a parameter of this route"),
        ("q=a&q=b", "q", "is given more than once"),
        ("limit=5", "q", "is required"),
        ("", "q", "is required"),
        ("q=", "q", "length is lower than 1"),
        ("q=a&limit=101", "limit", "greater than 100"),
        ("q=a&limit=many", "limit", "invalid digit found in string"),
        ("q=a&limit=-1", "limit", "invalid digit found in string"),
        ("q=a&limit=", "limit", "cannot parse integer from empty string"),
        ("q=a&limit=99999999999", "limit", "number too large to fit in target type"),
    ] {
        let answer = client.get(format!("/api/v1/public/search?{query}")).await;
        println!("{query}: {}", answer.text());
        let problems = answer.expect_error(422, "VALIDATION_FAILED").json()["error"]["details"]["fields"].clone();
        assert_eq!(problems, json!([{"field": field, "message": message}]), "{query}");
    }
    let answer = client.get("/api/v1/public/search?q=a&b=1&a=1").await.expect_error(422, "VALIDATION_FAILED").json();
    let fields = answer["error"]["details"]["fields"].as_array().unwrap();
    assert_eq!(fields.iter().map(|problem| problem["field"].as_str().unwrap()).collect::<Vec<_>>(), ["a", "b"]);
}

#[tokio::test]
async fn text_no_database_holds_is_400() {
    let client = client().await;
    for path in [
        "search?q=%ff",
        "search?q=%00",
        "search?%ff=1",
        "search?q=a&%00=1",
        "search?q=%C3%28",
        "names/%ff",
        "names/a%00b",
        "things/%00",
        "pairs/1/%80",
    ] {
        client.get(format!("/api/v1/public/{path}")).await.expect_error(400, "MALFORMED_URL");
    }
}

#[tokio::test]
async fn path_parameters_are_read_or_422() {
    let client = client().await;
    assert_eq!(client.get("/api/v1/public/names/a%2Fb%20c").await.expect(200).text(), "a/b c");
    assert_eq!(client.get("/api/v1/public/pairs/7/x").await.expect(200).text(), "7 x");
    client.get("/api/v1/public/things/01900000-0000-7000-8000-000000000001").await.expect(200);
    for path in ["things/1", "things/%25", "pairs/256/x", "pairs/x/x"] {
        let answer = client.get(format!("/api/v1/public/{path}")).await;
        println!("{path}: {}", answer.text());
        answer.expect_error(422, "VALIDATION_FAILED");
    }
}
