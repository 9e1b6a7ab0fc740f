//! The values of one insert or update.

use crate::db::{Args, Dialect, Value};

/// Columns and their new values, collected in order.
#[derive(Debug)]
pub struct Fields {
    pub(super) columns: Vec<&'static str>,
    pub(super) args: Args,
}

impl Fields {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self { columns: Vec::new(), args: Args::new(dialect) }
    }

    /// Sets a column.
    pub fn set(&mut self, column: &'static str, value: impl Value) -> &mut Self {
        self.columns.push(column);
        self.args.push(value);
        self
    }

    /// Sets a column if there is a value: `fields.change("name", change.name)` for one that can't be cleared,
    /// `fields.change("note", change.note.change())` for a [`Patch`](crate::http::Patch).
    pub fn change(&mut self, column: &'static str, value: Option<impl Value>) -> &mut Self {
        if let Some(value) = value {
            self.set(column, value);
        }
        self
    }
}
