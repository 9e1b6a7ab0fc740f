//! Tools for agents by the Model Context Protocol.

#![cfg(test)]

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use axum::extract::State;
use garde::Validate;
use omnistack_ai::Ai;
use omnistack_core::{
    audit::{AuditEntry, AuditFilter, AuditLog, AuditStore},
    db::Db,
    http::{Error, Json, Path, Rate, StatusCode},
    id::Id,
    identity::Identity,
    module::{Api, Module, Mount, Registry},
};
use omnistack_testkit::{TestApp, TestClient, TestDatabase, TestRequest, TestResponse, on_each_database};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

/// A module with marked operations.
struct Planets;

#[derive(Clone)]
struct Moons {
    calls: Arc<AtomicU64>,
    db: Db,
    log: AuditLog,
}

#[derive(Serialize, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
struct Moon {
    /// The name.
    #[garde(length(chars, min = 1, max = 20))]
    #[schema(min_length = 1, max_length = 20)]
    name: String,
}

#[derive(Serialize, ToSchema)]
struct AddedMoon {
    planet: String,
    name: String,
    /// The number of calls so far.
    calls: u64,
    tenant: Option<String>,
}

/// Add a moon
#[utoipa::path(post, path = "/{planet}/moons", operation_id = "add_moon", request_body = Moon,
    params(("planet" = String, Path)), responses((status = 201, body = AddedMoon)),
    extensions(("x-agent-tool" = json!(true))))]
async fn add_moon(
    State(moons): State<Moons>,
    caller: Identity,
    Path(planet): Path<String>,
    Json(moon): Json<Moon>,
) -> Result<(StatusCode, Json<AddedMoon>), Error> {
    let calls = moons.calls.fetch_add(1, Ordering::SeqCst) + 1;
    let mut tx = moons.db.tenant(caller.require_tenant()?).begin().await?;
    let entry = AuditEntry::new("moon.added").actor(&caller).resource("moon", &moon.name);
    moons.log.record_in(&mut tx, entry).await?;
    tx.commit().await?;
    let tenant = caller.tenant.map(|tenant| tenant.to_string());
    Ok((StatusCode::CREATED, Json(AddedMoon { planet, name: moon.name, calls, tenant })))
}

/// List planets
#[utoipa::path(get, path = "/", operation_id = "list_planets", responses((status = 200, body = Vec<String>)),
    extensions(("x-agent-tool" = json!(true))))]
async fn list_planets() -> Json<Vec<String>> {
    Json(vec!["Mars".into()])
}

/// Rename a planet
#[utoipa::path(put, path = "/{planet}", operation_id = "rename_planet", params(("planet" = String, Path)),
    responses((status = 204)))]
async fn rename_planet() -> StatusCode {
    StatusCode::NO_CONTENT
}

/// Destroy a planet
#[utoipa::path(delete, path = "/{planet}", operation_id = "destroy_planet", params(("planet" = String, Path)),
    responses((status = 204)), extensions(("x-agent-tool" = json!(true))))]
async fn destroy_planet() -> StatusCode {
    StatusCode::NO_CONTENT
}

impl Module for Planets {
    fn name(&self) -> &'static str {
        "planets"
    }

    fn register(&self, registry: &mut Registry) {
        let calls = Arc::new(AtomicU64::new(0));
        let app = Api::new().routes(routes!(add_moon)).routes(routes!(list_planets)).routes(routes!(rename_planet));
        let mount = Mount::app("/planets").permissions("planets").rate_limit(Rate::per_minute(5));
        registry.routes(mount, app, move |ctx| Ok(Moons { calls, db: ctx.get()?, log: ctx.get()? }));
        let admin: Api<()> = Api::new().routes(routes!(destroy_planet));
        registry.routes(Mount::admin("/planets"), admin, |_| Ok(()));
    }
}

pub(crate) async fn start(database: TestDatabase) -> TestApp {
    TestApp::start(database, |app| app.with(Ai::from_env()).with(Planets)).await
}

/// Begins a message.
fn request(client: &TestClient, message: &Value) -> TestRequest {
    let request = client.post("/mcp", message).header("host", "app.example.com");
    request.header("accept", "application/json, text/event-stream").header("mcp-protocol-version", "2025-06-18")
}

async fn send(client: &TestClient, message: Value) -> TestResponse {
    request(client, &message).await
}

/// Returns the result of a request.
async fn result(client: &TestClient, method: &str, params: Value) -> Value {
    let message = json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params });
    let answer = send(client, message).await.expect(200).json();
    assert_eq!((&answer["jsonrpc"], &answer["id"]), (&json!("2.0"), &json!(7)), "{answer}");
    assert!(answer["result"].is_object(), "{answer}");
    answer["result"].clone()
}

async fn call(client: &TestClient, tool: &str, arguments: Value) -> Value {
    result(client, "tools/call", json!({ "name": tool, "arguments": arguments })).await
}

/// Returns the names of the tools of the module `planets` that a caller sees.
async fn tools(client: &TestClient) -> Vec<String> {
    let listed = result(client, "tools/list", json!({})).await;
    let names = listed["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap().to_owned());
    names.filter(|name| name.contains("lanet") || name.contains("Moon")).collect()
}

fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap()
}

