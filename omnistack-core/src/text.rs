//! Text with limits, as types: the limit is in the type of a field, and everything else follows from it.
//!
//! | type | accepts |
//! |---|---|
//! | [`Text<MIN, MAX>`](Text) | `MIN` to `MAX` characters without NUL, which PostgreSQL can't store |
//! | [`Name<MAX>`](Name) | 1 to `MAX` characters that [`is_name`](crate::name::is_name) accepts |
//!
//! Deserializing checks the limits, so an invalid field of a request body is 422 with the field's name. The JSON schema
//! has `minLength`, `maxLength` and `pattern`. On both databases the value is a text column.
//!
//! ```
//! use garde::Validate;
//! use omnistack_core::{http::Patch, text::{Name, Text}};
//! use serde::Deserialize;
//! use utoipa::ToSchema;
//!
//! #[derive(Deserialize, Validate, ToSchema)]
//! #[garde(allow_unvalidated)]
//! struct ProjectUpdate {
//!     name: Option<Name<100>>,
//!     #[serde(default)]
//!     description: Patch<Text<0, 10_000>>,
//! }
//!
//! let read = |json| serde_json::from_str::<ProjectUpdate>(json);
//! assert_eq!(&*read(r#"{"name": "Apollo"}"#)?.name.unwrap(), "Apollo");
//! assert!(read(r#"{"name": ""}"#).is_err());
//! assert_eq!(read(r#"{"description": null}"#)?.description, Patch::Null);
//! # Ok::<(), serde_json::Error>(())
//! ```

use std::{borrow::Cow, fmt, ops::Deref};

use serde::{Deserialize, Deserializer, Serialize, de};
use sqlx::{Decode, Encode, Type, encode::IsNull, error::BoxDynError};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, schema},
};

use crate::name;

/// The error of a text that does not keep to the limits of its type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TextError(String);

/// Text of `MIN` to `MAX` characters, without NUL. Values that are read from the database are not checked, so that
/// rows stored under other limits can still be read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Text<const MIN: usize, const MAX: usize>(String);

/// A name of 1 to `MAX` characters, shown to other users: without line breaks, links and characters that hide text, as
/// [`is_name`](crate::name::is_name) requires. Values that are read from the database are not checked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Name<const MAX: usize>(String);

/// A text without NUL, as a pattern of JSON Schema.
const WITHOUT_NUL_PATTERN: &str = r"^[^\x00]*$";
/// A text with a visible character and without control characters, as a pattern of JSON Schema.
const NAME_PATTERN: &str = r"^[^\x00-\x1f\x7f]*\S[^\x00-\x1f\x7f]*$";

fn check_length(text: &str, min: usize, max: usize) -> Result<(), TextError> {
    // The length in bytes is checked first, so that a long text is not counted.
    let count = if text.len() > max.saturating_mul(4) { usize::MAX } else { text.chars().count() };
    if (min..=max).contains(&count) {
        return Ok(());
    }
    Err(TextError(match min {
        0 => format!("must have at most {max} characters"),
        min => format!("must have {min} to {max} characters"),
    }))
}

fn string_schema(min: usize, max: usize, pattern: &str) -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(schema::Type::String)
        .min_length(Some(min))
        .max_length(Some(max))
        .pattern(Some(pattern))
        .into()
}

/// The default is the empty text, for fields with `#[serde(default)]`.
impl<const MAX: usize> Default for Text<0, MAX> {
    fn default() -> Self {
        Self(String::new())
    }
}

impl<const MIN: usize, const MAX: usize> Text<MIN, MAX> {
    /// Checks a text.
    ///
    /// # Errors
    /// Fails if the text has fewer than `MIN` or more than `MAX` characters, or contains NUL.
    pub fn new(text: impl Into<String>) -> Result<Self, TextError> {
        let text = text.into();
        check_length(&text, MIN, MAX)?;
        if text.contains('\0') {
            return Err(TextError("must not contain the character NUL (\\u0000)".into()));
        }
        Ok(Self(text))
    }

