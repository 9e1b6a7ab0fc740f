//! For operators.

pub(crate) mod factors;
pub(crate) mod impersonation;
pub(crate) mod tenants;
pub(crate) mod users;

use omnistack_core::http::PageRequest;

use crate::store::admin::Page;

/// What a query asks for.
fn page(number: Option<u32>, size: Option<u32>) -> Page {
    Page { number: number.unwrap_or(1), size: size.unwrap_or(PageRequest::DEFAULT_SIZE) }
}
