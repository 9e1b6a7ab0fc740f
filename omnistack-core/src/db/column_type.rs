//! Types of an app that are stored in a column as another type, on both databases.

/// The macro names it, so that its users need not depend on the same version.
pub use ::sqlx;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use sqlx::error::BoxDynError;

/// Lets a type of your own be the value of a column: in rows that derive `FromRow`, in
/// [`RowValues::set`](crate::crud::RowValues::set) and in `bind`. sqlx's derive macro `Type` needs a database driver in
/// the macro itself; this one works for both databases and needs nothing.
///
/// | call | stored |
/// |---|---|
/// | `column_type!(Kind as text)` | as the text that the type is in JSON: for an enum, the names of its variants |
/// | `column_type!(Cents as i64)` | as another type, with `From<Cents> for i64` and `TryFrom<i64> for Cents` |
///
/// ```
/// use omnistack_core::money::{Currency, Money};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Clone, Copy, Serialize, Deserialize)]
/// #[serde(rename_all = "snake_case")]
/// enum RoomKind {
///     Desk,
///     MeetingRoom,
/// }
///
/// omnistack_core::column_type!(RoomKind as text);
///
/// /// A price in euros, stored as a number of cents.
/// #[derive(Clone, Copy, Serialize, Deserialize)]
/// struct Price(Money);
///
/// impl From<Price> for i64 {
///     fn from(price: Price) -> Self {
///         price.0.minor()
///     }
/// }
///
/// impl From<i64> for Price {
///     fn from(cents: i64) -> Self {
///         Self(Money::new(cents, Currency::EUR))
///     }
/// }
///
/// omnistack_core::column_type!(Price as i64);
///
/// #[derive(omnistack_core::db::FromRow)]
/// struct Room {
///     kind: RoomKind,
///     price: Price,
/// }
/// ```
///
/// A value that can't be converted makes the statement fail: a text in the table that is no variant, for example.
#[macro_export]
macro_rules! column_type {
    (@impl $type:ty, $column:ty, $to:path, $from:path) => {
        impl<DB: $crate::db::column_type::sqlx::Database> $crate::db::column_type::sqlx::Type<DB> for $type
        where
            $column: $crate::db::column_type::sqlx::Type<DB>,
        {
            fn type_info() -> DB::TypeInfo {
                <$column as $crate::db::column_type::sqlx::Type<DB>>::type_info()
            }

            fn compatible(info: &DB::TypeInfo) -> bool {
                <$column as $crate::db::column_type::sqlx::Type<DB>>::compatible(info)
            }
        }

        impl<'q, DB: $crate::db::column_type::sqlx::Database> $crate::db::column_type::sqlx::Encode<'q, DB> for $type
        where
            $column: $crate::db::column_type::sqlx::Encode<'q, DB>,
        {
            fn encode_by_ref(
                &self,
                buffer: &mut <DB as $crate::db::column_type::sqlx::Database>::ArgumentBuffer,
            ) -> ::std::result::Result<
                $crate::db::column_type::sqlx::encode::IsNull,
                $crate::db::column_type::sqlx::error::BoxDynError,
            > {
                let column: $column = $to(self)?;
                $crate::db::column_type::sqlx::Encode::<'q, DB>::encode(column, buffer)
            }
        }

        impl<'r, DB: $crate::db::column_type::sqlx::Database> $crate::db::column_type::sqlx::Decode<'r, DB> for $type
        where
            $column: $crate::db::column_type::sqlx::Decode<'r, DB>,
        {
            fn decode(
                value: <DB as $crate::db::column_type::sqlx::Database>::ValueRef<'r>,
            ) -> ::std::result::Result<Self, $crate::db::column_type::sqlx::error::BoxDynError> {
                let column = <$column as $crate::db::column_type::sqlx::Decode<'r, DB>>::decode(value)?;
                $from(column)
            }
        }
    };
    ($type:ty as text) => {
        $crate::column_type!(
            @impl $type, ::std::string::String, $crate::db::column_type::to_text, $crate::db::column_type::from_text
        );
    };
    ($type:ty as $column:ty) => {
        $crate::column_type!(
            @impl $type, $column, $crate::db::column_type::to_column, $crate::db::column_type::from_column
        );
    };
}

/// Returns the text that a value is in JSON.
///
/// # Errors
/// Fails if the value is not a text in JSON.
pub fn to_text<T: Serialize>(value: &T) -> Result<String, BoxDynError> {
    match serde_json::to_value(value)? {
        Value::String(text) => Ok(text),
        other => Err(format!("{other} is not a text").into()),
    }
}

/// Returns the value that is this text in JSON.
///
/// # Errors
/// Fails if there is no such value.
pub fn from_text<T: DeserializeOwned>(text: String) -> Result<T, BoxDynError> {
    Ok(serde_json::from_value(Value::String(text))?)
}

/// Returns a value as that of a column.
///
/// # Errors
/// Never fails.
#[expect(clippy::unnecessary_wraps, reason = "the macro calls it in place of `to_text`, which can fail")]
pub fn to_column<T: Clone + Into<C>, C>(value: &T) -> Result<C, BoxDynError> {
    Ok(value.clone().into())
}

/// Returns the value of a column as that of a type.
///
/// # Errors
/// Fails if the type refuses the value.
pub fn from_column<T: TryFrom<C, Error: Into<BoxDynError>>, C>(column: C) -> Result<T, BoxDynError> {
    T::try_from(column).map_err(Into::into)
}
