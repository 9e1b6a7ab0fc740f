//! The limits of values in requests for payments.

use http::Uri;
use omnistack_core::http::{Error, FieldError};

use super::model::PaymentRequest;

/// Largest amount of a payment in minor units: far more than providers take, and small enough that sums fit.
pub(super) const MAX_AMOUNT: i64 = 1_000_000_000_000;
/// Largest length of a key, in characters.
const MAX_KEY_CHARS: usize = 300;
/// Largest number of values that are stored with a payment.
const MAX_METADATA_VALUES: usize = 20;
/// Largest length of the name of such a value, in characters, as at Stripe.
const MAX_METADATA_NAME_CHARS: usize = 40;
/// Largest length of such a value, in characters.
const MAX_METADATA_VALUE_CHARS: usize = 500;

/// Fails if a key is empty or too long.
pub(super) fn check_key(key: &str) -> Result<(), Error> {
    let fits = !key.is_empty() && key.chars().count() <= MAX_KEY_CHARS;
    if fits { Ok(()) } else { Err(Error::invalid([FieldError::new("key", "must have 1 to 300 characters")])) }
}

/// Returns the problem of a return URL, or `None` if it is valid. A URL with another scheme could run code in the
/// payer's browser.
pub(super) fn url_problem(text: &str) -> Option<FieldError> {
    let uri: Option<Uri> = text.parse().ok();
    let is_page = uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some());
    let message = "must be a complete URL that begins with `https://` or `http://`";
    (!is_page).then(|| FieldError::new("return_url", message))
}

/// Fails with 422 and all invalid fields if a value of a new payment is not valid.
pub(super) fn check(request: &PaymentRequest) -> Result<(), Error> {
    check_key(&request.key)?;
    let mut problems = Vec::new();
    if !(1..=MAX_AMOUNT).contains(&request.amount.minor()) {
        problems.push(FieldError::new("amount", format!("must be at least 1 and at most {MAX_AMOUNT}")));
    }
    problems.extend(request.return_url.as_deref().and_then(url_problem));
    let country_fits = |country: &String| country.len() == 2 && country.bytes().all(|byte| byte.is_ascii_uppercase());
    if request.country.as_ref().is_some_and(|country| !country_fits(country)) {
        problems.push(FieldError::new("country", "must be an ISO 3166-1 code of two capitals, such as `DE`"));
    }
    let fits = |(name, value): (&String, &String)| {
        (1..=MAX_METADATA_NAME_CHARS).contains(&name.chars().count())
            && value.chars().count() <= MAX_METADATA_VALUE_CHARS
            && !name.contains('\0')
            && !value.contains('\0')
    };
    if request.metadata.len() > MAX_METADATA_VALUES || !request.metadata.iter().all(fits) {
        let message = "must have at most 20 values of at most 500 characters, with names of 1 to 40 characters";
        problems.push(FieldError::new("metadata", message));
    }
    if problems.is_empty() { Ok(()) } else { Err(Error::invalid(problems)) }
}
