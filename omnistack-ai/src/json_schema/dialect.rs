//! The subsets of JSON Schema that providers accept.

use serde_json::Value;

use super::{structure, translator::Translator};

/// The subset of JSON Schema that an API accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SchemaDialect {
    /// OpenAI's strict mode: all properties are required, and optional ones accept `null`. Objects are closed.
    OpenAiStrict,
    /// Anthropic's structured output: objects are closed, and there are no recursion, bounds and patterns.
    Anthropic,
    /// Gemini's `responseJsonSchema` and `parametersJsonSchema`.
    Gemini,
    /// JSON Schema without changes.
    Plain,
}

impl SchemaDialect {
    /// Returns whether objects must name all their properties.
    pub(super) const fn closes_objects(self) -> bool {
        matches!(self, Self::OpenAiStrict | Self::Anthropic)
    }
}

/// Returns a schema in a dialect. An answer that matches the result also matches the original, but for bounds and
/// patterns that the dialect lacks, and for `null` in place of an optional property in [`SchemaDialect::OpenAiStrict`];
/// [`SchemaValidator::validate`](super::SchemaValidator::validate) removes the latter.
///
/// Fails with a description if the dialect can't express the schema, or if the schema is too large, too deep, refers to
/// other documents, or refers to itself without end.
pub(crate) fn translate(schema: &Value, dialect: SchemaDialect) -> Result<Value, String> {
    if !schema.is_object() {
        return Err("the JSON schema is no object".to_owned());
    }
    structure::check(schema)?;
    match dialect {
        SchemaDialect::Plain => Ok(schema.clone()),
        _ => Translator::new(schema, dialect).translate(),
    }
}

/// Returns the instructions by which a model without structured output answers in JSON.
pub(crate) fn instructions(schema: Option<&Value>) -> String {
    match schema {
        Some(schema) => format!(
            "Answer only with JSON that matches the following JSON schema, without any other text and without a code \
             fence.\n{schema}"
        ),
        None => "Answer only with a JSON object, without any other text and without a code fence.".to_owned(),
    }
}
