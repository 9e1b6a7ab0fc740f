//! Tests of the access levels of mounts.

use axum::routing::{any, get};
use omnistack_core::{
    app::{App, DevIdentity},
    config::Config,
    http::Method,
    id::Id,
    identity::{AccessLevel, Identity},
    module::{Api, Mount},
};
use uuid::Uuid;

use super::support::{module, routes, start};

fn who() -> Api {
    let who = |caller: Option<axum::Extension<Identity>>| async move {
        caller.map_or_else(|| "nobody".into(), |axum::Extension(caller)| caller.user.to_string())
    };
    Api::new().hidden("/who", get(who))
}

#[tokio::test]
async fn each_audience_admits_its_own() {
    let mounts = [
        Mount::public(""),
        Mount::app(""),
        Mount::admin(""),
        Mount::machine(""),
        Mount::app("").v2(),
        Mount::root("/v1/chat", AccessLevel::Machine),
    ];
    let all = module("test", move |registry| {
        for mount in &mounts {
            registry.routes(mount.clone(), who(), |_| Ok(()));
        }
    });
    let app = start(|app| app.with(all)).await;
    let user = || Identity::user(Id::from_uuid(Uuid::new_v4()));
    let callers = [
        app.anonymous(),
        app.client_as(user()),
        app.client_as(user().into_operator()),
        app.client_as(user().into_service_account()),
    ];
    for (path, expected) in [
        ("/api/v1/public/who", [200, 200, 200, 200]),
        ("/api/v1/app/who", [401, 200, 200, 200]),
        ("/api/v1/admin/who", [401, 403, 200, 403]),
        ("/api/v1/machine/who", [401, 403, 403, 200]),
        ("/api/v2/app/who", [401, 200, 200, 200]),
        ("/v1/chat/who", [401, 403, 403, 200]),
    ] {
        for (caller, status) in callers.iter().zip(expected) {
            let answer = caller.get(path).await.expect(status);
            match status {
                401 => {
                    let answer = answer.expect_error(401, "UNAUTHORIZED");
                    assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{path}");
                }
                403 => _ = answer.expect_error(403, "FORBIDDEN"),
                _ if path.contains("public") => assert_eq!(answer.text(), "nobody"),
                _ => assert_eq!(answer.text(), caller.identity().unwrap().user.to_string(), "{path}"),
            }
        }
    }
}

#[tokio::test]
async fn wrong_credentials_are_401_where_it_matters() {
    let routes = module("test", |registry| {
        registry.routes(Mount::app(""), who(), |_| Ok(())).routes(Mount::public(""), who(), |_| Ok(()));
    });
    let client = start(|app| app.with(routes)).await.anonymous();
    for credentials in
        ["Bearer wrong", "Bearer ", "bearer wrong", "Bearer a b", "Basic dXNlcjpwYXNz", "Bearer", "", "\u{e9}"]
    {
        let answer = client.get("/api/v1/app/who").header("authorization", credentials).await;
        assert_eq!(
            answer.expect_error(401, "UNAUTHORIZED").header("www-authenticate"),
            Some("Bearer"),
            "{credentials}"
        );
        client.get("/api/v1/public/who").header("authorization", credentials).await.expect(200);
    }
}

#[tokio::test]
async fn the_development_identity_signs_in_with_its_token_alone() {
    let routes = module("test", |registry| {
        registry.routes(Mount::admin(""), who(), |_| Ok(()));
    });
    let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:"), ("DEV_TOKEN", "open-sesame")]);
    let app = App::builder(config).with(DevIdentity::default()).with(routes).build().unwrap();
    app.start().await.unwrap();
    for (token, status) in [("open-sesame", 200), ("open-sesam", 401), ("open-sesame2", 401), ("", 401)] {
        let request = http::Request::get("/api/v1/admin/who").header("authorization", format!("Bearer {token}"));
        let request = request.body(axum::body::Body::empty()).unwrap();
        let response = tower::ServiceExt::oneshot(app.service(), request).await.unwrap();
        assert_eq!(response.status(), status, "{token}");
    }
}

#[tokio::test]
async fn nothing_of_a_mount_is_outside_its_guard() {
    let api = Api::new()
        .hidden("/any", any(|| async { "secret" }))
        .hidden("/fallback", get(|| async { "secret" }).fallback(|| async { "secret" }))
        .hidden("/files/{*path}", get(|| async { "secret" }));
    let app = start(|app| app.with(routes(Mount::admin(""), api))).await;
    for path in ["/any", "/fallback", "/files/a/b"] {
        for method in [Method::GET, Method::HEAD, Method::POST, Method::DELETE, Method::OPTIONS] {
            let path = format!("/api/v1/admin{path}");
            let refused = app.anonymous().request(method.clone(), &path).await;
            assert_eq!(refused.status, 401, "{method} {path}");
            assert!(!refused.text().contains("secret"));
            app.user().request(method.clone(), &path).await.expect(403);
            let status = app.operator().request(method.clone(), &path).await.status;
            assert!(status == 200 || path.contains("files") && status == 405, "{method} {path}: {status}");
        }
    }
}

#[tokio::test]
async fn a_caller_without_a_tenant_is_told() {
    let tenant = |caller: Identity| async move { caller.require_tenant().map(|tenant| tenant.to_string()) };
    let app = start(|app| app.with(routes(Mount::app(""), Api::new().hidden("/tenant", get(tenant))))).await;
    app.operator().get("/api/v1/app/tenant").await.expect_error(403, "TENANT_REQUIRED");
    let user = app.user();
    let tenant = user.identity().unwrap().tenant.unwrap().to_string();
    assert_eq!(user.get("/api/v1/app/tenant").await.expect(200).text(), tenant);
}

#[tokio::test]
async fn a_handler_that_wants_a_caller_on_a_public_mount_gets_401() {
    let api = Api::new().hidden("/me", get(|caller: Identity| async move { caller.user.to_string() }));
    let app = start(|app| app.with(routes(Mount::public(""), api))).await;
    app.user().get("/api/v1/public/me").await.expect_error(401, "UNAUTHORIZED");
}
