//! JSON that matches a schema.

use serde_json::{Map, Number, Value, json};

/// Maximum depth of the JSON, and of references.
const MAX_DEPTH: usize = 16;

/// Maximum number of values in the JSON. Few lines of a schema can ask for any number.
const MAX_VALUES: usize = 2_000;

/// Bytes of names and stated values that count as one more value.
const BYTES_PER_VALUE: usize = 64;

/// Maximum length to which a text is extended.
const MAX_TEXT_CHARS: usize = 1_000;

/// Returns a small value that matches a JSON schema, as far as its common keywords say: the default or the example if
/// it states them, and only the required properties of objects.
pub(super) fn instance(schema: &Value) -> Value {
    InstanceBuilder { root: schema, room: MAX_VALUES }.value(schema, MAX_DEPTH)
}

struct InstanceBuilder<'a> {
    /// The document, within which references are resolved.
    root: &'a Value,
    /// The number of values that may be added.
    room: usize,
}

impl<'a> InstanceBuilder<'a> {
    fn value(&mut self, schema: &'a Value, depth: usize) -> Value {
        let (Some(depth), Some(room)) = (depth.checked_sub(1), self.room.checked_sub(1)) else { return Value::Null };
        self.room = room;
        let Some(object) = schema.as_object() else { return json!({}) };
        if let Some(stated) = stated_value(object) {
            self.charge(stated.to_string().len());
            return stated.clone();
        }
        if let Some(target) = object.get("$ref").and_then(Value::as_str).and_then(|path| self.resolve(path)) {
            return self.value(target, depth);
        }
        for keyword in ["anyOf", "oneOf"] {
            if let Some(choices) = object.get(keyword).and_then(Value::as_array) {
                // `null` stands for an absent value; the other choice shows more.
                let shown = choices.iter().find(|choice| type_of(choice) != Some("null")).or_else(|| choices.first());
                return shown.map_or(Value::Null, |choice| self.value(choice, depth));
            }
        }
        if let Some(all) = object.get("allOf").and_then(Value::as_array) {
            return self.all_of(object, all, depth);
        }
        match type_of(schema) {
            Some("string") => Value::String(text(object)),
            Some("integer") => number(object, true),
            Some("number") => number(object, false),
            Some("boolean") => Value::Bool(false),
            Some("null") => Value::Null,
            Some("array") => self.array(object, depth),
            _ => Value::Object(self.properties(object, depth)),
        }
    }

    /// Returns the schema that a reference within the document names.
    fn resolve(&self, path: &str) -> Option<&'a Value> {
        self.root.pointer(path.strip_prefix('#')?)
    }

    /// Returns an object with the properties of all schemas, or the value of the first schema that is of another type.
    fn all_of(&mut self, own: &'a Map<String, Value>, all: &'a [Value], depth: usize) -> Value {
        let mut merged = Map::new();
        for schema in all {
            match self.value(schema, depth) {
                Value::Object(properties) => merged.extend(properties),
                other => return other,
            }
        }
        merged.extend(self.properties(own, depth));
        Value::Object(merged)
    }

    fn properties(&mut self, schema: &'a Map<String, Value>, depth: usize) -> Map<String, Value> {
        let declared = schema.get("properties").and_then(Value::as_object);
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let mut properties = Map::new();
        for name in required.take(MAX_VALUES) {
            if self.room == 0 {
                break;
            }
            self.charge(name.len());
            let property = declared.and_then(|properties| properties.get(name));
            let value = if let Some(property) = property {
                self.value(property, depth)
            } else {
                self.room = self.room.saturating_sub(1);
                json!("")
            };
            properties.insert(name.to_owned(), value);
        }
        properties
    }

    /// Counts bytes that a schema asks for: it can ask for them many times.
    fn charge(&mut self, bytes: usize) {
        self.room = self.room.saturating_sub(bytes / BYTES_PER_VALUE);
    }

    fn array(&mut self, schema: &'a Map<String, Value>, depth: usize) -> Value {
        let prefix = schema.get("prefixItems").and_then(Value::as_array).into_iter().flatten();
        let mut items: Vec<Value> = Vec::new();
        for item in prefix {
            items.push(self.value(item, depth));
        }
        let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0);
        let least = usize::try_from(least).unwrap_or(usize::MAX);
        while items.len() < least && self.room > 0 {
            let item = schema.get("items").map_or_else(|| json!(""), |item| self.value(item, depth));
            self.room = self.room.saturating_sub(1);
            items.push(item);
        }
        Value::Array(items)
    }
}

/// Returns the value that a schema itself contains.
fn stated_value(schema: &Map<String, Value>) -> Option<&Value> {
    let first = |keyword: &str| schema.get(keyword).and_then(Value::as_array).and_then(|values| values.first());
    let stated = schema.get("const").or_else(|| schema.get("default")).or_else(|| first("examples"));
    stated.or_else(|| first("enum"))
}

/// Returns the type: the only one, or the first that is not `null`.
fn type_of(schema: &Value) -> Option<&str> {
    match schema.get("type")? {
        Value::String(name) => Some(name),
        Value::Array(names) => {
            let names = || names.iter().filter_map(Value::as_str);
            names().find(|name| *name != "null").or_else(|| names().next())
        }
        _ => None,
    }
}

