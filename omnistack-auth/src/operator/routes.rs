//! Routes for operators, under `/admin`.

pub(crate) mod impersonation;
pub(crate) mod second_factors;
pub(crate) mod tenants;
pub(crate) mod users;

use omnistack_core::http::PageRequest;

use crate::operator::store::PageNumber;

/// Returns the page that a query requests: by default the first, of the default size.
fn page(number: Option<u32>, size: Option<u32>) -> PageNumber {
    PageNumber { number: number.unwrap_or(1), size: size.unwrap_or(PageRequest::DEFAULT_SIZE) }
}
