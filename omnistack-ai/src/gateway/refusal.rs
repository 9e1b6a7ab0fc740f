//! Errors of calls that the gateway refuses.

use std::{sync::Arc, time::Duration};

use axum::response::IntoResponse as _;
use omnistack_core::http::{Error, FieldError, HeaderValue, StatusCode, header};

/// The code of the error of a call whose providers all wait for a rate limit.
pub(super) const PROVIDER_RATE_LIMITED: &str = "PROVIDER_RATE_LIMITED";

/// The code of the error of content that a guardrail refuses.
pub(super) const CONTENT_REFUSED: &str = "CONTENT_REFUSED";

/// Returns the error of a call whose providers all wait for a rate limit: 429 with `Retry-After`.
pub(super) fn rate_limited(wait: Duration) -> Error {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let message = "all providers of the model limit the rate of requests; try again later";
    Error::new(StatusCode::TOO_MANY_REQUESTS, PROVIDER_RATE_LIMITED, message)
        .with_header(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)))
}

/// Returns the error with the time in its `Retry-After`.
pub(super) fn with_retry_after(error: Error) -> (Error, Option<Duration>) {
    let error = Arc::new(error);
    let response = Error::from(Arc::clone(&error)).into_response();
    let seconds = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    (Error::from(error), seconds.map(Duration::from_secs))
}

/// Returns the error of a JSON schema that can't be used.
pub(super) fn invalid_schema(problem: &str) -> Error {
    Error::invalid([FieldError::new("response_format", format!("has a JSON schema that can't be used: {problem}"))])
}

/// Returns the error of a request for the embeddings of no text.
pub(super) fn no_input() -> Error {
    Error::invalid([FieldError::new("input", "must have at least one text")])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_rate_limit_is_rounded_up() {
        for (wait, seconds) in [(0, 1), (1, 1), (1_000, 1), (1_001, 2), (59_999, 60)] {
            let (error, after) = with_retry_after(rate_limited(Duration::from_millis(wait)));
            assert_eq!((error.code(), after), (PROVIDER_RATE_LIMITED, Some(Duration::from_secs(seconds))), "{wait} ms");
        }
        assert_eq!(with_retry_after(no_input()).1, None);
    }
}
