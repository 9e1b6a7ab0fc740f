//! Column values of an insert or update.

use crate::db::{Arguments, BindValue, Dialect};

/// Columns and their new values, in the order they were set.
#[derive(Debug)]
pub struct RowValues {
    pub(super) columns: Vec<&'static str>,
    pub(super) args: Arguments,
}

impl RowValues {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self { columns: Vec::new(), args: Arguments::new(dialect) }
    }

    /// Sets the value of a column.
    pub fn set(&mut self, column: &'static str, value: impl BindValue) -> &mut Self {
        self.columns.push(column);
        self.args.push(value);
        self
    }

    /// Sets the value of a column if there is one: `fields.change("name", change.name)` for a column that can't
    /// be cleared, `fields.change("note", change.note.change())` for a [`Patch`](crate::http::Patch).
    pub fn set_if_some(&mut self, column: &'static str, value: Option<impl BindValue>) -> &mut Self {
        if let Some(value) = value {
            self.set(column, value);
        }
        self
    }
}
