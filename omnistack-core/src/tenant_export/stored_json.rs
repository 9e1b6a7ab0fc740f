//! JSON in columns of text.

use serde::{Serialize, Serializer};
use serde_json::Value;
use sqlx::{Database, Decode, Type, error::BoxDynError};

/// JSON that is stored as text, and that an [`ExportRow`](super::ExportRow) shows as JSON. Text that is no JSON is shown as
/// text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredJson(String);

impl Serialize for StoredJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serde_json::from_str::<Value>(&self.0) {
            Ok(value) => value.serialize(serializer),
            Err(_) => self.0.serialize(serializer),
        }
    }
}

impl<DB: Database> Type<DB> for StoredJson
where
    String: Type<DB>,
{
    fn type_info() -> DB::TypeInfo {
        <String as Type<DB>>::type_info()
    }

    fn compatible(info: &DB::TypeInfo) -> bool {
        <String as Type<DB>>::compatible(info)
    }
}

impl<'r, DB: Database> Decode<'r, DB> for StoredJson
where
    String: Decode<'r, DB>,
{
    fn decode(value: DB::ValueRef<'r>) -> Result<Self, BoxDynError> {
        <String as Decode<'r, DB>>::decode(value).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_json_is_shown_as_json() {
        for (stored, expected) in [(r#"{"a":[1]}"#, r#"{"a":[1]}"#), ("null", "null"), ("{", r#""{""#)] {
            assert_eq!(serde_json::to_string(&StoredJson(stored.to_owned())).unwrap(), expected);
        }
    }
}
