//! Lists.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{FieldProblem, schema::ByName};

/// The most items one answer holds.
pub const MAX_PAGE_SIZE: u32 = 100;

/// The most rows of a list that are counted, and the last row that a page by its number reaches.
pub const MAX_COUNTED_ROWS: u32 = 10_000;

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
    /// Items on all pages, counted up to 10,000.
    pub total: u64,
    /// Whether there are more than `total`, which are not counted.
    pub total_is_estimate: bool,
}

impl<T> NumberedPage<T> {
    /// Makes a page of its items and the number of rows that were counted, of which those over [`MAX_COUNTED_ROWS`] only say
    /// that there are more.
    pub fn new(items: Vec<T>, page: u32, page_size: u32, counted: u64) -> Self {
        let most = u64::from(MAX_COUNTED_ROWS);
        Self { items, page, page_size, total: counted.min(most), total_is_estimate: counted > most }
    }
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
    /// A number out of range, a page beyond [`MAX_COUNTED_ROWS`], or both ways mixed.
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
        let page_size = number("page_size", page_size, Self::DEFAULT_SIZE, MAX_PAGE_SIZE)?;
        Self::numbered(number("page", page, 1, MAX_COUNTED_ROWS)?, page_size)
    }

    /// Asks for a page by its number.
    ///
    /// # Errors
    /// A page whose last row is beyond [`MAX_COUNTED_ROWS`].
    pub fn numbered(page: u32, page_size: u32) -> Result<Self, FieldProblem> {
        if u64::from(page) * u64::from(page_size) > u64::from(MAX_COUNTED_ROWS) {
            let message = "reaches the first 10,000 rows only: go on with `cursor`, or narrow the list by a filter";
            return Err(FieldProblem::new("page", message));
        }
        Ok(Self::Numbered { page, page_size })
    }
}

fn number(name: &str, text: Option<&str>, default: u32, most: u32) -> Result<u32, FieldProblem> {
    let Some(text) = text else { return Ok(default) };
    match text.parse() {
        Ok(number) if (1..=most).contains(&number) => Ok(number),
        _ => Err(FieldProblem::new(name, format!("must be a number from 1 to {most}"))),
    }
}
