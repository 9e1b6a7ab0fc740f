//! Tools made of the OpenAPI description of operations. No I/O.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use omnistack_core::{crypto::Sha256, module::AgentOperation};
use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

/// Most tools of an app. Models choose badly among more.
const MAX_TOOLS: usize = 200;
/// Longest name that all agents accept, in bytes.
const MAX_NAME_BYTES: usize = 64;
/// Longest description of a tool, in characters.
const MAX_DESCRIPTION_CHARS: usize = 1_000;
/// Largest JSON schema of the arguments of a tool, in bytes.
const MAX_SCHEMA_BYTES: usize = 128 * 1024;
/// The argument that is sent as the body of the request.
pub(super) const BODY_ARGUMENT: &str = "body";

const SCHEMA_REFERENCE: &str = "#/components/schemas/";

/// The part of a request that an argument becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ParameterPlace {
    Path,
    Query,
    Header,
}

/// An argument that is not the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ToolParameter {
    pub(super) argument: String,
    /// The name in the request.
    pub(super) name: String,
    pub(super) place: ParameterPlace,
    pub(super) required: bool,
}

/// An operation as a tool.
#[derive(Clone, Debug)]
pub(super) struct AppTool {
    pub(super) tool: Tool,
    pub(super) operation: AgentOperation,
    pub(super) parameters: Vec<ToolParameter>,
    /// Whether the operation has a body, and whether it is required.
    pub(super) body: Option<bool>,
}

/// The tools of an app, by name.
#[derive(Clone, Debug, Default)]
pub(super) struct ToolSet(BTreeMap<String, AppTool>);

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    paths: BTreeMap<String, BTreeMap<String, &'a RawValue>>,
    #[serde(borrow, default)]
    components: Components<'a>,
}

#[derive(Default, Deserialize)]
struct Components<'a> {
    #[serde(borrow, default)]
    schemas: BTreeMap<String, &'a RawValue>,
}

impl ToolSet {
    /// Creates the tools of these operations. An operation that can't be one, such as an upload, is left out and
    /// reported in the log.
    pub(super) fn new(document: &[u8], operations: &[AgentOperation]) -> Result<Self, serde_json::Error> {
        let document: Document<'_> = serde_json::from_slice(document)?;
        let mut tools = BTreeMap::new();
        for operation in operations {
            let described = document.paths.get(&operation.path);
            let described = described.and_then(|item| item.get(&operation.method.as_str().to_ascii_lowercase()));
            let made = described
                .ok_or_else(|| "it is not in the OpenAPI document".to_owned())
                .and_then(|described| tool_of(operation, described, &document.components));
            match made {
                Ok(_) if tools.len() >= MAX_TOOLS => warn(operation, &format!("the app has {MAX_TOOLS} tools already")),
                Ok(tool) if tools.contains_key(&*tool.tool.name) => warn(operation, "another tool has its name"),
                Ok(tool) => _ = tools.insert(tool.tool.name.to_string(), tool),
                Err(reason) => warn(operation, &reason),
            }
        }
        Ok(Self(tools))
    }