on_each_database! {
    async fn marked_operations_are_tools(database: TestDatabase) {
        let app = start(database).await;
        let user = app.user();
        let hello = json!({ "protocolVersion": "2025-06-18", "capabilities": {},
            "clientInfo": { "name": "test", "version": "1" } });
        let server = result(&user, "initialize", hello).await;
        assert_eq!(server["protocolVersion"], "2025-06-18");
        assert!(server["capabilities"]["tools"].is_object(), "{server}");

        assert_eq!(tools(&user).await, ["addMoon", "listPlanets"]);
        let listed = result(&user, "tools/list", json!({})).await;
        let tools = listed["tools"].as_array().unwrap();
        let moon = tools.iter().find(|tool| tool["name"] == "addMoon").unwrap();
        assert_eq!(moon["inputSchema"]["required"], json!(["planet", "body"]));
        assert!(moon["inputSchema"]["properties"]["idempotency_key"].is_object(), "{moon}");
        assert_eq!(moon["annotations"]["readOnlyHint"], json!(false));

        let added = call(&user, "addMoon", json!({ "planet": "Mars", "body": { "name": "Phobos" } })).await;
        assert_eq!(added["isError"], json!(false), "{added}");
        let tenant = user.identity().unwrap().tenant.unwrap().to_string();
        let expected = json!({ "planet": "Mars", "name": "Phobos", "calls": 1, "tenant": tenant });
        assert_eq!(added["structuredContent"], expected);
        assert_eq!(serde_json::from_str::<Value>(text(&added)).unwrap(), expected);
        assert_eq!(text(&call(&user, "listPlanets", json!({})).await), "[\"Mars\"]");
    }

    async fn the_guards_of_the_operation_apply(database: TestDatabase) {
        let app = start(database).await;
        let identity = app.user().identity().unwrap().clone();
        let reader = app.client_as(identity.with_permissions("planets:read".parse().unwrap()));
        assert_eq!(tools(&reader).await, ["listPlanets"]);
        let refused = call(&reader, "addMoon", json!({ "planet": "Mars", "body": { "name": "Phobos" } })).await;
        assert_eq!(refused["isError"], json!(true));
        assert!(text(&refused).contains("PERMISSION_DENIED"), "{refused}");
        let refused = call(&app.user(), "adminDestroyPlanet", json!({ "planet": "Mars" })).await;
        assert!(text(&refused).contains("FORBIDDEN"), "{refused}");
        // An operator sees the tool, and its answer without a body.
        let operator = app.operator();
        assert!(tools(&operator).await.contains(&"adminDestroyPlanet".to_owned()));
        assert_eq!(text(&call(&operator, "adminDestroyPlanet", json!({ "planet": "Mars" })).await), "done");
        // Without credentials there is no answer at all.
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
        send(&app.anonymous(), message).await.expect_error(401, "UNAUTHORIZED");
    }

    async fn a_call_by_an_api_key_is_in_the_audit_log(database: TestDatabase) {
        let app = start(database).await;
        let id = || Uuid::new_v4();
        let robot = Identity::user(Id::from_uuid(id())).for_tenant(Id::from_uuid(id()));
        let robot = robot.with_permissions("planets:write".parse().unwrap());
        let robot = robot.with_api_key(Id::from_uuid(id())).into_service_account();
        let client = app.client_as(robot.clone());
        let added = call(&client, "addMoon", json!({ "planet": "Mars", "body": { "name": "Phobos" } })).await;
        assert_eq!(added["isError"], json!(false), "{added}");
        let log: AuditStore = app.app().context().get().unwrap();
        let entries = log.list(&AuditFilter::all_chains().action("moon"), 10, None).await.unwrap().items;
        let [entry] = entries.as_slice() else { panic!("{entries:?}") };
        let expected = (Some(robot.user), robot.tenant, Some("moon:Phobos"));
        assert_eq!((entry.actor, entry.tenant, entry.resource.as_deref()), expected);
    }

    async fn validation_idempotency_and_limits_apply(database: TestDatabase) {
        let app = start(database).await;
        let user = app.user();
        let invalid = call(&user, "addMoon", json!({ "planet": "Mars", "body": { "name": "" } })).await;
        assert!(text(&invalid).contains("VALIDATION_FAILED"), "{invalid}");
        let missing = call(&user, "addMoon", json!({ "body": { "name": "Phobos" } })).await;
        assert_eq!(text(&missing), "the argument `planet` is missing");

        let arguments = json!({ "planet": "Mars", "body": { "name": "Phobos" }, "idempotency_key": "k1" });
        let first = call(&user, "addMoon", arguments.clone()).await;
        let again = call(&user, "addMoon", arguments).await;
        assert_eq!(first["structuredContent"]["calls"], json!(1));
        assert_eq!(first, again);
        let other = json!({ "planet": "Mars", "body": { "name": "Deimos" }, "idempotency_key": "k1" });
        assert!(text(&call(&user, "addMoon", other).await).starts_with('4'));

        // The operation permits five requests a minute, and four were sent.
        call(&user, "listPlanets", json!({})).await;
        let limited = call(&user, "listPlanets", json!({})).await;
        assert_eq!(limited["isError"], json!(true));
        assert!(text(&limited).starts_with("429") && text(&limited).contains("Retry after"), "{limited}");
    }

    async fn wrong_messages_are_refused(database: TestDatabase) {
        let app = start(database).await;
        let user = app.user();
        let unknown = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "renamePlanet" } });
        let answer = send(&user, unknown).await.expect(200).json();
        assert_eq!(answer["error"]["code"], json!(-32602), "{answer}");
        // Notifications have no answer.
        let notification = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        assert_eq!(send(&user, notification).await.status, StatusCode::ACCEPTED);
        assert_eq!(user.get("/mcp").header("host", "app.example.com").await.status, StatusCode::METHOD_NOT_ALLOWED);
        // A web page of another origin may not use the cookies of the user.
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
        for (origin, status) in
            [("https://evil.example", StatusCode::FORBIDDEN), ("http://localhost:6274", StatusCode::OK)]
        {
            assert_eq!(request(&user, &message).header("origin", origin).await.status, status, "{origin}");
        }
    }
}
