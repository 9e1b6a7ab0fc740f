//! Tests of routes that an app leaves out, moves or serves itself.

use std::collections::BTreeSet;

use axum::routing::get;
use omnistack_core::{
    app::{App, AppBuilder, DevIdentity},
    config::Config,
    http::{Json, Rate},
    identity::Require,
    module::{Api, Context, Mount, MountRateLimit},
};
use omnistack_testkit::TestApp;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::support::{InlineModule, module, start};

/// A room.
#[derive(Serialize, ToSchema)]
struct Room {
    name: String,
}

/// A secret of a room.
#[derive(Serialize, ToSchema)]
struct RoomSecret {
    code: String,
}

/// A value that no module provides.
#[derive(Clone)]
struct Unavailable;

#[utoipa::path(get, path = "/", responses((status = 200, body = Room)))]
async fn list() -> Json<Room> {
    Json(Room { name: "Mars".into() })
}

#[utoipa::path(post, path = "/", responses((status = 200, body = Room)))]
async fn create() -> Json<Room> {
    Json(Room { name: "created by the module".into() })
}

#[utoipa::path(get, path = "/{id}", params(("id" = String, Path, description = "Whose.")), responses((status = 200, body = Room)))]
async fn get_room() -> Json<Room> {
    Json(Room { name: "Venus".into() })
}

#[utoipa::path(get, path = "/{id}/secret", params(("id" = String, Path, description = "Whose.")), responses((status = 200, body = RoomSecret)))]
async fn reveal() -> Json<RoomSecret> {
    Json(RoomSecret { code: "1234".into() })
}

/// The app's own way to create a room.
#[utoipa::path(post, path = "/", operation_id = "createRoomOfApp", responses((status = 200, body = Room)))]
async fn create_own() -> Json<Room> {
    Json(Room { name: "created by the app".into() })
}

fn rooms() -> InlineModule {
    module("rooms", |registry| {
        let api = || {
            Api::new()
                .routes(routes!(list, create))
                .routes(routes!(get_room))
                .require(Require::permission("rooms:reveal"), routes!(reveal))
                .hidden("/page", get(|| async { "page" }))
        };
        let limit = MountRateLimit::new(Rate::per_minute(100)).cost("/", 2);
        registry
            .routes(Mount::app("/rooms").permissions("rooms").rate_limit(limit.clone()), api(), |_| Ok(()))
            .routes(Mount::app("/rooms").v2().permissions("rooms").rate_limit(limit), api(), |_| Ok(()))
            .routes(
                Mount::admin("/rooms"),
                Api::<Unavailable>::new().hidden("/all", get(|| async { "all" })),
                Context::get,
            );
    })
}

/// Starts an app with the rooms, without the route that needs a value.
async fn app(change: impl FnOnce(AppBuilder) -> AppBuilder) -> TestApp {
    start(|app| change(app.with(rooms()).without_routes("rooms", "/api/*/admin/rooms/**"))).await
}

fn problems(change: impl FnOnce(AppBuilder) -> AppBuilder) -> Vec<String> {
    let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:"), ("APP_ENV", "test")]);
    let app = App::builder(config).with(DevIdentity::default()).with(rooms());
    let app = app.without_routes("rooms", "/api/*/admin/rooms/**");
    let error = change(app).build().err();
    error.map(|error| error.0.iter().map(ToString::to_string).collect()).unwrap_or_default()
}

fn paths(app: &TestApp, method: &str) -> BTreeSet<String> {
    let own = app.app().routes().iter().filter(|route| route.module == "rooms" && route.method == method);
    own.map(|route| route.path.clone()).collect()
}

