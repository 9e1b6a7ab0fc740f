//! The operations of an OpenAPI document, for tests of all of them. The tests of the example app use it too.

use http::Method;
use omnistack_testkit::{TestClient, TestRequest};
use serde_json::{Value, json};

/// Returns a minimal value that matches a schema, or null if there is no schema. `id` is used for every id.
fn sample(document: &Value, schema: &Value, id: &str) -> Value {
    if schema.is_null() {
        return Value::Null;
    }
    if let Some(name) = schema["$ref"].as_str() {
        return sample(document, &document["components"]["schemas"][name.rsplit('/').next().unwrap()], id);
    }
    if let Some(any) = schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array()) {
        return any.iter().map(|one| sample(document, one, id)).find(|value| !value.is_null()).unwrap_or_default();
    }
    if let Some(all) = schema["allOf"].as_array() {
        let parts = all.iter().filter_map(|one| sample(document, one, id).as_object().cloned());
        return parts.flatten().collect::<serde_json::Map<_, _>>().into();
    }
    if let Some(value) = schema.get("const").or_else(|| schema["enum"].get(0)) {
        return value.clone();
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str());
    match kind {
        Some("object") => {
            let names = schema["required"].as_array().cloned().unwrap_or_default();
            let field = |name: Value| {
                let value = sample(document, &schema["properties"][name.as_str().unwrap()], id);
                (name.as_str().unwrap().to_owned(), value)
            };
            names.into_iter().map(field).collect::<serde_json::Map<_, _>>().into()
        }
        Some("array") => json!([sample(document, &schema["items"], id)]),
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or_else(|| json!(1)),
        Some("boolean") => json!(true),
        Some("null") => Value::Null,
        _ => match schema["format"].as_str() {
            Some("uuid") => json!(id),
            Some("email") => json!("somebody@example.com"),
            Some("date-time") => json!("2031-01-01T00:00:00Z"),
            // The names of permissions and roles have this pattern.
            _ if schema["pattern"].as_str().is_some_and(|pattern| pattern.contains("a-z")) => json!("viewer"),
            _ => {
                let most = schema["maxLength"].as_u64().and_then(|most| usize::try_from(most).ok());
                json!("tenant:read and so on".chars().take(most.unwrap_or(usize::MAX)).collect::<String>())
            }
        },
    }
}

/// An operation of the OpenAPI document.
pub(crate) struct Operation {
    pub(crate) method: Method,
    /// The path with its parameters in braces.
    pub(crate) path: String,
    /// A minimal body, or null if there is none.
    pub(crate) body: Value,
    /// The operation in the document.
    pub(crate) description: Value,
}

impl Operation {
    /// Returns the path with its parameters replaced by the value for the part of the path before each of them.
    pub(crate) fn path_with<'a>(&self, value: impl Fn(&str) -> &'a str) -> String {
        let (mut filled, mut before) = (Vec::new(), "");
        for part in self.path.split('/') {
            filled.push(if part.starts_with('{') { value(before) } else { part });
            before = part;
        }
        filled.join("/")
    }

    pub(crate) fn send(&self, client: &TestClient, path: &str) -> TestRequest {
        let request = client.request(self.method.clone(), path);
        if self.body.is_null() { request } else { request.json(&self.body) }
    }
}

/// Returns every operation whose path contains `part`, in every version. Ids in bodies are set to `id`.
pub(crate) fn operations(document: &Value, part: &str, id: &str) -> Vec<Operation> {
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        if !path.contains(part) {
            continue;
        }
        for (method, operation) in item.as_object().unwrap() {
            let Ok(method) = Method::from_bytes(method.to_uppercase().as_bytes()) else { continue };
            if !operation.is_object() || !operation["responses"].is_object() {
                continue;
            }
            let mut body = sample(document, &operation["requestBody"]["content"]["application/json"]["schema"], id);
            for (field, value) in [
                ("permissions", json!(["tenant:read"])),
                ("scopes", json!(["tenant:read"])),
                ("role", json!("viewer")),
                ("currency", json!("USD")),
            ] {
                if body.get(field).is_some() {
                    body[field] = value;
                }
            }
            all.push(Operation { method, path: path.clone(), body, description: operation.clone() });
        }
    }
    all
}
