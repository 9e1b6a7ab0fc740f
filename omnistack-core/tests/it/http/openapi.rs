//! Tests that the OpenAPI document describes the routes.

use std::collections::BTreeSet;

use omnistack_core::{
    app::{App, DevIdentity},
    config::Config,
    http::{CursorPage, ErrorEnvelope, Json, Patch},
    id::Id,
    module::{Api, Mount},
};
use omnistack_testkit::{TestApp, TestClient};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{
    ToSchema,
    openapi::{
        path::{ParameterBuilder, ParameterIn},
        security::{ApiKey, ApiKeyValue, SecurityScheme},
    },
};
use utoipa_axum::routes;

use super::support::{InlineModule, module, start};

/// A thing.
#[derive(Serialize, ToSchema)]
struct Thing {
    id: Id<Thing>,
    parent: Option<Box<Inner>>,
}

/// A part of a thing.
#[derive(Serialize, ToSchema)]
struct Inner {
    name: String,
}

/// The fields to change.
#[derive(Deserialize, ToSchema, garde::Validate)]
struct Change {
    #[garde(skip)]
    #[expect(dead_code, reason = "used only in the OpenAPI document")]
    note: Patch<String>,
}

/// List things
#[utoipa::path(get, path = "/", responses((status = 200, body = CursorPage<Thing>)))]
async fn list() -> Json<CursorPage<Thing>> {
    let inner = Inner { name: "a".into() };
    let thing = Thing { id: Id::from_uuid(uuid::Uuid::nil()), parent: Some(Box::new(inner)) };
    Json(CursorPage { items: vec![thing], next_cursor: None })
}

/// Change a thing
#[utoipa::path(patch, path = "/{id}", params(("id" = Id<Thing>, Path, description = "Whose.")), request_body = Change,
    responses((status = 204), (status = 409, body = ErrorEnvelope)))]
async fn change(Json(change): Json<Change>) {
    drop(change);
}

#[utoipa::path(delete, path = "/{id}", params(("id" = Id<Thing>, Path, description = "Whose.")), responses((status = 204)))]
async fn undocumented_removal() {}

fn things() -> InlineModule {
    module("the-things", |registry| {
        let api = || {
            Api::new()
                .routes(routes!(list))
                .routes(routes!(change, undocumented_removal))
                .hidden("/page", axum::routing::get(|| async {}))
        };
        registry
            .routes(Mount::app("/things"), api(), |_| Ok(()))
            .routes(Mount::app("/things").v2(), api(), |_| Ok(()))
            .routes(Mount::admin("/things"), api(), |_| Ok(()))
            .routes(Mount::public("/things").operation_prefix("public"), Api::new().routes(routes!(list)), |_| Ok(()));
    })
}

async fn app() -> TestApp {
    start(|app| app.named("Things", "1.2.3").with(things())).await
}

fn routes_of(name: &'static str, mount: Mount, api: Api) -> InlineModule {
    module(name, move |registry| {
        registry.routes(mount.clone(), api.clone(), |_| Ok(()));
    })
}

async fn document(client: &TestClient, path: &str) -> Value {
    let answer = client.get(path).await.expect(200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    answer.json()
}

/// Returns the path, method and object of each operation.
fn operations(document: &Value) -> Vec<(&str, &str, &Value)> {
    const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];
    let paths = document["paths"].as_object().unwrap().iter();
    let all = paths.flat_map(|(path, item)| {
        item.as_object().unwrap().iter().map(move |(method, of)| (path.as_str(), method.as_str(), of))
    });
    all.filter(|(_, method, _)| METHODS.contains(method)).collect()
}

const DOCUMENTS: [&str; 3] = ["/openapi.json", "/openapi/v1.json", "/openapi/v2.json"];

#[tokio::test]
async fn it_is_openapi_3_1_of_this_app() {
    let client = app().await.anonymous();
    for path in DOCUMENTS {
        let document = document(&client, path).await;
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1."), "{path}");
        assert_eq!((&document["info"]["title"], &document["info"]["version"]), (&"Things".into(), &"1.2.3".into()));
    }
    client.get("/openapi/v3.json").await.expect_error(404, "NOT_FOUND");
}

