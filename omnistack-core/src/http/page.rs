//! Lists.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{FieldProblem, schema::ByName};

/// The most items one answer holds.
pub const MAX_PAGE_SIZE: u32 = 100;

/// A list and where it goes on.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The items, in the order asked for.
    #[schema(inline, value_type = Vec<ByName<T>>)]
    pub items: Vec<T>,
    /// Send it as `cursor` for the items after these; absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub next_cursor: Option<String>,
}

/// A list where a total is wanted, by page number.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct NumberedPage<T> {
    /// The items of this page.
    #[schema(inline, value_type = Vec<ByName<T>>)]
    pub items: Vec<T>,
    /// Its number, counted from 1.
    pub page: u32,
    /// Items a page at most.
    pub page_size: u32,
    /// Items on all pages.
    pub total: u64,
}

/// Which part of a list is wanted: `limit` and `cursor`, or `page` and `page_size`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageRequest {
    /// The items after a cursor, or the first.
    Cursor {
        /// At most this many.
        limit: u32,
        /// What the page before said comes next.
        cursor: Option<String>,
    },
    /// One page by number.
    Numbered {
        /// Counted from 1.
        page: u32,
        /// At most this many.
        page_size: u32,
    },
}

impl PageRequest {
    /// Items in an answer when the caller doesn't say.
    pub const DEFAULT_SIZE: u32 = 20;

    /// Reads the four parameters as they came.
    ///
    /// # Errors
    /// A number out of range, or both ways mixed.
    pub fn from_parameters(
        limit: Option<&str>,
        cursor: Option<&str>,
        page: Option<&str>,
        page_size: Option<&str>,
    ) -> Result<Self, FieldProblem> {
        if page.is_none() && page_size.is_none() {
            let limit = number("limit", limit, Self::DEFAULT_SIZE, MAX_PAGE_SIZE)?;
            return Ok(Self::Cursor { limit, cursor: cursor.map(Into::into) });
        }
        if limit.is_some() || cursor.is_some() {
            let message = "can't be combined with `limit` or `cursor`";
            return Err(FieldProblem::new("page", message));
        }
        Ok(Self::Numbered {
            page: number("page", page, 1, 1_000_000)?,
            page_size: number("page_size", page_size, Self::DEFAULT_SIZE, MAX_PAGE_SIZE)?,
        })
    }
}

fn number(name: &str, text: Option<&str>, default: u32, most: u32) -> Result<u32, FieldProblem> {
    let Some(text) = text else { return Ok(default) };
    match text.parse() {
        Ok(number) if (1..=most).contains(&number) => Ok(number),
        _ => Err(FieldProblem::new(name, format!("must be a number from 1 to {most}"))),
    }
}
