//! Fields of JSON objects whose form is not certain.

use serde_json::Value;

/// Largest number of tokens that a provider is believed.
const MAX_TOKENS: u64 = 1_000_000_000_000;

/// Returns the text of a field, or an empty one.
pub(crate) fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Returns the elements of a field, or none if it is no list.
pub(crate) fn list<'a>(object: &'a Value, key: &str) -> &'a [Value] {
    object.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// Returns the number of tokens in the first of the fields that has one. Fields are JSON pointers (RFC 6901).
pub(crate) fn count(object: &Value, pointers: &[&str]) -> Option<u64> {
    pointers.iter().find_map(|pointer| tokens(object.pointer(pointer)?))
}

fn tokens(value: &Value) -> Option<u64> {
    let whole = || {
        let number = value.as_f64().filter(|number| *number >= 0.0 && number.is_finite())?;
        format!("{number:.0}").parse().ok()
    };
    value.as_u64().or_else(whole).map(|number| number.min(MAX_TOKENS))
}