    pub(super) fn get(&self, name: &str) -> Option<&AppTool> {
        self.0.get(name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &AppTool> {
        self.0.values()
    }
}

fn warn(operation: &AgentOperation, reason: &str) {
    let AgentOperation { method, path, .. } = operation;
    tracing::warn!(target: "omnistack::ai", %method, path, reason, "an operation is no tool of agents");
}

fn tool_of(operation: &AgentOperation, described: &RawValue, components: &Components<'_>) -> Result<AppTool, String> {
    let described: Value = serde_json::from_str(described.get()).map_err(|error| error.to_string())?;
    let id = described["operationId"].as_str().ok_or("it has no operation id")?;
    let mut schema = SchemaBuilder::default();
    let mut parameters = Vec::new();
    for parameter in described["parameters"].as_array().into_iter().flatten() {
        let Some(place) = place_of(parameter) else { continue };
        let name = parameter["name"].as_str().ok_or("a parameter has no name")?;
        let argument = match place {
            ParameterPlace::Header => name.to_ascii_lowercase().replace('-', "_"),
            ParameterPlace::Path | ParameterPlace::Query => name.to_owned(),
        };
        let required = place == ParameterPlace::Path || parameter["required"] == true;
        let mut value = parameter.get("schema").cloned().unwrap_or_else(|| json!({}));
        if let (Some(text), Some(value)) = (parameter["description"].as_str(), value.as_object_mut())
            && !value.contains_key("$ref")
        {
            value.insert("description".into(), text.into());
        }
        schema.add(&argument, value, required)?;
        parameters.push(ToolParameter { argument, name: name.to_owned(), place, required });
    }
    let body = match described.get("requestBody") {
        None => None,
        Some(body) => {
            let value = body.pointer("/content/application~1json/schema").ok_or("its body is not JSON")?;
            let required = body["required"] != false;
            schema.add(BODY_ARGUMENT, value.clone(), required)?;
            Some(required)
        }
    };
    let input = schema.build(components)?;
    let summary = described["summary"].as_str().unwrap_or(id);
    let description = match described["description"].as_str().filter(|text| !text.trim().is_empty()) {
        Some(text) => format!("{summary}. {text}"),
        None => summary.to_owned(),
    };
    let description: String = description.chars().take(MAX_DESCRIPTION_CHARS).collect();
    let tool = Tool::new(name_of(id), description, input).with_annotations(annotations(operation, summary));
    Ok(AppTool { tool, operation: operation.clone(), parameters, body })
}

fn place_of(parameter: &Value) -> Option<ParameterPlace> {
    match parameter["in"].as_str()? {
        "path" => Some(ParameterPlace::Path),
        "query" => Some(ParameterPlace::Query),
        "header" => Some(ParameterPlace::Header),
        _ => None,
    }
}

fn annotations(operation: &AgentOperation, summary: &str) -> ToolAnnotations {
    let method = operation.method.as_str();
    ToolAnnotations::with_title(summary)
        .read_only(method == "GET")
        .destructive(matches!(method, "PUT" | "PATCH" | "DELETE"))
        .idempotent(matches!(method, "GET" | "PUT" | "DELETE"))
        .open_world(false)
}

/// Returns the name of a tool: the operation id, with `_` for each character that agents don't accept. The end of an id
/// that is too long is replaced by a hash.
fn name_of(id: &str) -> String {
    let allowed = |letter: char| if letter.is_ascii_alphanumeric() || letter == '_' { letter } else { '_' };
    let name: String = id.chars().map(allowed).collect();
    if name.len() <= MAX_NAME_BYTES {
        return name;
    }
    let hash = Sha256::digest(id).to_string();
    format!("{}_{}", &name[..MAX_NAME_BYTES - 9], &hash[..8])
}

/// The JSON schema of arguments under construction.
#[derive(Default)]
struct SchemaBuilder {
    properties: JsonObject,
    required: Vec<Value>,
}

impl SchemaBuilder {
    fn add(&mut self, argument: &str, schema: Value, required: bool) -> Result<(), String> {
        if self.properties.insert(argument.to_owned(), schema).is_some() {
            return Err(format!("two of its parameters are named `{argument}`"));
        }
        if required {
            self.required.push(argument.into());
        }
        Ok(())
    }

    /// Returns the schema, with the schemas that it refers to.
    fn build(self, components: &Components<'_>) -> Result<Arc<JsonObject>, String> {
        let mut properties = Value::Object(self.properties);
        let mut waiting = Vec::new();
        let mut definitions = JsonObject::new();
        let mut known = BTreeSet::new();
        localize(&mut properties, &mut waiting);
        let mut bytes = 0;
        while let Some(name) = waiting.pop() {
            if !known.insert(name.clone()) {
                continue;
            }
            let text = components.schemas.get(&name).ok_or_else(|| format!("the schema `{name}` is missing"))?;
            bytes += text.get().len();
            if bytes > MAX_SCHEMA_BYTES {
                return Err(format!("the schema of its arguments has more than {MAX_SCHEMA_BYTES} bytes"));
            }
            let mut schema: Value = serde_json::from_str(text.get()).map_err(|error| error.to_string())?;
            localize(&mut schema, &mut waiting);
            definitions.insert(name, schema);
        }
        let mut schema = JsonObject::new();
        schema.insert("type".into(), "object".into());
        schema.insert("properties".into(), properties);
        if !self.required.is_empty() {
            schema.insert("required".into(), Value::Array(self.required));
        }
        schema.insert("additionalProperties".into(), false.into());
        if !definitions.is_empty() {
            schema.insert("$defs".into(), Value::Object(definitions));
        }
        Ok(Arc::new(schema))
    }
}

/// Rewrites references to components as references to `$defs`, and adds the names of the components to `names`.
fn localize(value: &mut Value, names: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (key, inner) in object {
                match inner {
                    Value::String(target) if key == "$ref" => {
                        if let Some(name) = target.strip_prefix(SCHEMA_REFERENCE) {
                            let name = name.to_owned();
                            *target = format!("#/$defs/{name}");
                            names.push(name);
                        }
                    }
                    inner => localize(inner, names),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| localize(item, names)),
        _ => {}
    }
}

#[cfg(test)]
pub(super) mod tests {
    use garde::Validate;
    use omnistack_core::{
        app::{App, OwnRoutes},
        config::Config,
        http::Json,
        module::{Api, Module, Mount, Registry},
    };
    use serde::{Deserialize, Serialize};
    use utoipa::ToSchema;
    use utoipa_axum::routes;

    use super::*;

    #[derive(Deserialize, Serialize, Validate, ToSchema)]
    #[garde(allow_unvalidated)]
    struct Moon {
        name: String,
        /// Moons of the moon.
        #[schema(no_recursion)]
        moons: Vec<Moon>,
    }

    /// Add a moon
    ///
    /// To a planet.
    #[utoipa::path(post, path = "/{planet}/moons", operation_id = "add_moon", request_body = Moon,
        params(("planet" = String, Path, description = "The planet."), ("dry_run" = Option<bool>, Query)),
        responses((status = 200, body = Moon)), extensions(("x-agent-tool" = json!(true))))]
    async fn add_moon(Json(moon): Json<Moon>) -> Json<Moon> {
        Json(moon)
    }

