//! Values that can be bound and rows that can be read, on all databases compiled in.

use std::{borrow::Cow, fmt};

#[cfg(feature = "postgres")]
use sqlx::postgres::{PgArguments, PgRow, Postgres};
#[cfg(feature = "sqlite")]
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteRow};
use sqlx::{Decode, Encode, Type, encode::IsNull, error::BoxDynError};

#[cfg(feature = "postgres")]
use super::columns::PgColumns;
use super::{Dialect, Error, ErrorKind, pools::BoundStatement};
use crate::{clock::Timestamp, id::Id};

/// A value that can be bound: text, numbers, booleans, bytes, [`Timestamp`], [`Id`], `sqlx::types::Json`, and an
/// `Option` of each. Implemented for all types that both drivers can encode.
pub trait BindValue: driver::PostgresValue + driver::SqliteValue + Send {}

impl<T: driver::PostgresValue + driver::SqliteValue + Send> BindValue for T {}

/// A row: a `#[derive(omnistack_core::db::FromRow)]` struct or a tuple.
pub trait Record: driver::PostgresRecord + driver::SqliteRecord + Send + Unpin {}

impl<T: driver::PostgresRecord + driver::SqliteRecord + Send + Unpin> Record for T {}

/// One trait for each driver and purpose; empty if the driver is not compiled in.
mod driver {
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    use super::*;

    macro_rules! requires {
        ($feature:literal, $name:ident, $($bound:tt)*) => {
            #[cfg(feature = $feature)]
            pub trait $name: $($bound)* {}
            #[cfg(feature = $feature)]
            impl<T: $($bound)*> $name for T {}
            #[cfg(not(feature = $feature))]
            pub trait $name {}
            #[cfg(not(feature = $feature))]
            impl<T> $name for T {}
        };
    }

    requires!("postgres", PostgresValue, for<'q> Encode<'q, Postgres> + Type<Postgres>);
    requires!("sqlite", SqliteValue, for<'q> Encode<'q, Sqlite> + Type<Sqlite>);
    requires!("postgres", PostgresRecord, for<'r> sqlx::FromRow<'r, PgRow>);
    requires!("sqlite", SqliteRecord, for<'r> sqlx::FromRow<'r, SqliteRow>);
}

/// Values that are collected before the statement is complete, for composed SQL.
pub struct Arguments {
    inner: DriverArguments,
    count: usize,
    refused: Option<Error>,
}

enum DriverArguments {
    #[cfg(feature = "postgres")]
    Postgres(PgArguments),
    /// Values of rows, which become an array for each column.
    #[cfg(feature = "postgres")]
    PostgresColumns(PgColumns),
    #[cfg(feature = "sqlite")]
    Sqlite(SqliteArguments),
}

impl Arguments {
    /// Creates an empty list of values.
    ///
    /// # Panics
    /// Never: a [`Db`](super::Db) does not return a [`Dialect`] whose driver is not compiled in.
    pub fn new(dialect: Dialect) -> Self {
        let inner = match dialect {
            #[cfg(feature = "postgres")]
            Dialect::Postgres => DriverArguments::Postgres(PgArguments::default()),
            #[cfg(feature = "sqlite")]
            Dialect::Sqlite => DriverArguments::Sqlite(SqliteArguments::default()),
            #[cfg(not(all(feature = "postgres", feature = "sqlite")))]
            other => unreachable!("{other:?} is not compiled in"),
        };
        Self { inner, count: 0, refused: None }
    }

    /// Creates an empty list of the values of rows with so many columns. On PostgreSQL, the statement has a placeholder
    /// for each column, for the array of its values; on SQLite one for each value.
    pub(super) fn of_rows(dialect: Dialect, columns: usize) -> Self {
        #[cfg(feature = "postgres")]
        if dialect == Dialect::Postgres {
            let inner = DriverArguments::PostgresColumns(PgColumns::new(columns));
            return Self { inner, count: 0, refused: None };
        }
        #[cfg(not(feature = "postgres"))]
        let _ = columns;
        Self::new(dialect)
    }

    /// Refuses the values unless there are so many.
    pub(super) fn expect_count(&mut self, count: usize, statement: &str) {
        if self.count != count {
            let given = self.count;
            let refused = || Error::new(ErrorKind::Other, format!("{given} values for `{statement}`").into());
            self.refused.get_or_insert_with(refused);
        }
    }

    /// Returns the number of values.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Adds a value and returns the number of its placeholder, counted from 1.
    pub fn push<T: BindValue>(&mut self, value: T) -> usize {
        let added = match &mut self.inner {
            #[cfg(feature = "postgres")]
            DriverArguments::Postgres(args) => sqlx::Arguments::add(args, value),
            #[cfg(feature = "postgres")]
            DriverArguments::PostgresColumns(columns) => columns.add(value),
            #[cfg(feature = "sqlite")]
            DriverArguments::Sqlite(args) => sqlx::Arguments::add(args, value),
        };
        if let Err(error) = added {
            self.refused.get_or_insert_with(|| sqlx::Error::Encode(error).into());
        }
        self.count += 1;
        self.count
    }

