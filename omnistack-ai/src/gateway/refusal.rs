//! Errors of calls that the gateway refuses.

use std::time::Duration;

use omnistack_core::http::{Error, FieldError, HeaderValue, StatusCode, header};

/// The code of the error of content that a guardrail refuses.
pub(super) const CONTENT_REFUSED: &str = "CONTENT_REFUSED";

/// Returns the error of a call whose providers all wait for a rate limit: 429 with `Retry-After`.
pub(super) fn rate_limited(wait: Duration) -> Error {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let message = "all providers of the model limit the rate of requests; try again later";
    Error::new(StatusCode::TOO_MANY_REQUESTS, "PROVIDER_RATE_LIMITED", message)
        .with_detail("retry_after_ms", u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))
        .with_header(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)))
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
    use axum::response::IntoResponse as _;

    use super::*;

    #[test]
    fn the_time_of_a_rate_limit_is_rounded_up() {
        for (wait, seconds) in [(0, 1), (1, 1), (1_000, 1), (1_001, 2), (59_999, 60)] {
            let response = rate_limited(Duration::from_millis(wait)).into_response();
            assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
            assert_eq!(response.headers()[header::RETRY_AFTER], seconds.to_string().as_str(), "{wait} ms");
        }
    }
}
