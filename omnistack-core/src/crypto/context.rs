//! Contexts of sealed values.

use std::fmt;

/// Context of a sealed value: the place to which it belongs. It is authenticated but not stored (additional
/// authenticated data): the caller that opens a value passes the context in which it was found, and a value
/// that was moved from another row, column or table can't be opened.
///
/// ```
/// use omnistack_core::crypto::SealContext;
///
/// let place = SealContext::row("users", "totp_secret", 17).with("tenant", 4);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealContext(Vec<u8>);

impl SealContext {
    /// Creates the context of a column of one row. Keep the names even if the table is renamed, because they
    /// are part of the sealed value.
    pub fn row(table: &str, column: &str, row: impl fmt::Display) -> Self {
        Self(Vec::new()).part(table).part(column).part(&row.to_string())
    }

    /// Adds a further name and value, such as the tenant.
    pub fn with(self, name: &str, value: impl fmt::Display) -> Self {
        self.part(name).part(&value.to_string())
    }

    /// Appends a part with its length, so that different contexts never have the same bytes.
    fn part(mut self, text: &str) -> Self {
        self.0.extend_from_slice(&(text.len() as u64).to_be_bytes());
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    /// Returns the additional authenticated data for AES-GCM: version, key id and context.
    pub(super) fn additional_data(&self, version: &str, key_id: &str) -> Vec<u8> {
        let mut bytes = Self(Vec::new()).part("omnistack.sealed").part(version).part(key_id).0;
        bytes.extend_from_slice(&self.0);
        bytes
    }
}
