//! Keywords of values.

use serde_json::{Map, Value, json};

use super::super::{SchemaDialect, cut, flatten::type_names};

/// Longest bound in a remark, in bytes of its JSON.
const MAX_REMARK_BYTES: usize = 200;

/// Bounds of values, and the types of the values that they limit.
const BOUNDS: &[(&str, &[&str])] = &[
    ("minimum", &["number", "integer"]),
    ("maximum", &["number", "integer"]),
    ("exclusiveMinimum", &["number", "integer"]),
    ("exclusiveMaximum", &["number", "integer"]),
    ("multipleOf", &["number", "integer"]),
    ("minLength", &["string"]),
    ("maxLength", &["string"]),
    ("pattern", &["string"]),
    ("format", &["string"]),
    ("minItems", &["array"]),
    ("maxItems", &["array"]),
    ("uniqueItems", &["array"]),
    ("minProperties", &["object"]),
    ("maxProperties", &["object"]),
];

/// Formats of texts that OpenAI and Anthropic accept.
const TEXT_FORMATS: [&str; 9] = ["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"];

/// Copies title and description.
pub(super) fn keep_annotations(schema: &Map<String, Value>, result: &mut Map<String, Value>) {
    for keyword in ["title", "description"] {
        if let Some(text @ Value::String(_)) = schema.get(keyword) {
            result.insert(keyword.to_owned(), text.clone());
        }
    }
}

/// Returns the types of the values that a schema accepts, by other keywords if it does not name them. Returns none if
/// it accepts values of any type.
pub(super) fn types(schema: &Map<String, Value>) -> Vec<String> {
    if let Some(types) = schema.get("type") {
        return type_names(types).into_iter().map(str::to_owned).collect();
    }
    if let Some(values) = values(schema) {
        let mut types: Vec<String> = Vec::new();
        for value in values {
            let name = type_of(value).to_owned();
            if !types.contains(&name) {
                types.push(name);
            }
        }
        return types;
    }
    if ["properties", "required", "additionalProperties", "patternProperties"]
        .iter()
        .any(|key| schema.contains_key(*key))
    {
        return vec!["object".to_owned()];
    }
    if ["items", "prefixItems"].iter().any(|key| schema.contains_key(*key)) {
        return vec!["array".to_owned()];
    }
    // Bounds limit values of their type and accept all others, but no author means that.
    let bound = BOUNDS.iter().find(|(keyword, _)| schema.contains_key(*keyword));
    bound.and_then(|(_, types)| types.first()).map(|name| vec![(*name).to_owned()]).unwrap_or_default()
}

