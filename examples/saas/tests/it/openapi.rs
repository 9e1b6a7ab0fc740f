//! Tests that the OpenAPI document is valid and suitable for generating clients.

use std::collections::BTreeSet;

use boon::{Compiler, Schemas};
use omnistack::{
    app::App,
    config::Config,
    module::{Api, Mount, Registry},
    prelude::*,
};
use omnistack_testkit::{TestApp, TestDatabase};
use serde_json::{Value, json};
use utoipa_axum::routes;

/// Schema names that would hide a type of a programming language or of a generated client.
const RESERVED_SCHEMA_NAMES: &str = "Any Array ArrayBuffer AuthenticatedClient Blob Bool Boolean Buffer Byte Bytes Char Class Client \
    Comment Date DateTime Decimal Default Dict Document Double Element Enum Error Event Exception File Float FormData Function \
    Headers History Id Image Instant Int Integer Iterator List Location Long Lock Map Me Message Model Module Node None \
    Notification Null Number Object Ok Option Optional Page Password Performance Plugin Process Promise Proxy Range Record \
    Request Response Result Schema Screen Selection Self Set Shown Some State Storage Str String Symbol Task Text Thread Time \
    Timestamp Tuple Type URL Unset Url Uuid UUID Value Vec Void Worker";

/// A module whose handlers have only the required documentation.
struct MinimalModule;

/// Do something
#[utoipa::path(post, path = "/", responses((status = 200, body = String), (status = 299), (status = 404)))]
async fn careless() {}

impl Module for MinimalModule {
    fn name(&self) -> &'static str {
        "careless"
    }

    fn register(&self, registry: &mut Registry) {
        registry.routes(Mount::app("/careless"), Api::<()>::new().routes(routes!(careless)), |_| Ok(()));
    }
}

fn document() -> Value {
    let app = saas::app(App::builder(Config::default())).with(MinimalModule).build().unwrap();
    serde_json::from_slice(app.openapi()).unwrap()
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

fn described_schemas(document: &Value) -> impl Iterator<Item = (&str, &Value)> {
    document["components"]["schemas"].as_object().unwrap().iter().map(|(name, schema)| (name.as_str(), schema))
}

/// Adds the names of all schemas that a part of the document references, directly or indirectly.
fn add_references<'a>(document: &'a Value, part: &'a Value, names: &mut BTreeSet<&'a str>) {
    match part {
        Value::Object(entries) => {
            if let Some(name) = part["$ref"].as_str().and_then(|to| to.strip_prefix("#/components/schemas/"))
                && names.insert(name)
            {
                add_references(document, &document["components"]["schemas"][name], names);
            }
            entries.values().for_each(|value| add_references(document, value, names));
        }
        Value::Array(items) => items.iter().for_each(|item| add_references(document, item, names)),
        _ => {}
    }
}

fn is_nullable(schema: &Value) -> bool {
    let has_null = |kinds: &Value| kinds.as_array().is_some_and(|kinds| kinds.contains(&json!("null")));
    let options = schema["oneOf"].as_array().or(schema["anyOf"].as_array());
    has_null(&schema["type"]) || options.is_some_and(|all| all.iter().any(|one| one["type"] == "null"))
}

#[tokio::test]
async fn it_is_valid_openapi() {
    let mut document = document();
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    compiler.add_resource("openapi.json", serde_json::from_str(include_str!("openapi/schema.json")).unwrap()).unwrap();
    let openapi = compiler.compile("openapi.json", &mut schemas).unwrap();
    // The schema of OpenAPI documents does not validate the schemas within them.
    let of_schemas = compiler.compile("https://json-schema.org/draft/2020-12/schema", &mut schemas).unwrap();
    for (name, schema) in described_schemas(&document) {
        schemas.validate(schema, of_schemas).unwrap_or_else(|error| panic!("{name}: {error:#}"));
    }
    schemas.validate(&document, openapi).unwrap_or_else(|error| panic!("{error:#}"));
    document["paths"]["/health"]["get"]["responses"]["200"].as_object_mut().unwrap().remove("description");
    assert!(schemas.validate(&document, openapi).is_err(), "a description is required");
}

