//! The page of a list as a response.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use serde::Serialize;
use utoipa::{
    ToSchema,
    openapi::{RefOr, Schema},
};

use super::describe::page_schema;
use crate::{
    http::{CursorPage, Json, NumberedPage},
    schema::ComposeSchema,
};

/// A page of a list, with a cursor or with a number and a total, as its [request](super::ListRequest) asks for it. As a
/// response it is JSON, with a `Link` header if there is a next page.
///
/// Describe it as `body = ListPage<…>` in `#[utoipa::path]`.
#[derive(Clone, Debug)]
pub struct ListPage<T> {
    content: PageContent<T>,
    link: Option<HeaderValue>,
}

#[derive(Clone, Debug)]
enum PageContent<T> {
    Cursor(CursorPage<T>),
    Numbered(NumberedPage<T>),
}

impl<T> ListPage<T> {
    /// Returns the items, in the requested order.
    pub fn items(&self) -> &[T] {
        match &self.content {
            PageContent::Cursor(page) => &page.items,
            PageContent::Numbered(page) => &page.items,
        }
    }

    /// Returns the items by value, in the requested order.
    pub fn into_items(self) -> Vec<T> {
        match self.content {
            PageContent::Cursor(page) => page.items,
            PageContent::Numbered(page) => page.items,
        }
    }

    /// Returns the cursor of the next page, or `None` on the last page and for a numbered page.
    pub fn next_cursor(&self) -> Option<&str> {
        match &self.content {
            PageContent::Cursor(page) => page.next_cursor.as_deref(),
            PageContent::Numbered(_) => None,
        }
    }

    /// Returns the number of items on all pages, counted up to 10,000, or `None` for a page with a cursor.
    pub fn total(&self) -> Option<u64> {
        match &self.content {
            PageContent::Cursor(_) => None,
            PageContent::Numbered(page) => Some(page.total),
        }
    }

    /// Returns the page with other items: for rows that callers see in another form than they are stored.
    pub fn map<U>(self, item: impl FnMut(T) -> U) -> ListPage<U> {
        let content = match self.content {
            PageContent::Cursor(CursorPage { items, next_cursor }) => {
                PageContent::Cursor(CursorPage { items: items.into_iter().map(item).collect(), next_cursor })
            }
            PageContent::Numbered(NumberedPage { items, page, page_size, total, total_is_estimate }) => {
                let items = items.into_iter().map(item).collect();
                PageContent::Numbered(NumberedPage { items, page, page_size, total, total_is_estimate })
            }
        };
        ListPage { content, link: self.link }
    }

    /// Sets the `Link` header of the response.
    pub(super) fn with_link(self, link: Option<HeaderValue>) -> Self {
        Self { link, ..self }
    }
}

impl<T> From<CursorPage<T>> for ListPage<T> {
    fn from(page: CursorPage<T>) -> Self {
        Self { content: PageContent::Cursor(page), link: None }
    }
}

impl<T> From<NumberedPage<T>> for ListPage<T> {
    fn from(page: NumberedPage<T>) -> Self {
        Self { content: PageContent::Numbered(page), link: None }
    }
}

impl<T: Serialize> IntoResponse for ListPage<T> {
    fn into_response(self) -> Response {
        let mut response = match self.content {
            PageContent::Cursor(page) => Json(page).into_response(),
            PageContent::Numbered(page) => Json(page).into_response(),
        };
        if let Some(link) = self.link {
            response.headers_mut().insert(header::LINK, link);
        }
        response
    }
}

/// The schema has the fields of both kinds of pages, since the request decides which one it is.
impl<T: ToSchema> ComposeSchema for ListPage<T> {
    fn compose(items: Vec<RefOr<Schema>>) -> RefOr<Schema> {
        page_schema::<T>(items)
    }
}

impl<T: ToSchema> ToSchema for ListPage<T> {
    fn name() -> std::borrow::Cow<'static, str> {
        "ListPage".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        T::schemas(schemas);
    }
}