#[tokio::test]
async fn a_route_that_is_left_out_does_not_exist() {
    let app =
        app(|app| app.without_routes("rooms", "/api/*/app/rooms/{id}/**").without_routes("rooms", "/api/v2/**")).await;
    let user = app.user();
    user.get("/api/v1/app/rooms").await.expect(200);
    for path in ["/api/v1/app/rooms/1", "/api/v1/app/rooms/1/secret", "/api/v2/app/rooms", "/api/v1/admin/rooms/all"] {
        // Callers who are not signed in can't tell it from a route that never was.
        app.anonymous().get(path).await.expect_error(404, "NOT_FOUND");
        user.get(path).await.expect_error(404, "NOT_FOUND");
    }
    assert_eq!(paths(&app, "GET"), BTreeSet::from(["/api/v1/app/rooms".to_owned()]));
    let document = app.anonymous().get("/openapi.json").await.expect(200).json();
    let described: Vec<_> =
        document["paths"].as_object().unwrap().keys().filter(|path| path.contains("rooms")).collect();
    assert_eq!(described, ["/api/v1/app/rooms"]);
    // Nothing refers to its schema.
    let schemas = document["components"]["schemas"].as_object().unwrap();
    assert!(schemas.contains_key("Room") && !schemas.contains_key("RoomSecret"));
}

#[tokio::test]
async fn a_method_is_left_out_and_the_app_serves_it_itself() {
    let alone = app(|app| app.without_routes("rooms", "POST /api/v1/app/rooms")).await;
    let user = alone.user();
    user.get("/api/v1/app/rooms").await.expect(200);
    let refused = user.post("/api/v1/app/rooms", serde_json::json!({})).await.expect(405);
    assert_eq!(refused.header("allow"), Some("GET,HEAD"));
    user.post("/api/v2/app/rooms", serde_json::json!({})).await.expect(200);

    let own = module("own-rooms", |registry| {
        registry.routes(Mount::app("/rooms"), Api::new().routes(routes!(create_own)), |_| Ok(()));
    });
    let app = app(|app| app.without_routes("rooms", "POST /api/v1/app/rooms").with(own)).await;
    let user = app.user();
    let created = user.post("/api/v1/app/rooms", serde_json::json!({})).await.expect(200);
    assert_eq!(created.json()["name"], "created by the app");
    assert_eq!(user.get("/api/v1/app/rooms").await.expect(200).json()["name"], "Mars");
    let document = app.anonymous().get("/openapi.json").await.expect(200).json();
    assert_eq!(document["paths"]["/api/v1/app/rooms"]["post"]["operationId"], "createRoomOfApp");
}

#[tokio::test]
async fn routes_are_moved_with_their_guards_and_their_ids() {
    let app = app(|app| app.move_routes("rooms", "/api/*/app/rooms", "/api/*/app/spaces")).await;
    let user = app.user();
    for (path, status) in [
        ("/api/v1/app/spaces", 200),
        ("/api/v1/app/spaces/1", 200),
        ("/api/v2/app/spaces/1", 200),
        ("/api/v1/app/spaces/page", 200),
        ("/api/v1/app/rooms", 404),
        ("/api/v1/app/rooms/1", 404),
    ] {
        assert_eq!(user.get(path).await.status, status, "{path}");
    }
    app.anonymous().get("/api/v1/app/spaces").await.expect_error(401, "UNAUTHORIZED");
    let document = app.anonymous().get("/openapi.json").await.expect(200).json();
    assert_eq!(document["paths"]["/api/v1/app/spaces"]["get"]["operationId"], "listRooms");
    assert!(paths(&app, "GET").iter().all(|path| path.contains("/spaces")));
}

#[tokio::test]
async fn cores_own_pages_are_left_out_too() {
    let app = start(|app| app.without_routes("core", "/docs/**").without_routes("core", "/openapi/**"));
    let anonymous = app.await.anonymous();
    for path in ["/docs", "/docs/", "/docs/index.css", "/openapi/v1.json", "/openapi/public.v2.json"] {
        anonymous.get(path).await.expect_error(404, "NOT_FOUND");
    }
    anonymous.get("/openapi.json").await.expect(200);
    let index = anonymous.get("/").await.expect(200).json();
    assert_eq!((&index["docs"], &index["documents"]), (&serde_json::Value::Null, &serde_json::json!([])));
}

#[cfg(feature = "docs-page")]
#[tokio::test]
async fn without_documents_there_is_no_page_that_shows_them() {
    let without = |app: AppBuilder| app.without_routes("core", "/openapi.json").without_routes("core", "/openapi/**");
    let app = start(without).await;
    app.anonymous().get("/docs/").await.expect_error(404, "NOT_FOUND");
    let index = app.anonymous().get("/").await.expect(200).json();
    assert_eq!((&index["docs"], &index["openapi"]), (&serde_json::Value::Null, &serde_json::Value::Null));
    assert!(!app.app().routes().iter().any(|route| route.path.starts_with("/docs")));
}

