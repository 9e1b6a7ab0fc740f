//! Fragments of the document, before it is written.

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::json;

/// An operation or a schema, as a value of utoipa or as JSON.
pub(super) enum Fragment<T> {
    /// Serialized with the document.
    Value(Box<T>),
    /// Takes a small part of the memory of the value.
    Json(Box<RawValue>),
}

impl<T: Serialize + PartialEq> Fragment<T> {
    /// Creates a fragment, which keeps the value if `keeps_value`.
    pub(super) fn new(value: T, keeps_value: bool) -> Self {
        if keeps_value { Self::Value(Box::new(value)) } else { Self::Json(json(&value)) }
    }

    /// Returns whether the JSON of a value is that of this fragment.
    pub(super) fn describes(&self, value: &T) -> bool {
        match self {
            // Values that differ may have the same JSON.
            Self::Value(known) => **known == *value || json(known).get() == json(value).get(),
            Self::Json(known) => known.get() == json(value).get(),
        }
    }
}

impl<T: Serialize> Serialize for Fragment<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Value(value) => value.serialize(serializer),
            Self::Json(json) => json.serialize(serializer),
        }
    }
}
