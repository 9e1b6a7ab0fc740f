//! Column values of an insert or update.

use crate::{
    db::{Arguments, BindValue, Dialect},
    http::{Error, FieldError},
};

/// Columns and their new values, in the order they were set, and the fields that are refused.
#[derive(Debug)]
pub struct RowValues {
    pub(super) columns: Vec<&'static str>,
    pub(super) args: Arguments,
    refused: Vec<FieldError>,
}

impl RowValues {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self { columns: Vec::new(), args: Arguments::new(dialect), refused: Vec::new() }
    }

    /// Sets the value of a column. The first value of a column counts, so that a
    /// [hook](super::ResourceHooks::before_create) can set it in place of the resource.
    pub fn set(&mut self, column: &'static str, value: impl BindValue) -> &mut Self {
        if !self.columns.contains(&column) {
            self.columns.push(column);
            self.args.push(value);
        }
        self
    }

    /// Sets the value of a column if there is one: `fields.set_if_some("name", change.name)` for a column that can't
    /// be cleared, `fields.set_if_some("note", change.note.into_nested_option())` for a
    /// [`Patch`](crate::http::Patch).
    pub fn set_if_some(&mut self, column: &'static str, value: Option<impl BindValue>) -> &mut Self {
        if let Some(value) = value {
            self.set(column, value);
        }
        self
    }

    /// Refuses the row because of a field: for rules that concern several fields, or that a type can't state. The
    /// message is read after the name of the field. The caller gets 422 `VALIDATION_FAILED` with all refused fields in
    /// `details.fields`, and nothing is stored.
    ///
    /// ```
    /// # use omnistack_core::{clock::Timestamp, crud::RowValues};
    /// # struct NewBooking { starts_at: Timestamp, ends_at: Timestamp }
    /// fn create(new: NewBooking, fields: &mut RowValues) {
    ///     if new.ends_at <= new.starts_at {
    ///         fields.refuse("ends_at", "must be after `starts_at`");
    ///     }
    ///     fields.set("starts_at", new.starts_at).set("ends_at", new.ends_at);
    /// }
    /// ```
    pub fn refuse(&mut self, field: impl Into<String>, message: impl Into<String>) -> &mut Self {
        self.refused.push(FieldError::new(field, message));
        self
    }

    /// Requires that no field was refused.
    pub(super) fn check(&mut self) -> Result<(), Error> {
        if self.refused.is_empty() { Ok(()) } else { Err(Error::invalid(std::mem::take(&mut self.refused))) }
    }
}
