//! Tests of the selection of the API version.

use axum::routing::get;
use omnistack_core::{
    http::{ApiVersion, VersionPolicy},
    module::{Api, Mount},
};
use omnistack_testkit::{TestApp, TestClient};
use serde_json::json;

use super::support::{module, start};

async fn app(policies: Vec<VersionPolicy>) -> TestApp {
    let routes = module("test", |registry| {
        let name = |version: axum::Extension<ApiVersion>| async move { version.to_string() };
        let api = Api::new()
            .hidden("/version", get(name))
            .hidden("/query", get(|uri: http::Uri| async move { uri.to_string() }));
        registry.routes(Mount::public(""), api.clone(), |_| Ok(())).routes(Mount::public("").v2(), api, |_| Ok(()));
    });
    start(|app| policies.into_iter().fold(app.with(routes), omnistack_core::app::AppBuilder::version_policy)).await
}

#[tokio::test]
async fn it_is_named_in_the_path_or_in_a_header_or_is_the_oldest() {
    let client = app(Vec::new()).await.anonymous();
    for (path, headers, version) in [
        ("/api/v1/public/version", vec![], "v1"),
        ("/api/v2/public/version", vec![], "v2"),
        ("/api/public/version", vec![], "v1"),
        ("/api/public/version", vec![("accept-version", "v2")], "v2"),
        ("/api/public/version", vec![("accept-version", "2")], "v2"),
        ("/api/public/version", vec![("x-api-version", "V2")], "v2"),
        ("/api/public/version", vec![("x-api-version", "1")], "v1"),
        ("/api/public/version", vec![("accept-version", "v1"), ("x-api-version", "v2")], "v1"),
        // The path takes precedence over the header.
        ("/api/v1/public/version", vec![("accept-version", "v2")], "v1"),
        ("/api/v1/public/version", vec![("accept-version", "v9")], "v1"),
    ] {
        let request = headers.iter().fold(client.get(path), |request, (name, value)| request.header(name, value));
        let answer = request.await.expect(200);
        assert_eq!(answer.text(), version, "{path} {headers:?}");
        assert_eq!(answer.header("x-api-version"), Some(version), "{path} {headers:?}");
        assert_eq!(answer.header("x-api-latest-version"), Some("v2"), "{path} {headers:?}");
    }
}

#[tokio::test]
async fn the_query_survives() {
    let client = app(Vec::new()).await.anonymous();
    let answer = client.get("/api/public/query?a=%20b&c").header("accept-version", "2").await.expect(200);
    assert_eq!(answer.text(), "/api/v2/public/query?a=%20b&c");
}

#[tokio::test]
async fn one_that_is_not_served_is_400_with_those_that_are() {
    let client = app(Vec::new()).await.anonymous();
    for asked in ["v3", "0", "latest", "1.0", "", "v", "-1", "99999", "v1, v2", "\u{fe}"] {
        for header in ["accept-version", "x-api-version"] {
            let answer = client.get("/api/public/version").header(header, asked).await;
            let error = answer.expect_error(400, "UNSUPPORTED_API_VERSION").json();
            assert_eq!(error["error"]["details"], json!({"supported": ["v1", "v2"]}), "{asked}");
            assert_eq!(error["error"]["message"], "this API serves v1, v2");
        }
    }
    client.get("/api/v3/public/version").await.expect_error(404, "NOT_FOUND");
}

#[tokio::test]
async fn errors_say_it_too_and_other_paths_do_not() {
    let client = app(Vec::new()).await.anonymous();
    for (path, status, version) in [
        ("/api/v2/public/nowhere", 404, Some("v2")),
        ("/api/nowhere", 404, Some("v1")),
        ("/health", 200, None),
        ("/nowhere", 404, None),
        ("/apiary", 404, None),
    ] {
        assert_eq!(client.get(path).await.expect(status).header("x-api-version"), version, "{path}");
    }
}

#[tokio::test]
async fn a_deprecated_version_says_until_when() {
    let moment = |text: &str| text.parse().unwrap();
    let policy = VersionPolicy::deprecated(ApiVersion(1), moment("2029-06-01T00:00:00Z"))
        .sunset(moment("2030-07-09T12:34:56Z"))
        .documentation_url("https://example.com/docs/v2");
    let client = app(vec![policy]).await.anonymous();
    for path in ["/api/v1/public/version", "/api/public/version", "/api/v1/public/nowhere"] {
        let answer = client.get(path).await;
        assert_eq!(answer.header("deprecation"), Some("@1874966400"), "{path}: RFC 9745, a structured date");
        assert_eq!(answer.header("sunset"), Some("Tue, 09 Jul 2030 12:34:56 GMT"), "{path}: RFC 8594, an HTTP date");
        assert_eq!(
            answer.header("link"),
            Some("<https://example.com/docs/v2>; rel=\"deprecation\"; type=\"text/html\"")
        );
    }
    let newer = client.get("/api/v2/public/version").await;
    for name in ["deprecation", "sunset", "link"] {
        assert_eq!(newer.header(name), None, "{name}");
    }
}

#[tokio::test]
async fn a_sunset_is_never_before_the_deprecation() {
    let moment = |text: &str| text.parse().unwrap();
    let policy =
        VersionPolicy::deprecated(ApiVersion(1), moment("2030-07-09T00:00:00Z")).sunset(moment("2020-01-01T00:00:00Z"));
    let answer = app(vec![policy]).await.anonymous().get("/api/v1/public/version").await;
    assert_eq!(answer.header("sunset"), Some("Tue, 09 Jul 2030 00:00:00 GMT"));
    assert_eq!(answer.header("link"), None);
}

async fn health(client: &TestClient, path: &str) -> serde_json::Value {
    client.get(path).header("x-request-id", "r-1").await.expect(200).json()
}

#[tokio::test]
async fn version_2_wraps_its_answers() {
    let app = app(Vec::new()).await;
    let client = app.anonymous();
    let bare = health(&client, "/api/v1/public/health").await;
    let wrapped = health(&client, "/api/v2/public/health").await;
    assert_eq!(wrapped["data"], bare);
    assert_eq!(bare["status"], "ok");
    let meta = json!({"request_id": "r-1", "timestamp": "2030-01-01T00:00:00Z", "version": "v2"});
    assert_eq!(wrapped["meta"], meta);
    assert_eq!(wrapped.as_object().unwrap().len(), 2);
}
