//! Pages of lists.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::FieldError;
use crate::schema::ByName;

/// Largest number of items in a response.
pub const MAX_PAGE_SIZE: u32 = 100;

/// Largest number of rows that are counted, and the last row that a numbered page reaches.
pub const MAX_COUNTED_ROWS: u32 = 10_000;

/// A page of a list that is continued by a cursor.
#[doc(alias = "pagination")]
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CursorPage<T> {
    /// The items, in the requested order.
    #[schema(inline, value_type = Vec<ByName<T>>)]
    pub items: Vec<T>,
    /// Cursor of the next page: send it as `cursor`. Absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub next_cursor: Option<String>,
}

/// A page of a list, requested by number, with a total.
#[doc(alias = "pagination")]
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct NumberedPage<T> {
    /// The items of this page.
    #[schema(inline, value_type = Vec<ByName<T>>)]
    pub items: Vec<T>,
    /// Number of this page, counted from 1.
    pub page: u32,
    /// Largest number of items per page.
    pub page_size: u32,
    /// Items on all pages, counted up to 10,000.
    pub total: u64,
    /// Whether there are more items than `total`; those are not counted.
    pub total_is_estimate: bool,
}

impl<T> NumberedPage<T> {
    /// Creates a page from its items and the number of counted rows. A count above [`MAX_COUNTED_ROWS`] only means
    /// that there are more.
    pub fn new(items: Vec<T>, page: u32, page_size: u32, counted: u64) -> Self {
        let most = u64::from(MAX_COUNTED_ROWS);
        Self { items, page, page_size, total: counted.min(most), total_is_estimate: counted > most }
    }
}

/// The requested part of a list: `limit` and `cursor`, or `page` and `page_size`.
#[doc(alias = "pagination")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageRequest {
    /// The items after a cursor, or the first items.
    Cursor {
        /// Largest number of items.
        limit: u32,
        /// The `next_cursor` of the previous page.
        cursor: Option<String>,
    },
    /// A page by number.
    Numbered {
        /// Number of the page, counted from 1.
        page: u32,
        /// Largest number of items.
        page_size: u32,
    },
}

impl PageRequest {
    /// Number of items in a response if the caller names none.
    pub const DEFAULT_SIZE: u32 = 20;

    /// Parses the four query parameters.
    ///
    /// # Errors
    /// Fails for a number out of range, a page beyond [`MAX_COUNTED_ROWS`], or parameters of both kinds.
    pub fn from_parameters(
        limit: Option<&str>,
        cursor: Option<&str>,
        page: Option<&str>,
        page_size: Option<&str>,
    ) -> Result<Self, FieldError> {
        if page.is_none() && page_size.is_none() {
            let limit = number("limit", limit, Self::DEFAULT_SIZE, MAX_PAGE_SIZE)?;
            return Ok(Self::Cursor { limit, cursor: cursor.map(Into::into) });
        }
        if limit.is_some() || cursor.is_some() {
            let message = "can't be combined with `limit` or `cursor`";
            return Err(FieldError::new("page", message));
        }
        let page_size = number("page_size", page_size, Self::DEFAULT_SIZE, MAX_PAGE_SIZE)?;
        Self::numbered(number("page", page, 1, MAX_COUNTED_ROWS)?, page_size)
    }

    /// Requests a page by its number.
    ///
    /// # Errors
    /// Fails for a page whose last row is beyond [`MAX_COUNTED_ROWS`].
    pub fn numbered(page: u32, page_size: u32) -> Result<Self, FieldError> {
        if u64::from(page) * u64::from(page_size) > u64::from(MAX_COUNTED_ROWS) {
            let message = "can only reach the first 10,000 rows: use `cursor`, or a filter";
            return Err(FieldError::new("page", message));
        }
        Ok(Self::Numbered { page, page_size })
    }
}

fn number(name: &str, text: Option<&str>, default: u32, most: u32) -> Result<u32, FieldError> {
    let Some(text) = text else { return Ok(default) };
    match text.parse() {
        Ok(number) if (1..=most).contains(&number) => Ok(number),
        _ => Err(FieldError::new(name, format!("must be a number from 1 to {most}"))),
    }
}
