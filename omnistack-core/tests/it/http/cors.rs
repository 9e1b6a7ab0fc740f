//! Tests of cross-origin requests.

use axum::routing::post;
use omnistack_core::{
    http::{HeaderName, Method},
    module::{Api, Mount},
};
use omnistack_testkit::{TestClient, TestResponse};

use super::support::{module, routes, start};

async fn client(origins: &'static str) -> TestClient {
    let api = Api::new().hidden("/things", post(|| async { "made" }));
    start(|app| app.with(routes(Mount::app(""), api)).set("CORS_ORIGINS", origins)).await.user()
}

async fn preflight(client: &TestClient, origin: &str, headers: &str) -> TestResponse {
    let request = client.request(Method::OPTIONS, "/api/v1/app/things").header("origin", origin);
    request.header("access-control-request-method", "POST").header("access-control-request-headers", headers).await
}

const ALLOW_ORIGIN: &str = "access-control-allow-origin";

#[tokio::test]
async fn a_preflight_needs_no_token_and_allows_what_the_api_reads() {
    let client = client("https://app.example.com, https://admin.example.com/").await;
    for origin in ["https://app.example.com", "https://admin.example.com"] {
        let answer = preflight(&client, origin, "authorization, content-type").await.expect(200);
        assert_eq!(answer.header(ALLOW_ORIGIN), Some(origin));
        assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
        assert_eq!(answer.header("access-control-max-age"), Some("3600"));
        let list = |name| answer.header(name).unwrap_or_default().to_ascii_lowercase();
        for method in ["get", "post", "put", "patch", "delete"] {
            assert!(list("access-control-allow-methods").contains(method), "{method}");
        }
        for header in [
            "authorization",
            "content-type",
            "accept",
            "accept-version",
            "x-api-version",
            "x-request-id",
            "idempotency-key",
            "if-match",
            "if-none-match",
            "if-modified-since",
            "if-unmodified-since",
            "if-range",
            "range",
        ] {
            let allowed = list("access-control-allow-headers");
            assert!(allowed.split(',').any(|allowed| allowed == header), "`{header}` in {allowed}");
        }
    }
}

#[tokio::test]
async fn another_origin_is_not_allowed() {
    let client = client("https://app.example.com").await;
    for origin in [
        "https://evil.example",
        "https://app.example.com.evil.example",
        "http://app.example.com",
        "https://app.example.com:8443",
        "null",
    ] {
        assert_eq!(preflight(&client, origin, "authorization").await.header(ALLOW_ORIGIN), None, "{origin}");
        let answer = client.request(Method::POST, "/api/v1/app/things").header("origin", origin).await.expect(200);
        assert_eq!(answer.header(ALLOW_ORIGIN), None, "{origin}");
    }
}

#[tokio::test]
async fn errors_can_be_read_as_well() {
    let client = client("https://app.example.com").await;
    for (method, path, status) in [
        (Method::POST, "/api/v1/app/things", 200),
        (Method::DELETE, "/api/v1/app/things", 405),
        (Method::GET, "/nowhere", 404),
    ] {
        let answer = client.request(method, path).header("origin", "https://app.example.com").await.expect(status);
        assert_eq!(answer.header(ALLOW_ORIGIN), Some("https://app.example.com"), "{path}");
        assert!(answer.headers.get_all("vary").iter().any(|vary| vary.to_str().unwrap().contains("origin")), "{path}");
        let exposed = answer.header("access-control-expose-headers").unwrap();
        for header in [
            "x-request-id",
            "link",
            "retry-after",
            "location",
            "ratelimit",
            "ratelimit-policy",
            "x-ratelimit-limit",
            "x-ratelimit-remaining",
            "x-ratelimit-reset",
            "x-api-version",
            "x-api-latest-version",
            "deprecation",
            "sunset",
            "accept-ranges",
            "allow",
            "content-disposition",
            "content-range",
            "etag",
            "www-authenticate",
        ] {
            assert!(exposed.split(',').any(|exposed| exposed == header), "`{header}` in {exposed}");
        }
    }
}

#[tokio::test]
async fn modules_and_settings_add_their_headers() {
    let own = module("own", |registry| {
        registry.request_headers([HeaderName::from_static("x-module")]);
        registry.response_headers([HeaderName::from_static("x-module-answer")]);
    });
    let app = start(|app| {
        let app = app.with(own).set("CORS_ORIGINS", "https://app.example.com");
        app.set("CORS_REQUEST_HEADERS", "X-One, x-two").set("CORS_RESPONSE_HEADERS", "x-three")
    });
    let client = app.await.anonymous();
    let has = |answer: &TestResponse, list: &str, name: &str| {
        answer.header(list).unwrap_or_default().split(',').any(|known| known.trim().eq_ignore_ascii_case(name))
    };
    let asked = preflight(&client, "https://app.example.com", "x-module").await.expect(200);
    for name in ["x-module", "x-one", "x-two", "authorization"] {
        assert!(has(&asked, "access-control-allow-headers", name), "{name}");
    }
    let answer = client.get("/health").header("origin", "https://app.example.com").await.expect(200);
    for name in ["x-module-answer", "x-three", "etag"] {
        assert!(has(&answer, "access-control-expose-headers", name), "{name}");
    }
}

#[tokio::test]
async fn a_star_is_everybody_without_cookies() {
    let client = client("*").await;
    let answer = preflight(&client, "https://any.example", "authorization").await.expect(200);
    assert_eq!(answer.header(ALLOW_ORIGIN), Some("*"));
    assert_eq!(answer.header("access-control-allow-credentials"), None);
}

#[tokio::test]
async fn it_is_off_by_default() {
    let client = client("").await;
    let answer = preflight(&client, "https://app.example.com", "authorization").await;
    assert_eq!(answer.expect_error(405, "METHOD_NOT_ALLOWED").header(ALLOW_ORIGIN), None);
}
