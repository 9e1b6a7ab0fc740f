//! Tests of the permissions that routes require.

use std::time::Duration;

use axum::routing::get;
use omnistack_core::{
    http::Method,
    id::Id,
    identity::{AuthenticationContext, Identity, PermissionCatalog, Permissions, Require},
    module::{Api, Mount},
};
use utoipa_axum::routes;
use uuid::Uuid;

use super::support::{module, start};

#[utoipa::path(post, path = "/transfer", responses((status = 200)))]
async fn transfer() {}

fn user(permissions: &str) -> Identity {
    let permissions: Permissions = permissions.parse().unwrap();
    Identity::user(Id::from_uuid(Uuid::new_v4())).with_permissions(permissions)
}

#[tokio::test]
async fn a_mount_asks_for_permissions_by_method() {
    let app = start(|app| {
        app.with(module("test", |registry| {
            let api = Api::<()>::new().hidden("/", get(|| async {}).post(|| async {}).delete(|| async {}));
            registry.routes(Mount::app("/projects").permissions("projects"), api, |_| Ok(()));
        }))
    })
    .await;
    for (permissions, expected) in [
        ("", [403, 403, 403, 403]),
        ("projects:read", [200, 200, 403, 403]),
        ("*:read", [200, 200, 403, 403]),
        ("projects:*", [200, 200, 200, 200]),
        ("members:*", [403, 403, 403, 403]),
    ] {
        let caller = app.client_as(user(permissions));
        for (method, status) in [Method::GET, Method::HEAD, Method::POST, Method::DELETE].into_iter().zip(expected) {
            caller.request(method, "/api/v1/app/projects").await.expect(status);
        }
    }
    let refused =
        app.client_as(user("*:read")).post("/api/v1/app/projects", ()).await.expect_error(403, "PERMISSION_DENIED");
    assert_eq!(refused.json()["error"]["details"]["permission"], "projects:write");
    app.anonymous().get("/api/v1/app/projects").await.expect(401);

    let known: PermissionCatalog = app.app().context().get().unwrap();
    assert!(["projects:read", "projects:write"].iter().all(|one| known.0.iter().any(|known| known == one)));
}

#[tokio::test]
async fn a_mount_asks_for_the_user_in_person() {
    let app = start(|app| {
        app.with(module("test", |registry| {
            let api = || Api::<()>::new().hidden("/", get(|| async {}).post(|| async {}));
            registry.routes(Mount::app("/devices").in_person(), api(), |_| Ok(()));
            registry.routes(Mount::admin("/devices").permissions("devices").in_person(), api(), |_| Ok(()));
        }))
    })
    .await;
    let operator = Id::from_uuid(Uuid::new_v4());
    for (caller, refused) in [
        (user("*").into_operator(), None),
        (user("*").into_operator().into_service_account(), Some("API_KEY_REFUSED")),
        (user("*").into_operator().with_impersonator(operator), Some("IMPERSONATION_REFUSED")),
    ] {
        let caller = app.client_as(caller);
        for path in ["/api/v1/app/devices", "/api/v1/admin/devices"] {
            for method in [Method::GET, Method::POST] {
                let answer = caller.request(method, path).await;
                match refused {
                    Some(code) => answer.expect_error(403, code),
                    None => answer.expect(200),
                };
            }
        }
    }
    app.anonymous().get("/api/v1/app/devices").await.expect(401);
}

#[tokio::test]
async fn a_route_asks_for_a_recent_sign_in_and_a_second_factor() {
    let five_minutes = Duration::from_secs(300);
    let app = start(|app| {
        app.with(module("test", move |registry| {
            let require = Require::permission("tenant:transfer").signed_in_within(five_minutes).second_factor();
            let api = Api::<()>::new().require(require, routes!(transfer));
            registry.routes(Mount::app(""), api, |_| Ok(()));
        }))
    })
    .await;
    let now = app.clock().clock().now();
    let proof = |second_factor| AuthenticationContext { authenticated_at: now, second_factor };
    let owner = || user("tenant:*");
    for (caller, status, code, challenge) in [
        (user("projects:*").with_authentication(proof(true)), 403, "PERMISSION_DENIED", None),
        (owner(), 401, "SECOND_FACTOR_REQUIRED", Some("acr_values=\"mfa\"")),
        (owner().with_authentication(proof(false)), 401, "SECOND_FACTOR_REQUIRED", Some("acr_values=\"mfa\"")),
    ] {
        let answer = app.client_as(caller).post("/api/v1/app/transfer", ()).await.expect_error(status, code);
        if let Some(challenge) = challenge {
            let header = answer.header("www-authenticate").unwrap();
            assert!(header.contains("insufficient_user_authentication") && header.contains(challenge), "{header}");
        }
    }
    let caller = app.client_as(owner().with_authentication(proof(true)));
    caller.post("/api/v1/app/transfer", ()).await.expect(200);
    app.clock().advance(five_minutes);
    caller.post("/api/v1/app/transfer", ()).await.expect(200);
    app.clock().advance(Duration::from_secs(1));
    let answer = caller.post("/api/v1/app/transfer", ()).await.expect_error(401, "REAUTHENTICATION_REQUIRED");
    assert!(answer.header("www-authenticate").unwrap().contains("max_age=\"300\""));
}
