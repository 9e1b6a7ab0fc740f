//! JSON schemas in requests.

use serde_json::{Value, json};

use crate::{
    json_schema::{SchemaDialect, translate},
    wire::Quirks,
};

/// A schema as it is sent, and whether the provider guarantees it.
#[derive(Debug, PartialEq)]
pub(crate) struct StrictSchema {
    pub(crate) schema: Value,
    pub(crate) strict: bool,
}

impl StrictSchema {
    /// Translates a schema for OpenAI's strict mode. A schema that this mode can't express is sent as it is, with a
    /// warning: the gateway validates the answer in any case.
    pub(crate) fn new(quirks: &Quirks, schema: &Value, strict: bool, name: &str, warnings: &mut Vec<String>) -> Self {
        if !schema.is_object() {
            // A tool without arguments.
            return Self { schema: json!({"type": "object", "properties": {}}), strict: false };
        }
        if !strict || !quirks.strict_schemas {
            return Self { schema: schema.clone(), strict };
        }
        match translate(schema, SchemaDialect::OpenAiStrict) {
            Ok(schema) => Self { schema, strict },
            Err(reason) => {
                warnings.push(format!("the provider does not guarantee the schema `{name}`: {reason}"));
                Self { schema: schema.clone(), strict: false }
            }
        }
    }
}
