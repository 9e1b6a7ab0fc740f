//! Conjunctions: `allOf`, and `$ref` beside other keywords, as one schema.

use serde_json::{Map, Value, json};

use super::structure::{is_annotation, resolve};

/// Returns a schema without `allOf`, and without a `$ref` that has constraints beside it. A `$ref` without any is kept,
/// unless `inline_reference` is set. Adds the references that it resolves to `inlined`.
///
/// Fails if the parts contradict each other, or can't be combined.
pub(super) fn flatten(
    root: &Value,
    schema: &Map<String, Value>,
    inline_reference: bool,
    inlined: &mut Vec<String>,
) -> Result<Map<String, Value>, String> {
    let is_constraint = |key: &String| key != "$ref" && !is_annotation(key);
    let inlines = inline_reference || schema.contains_key("allOf") || schema.keys().any(is_constraint);
    let mut flat = schema.clone();
    normalize_nullable(&mut flat);
    if inlines && let Some(Value::String(reference)) = flat.remove("$ref") {
        merge_part(root, &mut flat, resolve(root, &reference)?, inlined)?;
        inlined.push(reference);
    }
    if let Some(Value::Array(parts)) = flat.remove("allOf") {
        for part in &parts {
            merge_part(root, &mut flat, part, inlined)?;
        }
    }
    Ok(flat)
}

fn merge_part(
    root: &Value,
    flat: &mut Map<String, Value>,
    part: &Value,
    inlined: &mut Vec<String>,
) -> Result<(), String> {
    match part {
        Value::Object(part) => merge(flat, flatten(root, part, true, inlined)?),
        Value::Bool(true) => Ok(()),
        _ => Err("a part of the JSON schema accepts no value".to_owned()),
    }
}

/// Adds the keywords of a schema to another. Bounds of the first remain: the answer is validated against the original.
pub(super) fn merge(into: &mut Map<String, Value>, from: Map<String, Value>) -> Result<(), String> {
    for (key, value) in from {
        let Some(known) = into.get_mut(&key) else {
            into.insert(key, value);
            continue;
        };
        if *known == value {
            continue;
        }
        match key.as_str() {
            "properties" => merge_properties(known, value),
            "required" => extend_list(known, value),
            "type" => *known = common_types(known, &value)?,
            "enum" => *known = common_values(known, &value)?,
            "const" => return Err("two parts of the JSON schema require different values".to_owned()),
            "anyOf" | "oneOf" => return Err("the JSON schema combines alternatives with alternatives".to_owned()),
            "items" if known.is_object() && value.is_object() => *known = json!({"allOf": [known.take(), value]}),
            "additionalProperties" if value == Value::Bool(false) => *known = value,
            _ => {}
        }
    }
    Ok(())
}

fn merge_properties(known: &mut Value, value: Value) {
    let (Value::Object(known), Value::Object(value)) = (known, value) else { return };
    for (name, property) in value {
        match known.get_mut(&name) {
            Some(known) if *known == property => {}
            Some(known) => *known = json!({"allOf": [known.take(), property]}),
            None => {
                known.insert(name, property);
            }
        }
    }
}

fn extend_list(known: &mut Value, value: Value) {
    let (Value::Array(known), Value::Array(value)) = (known, value) else { return };
    for item in value {
        if !known.contains(&item) {
            known.push(item);
        }
    }
}

/// Turns `nullable` of OpenAPI 3.0 into the type `null`.
fn normalize_nullable(schema: &mut Map<String, Value>) {
    if schema.remove("nullable") != Some(Value::Bool(true)) {
        return;
    }
    if let Some(kind) = schema.get_mut("type").filter(|kind| kind.is_string()) {
        *kind = json!([kind.take(), "null"]);
        if let Some(Value::Array(values)) = schema.get_mut("enum")
            && !values.contains(&Value::Null)
        {
            values.push(Value::Null);
        }
    }
}

/// Returns the names of types in `type`.
pub(super) fn type_names(types: &Value) -> Vec<&str> {
    match types {
        Value::String(name) => vec![name],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn common_types(known: &Value, other: &Value) -> Result<Value, String> {
    let (known, other) = (type_names(known), type_names(other));
    let accepts =
        |types: &[&str], name: &str| types.contains(&name) || (name == "integer" && types.contains(&"number"));
    let mut common: Vec<&str> = known.iter().copied().filter(|name| accepts(&other, name)).collect();
    for name in &other {
        if accepts(&known, name) && !common.contains(name) {
            common.push(name);
        }
    }
    match common.as_slice() {
        [] => Err("two parts of the JSON schema require different types".to_owned()),
        [only] => Ok(json!(only)),
        many => Ok(json!(many)),
    }
}

fn common_values(known: &Value, other: &Value) -> Result<Value, String> {
    let (Value::Array(known), Value::Array(other)) = (known, other) else { return Ok(known.clone()) };
    let common: Vec<&Value> = known.iter().filter(|value| other.contains(value)).collect();
    if common.is_empty() {
        return Err("two parts of the JSON schema require different values".to_owned());
    }
    Ok(json!(common))
}