#[tokio::test]
async fn every_operation_is_described() {
    let document = document();
    let mut ids = BTreeSet::new();
    for (path, method, operation) in operations(&document) {
        for part in ["operationId", "summary", "tags", "responses"] {
            assert!(!operation[part].is_null(), "{method} {path} has no {part}");
        }
        let id = operation["operationId"].as_str().unwrap();
        assert!(ids.insert(id) && id.starts_with(char::is_lowercase) && id.chars().all(char::is_alphanumeric), "{id}");
        let is_public = operation["security"] == json!([]);
        // The session in the body is the credential.
        let has_session = id == "sendRealtimeCommands";
        // Programs call these with an API key.
        let is_for_programs = path.starts_with("/v1/") || path.starts_with("/v2/");
        let is_for_all = !path.contains("/app/") && !path.contains("/admin/") && !is_for_programs;
        assert_eq!(is_public, is_for_all || has_session, "{method} {path} {id}");
        for (status, response) in operation["responses"].as_object().unwrap() {
            let reference = response["$ref"].as_str();
            let schema = &response["content"]["application/json"]["schema"];
            let is_error = status == "default" || status.starts_with(['4', '5']);
            assert!(!is_error || reference.is_some() || schema.is_object(), "{method} {path} {status} has no schema");
        }
    }
    let expected = ["listProjects", "createProject", "getProject", "updateProject", "deleteProject", "restoreProject"];
    let expected = expected.iter().chain(&["signIn", "uploadFile", "downloadFile", "getMeV2", "adminListUsers"]);
    assert!(expected.clone().all(|id| ids.contains(id)), "{expected:?} of {ids:?}");
    let careless = &document["paths"]["/api/v1/app/careless"]["post"]["responses"];
    assert_eq!(
        (&careless["200"]["description"], &careless["299"]["description"]),
        (&json!("OK"), &json!("The response."))
    );
}

#[tokio::test]
async fn no_schema_hides_a_type_of_a_language() {
    let document = document();
    let hiding: Vec<_> = RESERVED_SCHEMA_NAMES.split_whitespace().collect();
    for (name, _) in described_schemas(&document) {
        assert!(!hiding.contains(&name), "`{name}`: give it another name by `#[schema(as = …)]`");
    }
}

/// In a response, a nullable field is always present, and an optional field is never `null`.
#[tokio::test]
async fn what_an_answer_always_holds_is_required() {
    let document = document();
    let (mut answers, mut requests) = (BTreeSet::new(), BTreeSet::new());
    for (_, _, operation) in operations(&document) {
        add_references(&document, &operation["requestBody"], &mut requests);
        add_references(&document, &operation["responses"], &mut answers);
    }
    add_references(&document, &document["components"]["responses"], &mut answers);
    let mut loose = Vec::new();
    for (name, schema) in
        described_schemas(&document).filter(|(name, _)| answers.contains(name) && !requests.contains(name))
    {
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        for (field, of) in schema["properties"].as_object().into_iter().flatten() {
            if is_nullable(of) && !required.contains(&json!(field)) {
                loose.push(format!("{name}.{field}"));
            }
        }
    }
    assert!(loose.is_empty(), "add `#[schema(required)]`, or `#[schema(nullable = false)]`: {}", loose.join(" "));
}

#[tokio::test]
async fn a_client_that_sends_every_default_gets_an_answer() {
    let app = TestApp::start(TestDatabase::sqlite(), saas::app).await;
    let document = app.anonymous().get("/openapi.json").await.expect(200).json();
    let mut with_defaults = 0;
    for (path, method, operation) in operations(&document) {
        if method != "get" || path.contains('{') || !path.contains("/app/") {
            continue;
        }
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        if parameters.clone().any(|parameter| parameter["in"] == "query" && parameter["required"] == true) {
            continue;
        }
        let query: Vec<_> = parameters
            .filter(|parameter| parameter["in"] == "query" && !parameter["schema"]["default"].is_null())
            .map(|parameter| format!("{}={}", parameter["name"].as_str().unwrap(), parameter["schema"]["default"]))
            .collect();
        with_defaults += usize::from(!query.is_empty());
        let answer = app.user().get(format!("{path}?{}", query.join("&"))).await;
        assert_ne!(answer.status, 422, "{path} {query:?}: {}", answer.text());
    }
    assert!(with_defaults >= 2, "{with_defaults}");
    let projects = document["paths"]["/api/v1/app/projects"]["get"]["parameters"].as_array().unwrap();
    assert!(projects.iter().all(|parameter| parameter["schema"]["default"].is_null()), "none holds with every other");
}

