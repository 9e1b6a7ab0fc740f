//! The validation of answers.

use jsonschema::PatternOptions;
use serde_json::Value;

use super::{cut, structure};

/// Deepest nesting of the JSON of an answer. Validation recurses as deep.
const MAX_ANSWER_DEPTH: usize = 64;

/// Most steps of a validation that describes each error. Beyond, the errors are not described: a schema with recursive
/// alternatives can cause any number of them.
const MAX_DESCRIBED_WORK: u64 = 1_000_000;

/// Most errors that are described.
const MAX_ERRORS: usize = 10;

/// Most steps back that the search for a match of a pattern takes.
const PATTERN_BACKTRACK_LIMIT: usize = 10_000;

/// Largest size of a compiled pattern, in bytes.
const MAX_PATTERN_BYTES: usize = 1024 * 1024;

/// A compiled schema.
#[derive(Debug)]
pub(crate) struct SchemaValidator {
    schema: Value,
    validator: jsonschema::Validator,
}

impl SchemaValidator {
    /// Compiles a schema. Fails with a description if it is invalid, too large, too deep, refers to other documents, or
    /// refers to itself without end.
    pub(crate) fn new(schema: &Value) -> Result<Self, String> {
        structure::check(schema)?;
        let mut schema = schema.clone();
        if let Some(object) = schema.as_object_mut() {
            // References are relative to the document, whatever its name is.
            object.remove("$id");
        }
        let patterns = PatternOptions::fancy_regex()
            .backtrack_limit(PATTERN_BACKTRACK_LIMIT)
            .size_limit(MAX_PATTERN_BYTES)
            .dfa_size_limit(MAX_PATTERN_BYTES);
        let validator = jsonschema::options().offline().with_pattern_options(patterns).build(&schema);
        let validator =
            validator.map_err(|error| format!("the JSON schema is invalid: {}", cut(&error.to_string())))?;
        Ok(Self { schema, validator })
    }

    /// Parses an answer, and returns its value if it matches the schema. A code fence around the JSON, and `null` in
    /// place of optional properties that don't accept it, are removed: so the text of the value can differ from `text`.
    ///
    /// Fails with the errors, for the model that shall repair the answer. They contain names of properties, but no
    /// values.
    pub(crate) fn validate(&self, text: &str) -> Result<Value, Vec<String>> {
        let value: Value = serde_json::from_str(without_fence(text)).map_err(|error| {
            vec![format!("the answer is not JSON (line {}, column {})", error.line(), error.column())]
        })?;
        let depth = depth(&value);
        if depth > MAX_ANSWER_DEPTH {
            return Err(vec![format!("the answer is nested deeper than {MAX_ANSWER_DEPTH} levels")]);
        }
        if self.validator.is_valid(&value) {
            return Ok(value);
        }
        let work = structure::work_at_depth(&self.schema, depth).saturating_mul(count(&value));
        let is_describable = work <= MAX_DESCRIBED_WORK;
        if is_describable {
            let mut fixed = value.clone();
            let paths = self.validator.iter_errors(&value).filter(|error| error.instance().is_null());
            let paths: Vec<String> = paths.map(|error| error.instance_path().as_str().to_owned()).collect();
            for path in &paths {
                remove_property(&mut fixed, path);
            }
            if !paths.is_empty() && self.validator.is_valid(&fixed) {
                return Ok(fixed);
            }
        }
        let mut fixed = value.clone();
        remove_nulls(&mut fixed);
        if self.validator.is_valid(&fixed) {
            return Ok(fixed);
        }
        if !is_describable {
            return Err(vec!["the answer does not match the JSON schema".to_owned()]);
        }
        let errors = self.validator.iter_errors(&value).take(MAX_ERRORS);
        let errors = errors.map(|error| match error.instance_path().as_str() {
            "" => cut(&error.masked().to_string()),
            path => format!("at {}: {}", cut(path), cut(&error.masked().to_string())),
        });
        Err(errors.collect())
    }
}

/// Returns a text without a Markdown code fence around it.
fn without_fence(text: &str) -> &str {
    let text = text.trim();
    let Some(inner) = text.strip_prefix("```").and_then(|text| text.strip_suffix("```")) else { return text };
    let inner = inner.strip_prefix("json").or_else(|| inner.strip_prefix("JSON")).unwrap_or(inner);
    inner.trim()
}

/// Removes the member of an object at a JSON pointer (RFC 6901).
fn remove_property(value: &mut Value, pointer: &str) {
    let Some((parent, name)) = pointer.rsplit_once('/') else { return };
    let name = name.replace("~1", "/").replace("~0", "~");
    if let Some(Value::Object(object)) = value.pointer_mut(parent) {
        object.remove(&name);
    }
}

/// Removes all members of objects that are `null`.
fn remove_nulls(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.retain(|_, value| !value.is_null());
            object.values_mut().for_each(remove_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(remove_nulls),
        _ => {}
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Object(object) => 1 + object.values().map(depth).max().unwrap_or(0),
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn count(value: &Value) -> u64 {
    match value {
        Value::Object(object) => 1 + object.values().map(count).sum::<u64>(),
        Value::Array(items) => 1 + items.iter().map(count).sum::<u64>(),
        _ => 1,
    }
}
