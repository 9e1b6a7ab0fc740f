//! Where a list goes on.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Column, list::SortKey};
use crate::http::{Error, FieldProblem};

/// The sort and the last item's place in it. Not secret and not signed: whatever it holds, the rows it leads to are the
/// caller's own.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Cursor {
    /// The sort it belongs to: `-created_at`.
    s: String,
    /// The values of its keys, then the id.
    pub(super) k: Vec<Value>,
}

impl Cursor {
    /// The place after an item, as it was serialised.
    pub(super) fn after(item: &Value, sort: &[SortKey]) -> Option<Self> {
        let values = sort.iter().map(|key| key.column.name).chain(["id"]).map(|name| item.get(name).cloned());
        Some(Self { s: text(sort), k: values.collect::<Option<_>>()? })
    }

    pub(super) fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    /// # Errors
    /// 422 for text that is no cursor, or one of a list sorted otherwise.
    pub(super) fn decode(encoded: &str, sort: &[SortKey]) -> Result<Self, Error> {
        let cursor = URL_SAFE_NO_PAD.decode(encoded).ok().and_then(|text| serde_json::from_slice::<Self>(&text).ok());
        let cursor = cursor.filter(|cursor| cursor.k.len() == sort.len() + 1).ok_or_else(refused)?;
        if cursor.s != text(sort) {
            return Err(Error::invalid([FieldProblem::new("cursor", "belongs to a list with another `sort`")]));
        }
        Ok(cursor)
    }
}

pub(super) fn refused() -> Error {
    Error::invalid([FieldProblem::new("cursor", "is not a cursor of this list; use `next_cursor` as it came")])
}

/// As in `?sort=`.
fn text(sort: &[SortKey]) -> String {
    let key = |key: &SortKey| format!("{}{}", if key.descending { "-" } else { "" }, key.column.name);
    sort.iter().map(key).collect::<Vec<_>>().join(",")
}

pub(super) const ID: Column = Column::id("id");