#[tokio::test]
async fn headers_that_say_who_calls_and_bytes_are_described() {
    let document = document();
    let components = &document["components"];
    assert_eq!(components["parameters"]["TenantId"]["name"], "X-Tenant-Id");
    assert_eq!(components["securitySchemes"]["apiKey"]["name"], "X-API-Key");
    assert_eq!(components["securitySchemes"]["cookie"]["in"], "cookie");
    assert_eq!(document["security"], json!([{ "bearer": [] }, { "apiKey": [] }, { "cookie": [] }]));
    let projects = &document["paths"]["/api/v1/app/projects"];
    assert_eq!(projects["parameters"], json!([{ "$ref": "#/components/parameters/TenantId" }]));
    let page = &projects["get"]["responses"]["200"]["content"]["application/json"]["schema"];
    assert_eq!(page, &json!({ "$ref": "#/components/schemas/ListPage_Project" }));
    let upload = &document["paths"]["/api/v1/app/files"]["post"]["requestBody"]["content"];
    let bytes = json!({ "type": "string", "format": "binary" });
    assert_eq!(upload["application/octet-stream"]["schema"], bytes);
    assert_eq!(upload["multipart/form-data"]["schema"], json!({ "$ref": "#/components/schemas/FileUploadForm" }));
    assert_eq!(components["schemas"]["FileUploadForm"]["properties"]["file"]["format"], "binary");
    let download = &document["paths"]["/api/v1/app/files/{id}/content"]["get"]["responses"]["200"]["content"];
    assert_eq!(download["application/octet-stream"]["schema"], bytes);
}

/// A header that a browser may not send, or whose value a script may not read, is of no use to a frontend on another
/// origin.
#[tokio::test]
async fn headers_of_the_document_are_allowed_to_browsers() {
    let app =
        TestApp::start(TestDatabase::sqlite(), |app| saas::app(app).set("CORS_ORIGINS", "https://app.example.com"));
    let client = app.await.anonymous();
    let document = client.get("/openapi.json").await.expect(200).json();
    let preflight = client.request(http::Method::OPTIONS, "/api/v1/app/projects");
    let preflight =
        preflight.header("origin", "https://app.example.com").header("access-control-request-method", "GET");
    let preflight = preflight.await.expect(200);
    let health = client.get("/health").header("origin", "https://app.example.com").await.expect(200);
    let listed =
        |list: &str| -> BTreeSet<String> { list.split(',').map(|name| name.trim().to_ascii_lowercase()).collect() };
    let allowed = listed(preflight.header("access-control-allow-headers").unwrap());
    let exposed = listed(health.header("access-control-expose-headers").unwrap());
    let mut names = (BTreeSet::new(), BTreeSet::new());
    let components =
        document["components"]["parameters"].as_object().into_iter().flatten().map(|(_, parameter)| parameter);
    let all = operations(&document);
    let parameters = all.iter().filter_map(|(_, _, operation)| operation["parameters"].as_array()).flatten();
    for parameter in parameters.chain(components).filter(|parameter| parameter["in"] == "header") {
        names.0.insert(parameter["name"].as_str().unwrap().to_ascii_lowercase());
    }
    for (_, _, operation) in &all {
        for (_, response) in operation["responses"].as_object().unwrap() {
            names.1.extend(
                response["headers"].as_object().into_iter().flatten().map(|(name, _)| name.to_ascii_lowercase()),
            );
        }
    }
    assert!(names.0.contains("x-ai-cache") && names.1.contains("x-ai-call"), "{names:?}");
    assert_eq!(names.0.difference(&allowed).collect::<Vec<_>>(), Vec::<&String>::new());
    assert_eq!(names.1.difference(&exposed).collect::<Vec<_>>(), Vec::<&String>::new());
}

/// Strings of request bodies that have no `maxLength`, by a part of their place, with the reason.
const UNLIMITED_STRINGS: [(&str, &str); 7] = [
    ("createResponse.", "all texts together have a limit, `AI_MAX_TEXT_BYTES`"),
    ("FeatureFlag.", "the definition is checked and limited as a whole"),
    (".sha256", "its pattern has a fixed length"),
    (".tags[]", "tags are checked one by one"),
    (".permissions[]", "only known permissions are accepted"),
    (".scopes[]", "only known permissions are accepted"),
    ("adminEvaluateFeatureFlag.", "the values are only compared"),
];

/// Adds the places of all strings within a schema that have no limit: no `maxLength`, no fixed values, no format.
fn add_unlimited(document: &Value, schema: &Value, place: &str, parents: &[&str], found: &mut BTreeSet<String>) {
    let mut parents = parents.to_vec();
    if let Some(name) = schema["$ref"].as_str().and_then(|to| to.strip_prefix("#/components/schemas/")) {
        if !parents.contains(&name) {
            parents.push(name);
            add_unlimited(document, &document["components"]["schemas"][name], place, &parents, found);
        }
        return;
    }
    let is_text =
        schema["type"] == "string" || schema["type"].as_array().is_some_and(|all| all.contains(&json!("string")));
    let has_limit = ["maxLength", "enum", "const", "format"].iter().any(|limit| !schema[limit].is_null());
    if is_text && !has_limit {
        found.insert(place.to_owned());
    }
    for one in ["oneOf", "anyOf", "allOf"].iter().filter_map(|of| schema[of].as_array()).flatten() {
        add_unlimited(document, one, place, &parents, found);
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        add_unlimited(document, property, &format!("{place}.{name}"), &parents, found);
    }
    for (of, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
        if schema[of].is_object() {
            add_unlimited(document, &schema[of], &format!("{place}{mark}"), &parents, found);
        }
    }
}

