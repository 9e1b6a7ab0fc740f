//! Tests of an app beside the routes of another app, and around them.

use axum::{
    Extension, Router,
    body::Body,
    extract::{MatchedPath, OriginalUri, Path},
    http::{Method, Request, StatusCode},
    routing::{get, post},
};
use http_body_util::BodyExt as _;
use omnistack_core::module::{Api, Mount};
use omnistack_testkit::TestApp;
use tower::ServiceExt as _;

use super::support::{routes, start};

async fn planets() -> TestApp {
    let of_path = |Path((planet, moon)): Path<(String, String)>, path: MatchedPath| async move {
        format!("{planet} {moon} at {}", path.as_str())
    };
    let rest = |Path(rest): Path<String>| async move { rest };
    let user = |user: Option<Extension<&'static str>>| async move { user.map_or("none", |Extension(user)| user) };
    let api = Api::new()
        .hidden("/planets/{planet}/moons/{moon}", get(of_path))
        .hidden("/tree/{*rest}", get(rest))
        .hidden("/user", get(user));
    start(|app| app.with(routes(Mount::public(""), api))).await
}

/// The app that was there before, with a fallback of its own.
fn shop() -> Router {
    Router::new()
        .route("/", get(|| async { "the shop" }))
        .route(
            "/api/orders/{id}",
            get(|Path(id): Path<u32>, path: MatchedPath| async move { format!("{id} {path:?}") }),
        )
        .fallback(|| async { (StatusCode::NOT_FOUND, "no such page") })
}

async fn text(router: &Router, method: &str, path: &str) -> (u16, String) {
    let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn routes_can_be_merged_beside_a_fallback() {
    let app = planets().await;
    let both = shop().merge(app.app().router());
    let pattern = "/api/v1/public/planets/{planet}/moons/{moon}";
    for (path, status, expected) in [
        ("/", 200, "the shop".to_owned()),
        ("/api/orders/7", 200, "7 MatchedPath(\"/api/orders/{id}\")".to_owned()),
        ("/api/v1/public/planets/Mars/moons/Deimos", 200, format!("Mars Deimos at {pattern}")),
        ("/api/v1/public/tree/a/b", 200, "a/b".to_owned()),
        ("/api/v1/public/nowhere", 404, "no such page".to_owned()),
        ("/nowhere", 404, "no such page".to_owned()),
    ] {
        assert_eq!(text(&both, "GET", path).await, (status, expected), "{path}");
    }
    assert_eq!(text(&both, "GET", "/health").await.1, r#"{"status":"ok"}"#);
    assert_eq!(text(&both, "GET", "/openapi.json").await.0, 200);
    let (status, body) = text(&both, "POST", "/health").await;
    assert!(status == 405 && body.contains("METHOD_NOT_ALLOWED"), "{body}");
}

#[tokio::test]
async fn routes_can_be_nested_beside_a_fallback() {
    let app = planets().await;
    let both = shop().nest("/platform", app.app().router());
    let (status, body) = text(&both, "GET", "/platform/api/v1/public/planets/Mars/moons/Deimos").await;
    assert_eq!((status, body.as_str()), (200, "Mars Deimos at /api/v1/public/planets/{planet}/moons/{moon}"));
    assert_eq!(text(&both, "GET", "/platform/health").await.0, 200);
    assert_eq!(text(&both, "GET", "/health").await, (404, "no such page".to_owned()));
    assert_eq!(text(&both, "GET", "/platform/nowhere").await, (404, "no such page".to_owned()));
}

#[tokio::test]
async fn what_layers_of_the_other_app_add_reaches_the_routes() {
    let app = planets().await;
    let both = shop().merge(app.app().router()).layer(Extension("ada"));
    assert_eq!(text(&both, "GET", "/api/v1/public/user").await, (200, "ada".to_owned()));
}

#[tokio::test]
async fn a_whole_router_is_served_inside_the_stack() {
    let shop = Router::new()
        .route("/", get(|| async { "the shop" }))
        .route("/api/orders/{id}", get(order))
        .route("/orders", post(|body: String| async move { body }))
        .route("/broken", get(broken));
    let app = start(|app| app.fallback(shop).set("HTTP_BODY_LIMIT", "1KiB")).await;
    let client = app.anonymous();
    let response = client.get("/").await.expect(200);
    assert_eq!(response.text(), "the shop");
    assert!(response.header("x-request-id").is_some() && response.header("x-frame-options").is_some());
    // The app's own API has versions, the other app's has none.
    assert_eq!(client.get("/api/orders/7?x=1").await.expect(200).text(), "7 /api/orders/7?x=1");
    client.get("/health").await.expect(200);
    client.get("/broken").await.expect_error(500, "INTERNAL_ERROR");
    client.get("/nowhere").await.expect_error(404, "NOT_FOUND");
    let large = client.request(Method::POST, "/orders").body("x".repeat(2000)).await;
    large.expect_error(413, "PAYLOAD_TOO_LARGE");
    assert!(app.app().routes().iter().all(|route| route.path != "/"));
}

async fn order(Path(id): Path<u32>, OriginalUri(uri): OriginalUri) -> String {
    format!("{id} {uri}")
}

async fn broken() -> &'static str {
    panic!("broken")
}