    fn schema_name() -> String {
        format!("Text_{MIN}_{MAX}")
    }

    fn json_schema() -> RefOr<Schema> {
        string_schema(MIN, MAX, WITHOUT_NUL_PATTERN)
    }
}

impl<const MAX: usize> Name<MAX> {
    /// Checks a name.
    ///
    /// # Errors
    /// Fails if the text is empty, has more than `MAX` characters, or [`is_name`](crate::name::is_name) rejects it.
    pub fn new(text: impl Into<String>) -> Result<Self, TextError> {
        let text = text.into();
        check_length(&text, 1, MAX)?;
        name::is_name(&text, &()).map_err(|error| TextError(error.to_string()))?;
        Ok(Self(text))
    }

    fn schema_name() -> String {
        format!("Name_{MAX}")
    }

    fn json_schema() -> RefOr<Schema> {
        string_schema(1, MAX, NAME_PATTERN)
    }
}

macro_rules! text_type {
    ($type:ty, $($limit:ident),+) => {
        impl<$(const $limit: usize),+> Deref for $type {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl<$(const $limit: usize),+> AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl<$(const $limit: usize),+> fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl<$(const $limit: usize),+> From<$type> for String {
            fn from(text: $type) -> Self {
                text.0
            }
        }

        impl<$(const $limit: usize),+> TryFrom<String> for $type {
            type Error = TextError;

            fn try_from(text: String) -> Result<Self, TextError> {
                Self::new(text)
            }
        }

        impl<'de, $(const $limit: usize),+> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::new(String::deserialize(deserializer)?).map_err(de::Error::custom)
            }
        }

        impl<$(const $limit: usize),+> PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                Self::json_schema()
            }
        }

        impl<$(const $limit: usize),+> ToSchema for $type {
            fn name() -> Cow<'static, str> {
                Self::schema_name().into()
            }
        }

        text_type!(@database "postgres", sqlx::Postgres, $type, $($limit),+);
        text_type!(@database "sqlite", sqlx::Sqlite, $type, $($limit),+);
    };
    (@database $feature:literal, $database:ty, $type:ty, $($limit:ident),+) => {
        #[cfg(feature = $feature)]
        impl<$(const $limit: usize),+> Type<$database> for $type {
            fn type_info() -> <$database as sqlx::Database>::TypeInfo {
                <String as Type<$database>>::type_info()
            }

            fn compatible(info: &<$database as sqlx::Database>::TypeInfo) -> bool {
                <String as Type<$database>>::compatible(info)
            }
        }

        #[cfg(feature = $feature)]
        impl<$(const $limit: usize),+> Encode<'_, $database> for $type {
            fn encode_by_ref(
                &self,
                buffer: &mut <$database as sqlx::Database>::ArgumentBuffer,
            ) -> Result<IsNull, BoxDynError> {
                Encode::<$database>::encode_by_ref(&self.0, buffer)
            }
        }

        #[cfg(feature = $feature)]
        impl<'r, $(const $limit: usize),+> Decode<'r, $database> for $type {
            fn decode(value: <$database as sqlx::Database>::ValueRef<'r>) -> Result<Self, BoxDynError> {
                <String as Decode<$database>>::decode(value).map(Self)
            }
        }
    };
}

text_type!(Text<MIN, MAX>, MIN, MAX);
text_type!(Name<MAX>, MAX);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_count_characters() {
        for (text, valid) in [("", false), ("é", true), ("ééé", true), ("éééé", false), ("a\0", false)] {
            assert_eq!(Text::<1, 3>::new(text).is_ok(), valid, "{text:?}");
        }
        assert_eq!(&*Text::<0, 3>::default(), "");
        assert_eq!(Text::<0, 3>::new("🐢🐢🐢🐢").unwrap_err().to_string(), "must have at most 3 characters");
        for (text, valid) in [("", false), (" ", false), ("Ada", true), ("Ada!", false), ("a.io", false)] {
            assert_eq!(Name::<3>::new(text).is_ok(), valid, "{text:?}");
        }
    }
}