    /// List planets
    #[utoipa::path(get, path = "/", operation_id = "list_planets", responses((status = 200)))]
    async fn list_planets() {}

    struct Planets;

    impl Module for Planets {
        fn name(&self) -> &'static str {
            "planets"
        }

        fn register(&self, registry: &mut Registry) {
            let api: Api<()> = Api::new().routes(routes!(add_moon)).routes(routes!(list_planets));
            registry.routes(Mount::public("/planets"), api, |_| Ok(()));
        }
    }

    /// Returns the tools of an app with two operations, of which one is marked.
    pub(in crate::mcp) fn tools() -> ToolSet {
        let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:")]);
        let app = App::builder(config).with(Planets).build().unwrap();
        let own: OwnRoutes = app.context().get().unwrap();
        ToolSet::new(&own.openapi().unwrap(), &own.agent_operations().unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_marked_operation_is_a_tool() {
        let tools = tools();
        assert_eq!(tools.iter().count(), 1);
        let AppTool { tool, operation, parameters, body } = tools.iter().next().unwrap();
        assert_eq!(operation.path, "/api/v1/public/planets/{planet}/moons");
        assert_eq!(tool.description.as_deref(), Some("Add a moon. To a planet."));
        let schema = tool.schema_as_json_value();
        assert_eq!(schema["required"], json!(["planet", "body"]));
        assert_eq!(schema["additionalProperties"], json!(false));
        assert_eq!(schema["properties"]["body"]["$ref"], json!("#/$defs/Moon"));
        assert_eq!(schema["$defs"]["Moon"]["properties"]["moons"]["items"]["$ref"], json!("#/$defs/Moon"));
        assert_eq!(schema["properties"]["planet"]["description"], json!("The planet."));
        assert_eq!(*body, Some(true));
        let places: Vec<_> = parameters.iter().map(|known| (known.argument.as_str(), known.place)).collect();
        let expected = [
            ("planet", ParameterPlace::Path),
            ("dry_run", ParameterPlace::Query),
            ("idempotency_key", ParameterPlace::Header),
        ];
        assert_eq!(places, expected);
        let annotations = tool.annotations.as_ref().unwrap();
        assert_eq!((annotations.read_only_hint, annotations.destructive_hint), (Some(false), Some(false)));
    }

    #[tokio::test]
    async fn what_replaces_or_deletes_is_destructive() {
        let tools = tools();
        let mut operation = tools.iter().next().unwrap().operation.clone();
        for (method, expected) in [("GET", false), ("POST", false), ("PUT", true), ("PATCH", true), ("DELETE", true)] {
            operation.method = method.parse().unwrap();
            assert_eq!(annotations(&operation, "x").destructive_hint, Some(expected), "{method}");
        }
    }

    #[test]
    fn a_long_name_is_cut() {
        assert_eq!(name_of("listPlanets"), "listPlanets");
        assert_eq!(name_of("list.planets"), "list_planets");
        let (one, other) = (name_of(&"a".repeat(100)), name_of(&"a".repeat(101)));
        assert_eq!((one.len(), other.len()), (64, 64));
        assert_ne!(one, other);
    }
}
