//! Cursors: the positions at which lists continue.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Column, list::SortKey};
use crate::http::{Error, FieldError};

/// The sort of a list and the position of the last item in it. A cursor is neither secret nor signed: whatever it
/// contains, the list only has rows of the caller.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ListCursor {
    /// The sort the cursor belongs to: `-created_at`.
    s: String,
    /// The values of the sort keys, followed by the id.
    pub(super) k: Vec<Value>,
}

impl ListCursor {
    /// Returns the position after a serialised item, or `None` if the item lacks a field of the sort.
    pub(super) fn after(item: &Value, sort: &[SortKey]) -> Option<Self> {
        let values = sort.iter().map(|key| key.column.name).chain(["id"]).map(|name| item.get(name).cloned());
        Some(Self { s: format_sort(sort), k: values.collect::<Option<_>>()? })
    }

    pub(super) fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    /// Decodes a cursor.
    ///
    /// # Errors
    /// 422 if the text is not a cursor, or if it belongs to a list with another sort.
    pub(super) fn decode(encoded: &str, sort: &[SortKey]) -> Result<Self, Error> {
        let cursor = URL_SAFE_NO_PAD.decode(encoded).ok().and_then(|text| serde_json::from_slice::<Self>(&text).ok());
        let cursor = cursor.filter(|cursor| cursor.k.len() == sort.len() + 1).ok_or_else(invalid_cursor)?;
        if cursor.s != format_sort(sort) {
            return Err(Error::invalid([FieldError::new("cursor", "belongs to a list with another `sort`")]));
        }
        Ok(cursor)
    }
}

pub(super) fn invalid_cursor() -> Error {
    Error::invalid([FieldError::new("cursor", "is not a cursor of this list; use `next_cursor` unchanged")])
}

/// Formats a sort as in `?sort=`.
fn format_sort(sort: &[SortKey]) -> String {
    let key = |key: &SortKey| format!("{}{}", if key.descending { "-" } else { "" }, key.column.name);
    sort.iter().map(key).collect::<Vec<_>>().join(",")
}

pub(super) const ID: Column = Column::id("id");
