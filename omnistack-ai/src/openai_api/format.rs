//! The form of the answer: `response_format` of chat completions, and `text.format` of Responses.

use serde_json::Value;

use super::fields::{FieldProblem, ObjectFields};
use crate::chat::OutputFormat;

/// Longest name of a schema and of a format, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// Reads `response_format`.
pub(super) fn parse_response_format(request: &mut ObjectFields) -> Result<OutputFormat, FieldProblem> {
    let format = request.object("response_format")?;
    parse_format(format, |mut format| format.required_object("json_schema"))
}

/// Reads `format` of the object `text`.
pub(super) fn parse_text_format(text: &mut ObjectFields) -> Result<OutputFormat, FieldProblem> {
    parse_format(text.object("format")?, Ok)
}

/// Reads a format. `schema_fields` returns the object with the name and the schema.
fn parse_format(
    format: Option<ObjectFields>,
    schema_fields: impl FnOnce(ObjectFields) -> Result<ObjectFields, FieldProblem>,
) -> Result<OutputFormat, FieldProblem> {
    let Some(mut format) = format else { return Ok(OutputFormat::Text) };
    match format.required_text("type", MAX_NAME_BYTES)?.as_str() {
        "text" => Ok(OutputFormat::Text),
        "json_object" => Ok(OutputFormat::JsonObject),
        "json_schema" => parse_schema(schema_fields(format)?),
        _ => Err(format.problem("type", "must be `text`, `json_object` or `json_schema`")),
    }
}

fn parse_schema(mut fields: ObjectFields) -> Result<OutputFormat, FieldProblem> {
    let name = fields.required_text("name", MAX_NAME_BYTES)?;
    let strict = fields.boolean("strict")?.unwrap_or(false);
    let schema = match fields.take("schema") {
        Some(schema @ Value::Object(_)) => schema,
        Some(_) => return Err(fields.problem("schema", "must be a JSON schema")),
        None => return Err(fields.problem("schema", "is required")),
    };
    Ok(OutputFormat::JsonSchema { name, schema, strict })
}
