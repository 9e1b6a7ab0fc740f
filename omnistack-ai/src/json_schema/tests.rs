use schemars::JsonSchema;
use serde_json::{Value, json};

use super::{
    SchemaDialect::{Anthropic, Gemini, OpenAiStrict, Plain},
    *,
};

fn translated(schema: &Value, dialect: SchemaDialect) -> Value {
    let original = schema.clone();
    let translated = translate(schema, dialect).unwrap();
    assert_eq!(*schema, original);
    translated
}

/// An order, with all that a schema of schemars has: an optional field, a nested type, an enum, a list and bounds.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct Order {
    /// The number.
    number: u32,
    note: Option<String>,
    status: Status,
    ship_to: Address,
    bill_to: Option<Address>,
    #[schemars(length(max = 3))]
    tags: Vec<String>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(dead_code, reason = "only its schema is used")]
enum Status {
    Open,
    Done,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct Address {
    #[schemars(regex(pattern = "^[A-Z]"))]
    city: String,
    zip: Option<String>,
}

fn order() -> Value {
    schemars::schema_for!(Order).to_value()
}

/// Calls a function with each object schema.
fn for_each_object(schema: &Value, check: &dyn Fn(&Value)) {
    match schema {
        Value::Object(object) => {
            if object.contains_key("properties") && object.get("type").is_some() {
                check(schema);
            }
            object.values().for_each(|value| for_each_object(value, check));
        }
        Value::Array(items) => items.iter().for_each(|item| for_each_object(item, check)),
        _ => {}
    }
}

#[test]
fn the_strict_mode_of_openai_requires_all_properties_and_closes_objects() {
    let schema = translated(&order(), OpenAiStrict);
    for_each_object(&schema, &|object| {
        assert_eq!(object["additionalProperties"], false, "{object}");
        let names: Vec<&String> = object["properties"].as_object().unwrap().keys().collect();
        assert_eq!(object["required"], json!(names), "{object}");
    });
    assert_eq!(schema["properties"]["note"]["type"], json!(["string", "null"]));
    assert_eq!(schema["properties"]["ship_to"], json!({"$ref": "#/$defs/Address"}));
    assert_eq!(schema["properties"]["bill_to"]["anyOf"], json!([{"$ref": "#/$defs/Address"}, {"type": "null"}]));
    assert_eq!(schema["properties"]["tags"]["maxItems"], 3);
    assert_eq!(schema["$defs"]["Address"]["properties"]["city"]["pattern"], "^[A-Z]");
    assert_eq!(schema["$defs"]["Status"]["enum"], json!(["open", "done"]));
    assert!(!schema.to_string().contains("$schema") && !schema.to_string().contains("uint32"));
}

#[test]
fn the_dialect_of_anthropic_closes_objects_and_describes_bounds() {
    let schema = translated(&order(), Anthropic);
    for_each_object(&schema, &|object| assert_eq!(object["additionalProperties"], false, "{object}"));
    assert_eq!(schema["required"], order()["required"]);
    assert_eq!(schema["properties"]["number"]["description"], "The number.\n\n{minimum: 0}");
    assert_eq!(schema["properties"]["tags"]["description"], "{maxItems: 3}");
    let city = json!({"type": "string", "description": "{pattern: \"^[A-Z]\"}"});
    assert_eq!(schema["$defs"]["Address"]["properties"]["city"], city);
    for_each_object(&schema, &|object| {
        for property in object["properties"].as_object().unwrap().values() {
            for keyword in ["minimum", "maxItems", "pattern", "format"] {
                assert!(property.get(keyword).is_none(), "{property}");
            }
        }
    });
}

#[test]
fn the_dialect_of_gemini_is_json_schema_without_most_bounds() {
    let schema = translated(&order(), Gemini);
    assert_eq!(schema["required"], order()["required"]);
    assert_eq!(schema["properties"]["number"]["minimum"], 0);
    assert_eq!(schema["properties"]["tags"]["maxItems"], 3);
    assert!(schema["$defs"]["Address"].get("additionalProperties").is_none());
    assert!(schema["$defs"]["Address"]["properties"]["city"].get("pattern").is_none());
}

#[test]
fn answers_in_each_dialect_match_the_original() {
    let full = json!({"number": 1, "note": null, "status": "open", "ship_to": {"city": "Köln", "zip": null},
        "bill_to": null, "tags": ["a"]});
    let validator = SchemaValidator::new(&order()).unwrap();
    assert_eq!(validator.validate(&full.to_string()), Ok(full.clone()));
    for dialect in [OpenAiStrict, Anthropic, Gemini, Plain] {
        let translated = SchemaValidator::new(&translated(&order(), dialect)).unwrap();
        assert_eq!(translated.validate(&full.to_string()), Ok(full.clone()), "{dialect:?}");
    }
}

#[test]
fn keywords_are_translated() {
    let object = |property: Value| json!({"type": "object", "properties": {"p": property}, "required": ["p"]});
    for (property, openai, anthropic, gemini) in [
        (
            json!({"const": "a"}),
            json!({"type": "string", "const": "a"}),
            json!({"type": "string", "const": "a"}),
            json!({"type": "string", "enum": ["a"]}),
        ),
        (
            json!({"enum": ["a", null]}),
            json!({"type": ["string", "null"], "enum": ["a", null]}),
            json!({"type": ["string", "null"], "enum": ["a", null]}),
            json!({"type": ["string", "null"], "enum": ["a"]}),
        ),
        (
            json!({"const": true}),
            json!({"type": "boolean", "const": true}),
            json!({"type": "boolean", "const": true}),
            json!({"type": "boolean", "description": "{const: true}"}),
        ),
        (
            json!({"type": "string", "nullable": true, "format": "email", "minLength": 2, "examples": ["x"]}),
            json!({"type": ["string", "null"], "format": "email", "description": "{minLength: 2}"}),
            json!({"type": ["string", "null"], "format": "email", "description": "{minLength: 2}"}),
            json!({"type": ["string", "null"], "description": "{format: \"email\", minLength: 2}"}),
        ),
        (
            json!({"oneOf": [{"type": "string"}, {"type": "integer", "exclusiveMinimum": 0}], "description": "D"}),
            json!({"anyOf": [{"type": "string"}, {"type": "integer", "exclusiveMinimum": 0}], "description": "D"}),
            json!({"anyOf": [{"type": "string"}, {"type": "integer", "description": "{exclusiveMinimum: 0}"}], "description": "D"}),
            json!({"anyOf": [{"type": "string"}, {"type": "integer", "description": "{exclusiveMinimum: 0}"}], "description": "D"}),
        ),
        (
            json!({"allOf": [{"type": "number", "minimum": 1}, {"type": "integer", "maximum": 5}]}),
            json!({"type": "integer", "minimum": 1, "maximum": 5}),
            json!({"type": "integer", "description": "{maximum: 5, minimum: 1}"}),
            json!({"type": "integer", "minimum": 1, "maximum": 5}),
        ),
        (
            json!({"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "minItems": 2, "items": false}),
            json!({"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]}, "minItems": 2}),
            json!({"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]}, "description": "{minItems: 2}"}),
            json!({"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "minItems": 2}),
        ),
        (
            json!({"type": "string", "pattern": "(?=a)", "default": "a"}),
            json!({"type": "string", "description": "{pattern: \"(?=a)\"}"}),
            json!({"type": "string", "description": "{pattern: \"(?=a)\"}"}),
            json!({"type": "string", "description": "{pattern: \"(?=a)\"}"}),
        ),
        (
            json!({"properties": {}, "additionalProperties": false}),
            json!({"type": "object", "properties": {}, "required": [], "additionalProperties": false}),
            json!({"type": "object", "properties": {}, "additionalProperties": false}),
            json!({"type": "object", "additionalProperties": false}),
        ),
    ] {
        let schema = object(property.clone());
        for (dialect, expected) in [(OpenAiStrict, openai), (Anthropic, anthropic), (Gemini, gemini)] {
            assert_eq!(translated(&schema, dialect)["properties"]["p"], expected, "{property} {dialect:?}");
        }
    }
}

#[test]
fn alternatives_repeat_what_they_have_in_common() {
    let schema = json!({
        "type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
        "anyOf": [{"required": ["a"]}, {"properties": {"c": {"type": "boolean"}}, "required": ["b"]}],
    });
    let expected = json!({"anyOf": [
        {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}, "required": ["a"],
            "additionalProperties": false},
        {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}, "c": {"type": "boolean"}},
            "required": ["b"], "additionalProperties": false},
    ]});
    assert_eq!(translated(&schema, Anthropic), expected);
    let mixed = json!({"type": ["array", "string", "null"], "items": {"type": "string"}, "minLength": 1});
    let expected = json!({"anyOf": [
        {"type": "array", "items": {"type": "string"}}, {"type": "string", "description": "{minLength: 1}"}, {"type": "null"},
    ]});
    assert_eq!(translated(&mixed, Gemini), expected);
}

#[test]
fn optional_properties_accept_null_in_strict_mode() {
    let schema = json!({
        "type": "object",
        "properties": {
            "text": {"type": "string"}, "choice": {"enum": ["a", "b"]}, "only": {"const": 1}, "ref": {"$ref": "#/$defs/T"},
            "any": {"anyOf": [{"type": "string"}, {"type": "integer"}]}, "null": {"type": ["string", "null"]},
        },
        "$defs": {"T": {"type": "string"}, "Unused": {"type": "object"}},
    });
    let properties = json!({
        "text": {"type": ["string", "null"]}, "choice": {"type": ["string", "null"], "enum": ["a", "b", null]},
        "only": {"anyOf": [{"type": "integer", "const": 1}, {"type": "null"}]},
        "ref": {"anyOf": [{"$ref": "#/$defs/T"}, {"type": "null"}]},
        "any": {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]},
        "null": {"type": ["string", "null"]},
    });
    let translated = translated(&schema, OpenAiStrict);
    assert_eq!((&translated["properties"], &translated["$defs"]), (&properties, &json!({"T": {"type": "string"}})));
    // The nulls are removed again, and those that the original accepts remain.
    let validator = SchemaValidator::new(&schema).unwrap();
    let answer = json!({"text": null, "choice": null, "only": null, "ref": null, "any": null, "null": null});
    assert_eq!(validator.validate(&answer.to_string()), Ok(json!({"null": null})));
}

#[test]
fn references_lead_to_definitions() {
    let schema = json!({
        "$ref": "#/definitions/Node",
        "definitions": {
            "Node": {"type": "object", "properties": {
                "next": {"anyOf": [{"$ref": "#/definitions/Node"}, {"type": "null"}]},
                "same": {"$ref": "#/definitions/Node/properties/name", "description": "dropped"},
                "name": {"type": "string"},
            }, "required": ["next", "same", "name"]},
        },
    });
    for dialect in [OpenAiStrict, Gemini] {
        let translated = translated(&schema, dialect);
        let next = json!({"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]});
        assert_eq!(translated["properties"]["next"], next);
        assert_eq!(translated["$defs"]["Node"]["properties"]["next"], next);
        assert_eq!(translated["properties"]["same"], json!({"$ref": "#/$defs/definitions_Node_properties_name"}));
        assert_eq!(translated["$defs"]["definitions_Node_properties_name"], json!({"type": "string"}));
    }
    assert!(translate(&schema, Anthropic).unwrap_err().contains("refers to itself"));
    let root = json!({"type": "object", "properties": {"child": {"$ref": "#"}}});
    assert_eq!(translated(&root, Gemini)["properties"]["child"], json!({"$ref": "#/$defs/Root"}));
}

#[test]
fn what_a_dialect_can_not_express_is_an_error() {
    let object = |property: Value| json!({"type": "object", "properties": {"p": property}});
    for (schema, dialects) in [
        (object(json!({"type": "object", "additionalProperties": {"type": "string"}})), vec![OpenAiStrict, Anthropic]),
        (object(json!({"type": "object"})), vec![OpenAiStrict, Anthropic]),
        (
            object(json!({"type": "object", "patternProperties": {"^a": {}}, "additionalProperties": false})),
            vec![OpenAiStrict, Anthropic],
        ),
        (object(json!({})), vec![OpenAiStrict, Anthropic]),
        (object(json!(true)), vec![OpenAiStrict, Anthropic]),
        (object(json!({"type": "array"})), vec![OpenAiStrict, Anthropic]),
        (object(json!({"const": {"a": 1}})), vec![OpenAiStrict, Anthropic, Gemini]),
        (object(json!(false)), vec![OpenAiStrict, Anthropic, Gemini]),
        (object(json!({"allOf": [{"type": "string"}, {"type": "integer"}]})), vec![OpenAiStrict, Anthropic, Gemini]),
        (json!({"type": "array", "items": {"type": "string"}}), vec![OpenAiStrict]),
        (json!({"anyOf": [{"type": "string"}]}), vec![OpenAiStrict]),
        (json!(true), vec![OpenAiStrict, Anthropic, Gemini, Plain]),
        (object(json!({"$ref": "https://example.com/a"})), vec![OpenAiStrict, Anthropic, Gemini, Plain]),
        (object(json!({"$ref": "#/$defs/missing"})), vec![OpenAiStrict, Anthropic, Gemini, Plain]),
        (object(json!({"$dynamicRef": "#a"})), vec![OpenAiStrict, Anthropic, Gemini, Plain]),
        (object(json!({"$id": "https://example.com/a"})), vec![OpenAiStrict, Anthropic, Gemini, Plain]),
    ] {
        for dialect in [OpenAiStrict, Anthropic, Gemini, Plain] {
            assert_eq!(translate(&schema, dialect).is_err(), dialects.contains(&dialect), "{schema} {dialect:?}");
        }
    }
}

/// Returns a schema whose definitions refer to the next one twice, by a function of the reference.
fn doubling(definitions: usize, twice: impl Fn(Value) -> Value) -> Value {
    let mut schema = json!({"$ref": "#/$defs/d0", "$defs": {}});
    for index in 0..definitions {
        schema["$defs"][format!("d{index}")] = twice(json!({"$ref": format!("#/$defs/d{}", index + 1)}));
    }
    schema["$defs"][format!("d{definitions}")] = json!({"type": "string"});
    schema
}

#[test]
fn schemas_that_would_exhaust_the_process_are_refused() {
    let mut deep = json!({"type": "string"});
    for _ in 0..200 {
        deep = json!({"type": "array", "items": deep});
    }
    let chain = doubling(1_000, |next| json!({"properties": {"a": next}}));
    let ands = doubling(40, |next| json!({"allOf": [next, next]}));
    let levels = doubling(60, |next| json!({"properties": {"a": {"anyOf": [next, next]}}}));
    let itself = json!({"$ref": "#"});
    let loops = json!({"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}, {"type": "string"}]}}});
    let large = json!({"enum": vec!["x".repeat(100); 5_000]});
    for schema in [deep, chain, ands, levels, itself, loops, large] {
        for dialect in [OpenAiStrict, Anthropic, Gemini, Plain] {
            assert!(translate(&schema, dialect).is_err(), "{dialect:?}");
        }
        assert!(SchemaValidator::new(&schema).is_err());
    }
}

#[test]
fn a_definition_that_is_inlined_into_itself_ends() {
    let of = |next: Value| json!({"$ref": "#/$defs/a", "$defs": {"a": {"type": "object", "properties": {"x": next}}}});
    let beside = of(json!({"$ref": "#/$defs/a", "type": "object"}));
    let common = of(json!({"type": ["object", "null"], "anyOf": [{"$ref": "#/$defs/a"}, {"type": "null"}]}));
    // Each level would have twice as many parts as the one above.
    let part = |one: &str, other: &str| {
        let x = json!({"allOf": [{"$ref": format!("#/$defs/{one}")}, {"$ref": format!("#/$defs/{other}")}]});
        json!({"type": "object", "properties": {"x": x}})
    };
    let doubled = json!({"$ref": "#/$defs/a", "$defs": {"a": part("a", "b"), "b": part("b", "a")}});
    for schema in [beside, common, doubled] {
        for dialect in [OpenAiStrict, Anthropic, Gemini] {
            let error = translate(&schema, dialect).unwrap_err();
            assert!(error.contains("refers to itself"), "{dialect:?} {error}");
        }
    }
    // The same definition twice, not in itself.
    let twice = json!({
        "type": "object",
        "properties": {"x": {"$ref": "#/$defs/a", "minLength": 1}, "y": {"$ref": "#/$defs/a", "minLength": 2}},
        "$defs": {"a": {"type": "string"}},
    });
    assert!(translate(&twice, Gemini).is_ok());
}

#[test]
fn answers_that_could_cause_any_number_of_errors_are_not_described() {
    let schema = json!({
        "$ref": "#/$defs/a",
        "$defs": {"a": {"type": "object", "properties": {"x": {"anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}]}}}},
    });
    let validator = SchemaValidator::new(&schema).unwrap();
    let nested = |levels: usize| format!("{}1{}", "{\"x\":".repeat(levels), "}".repeat(levels));
    assert_eq!(validator.validate(&nested(60)), Err(vec!["the answer does not match the JSON schema".to_owned()]));
    assert!(validator.validate(&nested(100)).unwrap_err()[0].contains("nested deeper"));
    assert!(validator.validate(&nested(2)).unwrap_err()[0].starts_with("at /x"));
}

#[test]
fn answers_are_validated() {
    let schema = json!({
        "type": "object", "properties": {"age": {"type": "integer", "minimum": 0}, "name": {"type": "string"}},
        "required": ["age"], "additionalProperties": false,
    });
    let validator = SchemaValidator::new(&schema).unwrap();
    for text in [
        "{\"age\":1}",
        " {\"age\":1}\n",
        "```json\n{\"age\":1}\n```",
        "```\n{\"age\":1}```",
        "{\"age\":1,\"name\":null}",
    ] {
        assert_eq!(validator.validate(text), Ok(json!({"age": 1})), "{text}");
    }
    for text in ["", "Sure! {\"age\":1}", "{\"age\":", "{\"age\":1} x"] {
        assert!(validator.validate(text).unwrap_err()[0].starts_with("the answer is not JSON"), "{text}");
    }
    let errors = validator.validate("{\"age\":-1,\"name\":\"secret\",\"more\":\"secret\"}").unwrap_err();
    assert_eq!(errors.len(), 2);
    assert!(errors.iter().all(|error| !error.contains("secret")), "{errors:?}");
    assert!(validator.validate("{\"age\":null}").is_err());
    let many = SchemaValidator::new(&json!({"items": {"type": "string"}})).unwrap();
    assert_eq!(many.validate(&json!(vec![1; 100]).to_string()).unwrap_err().len(), 10);
}

#[test]
fn invalid_schemas_are_errors() {
    for schema in [json!({"type": "text"}), json!({"minimum": "x"}), json!({"$ref": "https://example.com/s"}), json!(1)]
    {
        assert!(SchemaValidator::new(&schema).is_err(), "{schema}");
    }
    // The name of a document does not matter.
    let named = json!({"$id": "https://example.com/s", "$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}});
    assert_eq!(SchemaValidator::new(&named).unwrap().validate("\"x\""), Ok(json!("x")));
}