fn text(schema: &Map<String, Value>) -> String {
    let sample = match schema.get("format").and_then(Value::as_str) {
        Some("date-time") => "2026-01-01T00:00:00Z",
        Some("date") => "2026-01-01",
        Some("time") => "00:00:00Z",
        Some("email") => "fake@example.com",
        Some("uri" | "url") => "https://example.com/",
        Some("uuid") => "00000000-0000-4000-8000-000000000000",
        Some("ipv4") => "192.0.2.1",
        _ => "text",
    };
    let length = |keyword: &str| schema.get(keyword).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
    let least = length("minLength").unwrap_or(0).min(MAX_TEXT_CHARS);
    let missing = least.saturating_sub(sample.chars().count());
    let extended = format!("{sample}{}", "x".repeat(missing));
    match length("maxLength") {
        Some(most) => extended.chars().take(most).collect(),
        None => extended,
    }
}

/// Returns a number within the bounds: the least, or else zero or the greatest.
fn number(schema: &Map<String, Value>, whole: bool) -> Value {
    let bound = |keyword: &str| schema.get(keyword).and_then(Value::as_f64);
    let step = bound("multipleOf").filter(|step| *step > 0.0);
    let over = step.unwrap_or(1.0);
    let least = bound("minimum").or_else(|| bound("exclusiveMinimum").map(|least| least + over));
    let most = bound("maximum").or_else(|| bound("exclusiveMaximum").map(|most| most - over));
    let value = least.unwrap_or_else(|| most.map_or(0.0, |most| most.min(0.0)));
    let value = step.map_or(value, |step| (value / step).ceil() * step);
    if whole {
        // Text, because a conversion of numbers could lose digits without a word.
        return format!("{:.0}", value.ceil()).parse::<i64>().map_or_else(|_| json!(0), |value| json!(value));
    }
    Number::from_f64(value).map_or_else(|| json!(0), Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_match_their_schemas() {
        let schemas = [
            json!({ "type": "string" }),
            json!({ "type": "string", "minLength": 40 }),
            json!({ "type": "string", "maxLength": 2 }),
            json!({ "type": "string", "enum": ["a", "b"] }),
            json!({ "type": ["null", "integer"], "minimum": 3, "maximum": 5 }),
            json!({ "type": "integer", "exclusiveMinimum": 0, "multipleOf": 5 }),
            json!({ "type": "integer", "maximum": -7 }),
            json!({ "type": "number", "minimum": 0.5 }),
            json!({ "type": "boolean" }),
            json!({ "type": "null" }),
            json!({ "const": { "a": 1 } }),
            json!({ "type": "array", "items": { "type": "integer" }, "minItems": 2 }),
            json!({ "type": "array", "prefixItems": [{ "type": "string" }, { "type": "boolean" }], "minItems": 2 }),
            json!({ "anyOf": [{ "type": "null" }, { "type": "string" }] }),
            json!({
                "allOf": [
                    { "type": "object", "properties": { "a": { "type": "integer" } }, "required": ["a"] },
                    { "type": "object", "properties": { "b": { "type": "string" } }, "required": ["b"] },
                ]
            }),
            json!({
                "type": "object",
                "properties": { "kind": { "$ref": "#/$defs/Kind" }, "more": { "type": "string" } },
                "required": ["kind"],
                "additionalProperties": false,
                "$defs": { "Kind": { "enum": ["x"] } },
            }),
            json!({}),
            json!(true),
        ];
        for schema in schemas {
            let value = instance(&schema);
            assert!(jsonschema::is_valid(&schema, &value), "{schema} {value}");
        }
    }

    #[test]
    fn a_schema_without_end_ends() {
        let schema = json!({ "type": "object", "properties": { "next": { "$ref": "#" } }, "required": ["next"] });
        let mut value = &instance(&schema);
        let mut depth = 0;
        while let Some(next) = value.get("next") {
            value = next;
            depth += 1;
        }
        assert!(depth < MAX_DEPTH);
        assert_eq!(instance(&json!({ "$ref": "#" })), Value::Null);
        assert_eq!(instance(&json!({ "$ref": "https://example.com/schema" })), json!({}));
    }

    #[test]
    fn a_schema_can_not_ask_for_much() {
        let array = |items: Value| json!({ "type": "array", "minItems": 1_000_000_000, "items": items });
        let nested = array(array(array(json!({ "type": "string", "minLength": 1_000_000_000 }))));
        assert!(instance(&nested).to_string().len() < 3_000_000);
        let required: Vec<String> = (0..100).map(|index| format!("p{index}")).collect();
        let properties: Map<String, Value> =
            required.iter().map(|name| (name.clone(), json!({ "$ref": "#" }))).collect();
        let wide = json!({ "type": "object", "properties": properties, "required": required });
        assert!(instance(&wide).to_string().len() < 1_000_000);
        let stated = array(json!({ "default": "x".repeat(100_000) }));
        assert!(instance(&stated).to_string().len() < 1_000_000);
        let undeclared = array(json!({ "type": "object", "required": required }));
        assert!(instance(&undeclared).to_string().len() < 1_000_000);
        let named = json!({ "type": "object", "required": ["n".repeat(100_000)] });
        assert!(instance(&array(named)).to_string().len() < 1_000_000);
    }
}