#[tokio::test]
async fn the_document_that_tests_ask_for_is_that_of_other_environments() {
    // Only in tests, it is written when it is first asked for.
    let [test, development] = ["test", "development"].map(|environment| {
        let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:"), ("APP_ENV", environment)]);
        let app = App::builder(config).with(DevIdentity::default()).with(things()).build().unwrap();
        String::from_utf8(app.openapi().to_vec()).unwrap()
    });
    assert!(test.contains("/api/v1/app/things"), "{test}");
    assert_eq!(test, development);
}

#[tokio::test]
async fn each_operation_has_an_id_a_tag_a_summary_and_the_errors() {
    let client = app().await.anonymous();
    for path in DOCUMENTS {
        let document = document(&client, path).await;
        let tags: BTreeSet<_> =
            document["tags"].as_array().unwrap().iter().map(|tag| &tag["name"]).map(Value::to_string).collect();
        let mut ids = BTreeSet::new();
        for (path, method, operation) in operations(&document) {
            let name = format!("{method} {path}");
            assert!(
                ids.insert(operation["operationId"].as_str().unwrap().to_owned()),
                "{name}: {} twice",
                operation["operationId"]
            );
            assert!(tags.contains(&operation["tags"][0].to_string()), "{name}");
            assert!(operation["summary"].as_str().is_some_and(|summary| !summary.is_empty()), "{name} has no summary");
            let responses = operation["responses"].as_object().unwrap();
            let guarded = !path.starts_with("/api/") || !path.contains("/public");
            let guarded = guarded && path.starts_with("/api/");
            assert!(responses.contains_key("default"), "{name}");
            assert_eq!(responses.contains_key("401"), guarded, "{name}");
            assert_eq!(responses.contains_key("403"), path.contains("/admin/"), "{name}");
            assert_eq!(operation["security"], if guarded { Value::Null } else { json!([]) }, "{name}");
            for (status, response) in responses {
                // An app that is not ready returns its report.
                let is_error = status == "default" || (status.starts_with(['4', '5']) && path != "/health/ready");
                let expected = if is_error { json!("#/components/responses/ApiError") } else { Value::Null };
                assert_eq!(response["$ref"], expected, "{name} {status}");
                assert!(is_error || response["description"].is_string(), "{name} {status}");
            }
        }
        let expected = match path {
            "/openapi/v1.json" => vec!["adminListThings", "changeThing", "listThings", "publicListThings"],
            "/openapi/v2.json" => vec!["changeThingV2", "getHealthV2", "listThingsV2", "undocumentedRemovalV2"],
            _ => vec!["getHealth", "getLiveness", "getReadiness", "undocumentedRemoval"],
        };
        assert!(expected.iter().all(|id| ids.contains(*id)), "{path}: {ids:?}");
    }
}

#[tokio::test]
async fn what_a_module_says_of_callers_is_for_each_of_their_routes() {
    let caller = || {
        module("caller", |registry| {
            let key = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("X-Key")));
            let region = ParameterBuilder::new().name("X-Region").parameter_in(ParameterIn::Header).build();
            registry.security_scheme("key", key).caller_parameter("Region", region);
        })
    };
    let mount = |name, mount: Mount| routes_of(name, mount, Api::new().routes(routes!(list)));
    let app = start(|app| {
        let app = app.with(mount("open", Mount::public("/open"))).with(mount("closed", Mount::app("/closed")));
        app.with(caller()).with(mount("kept", Mount::admin("/kept"))).set("PUBLIC_URL", "https://app.example.com")
    });
    let document = document(&app.await.anonymous(), "/openapi/v1.json").await;
    assert_eq!(document["servers"], json!([{ "url": "https://app.example.com" }]));
    assert_eq!(document["security"], json!([{ "bearer": [] }, { "key": [] }]));
    assert_eq!(
        document["components"]["securitySchemes"]["key"],
        json!({ "type": "apiKey", "in": "header", "name": "X-Key" })
    );
    assert_eq!(document["components"]["parameters"]["Region"]["name"], "X-Region");
    let parameters = json!([{ "$ref": "#/components/parameters/Region" }]);
    for (path, expected) in [("public/open", &Value::Null), ("app/closed", &parameters), ("admin/kept", &Value::Null)] {
        assert_eq!(document["paths"][format!("/api/v1/{path}")]["parameters"], *expected, "{path}");
    }
}

