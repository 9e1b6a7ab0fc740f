//! Column values of an insert or update.

use crate::db::{Args, Dialect, Value};

/// Columns and their new values, in the order they were set.
#[derive(Debug)]
pub struct Fields {
    pub(super) columns: Vec<&'static str>,
    pub(super) args: Args,
}

impl Fields {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self { columns: Vec::new(), args: Args::new(dialect) }
    }

    /// Sets the value of a column.
    pub fn set(&mut self, column: &'static str, value: impl Value) -> &mut Self {
        self.columns.push(column);
        self.args.push(value);
        self
    }

    /// Sets the value of a column if there is one: `fields.change("name", change.name)` for a column that can't
    /// be cleared, `fields.change("note", change.note.change())` for a [`Patch`](crate::http::Patch).
    pub fn change(&mut self, column: &'static str, value: Option<impl Value>) -> &mut Self {
        if let Some(value) = value {
            self.set(column, value);
        }
        self
    }
}