fn values(schema: &Map<String, Value>) -> Option<Vec<&Value>> {
    match (schema.get("const"), schema.get("enum")) {
        (Some(only), _) => Some(vec![only]),
        (None, Some(Value::Array(values))) => Some(values.iter().collect()),
        _ => None,
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Translates a schema with fixed values.
pub(super) fn enumeration(
    dialect: SchemaDialect,
    schema: &Map<String, Value>,
    types: Vec<String>,
    mut result: Map<String, Value>,
    path: &str,
) -> Result<Value, String> {
    let values = values(schema).unwrap_or_default();
    if values.is_empty() {
        return Err(format!("`{}` accepts no value", cut(path)));
    }
    if values.iter().any(|value| value.is_array() || value.is_object()) {
        return Err(format!("`{}` has a fixed value that is an object or a list", cut(path)));
    }
    if dialect == SchemaDialect::Gemini {
        // Gemini's enumerations contain texts and numbers only.
        let accepted: Vec<&Value> =
            values.iter().copied().filter(|value| value.is_string() || value.is_number()).collect();
        let others: Vec<&Value> = values.iter().copied().filter(|value| value.is_boolean()).collect();
        if others.is_empty() && !accepted.is_empty() {
            result.insert("enum".to_owned(), json!(accepted));
        } else if let [only] = others.as_slice() {
            add_remarks(&Map::from_iter([("const".to_owned(), (*only).clone())]), &mut result);
        }
    } else if let Some(only) = schema.get("const") {
        result.insert("const".to_owned(), only.clone());
    } else {
        result.insert("enum".to_owned(), json!(values));
    }
    result.insert("type".to_owned(), if let [only] = types.as_slice() { json!(only) } else { json!(types) });
    Ok(result.into())
}

/// Copies the bounds that the dialect accepts. All others become remarks.
pub(super) fn keep_bounds(
    dialect: SchemaDialect,
    schema: &Map<String, Value>,
    types: &[String],
    result: &mut Map<String, Value>,
) {
    let mut remarks = Map::new();
    for (keyword, of_types) in BOUNDS {
        let Some(value) = schema.get(*keyword) else { continue };
        if !of_types.iter().any(|of_type| types.iter().any(|name| name == of_type)) {
            continue;
        }
        if accepts(dialect, keyword, value) {
            result.insert((*keyword).to_owned(), value.clone());
        } else {
            remarks.insert((*keyword).to_owned(), value.clone());
        }
    }
    add_remarks(&remarks, result);
}

fn accepts(dialect: SchemaDialect, keyword: &str, value: &Value) -> bool {
    let text = value.as_str().unwrap_or_default();
    match dialect {
        SchemaDialect::OpenAiStrict => match keyword {
            "format" => TEXT_FORMATS.contains(&text),
            // Groups with `(?`, such as assertions, are refused.
            "pattern" => !text.contains("(?"),
            "minLength" | "maxLength" | "uniqueItems" | "minProperties" | "maxProperties" => false,
            _ => true,
        },
        SchemaDialect::Anthropic => match keyword {
            "format" => text == "uri" || TEXT_FORMATS.contains(&text),
            "minItems" => matches!(value.as_u64(), Some(0 | 1)),
            _ => false,
        },
        SchemaDialect::Gemini => match keyword {
            "format" => matches!(text, "date-time" | "date" | "time"),
            "minimum" | "maximum" | "minItems" | "maxItems" => true,
            _ => false,
        },
        SchemaDialect::Plain => true,
    }
}

/// Adds bounds to the description, so that the model knows them.
fn add_remarks(remarks: &Map<String, Value>, result: &mut Map<String, Value>) {
    let remarks: Vec<String> = remarks
        .iter()
        .map(|(keyword, value)| format!("{keyword}: {value}"))
        .filter(|remark| remark.len() <= MAX_REMARK_BYTES)
        .collect();
    if remarks.is_empty() {
        return;
    }
    let remarks = format!("{{{}}}", remarks.join(", "));
    let description = match result.get("description").and_then(Value::as_str) {
        Some(description) => format!("{description}\n\n{remarks}"),
        None => remarks,
    };
    result.insert("description".to_owned(), description.into());
}

/// Returns a translated schema that also accepts `null`.
pub(super) fn nullable(schema: Value) -> Value {
    let mut schema = match schema {
        Value::Object(schema) => schema,
        other => return other,
    };
    if accepts_null(&schema) {
        return schema.into();
    }
    if let Some(Value::Array(alternatives)) = schema.get_mut("anyOf") {
        alternatives.push(json!({"type": "null"}));
        return schema.into();
    }
    if schema.contains_key("const") || schema.contains_key("$ref") {
        return json!({"anyOf": [schema, {"type": "null"}]});
    }
    if let Some(types) = schema.get_mut("type") {
        let names: Vec<&str> = type_names(types).into_iter().chain(["null"]).collect();
        *types = json!(names);
    }
    if let Some(Value::Array(values)) = schema.get_mut("enum") {
        values.push(Value::Null);
    }
    schema.into()
}

fn accepts_null(schema: &Map<String, Value>) -> bool {
    match schema.get("anyOf") {
        Some(Value::Array(alternatives)) => alternatives.iter().filter_map(Value::as_object).any(accepts_null),
        _ => schema.get("type").is_some_and(|types| type_names(types).contains(&"null")),
    }
}