/// Get bytes of any type
#[utoipa::path(post, path = "/bytes", request_body(content = String, content_type = "application/zip"),
    responses((status = 200, body = String, content_type = "*/*"), (status = 201, body = String, content_type = "text/csv")))]
async fn send_bytes() {}

#[tokio::test]
async fn bodies_of_bytes_and_pages_are_described_as_what_they_are() {
    let api = Api::new().routes(routes!(send_bytes)).routes(routes!(list));
    let app = start(|app| app.with(routes_of("bytes", Mount::public("/things"), api))).await;
    let document = document(&app.anonymous(), "/openapi.json").await;
    let operation = &document["paths"]["/api/v1/public/things/bytes"]["post"];
    let bytes = json!({ "type": "string", "format": "binary" });
    assert_eq!(operation["requestBody"]["content"]["application/zip"]["schema"], bytes);
    for kind in ["*/*", "application/octet-stream"] {
        assert_eq!(operation["responses"]["200"]["content"][kind]["schema"], bytes, "{kind}");
    }
    assert_eq!(operation["responses"]["201"]["content"]["text/csv"]["schema"], json!({ "type": "string" }));
    let page = &document["components"]["schemas"]["CursorPage_Thing"]["properties"]["items"];
    assert_eq!(page["items"], json!({ "$ref": "#/components/schemas/Thing" }));
}