/// A limit that only the code knows surprises the users of generated clients.
#[tokio::test]
async fn strings_of_request_bodies_have_a_limit() {
    let document = document();
    let mut found = BTreeSet::new();
    for (_, _, operation) in operations(&document) {
        let id = operation["operationId"].as_str().unwrap();
        let bodies = operation["requestBody"]["content"].as_object().into_iter().flatten();
        for (_, body) in bodies.filter(|(kind, _)| kind.as_str() == "application/json") {
            add_unlimited(&document, &body["schema"], id, &[], &mut found);
        }
    }
    for (part, reason) in UNLIMITED_STRINGS {
        assert!(found.iter().any(|place| place.contains(part)), "{part} ({reason}) is not needed any more");
    }
    found.retain(|place| !UNLIMITED_STRINGS.iter().any(|(part, _)| place.contains(part)));
    assert!(found.is_empty(), "without `maxLength`: {found:#?}");
}

/// Objects of request bodies that may have other fields, by the start of their place, with the reason.
const OPEN_OBJECTS: [(&str, &str); 6] = [
    ("aiChat", "the fields of OpenAI's requests are read one by one, and unknown ones are 422"),
    ("createChatCompletion", "OpenAI's clients may send fields of newer versions"),
    ("createEmbeddings", "OpenAI's clients may send fields of newer versions"),
    ("createResponse", "OpenAI's clients may send fields of newer versions"),
    ("reportUsage application/cloudevents", "CloudEvents may have extensions"),
    ("uploadFile multipart/form-data", "a form"),
];

/// Adds the places of all objects within a schema that accept fields without a description.
fn add_open_objects(document: &Value, schema: &Value, place: &str, parents: &[&str], found: &mut BTreeSet<String>) {
    let mut parents = parents.to_vec();
    if let Some(name) = schema["$ref"].as_str().and_then(|to| to.strip_prefix("#/components/schemas/")) {
        if !parents.contains(&name) {
            parents.push(name);
            add_open_objects(document, &document["components"]["schemas"][name], place, &parents, found);
        }
        return;
    }
    if schema["properties"].is_object() && schema["additionalProperties"] != false {
        found.insert(place.to_owned());
    }
    for one in ["oneOf", "anyOf", "allOf"].iter().filter_map(|of| schema[of].as_array()).flatten() {
        add_open_objects(document, one, place, &parents, found);
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        add_open_objects(document, property, &format!("{place}.{name}"), &parents, found);
    }
    for (of, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
        if schema[of].is_object() {
            add_open_objects(document, &schema[of], &format!("{place}{mark}"), &parents, found);
        }
    }
}

/// A field that the app ignores is a mistake of the client, or an attempt at mass assignment.
#[tokio::test]
async fn objects_of_request_bodies_have_no_other_fields() {
    let document = document();
    let mut found = BTreeSet::new();
    for (_, _, operation) in operations(&document) {
        let id = operation["operationId"].as_str().unwrap();
        for (kind, body) in operation["requestBody"]["content"].as_object().into_iter().flatten() {
            add_open_objects(&document, &body["schema"], &format!("{id} {kind}"), &[], &mut found);
        }
    }
    for (part, reason) in OPEN_OBJECTS {
        assert!(found.iter().any(|place| place.starts_with(part)), "{part} ({reason}) is not needed any more");
    }
    found.retain(|place| !OPEN_OBJECTS.iter().any(|(part, _)| place.starts_with(part)));
    assert!(found.is_empty(), "add `#[serde(deny_unknown_fields)]`: {found:#?}");
}

#[tokio::test]
async fn a_text_has_its_limits_in_the_document() {
    let document = document();
    let name = &document["components"]["schemas"]["Name_100"];
    assert_eq!((&name["minLength"], &name["maxLength"]), (&json!(1), &json!(100)));
    let reference = json!("#/components/schemas/Name_100");
    let schemas = &document["components"]["schemas"];
    assert_eq!(schemas["NewProject"]["properties"]["name"]["$ref"], reference);
    assert_eq!(schemas["NewProject"]["required"], json!(["name"]));
    assert_eq!(schemas["ProjectChange"]["properties"]["name"]["oneOf"][0]["$ref"], reference);
    assert!(schemas["ProjectChange"]["required"].is_null());
    let mut names = BTreeSet::new();
    add_references(&document, &document["paths"]["/api/v1/app/projects"], &mut names);
    assert!(names.iter().all(|name| schemas[name].is_object()), "{names:?}");
}
