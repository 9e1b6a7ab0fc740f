//! Columns and what callers may do with them.

use serde_json::Value as Json;

use crate::{clock::Timestamp, db::Arguments};

/// The type of a column's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// Text.
    Text,
    /// Whole numbers.
    Integer,
    /// Floating-point numbers.
    Real,
    /// True or false.
    Boolean,
    /// Moments in time.
    Timestamp,
    /// Ids.
    Id,
}

/// A column and what callers may do with it.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Column {
    pub(super) name: &'static str,
    pub(super) kind: ColumnType,
    pub(super) sorts: bool,
    pub(super) filters: bool,
    pub(super) searches: bool,
}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])* $name:ident = $kind:ident;)*) => {$(
        $(#[doc = $doc])*
        pub const fn $name(name: &'static str) -> Self {
            Self { name, kind: ColumnType::$kind, sorts: false, filters: false, searches: false }
        }
    )*};
}

impl Column {
    kinds! {
        /// Creates a column of text.
        text = Text;
        /// Creates a column of whole numbers.
        integer = Integer;
        /// Creates a column of floating-point numbers.
        real = Real;
        /// Creates a column of truth values.
        boolean = Boolean;
        /// Creates a column of moments in time.
        timestamp = Timestamp;
        /// Creates a column of ids.
        id = Id;
    }

    /// Allows `?sort=name` and `?sort=-name`. The column must be `not null` and have an [index](super#indexes).
    pub const fn sortable(mut self) -> Self {
        self.sorts = true;
        self
    }

    /// Allows `?status=open`, and several values as `?status=open&status=closed` or `?status=open,closed`.
    /// Columns of numbers and moments also allow `?size_gte=10`, `_gt`, `_lte` and `_lt`. The column needs an
    /// [index](super#indexes).
    pub const fn filterable(mut self) -> Self {
        self.filters = true;
        self
    }

    /// Includes the column in the search with `?q=words`, which ignores the case of letters (on SQLite, of ASCII
    /// letters). The table needs a search [index](super#indexes) of all searched columns.
    pub const fn searchable(mut self) -> Self {
        self.searches = true;
        self
    }
}

impl ColumnType {
    pub(super) fn has_order(self) -> bool {
        matches!(self, Self::Integer | Self::Real | Self::Timestamp)
    }

    /// Returns a description of the expected text that fits after "must be".
    pub(super) fn expected(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Integer => "a whole number",
            Self::Real => "a number",
            Self::Boolean => "true or false",
            Self::Timestamp => "a time as in RFC 3339, e.g. 2030-01-31T12:00:00Z",
            Self::Id => "a UUID",
        }
    }

    /// Returns whether the text of a parameter is a value of this type.
    pub(super) fn is_valid(self, text: &str) -> bool {
        match self {
            Self::Text => true,
            Self::Integer => text.parse::<i64>().is_ok(),
            Self::Real => text.parse::<f64>().is_ok_and(f64::is_finite),
            Self::Boolean => text.parse::<bool>().is_ok(),
            Self::Timestamp => text.parse::<Timestamp>().is_ok(),
            Self::Id => text.parse::<uuid::Uuid>().is_ok(),
        }
    }

    /// Binds the text of a parameter. Returns `None` if it is not a value of this type.
    pub(super) fn bind_text(self, text: &str, args: &mut Arguments) -> Option<usize> {
        Some(match self {
            Self::Text => args.push(text.to_owned()),
            Self::Integer => args.push(text.parse::<i64>().ok()?),
            Self::Real => args.push(text.parse::<f64>().ok().filter(|number| number.is_finite())?),
            Self::Boolean => args.push(text.parse::<bool>().ok()?),
            Self::Timestamp => args.push(text.parse::<Timestamp>().ok()?),
            Self::Id => args.push(text.parse::<uuid::Uuid>().ok()?),
        })
    }

    /// Binds a value from a cursor. Returns `None` if it is not a value of this type or contains NUL, which
    /// PostgreSQL can't store.
    pub(super) fn bind_json(self, value: &Json, args: &mut Arguments) -> Option<usize> {
        match (self, value) {
            (Self::Integer, Json::Number(number)) => Some(args.push(number.as_i64()?)),
            (Self::Real, Json::Number(number)) => Some(args.push(number.as_f64()?)),
            (Self::Boolean, Json::Bool(truth)) => Some(args.push(*truth)),
            (Self::Text | Self::Timestamp | Self::Id, Json::String(text)) if !text.contains('\0') => {
                self.bind_text(text, args)
            }
            _ => None,
        }
    }
}