#[tokio::test]
async fn every_reference_leads_somewhere() {
    fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
        match value {
            Value::Object(entries) => entries.iter().for_each(|(key, value)| match value {
                Value::String(to) if key == "$ref" => _ = found.insert(to),
                value => references(value, found),
            }),
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let client = app().await.anonymous();
    for path in DOCUMENTS {
        let document = document(&client, path).await;
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        for name in ["Thing", "Inner", "Change", "ApiError", "ErrorBody", "ProblemDetails"] {
            assert!(document["components"]["schemas"][name].is_object(), "{path}: {name}");
        }
        assert!(found.len() > 3);
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} leaves the document"));
            assert!(document.pointer(pointer).is_some(), "{path}: {reference} leads nowhere");
        }
        assert_eq!(document["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
    }
}

#[tokio::test]
async fn each_version_is_described_alone() {
    let client = app().await.anonymous();
    let all = document(&client, "/openapi.json").await;
    for (path, own, other) in
        [("/openapi/v1.json", "/api/v1/", "/api/v2/"), ("/openapi/v2.json", "/api/v2/", "/api/v1/")]
    {
        let document = document(&client, path).await;
        let paths: Vec<_> = document["paths"].as_object().unwrap().keys().collect();
        assert!(paths.iter().any(|path| path.starts_with(own)), "{path}");
        assert!(!paths.iter().any(|path| path.starts_with(other)), "{path}");
        assert!(paths.iter().any(|path| *path == "/health"), "{path}: what has no version is in each");
        for path in paths {
            assert_eq!(document["paths"][path], all["paths"][path], "{path}");
        }
    }
}

#[tokio::test]
async fn what_is_described_answers_and_what_is_hidden_is_not_described() {
    let app = app().await;
    let document = document(&app.anonymous(), "/openapi.json").await;
    for (path, method, _) in operations(&document) {
        let path = path.replace("{id}", &uuid::Uuid::nil().to_string());
        let answer = app.operator().request(method.to_uppercase().parse().unwrap(), &path).await;
        // A 404 of a route names the kind of resource that was not found.
        let no_route = answer.status == 404 && answer.text().contains("no route matches");
        assert!(!no_route && ![405, 500].contains(&answer.status.as_u16()), "{method} {path}: {}", answer.status);
    }
    assert!(!document["paths"].as_object().unwrap().keys().any(|path| path.ends_with("/page")));
    let listed = app.app().routes().iter().filter(|route| route.path.ends_with("/page")).count();
    assert_eq!(listed, 3, "`routes` lists them all");
}

#[tokio::test]
async fn the_index_shows_the_way() {
    let index = document(&app().await.anonymous(), "/").await;
    let documents = [
        "/openapi/v1.json",
        "/openapi/public.v1.json",
        "/openapi/app.v1.json",
        "/openapi/admin.v1.json",
        "/openapi/v2.json",
        "/openapi/public.v2.json",
        "/openapi/app.v2.json",
    ];
    let expected = serde_json::json!({
        "name": "Things", "docs": "/docs", "openapi": "/openapi.json", "documents": documents, "health": "/health",
    });
    assert_eq!(index, expected);
}

#[tokio::test]
async fn each_access_level_of_a_version_is_described_alone() {
    let app = app().await;
    let client = app.anonymous();
    let all = document(&client, "/openapi.json").await;
    for (name, prefix) in [
        ("app.v1", "/api/v1/app/"),
        ("app.v2", "/api/v2/app/"),
        ("admin.v1", "/api/v1/admin/"),
        ("public.v1", "/api/v1/public/"),
    ] {
        let part = document(&client, &format!("/openapi/{name}.json")).await;
        let paths: Vec<_> = part["paths"].as_object().unwrap().keys().collect();
        assert!(paths.iter().any(|path| **path == format!("{prefix}things")), "{name}: {paths:?}");
        // Routes without a version are in each document of their access level.
        let is_own = |path: &str| path.starts_with(prefix) || (name == "public.v1" && path.starts_with("/health"));
        assert!(paths.iter().all(|path| is_own(path)), "{name}: {paths:?}");
        for path in paths {
            assert_eq!(part["paths"][path], all["paths"][path], "{name} {path}");
        }
        // It has the schemas that it needs, and no others.
        let schemas = part["components"]["schemas"].as_object().unwrap();
        for (schema, is_needed) in [
            ("Thing", true),
            ("Inner", true),
            ("ErrorBody", true),
            ("Change", name != "public.v1"),
            ("HealthReport", name == "public.v1"),
        ] {
            assert_eq!(schemas.contains_key(schema), is_needed, "{name}: {schema}");
        }
        let tags: Vec<_> = part["tags"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap()).collect();
        assert_eq!(tags.contains(&"core"), matches!(name, "public.v1" | "admin.v1"), "{name}");
        let printed: Value = serde_json::from_slice(&app.app().openapi_part(name).unwrap()).unwrap();
        assert_eq!(printed, part, "{name}");
    }
    client.get("/openapi/machine.v1.json").await.expect_error(404, "NOT_FOUND");
    let error = app.app().openapi_part("machine.v1").unwrap_err().to_string();
    assert!(error.contains("its parts are v1, public.v1, app.v1, admin.v1, v2"), "{error}");
}

/// Call a thing
#[utoipa::path(post, path = "/call", operation_id = "callThing", tag = "calls", security(("key" = ["things"])),
    responses((status = 204)))]
async fn call() {}

#[tokio::test]
async fn what_an_operation_says_of_itself_stays() {
    let api = || Api::new().routes(routes!(call)).routes(routes!(list));
    let app = start(|app| {
        let app = app.with(routes_of("open", Mount::public("/things").v2(), api()));
        app.with(routes_of("closed", Mount::admin("/others"), Api::new().routes(routes!(list))))
    });
    let document = document(&app.await.anonymous(), "/openapi.json").await;
    let said = &document["paths"]["/api/v2/public/things/call"]["post"];
    assert_eq!((&said["operationId"], &said["tags"]), (&json!("callThing"), &json!(["calls"])));
    assert_eq!(said["security"], json!([{ "key": ["things"] }]));
    // An operation that says nothing is described by its mount and its module.
    let other = &document["paths"]["/api/v2/public/things"]["get"];
    assert_eq!((&other["operationId"], &other["tags"]), (&json!("listThingsV2"), &json!(["open"])));
    assert_eq!(other["security"], json!([]));
    let tags: Vec<_> = document["tags"].as_array().unwrap().iter().map(|tag| &tag["name"]).collect();
    assert!(tags.contains(&&json!("calls")) && tags.contains(&&json!("closed")), "{tags:?}");
}
