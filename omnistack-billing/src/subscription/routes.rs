//! The routes of subscriptions for tenants: `/api/v1/app/billing`.

mod changes;
mod checkouts;
mod customers;
mod ends;
mod offers;

use omnistack_core::{
    http::{Error, FieldError},
    identity::Require,
    module::Api,
};
use utoipa_axum::routes;

use super::handle::Subscriptions;
use crate::period::BillingInterval;

/// Returns the routes under `/api/v1/app/billing`.
pub(super) fn api() -> Api<Subscriptions> {
    let read = || Require::permission("billing:read");
    let manage = || Require::permission("billing:manage");
    Api::new()
        .require(read(), routes!(offers::status))
        .require(read(), routes!(offers::plans))
        .require(read(), routes!(offers::subscription))
        .require(read(), routes!(customers::payment_methods))
        .require(read(), routes!(changes::change_preview))
        .require(manage(), routes!(checkouts::checkout))
        .require(manage(), routes!(customers::portal))
        .require(manage(), routes!(changes::upgrade))
        .require(manage(), routes!(changes::downgrade))
        .require(manage(), routes!(changes::seats))
        .require(manage(), routes!(ends::cancel))
        .require(manage(), routes!(ends::resume))
        .require(manage(), routes!(ends::remove_coupon))
}

fn parse_interval(text: Option<&str>) -> Result<Option<BillingInterval>, Error> {
    let parsed = text.map(str::parse::<BillingInterval>).transpose();
    parsed.map_err(|error| Error::invalid([FieldError::new("interval", error.to_string())]))
}

/// Returns a path of the app. A page of another site would be an open redirect.
fn parse_path(field: &str, path: Option<String>) -> Result<String, Error> {
    let path = path.unwrap_or_else(|| "/".to_owned());
    let is_printable = path.bytes().all(|byte| byte.is_ascii_graphic());
    let is_path = path.starts_with('/') && !path.starts_with("//") && !path.contains('\\') && is_printable;
    if is_path { Ok(path) } else { Err(Error::invalid([FieldError::new(field, "must be a path such as `/billing`")])) }
}
