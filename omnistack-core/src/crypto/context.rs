//! Where a sealed value belongs.

use std::fmt;

/// The place of a sealed value. It is not stored: whoever opens the value says where it was found, and a value that was
/// moved there from another row, column or table does not open.
///
/// ```
/// use omnistack_core::crypto::Context;
///
/// let place = Context::row("users", "totp_secret", 17).and("tenant", 4);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context(Vec<u8>);

impl Context {
    /// A column of one row. The names stay as they were when the table is renamed: they are part of what was sealed.
    pub fn row(table: &str, column: &str, row: impl fmt::Display) -> Self {
        Self(Vec::new()).part(table).part(column).part(&row.to_string())
    }

    /// And of something more, e.g. the tenant.
    pub fn and(self, name: &str, value: impl fmt::Display) -> Self {
        self.part(name).part(&value.to_string())
    }

    /// Each part after its length, so that no two places have the same bytes.
    fn part(mut self, text: &str) -> Self {
        self.0.extend_from_slice(&(text.len() as u64).to_be_bytes());
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    /// What AES-GCM authenticates beside the value: form, key and place.
    pub(super) fn authenticated(&self, version: &str, key_id: &str) -> Vec<u8> {
        let mut bytes = Self(Vec::new()).part("omnistack.sealed").part(version).part(key_id).0;
        bytes.extend_from_slice(&self.0);
        bytes
    }
}
