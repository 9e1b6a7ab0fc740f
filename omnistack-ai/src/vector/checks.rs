//! The rules for names, ids, texts and metadata. No I/O.

use omnistack_core::http::FieldError;
use serde_json::{Map, Value};

use super::{
    filter::check_field_name,
    model::{MAX_VECTOR_DIMENSIONS, normalized},
};

/// Largest length of the name of a collection, in characters.
pub(super) const MAX_COLLECTION_NAME_LENGTH: usize = 64;
/// Largest length of the id of a point, in characters.
pub(super) const MAX_POINT_ID_LENGTH: usize = 200;
/// Largest length of the text of a point, in characters.
pub(super) const MAX_POINT_TEXT_LENGTH: usize = 32_768;
/// Largest number of fields of the metadata of a point.
const MAX_METADATA_FIELDS: usize = 64;
/// Largest size of the metadata of a point, in bytes of JSON.
const MAX_METADATA_BYTES: usize = 16 * 1024;
/// Names that are parts of other routes.
const RESERVED_NAMES: [&str; 1] = ["search"];

/// Checks the name of a collection: it is a part of URLs.
pub(super) fn check_name(name: &str) -> Result<(), FieldError> {
    let is_accepted = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
    let starts_well = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    if !starts_well || name.len() > MAX_COLLECTION_NAME_LENGTH || !name.bytes().all(is_accepted) {
        let message = "must have 1 to 64 small letters, digits, `_` or `-`, and begin with a letter or a digit";
        return Err(FieldError::new("name", message));
    }
    if RESERVED_NAMES.contains(&name) {
        return Err(FieldError::new("name", "is the name of a route; choose another one"));
    }
    Ok(())
}

pub(super) fn check_dimensions(dimensions: usize) -> Result<u32, FieldError> {
    match u32::try_from(dimensions) {
        Ok(dimensions) if (1..=MAX_VECTOR_DIMENSIONS).contains(&dimensions) => Ok(dimensions),
        _ => Err(FieldError::new("dimensions", format!("must be a number from 1 to {MAX_VECTOR_DIMENSIONS}"))),
    }
}

/// Checks an id. The databases can't store NUL.
pub(super) fn check_id(field: &str, id: &str) -> Result<(), FieldError> {
    if id.is_empty() || id.chars().count() > MAX_POINT_ID_LENGTH || id.chars().any(char::is_control) {
        let message = format!("must have 1 to {MAX_POINT_ID_LENGTH} characters, and no control characters");
        return Err(FieldError::new(field, message));
    }
    Ok(())
}

pub(super) fn check_text(field: &str, text: &str) -> Result<(), FieldError> {
    if text.contains('\0') {
        return Err(FieldError::new(field, "must not contain NUL"));
    }
    Ok(())
}

pub(super) fn check_metadata(field: &str, metadata: &Map<String, Value>) -> Result<(), FieldError> {
    let wrong = |message: String| FieldError::new(field, message);
    if metadata.len() > MAX_METADATA_FIELDS {
        return Err(wrong(format!("must have at most {MAX_METADATA_FIELDS} fields")));
    }
    for (name, value) in metadata {
        check_field_name(name).map_err(wrong)?;
        if has_nul(value) {
            return Err(FieldError::new(format!("{field}.{name}"), "must not contain NUL"));
        }
    }
    if Value::Object(metadata.clone()).to_string().len() > MAX_METADATA_BYTES {
        return Err(wrong(format!("must have at most {MAX_METADATA_BYTES} bytes as JSON")));
    }
    Ok(())
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(fields) => fields.iter().any(|(name, value)| name.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Returns a vector with the length 1.
pub(super) fn check_vector(field: &str, vector: &[f32], dimensions: u32) -> Result<Vec<f32>, FieldError> {
    if u32::try_from(vector.len()) != Ok(dimensions) {
        let message =
            format!("must have {dimensions} numbers, as all vectors of the collection; it has {}", vector.len());
        return Err(FieldError::new(field, message));
    }
    normalized(vector).ok_or_else(|| FieldError::new(field, "must have finite numbers, and one that is not zero"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_parts_of_urls() {
        for name in ["a", "default", "docs-2026_v1", &"x".repeat(64)] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for name in ["", "-a", "A", "a b", "a/b", "ä", "search", &"x".repeat(65)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn what_the_databases_cannot_store_is_refused() {
        assert!(check_id("id", "a\0").is_err());
        assert!(check_id("id", "").is_err());
        assert!(check_id("id", "https://example.com/a?b#1").is_ok());
        assert!(check_text("text", "a\0").is_err());
        for wrong in [json!({ "a": ["x\0"] }), json!({ "a.b": 1 }), json!({ "a": { "b\0": 1 } })] {
            assert!(check_metadata("metadata", wrong.as_object().unwrap()).is_err(), "{wrong}");
        }
        assert!(check_metadata("metadata", json!({ "a": "x".repeat(20_000) }).as_object().unwrap()).is_err());
        assert!(check_metadata("metadata", json!({ "a": { "b": [1, null] } }).as_object().unwrap()).is_ok());
    }

    #[test]
    fn vectors_have_the_length_of_the_collection() {
        assert_eq!(check_vector("vector", &[0.0, 2.0], 2), Ok(vec![0.0, 1.0]));
        assert!(check_vector("vector", &[1.0], 2).is_err());
        assert!(check_vector("vector", &[0.0, 0.0], 2).is_err());
        assert!(check_dimensions(0).is_err());
        assert_eq!(check_dimensions(4_096), Ok(4_096));
        assert!(check_dimensions(4_097).is_err());
    }
}
