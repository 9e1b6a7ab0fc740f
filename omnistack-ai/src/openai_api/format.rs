//! The form of the answer: `response_format`.

use serde_json::Value;

use super::fields::{FieldProblem, ObjectFields};
use crate::chat::OutputFormat;

/// Longest name of a schema and of a format, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// Reads `response_format`.
pub(super) fn parse_format(request: &mut ObjectFields) -> Result<OutputFormat, FieldProblem> {
    let Some(mut format) = request.object("response_format")? else { return Ok(OutputFormat::Text) };
    match format.required_text("type", MAX_NAME_BYTES)?.as_str() {
        "text" => Ok(OutputFormat::Text),
        "json_object" => Ok(OutputFormat::JsonObject),
        "json_schema" => {
            let mut form = format.required_object("json_schema")?;
            let name = form.required_text("name", MAX_NAME_BYTES)?;
            let strict = form.boolean("strict")?.unwrap_or(false);
            let schema = match form.take("schema") {
                Some(schema @ Value::Object(_)) => schema,
                Some(_) => return Err(form.problem("schema", "must be a JSON schema")),
                None => return Err(form.problem("schema", "is required")),
            };
            Ok(OutputFormat::JsonSchema { name, schema, strict })
        }
        _ => Err(format.problem("type", "must be `text`, `json_object` or `json_schema`")),
    }
}