    /// Adds a value and returns its placeholder, for statements with hundreds of values. The text must have one
    /// placeholder for each value, in the order of the calls, and none of [`push`](Self::push).
    pub fn push_next<T: BindValue>(&mut self, value: T) -> Cow<'static, str> {
        let number = self.push(value);
        let dialect = match &self.inner {
            #[cfg(feature = "postgres")]
            DriverArguments::Postgres(_) | DriverArguments::PostgresColumns(_) => Dialect::Postgres,
            #[cfg(feature = "sqlite")]
            DriverArguments::Sqlite(_) => Dialect::Sqlite,
        };
        dialect.next_placeholder(number)
    }

    /// Sets the values as the arguments of a statement. Returns the error of a value that could not be encoded.
    pub(super) fn set_on(self, bound: &mut BoundStatement<'_>) -> Option<Error> {
        match (self.inner, bound) {
            #[cfg(feature = "postgres")]
            (
                DriverArguments::Postgres(from),
                BoundStatement::PostgresPool(_, to) | BoundStatement::PostgresConnection(_, to),
            ) => *to = from,
            #[cfg(feature = "postgres")]
            (
                DriverArguments::PostgresColumns(columns),
                BoundStatement::PostgresPool(_, to) | BoundStatement::PostgresConnection(_, to),
            ) => match columns.into_arguments() {
                Ok(from) => *to = from,
                Err(error) => return Some(self.refused.unwrap_or_else(|| sqlx::Error::Encode(error).into())),
            },
            #[cfg(feature = "sqlite")]
            (
                DriverArguments::Sqlite(from),
                BoundStatement::SqlitePool(_, _, to) | BoundStatement::SqliteConnection(_, to),
            ) => *to = from,
            #[cfg(all(feature = "postgres", feature = "sqlite"))]
            _ => return Some(Error::configuration("these arguments were made for the other database")),
        }
        self.refused
    }
}

impl fmt::Debug for Arguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Args").field("count", &self.count).finish_non_exhaustive()
    }
}

macro_rules! on_driver {
    ($feature:literal, $database:ident) => {
        #[cfg(feature = $feature)]
        impl<T> Type<$database> for Id<T> {
            fn type_info() -> <$database as sqlx::Database>::TypeInfo {
                <uuid::Uuid as Type<$database>>::type_info()
            }

            fn compatible(info: &<$database as sqlx::Database>::TypeInfo) -> bool {
                <uuid::Uuid as Type<$database>>::compatible(info)
            }
        }

        #[cfg(feature = $feature)]
        impl<T> Encode<'_, $database> for Id<T> {
            fn encode_by_ref(
                &self,
                buffer: &mut <$database as sqlx::Database>::ArgumentBuffer,
            ) -> Result<IsNull, BoxDynError> {
                Encode::<$database>::encode(self.uuid(), buffer)
            }
        }

        #[cfg(feature = $feature)]
        impl<'r, T> Decode<'r, $database> for Id<T> {
            fn decode(value: <$database as sqlx::Database>::ValueRef<'r>) -> Result<Self, BoxDynError> {
                <uuid::Uuid as Decode<$database>>::decode(value).map(Self::from_uuid)
            }
        }
    };
}

on_driver!("postgres", Postgres);
on_driver!("sqlite", Sqlite);

#[cfg(feature = "postgres")]
mod timestamptz {
    use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueFormat, PgValueRef};

    use super::*;

    /// 2000-01-01T00:00:00Z, the start of PostgreSQL's timestamps, in microseconds.
    const EPOCH_MICROS: i64 = 946_684_800_000_000;

    impl Type<Postgres> for Timestamp {
        fn type_info() -> PgTypeInfo {
            <jiff_sqlx::Timestamp as Type<Postgres>>::type_info()
        }
    }

    impl PgHasArrayType for Timestamp {
        fn array_type_info() -> PgTypeInfo {
            <jiff_sqlx::Timestamp as PgHasArrayType>::array_type_info()
        }
    }

    impl<T> PgHasArrayType for Id<T> {
        fn array_type_info() -> PgTypeInfo {
            <uuid::Uuid as PgHasArrayType>::array_type_info()
        }
    }

    impl Encode<'_, Postgres> for Timestamp {
        fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
            Encode::<Postgres>::encode(self.as_micros() - EPOCH_MICROS, buffer)
        }
    }

    impl<'r> Decode<'r, Postgres> for Timestamp {
        fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
            if value.format() == PgValueFormat::Text {
                return Ok(value.as_str()?.parse()?);
            }
            let micros = <i64 as Decode<Postgres>>::decode(value)?.saturating_add(EPOCH_MICROS);
            let moment = Self::from_micros(micros);
            if moment.as_micros() == micros { Ok(moment) } else { Err("a time outside the years 1 to 9999".into()) }
        }
    }
}

/// Text of fixed width, see [`Timestamp`].
#[cfg(feature = "sqlite")]
mod text {
    use sqlx::sqlite::{SqliteArgumentsBuffer, SqliteTypeInfo, SqliteValueRef};

    use super::*;

    impl Type<Sqlite> for Timestamp {
        fn type_info() -> SqliteTypeInfo {
            <str as Type<Sqlite>>::type_info()
        }
    }

    impl Encode<'_, Sqlite> for Timestamp {
        fn encode_by_ref(&self, buffer: &mut SqliteArgumentsBuffer) -> Result<IsNull, BoxDynError> {
            Encode::<Sqlite>::encode(self.to_fixed_width(), buffer)
        }
    }

    impl<'r> Decode<'r, Sqlite> for Timestamp {
        fn decode(value: SqliteValueRef<'r>) -> Result<Self, BoxDynError> {
            Ok(<&str as Decode<Sqlite>>::decode(value)?.parse()?)
        }
    }
}
