//! Whole numbers with limits, as a type: the limits are in the type of a field, and everything else follows from them.
//!
//! Deserializing checks the limits, so an invalid field of a request body is 422 with the field's name. The JSON schema
//! has `minimum` and `maximum`. On both databases the value is a 64-bit integer.
//!
//! ```
//! use garde::Validate;
//! use omnistack_core::number::Integer;
//! use serde::Deserialize;
//! use utoipa::ToSchema;
//!
//! #[derive(Deserialize, Validate, ToSchema)]
//! #[garde(allow_unvalidated)]
//! struct RoomUpdate {
//!     seats: Option<Integer<1, 1_000>>,
//! }
//!
//! let read = |json| serde_json::from_str::<RoomUpdate>(json);
//! assert_eq!(read(r#"{"seats": 8}"#)?.seats.map(Integer::get), Some(8));
//! assert!(read(r#"{"seats": 0}"#).is_err_and(|error| error.to_string().starts_with("must be from 1 to 1000")));
//! # Ok::<(), serde_json::Error>(())
//! ```

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Deserializer, Serialize, de};
use sqlx::{Database, Decode, Encode, Type, encode::IsNull, error::BoxDynError};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat, schema},
};

/// The error of a number outside the limits of its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be from {min} to {max}")]
pub struct IntegerError {
    min: i64,
    max: i64,
}

/// A whole number from `MIN` to `MAX`. Values that are read from the database are not checked, so that rows stored under
/// other limits can still be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Integer<const MIN: i64, const MAX: i64>(i64);

impl<const MIN: i64, const MAX: i64> Integer<MIN, MAX> {
    /// Checks a number.
    ///
    /// # Errors
    /// Fails if the number is less than `MIN` or more than `MAX`.
    pub const fn new(number: i64) -> Result<Self, IntegerError> {
        if MIN <= number && number <= MAX { Ok(Self(number)) } else { Err(IntegerError { min: MIN, max: MAX }) }
    }

    /// Returns the number.
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl<const MIN: i64, const MAX: i64> fmt::Display for Integer<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<const MIN: i64, const MAX: i64> From<Integer<MIN, MAX>> for i64 {
    fn from(number: Integer<MIN, MAX>) -> Self {
        number.0
    }
}

impl<const MIN: i64, const MAX: i64> TryFrom<i64> for Integer<MIN, MAX> {
    type Error = IntegerError;

    fn try_from(number: i64) -> Result<Self, IntegerError> {
        Self::new(number)
    }
}

impl<'de, const MIN: i64, const MAX: i64> Deserialize<'de> for Integer<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(i64::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl<const MIN: i64, const MAX: i64> PartialSchema for Integer<MIN, MAX> {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(schema::Type::Integer)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
            .minimum(Some(MIN))
            .maximum(Some(MAX))
            .into()
    }
}

impl<const MIN: i64, const MAX: i64> ToSchema for Integer<MIN, MAX> {
    fn name() -> Cow<'static, str> {
        format!("Integer_{MIN}_{MAX}").into()
    }
}

impl<DB: Database, const MIN: i64, const MAX: i64> Type<DB> for Integer<MIN, MAX>
where
    i64: Type<DB>,
{
    fn type_info() -> DB::TypeInfo {
        <i64 as Type<DB>>::type_info()
    }

    fn compatible(info: &DB::TypeInfo) -> bool {
        <i64 as Type<DB>>::compatible(info)
    }
}

impl<'q, DB: Database, const MIN: i64, const MAX: i64> Encode<'q, DB> for Integer<MIN, MAX>
where
    i64: Encode<'q, DB>,
{
    fn encode_by_ref(&self, buffer: &mut <DB as Database>::ArgumentBuffer) -> Result<IsNull, BoxDynError> {
        Encode::<'q, DB>::encode_by_ref(&self.0, buffer)
    }
}

impl<'r, DB: Database, const MIN: i64, const MAX: i64> Decode<'r, DB> for Integer<MIN, MAX>
where
    i64: Decode<'r, DB>,
{
    fn decode(value: <DB as Database>::ValueRef<'r>) -> Result<Self, BoxDynError> {
        <i64 as Decode<'r, DB>>::decode(value).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_str, json, to_value};

    use super::*;

    #[test]
    fn the_limits_are_checked_and_described() {
        for (number, valid) in [(i64::MIN, false), (0, false), (1, true), (60, true), (61, false), (i64::MAX, false)] {
            assert_eq!(Integer::<1, 60>::new(number).is_ok(), valid, "{number}");
            assert_eq!(from_str::<Integer<1, 60>>(&number.to_string()).is_ok(), valid, "{number}");
        }
        assert_eq!(Integer::<1, 60>::new(0).unwrap_err().to_string(), "must be from 1 to 60");
        assert_eq!(to_value(Integer::<1, 60>::new(7).unwrap()).unwrap(), json!(7));
        let described = json!({ "type": "integer", "format": "int64", "minimum": 1, "maximum": 60 });
        assert_eq!(to_value(Integer::<1, 60>::schema()).unwrap(), described);
        assert_eq!(Integer::<1, 60>::name(), "Integer_1_60");
    }
}
