//! Fields of a JSON object, read with the path of what is wrong.

use omnistack_core::http::{Error, FieldError};
use serde_json::{Map, Value};

/// Longest part of a name of the caller that is repeated in a problem, in characters.
const MAX_NAME_CHARS: usize = 100;

/// A problem of a request: the path of the parameter, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldProblem {
    pub(crate) param: String,
    pub(crate) message: String,
}

impl FieldProblem {
    pub(crate) fn new(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { param: param.into(), message: message.into() }
    }
}

/// Returns 400 `INVALID_REQUEST`, with the parameter in the detail `param`.
impl From<FieldProblem> for Error {
    fn from(problem: FieldProblem) -> Self {
        let message = format!("`{}` {}", problem.param, problem.message);
        Self::bad_request("INVALID_REQUEST", message).with_detail("param", problem.param)
    }
}

impl FieldProblem {
    /// Returns 422 `VALIDATION_FAILED`, the app's own form of such a problem.
    pub(crate) fn into_validation_error(self) -> Error {
        Error::invalid([FieldError::new(self.param, self.message)])
    }
}

/// An object whose fields are taken out by name. `null` counts as absent, as in OpenAI's API.
#[derive(Debug)]
pub(crate) struct ObjectFields {
    path: String,
    fields: Map<String, Value>,
}

impl ObjectFields {
    /// Wraps the object at a path, which is empty for the request itself.
    pub(crate) fn new(path: impl Into<String>, fields: Map<String, Value>) -> Self {
        Self { path: path.into(), fields }
    }

    /// Wraps a value at a path, which must be an object.
    pub(crate) fn of(path: impl Into<String>, value: Value) -> Result<Self, FieldProblem> {
        let path = path.into();
        match value {
            Value::Object(fields) => Ok(Self { path, fields }),
            _ => Err(FieldProblem::new(path, "must be an object")),
        }
    }

    /// Returns the path of a field.
    pub(crate) fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// Returns the problem of a field.
    pub(crate) fn problem(&self, name: &str, message: impl Into<String>) -> FieldProblem {
        FieldProblem::new(self.path(name), message)
    }

    /// Takes a field of any type.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.fields.remove(name).filter(|value| !value.is_null())
    }

    /// Returns the name of a field that was not taken, if there is one, or the beginning of a long name.
    pub(crate) fn first_left(&self) -> Option<String> {
        self.fields.keys().next().map(|name| name.chars().take(MAX_NAME_CHARS).collect())
    }

    /// Returns the fields that were not taken and are not `null`.
    pub(crate) fn into_rest(mut self) -> Map<String, Value> {
        self.fields.retain(|_, value| !value.is_null());
        self.fields
    }

    /// Takes a text of at most `max` bytes.
    pub(crate) fn text(&mut self, name: &str, max: usize) -> Result<Option<String>, FieldProblem> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) if text.len() <= max => Ok(Some(text)),
            Some(Value::String(_)) => Err(self.problem(name, format!("must have at most {max} bytes"))),
            Some(_) => Err(self.problem(name, "must be a text")),
        }
    }

    /// Takes a text that is required and not empty.
    pub(crate) fn required_text(&mut self, name: &str, max: usize) -> Result<String, FieldProblem> {
        let text = self.text(name, max)?.filter(|text| !text.is_empty());
        text.ok_or_else(|| self.problem(name, "is required"))
    }

    /// Takes a boolean.
    pub(crate) fn boolean(&mut self, name: &str) -> Result<Option<bool>, FieldProblem> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(value)),
            Some(_) => Err(self.problem(name, "must be `true` or `false`")),
        }
    }

    /// Takes a number from `min` to `max`.
    pub(crate) fn number(&mut self, name: &str, min: f64, max: f64) -> Result<Option<f64>, FieldProblem> {
        let Some(value) = self.take(name) else { return Ok(None) };
        match value.as_f64() {
            Some(number) if (min..=max).contains(&number) => Ok(Some(number)),
            _ => Err(self.problem(name, format!("must be a number from {min} to {max}"))),
        }
    }

    /// Takes a whole number from 1 to `max`.
    pub(crate) fn count(&mut self, name: &str, max: u64) -> Result<Option<u64>, FieldProblem> {
        let Some(value) = self.take(name) else { return Ok(None) };
        match value.as_u64() {
            Some(number) if (1..=max).contains(&number) => Ok(Some(number)),
            _ => Err(self.problem(name, format!("must be a whole number from 1 to {max}"))),
        }
    }

    /// Takes a list of at most `max` items.
    pub(crate) fn list(&mut self, name: &str, max: usize) -> Result<Option<Vec<Value>>, FieldProblem> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Array(items)) if items.len() <= max => Ok(Some(items)),
            Some(Value::Array(_)) => Err(self.problem(name, format!("must have at most {max} items"))),
            Some(_) => Err(self.problem(name, "must be a list")),
        }
    }

    /// Takes an object.
    pub(crate) fn object(&mut self, name: &str) -> Result<Option<Self>, FieldProblem> {
        let path = self.path(name);
        self.take(name).map(|value| Self::of(path, value)).transpose()
    }

    /// Takes an object that is required.
    pub(crate) fn required_object(&mut self, name: &str) -> Result<Self, FieldProblem> {
        self.object(name)?.ok_or_else(|| self.problem(name, "is required"))
    }
}