#[tokio::test]
async fn changes_that_are_about_no_route_are_problems() {
    const COMPARE: &str = "compare it with the list that the command `routes` prints without the change";
    const WRITE: &str = "write it as `/api/v1/app/rooms/{id}`, `DELETE /api/*/app/rooms/{id}` or `/api/*/app/rooms/**`";
    assert_eq!(problems(|app| app), Vec::<String>::new());
    assert_eq!(
        problems(|app| {
            let app = app.without_routes("rooms", "/api/v1/app/room").without_routes("spaces", "/api/v1/app/rooms");
            app.move_routes("rooms", "/api/v1/rooms", "/api/v1/spaces")
        }),
        [
            format!(
                "core: the app leaves out `/api/v1/app/room` of module `rooms`, which mounts no such route\n      fix: {COMPARE}"
            ),
            format!(
                "core: the app leaves out `/api/v1/app/rooms` of module `spaces`, which mounts no such route\n      fix: {COMPARE}"
            ),
            format!(
                "core: the app moves `/api/v1/rooms` of module `rooms`, which mounts no such route\n      fix: {COMPARE}"
            ),
        ]
    );
    assert_eq!(
        problems(|app| app.without_routes("rooms", "rooms")),
        [format!(
            "core: a change of routes can't be read: `rooms` is not a path that begins with `/`\n      fix: {WRITE}"
        )]
    );
    // A move to a path that another route has.
    let taken = problems(|app| app.move_routes("rooms", "/api/v1/app/rooms/page", "/api/v1/app/rooms"));
    assert!(taken.iter().any(|problem| problem.contains("is also mounted by module `rooms`")), "{taken:?}");
}

#[tokio::test]
async fn the_build_names_what_depends_on_a_route() {
    let board = || {
        module("board", |registry| {
            registry.require_route("GET /api/v1/app/rooms/{room}", "the page `/board` calls", "keep it");
        })
    };
    assert_eq!(problems(|app| app.with(board())), Vec::<String>::new());
    let leave_out: fn(AppBuilder) -> AppBuilder = |app| app.without_routes("rooms", "/api/v1/app/rooms/{id}");
    let move_away: fn(AppBuilder) -> AppBuilder =
        |app| app.move_routes("rooms", "/api/v1/app/rooms", "/api/v1/app/spaces");
    for (change, expected) in
        [(leave_out, "which the app leaves out"), (move_away, "which the app has moved to /api/v1/app/spaces/{id}")]
    {
        let found = problems(|app| change(app.with(board())));
        let expected =
            format!("board: the page `/board` calls GET /api/v1/app/rooms/{{room}}, {expected}\n      fix: keep it");
        assert_eq!(found, [expected]);
    }
    // The app serves the path itself.
    let own = module("own-rooms", |registry| {
        registry.routes(Mount::app("/rooms"), Api::new().hidden("/{id}", get(|| async { "own" })), |_| Ok(()));
    });
    let served = problems(|app| app.with(board()).without_routes("rooms", "/api/v1/app/rooms/{id}").with(own));
    assert_eq!(served, Vec::<String>::new());
}

#[tokio::test]
async fn a_route_shows_the_permissions_it_requires() {
    let app = app(|app| app).await;
    for (method, path, expected) in [
        ("GET", "/api/v1/app/rooms", vec!["rooms:read"]),
        ("POST", "/api/v1/app/rooms", vec!["rooms:write"]),
        ("GET", "/api/v1/app/rooms/{id}/secret", vec!["rooms:read", "rooms:reveal"]),
        ("ANY", "/api/v1/app/rooms/page", vec!["rooms:read", "rooms:write"]),
        ("GET", "/health", vec![]),
    ] {
        let route = app.app().routes().iter().find(|route| route.method == method && route.path == path).unwrap();
        assert_eq!(route.permissions, expected, "{method} {path}");
    }
}
