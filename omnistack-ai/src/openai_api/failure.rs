//! Errors of calls as responses.

use std::{borrow::Cow, time::Duration};

use omnistack_core::http::{Error, HeaderName, HeaderValue, StatusCode, header};

use crate::{
    error::{LlmError, LlmErrorKind},
    gateway::AiError,
};

/// The provider in errors of the gateway itself.
const GATEWAY: &str = "gateway";
/// A header by which OpenAI's clients decide whether they repeat a request.
pub(super) const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// Returns the response of a failed call. The details of an error of a provider have `provider`, and as far as they are
/// known `provider_code`, `provider_type`, `provider_status`, `provider_request_id`, `param` and `retry_after_seconds`.
pub(crate) fn http_error(error: AiError) -> Error {
    match error {
        AiError::Refused(error) => error,
        AiError::Upstream(error) => provider_error(&error),
    }
}

/// Returns the response of an error of a provider.
pub(crate) fn provider_error(error: &LlmError) -> Error {
    let (status, code) = status_and_code(error.kind);
    let mut response = Error::new(status, code, public_message(error).into_owned());
    if let Some(provider) = provider_of(error) {
        response = response.with_detail("provider", provider);
    }
    let details = [
        ("provider_code", &error.code),
        ("provider_type", &error.error_type),
        ("param", &error.param),
        ("provider_request_id", &error.request_id),
    ];
    for (name, value) in details {
        if let Some(value) = value {
            response = response.with_detail(name, value);
        }
    }
    if error.kind == LlmErrorKind::Unreachable {
        // The operator finds the reason in the log.
        response = response.with_source(error.clone());
    }
    if let Some(status) = error.status {
        response = response.with_detail("provider_status", status);
    }
    if let Some(after) = error.retry_after {
        let seconds = whole_seconds(after);
        response = response.with_detail("retry_after_seconds", seconds);
        response = response.with_header(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if matches!(error.kind, LlmErrorKind::Unauthorized | LlmErrorKind::QuotaExhausted) {
        // The operator of the app must act first.
        response = response.with_header(SHOULD_RETRY, HeaderValue::from_static("false"));
    }
    response
}

/// Returns the provider that has failed. `None` if it is the gateway itself.
pub(crate) fn provider_of(error: &LlmError) -> Option<&str> {
    Some(&*error.provider).filter(|provider| *provider != GATEWAY)
}

/// Returns the message of an error for the caller. Providers repeat a part of a wrong key, and name the organization
/// that pays, and failed connections name hosts: messages about the app's account and its network are not for its
/// tenants.
pub(crate) fn public_message(error: &LlmError) -> Cow<'_, str> {
    match error.kind {
        LlmErrorKind::Unauthorized => "the provider refuses the credentials of this app; tell its operator".into(),
        LlmErrorKind::QuotaExhausted => "the account of this app at the provider is used up; tell its operator".into(),
        LlmErrorKind::Unreachable => "the provider can't be reached; try again".into(),
        _ => error.message.as_str().into(),
    }
}

const fn status_and_code(kind: LlmErrorKind) -> (StatusCode, &'static str) {
    match kind {
        LlmErrorKind::InvalidRequest => (StatusCode::BAD_REQUEST, "REQUEST_REJECTED_BY_PROVIDER"),
        LlmErrorKind::ContextLength => (StatusCode::BAD_REQUEST, "CONTEXT_LENGTH_EXCEEDED"),
        LlmErrorKind::NotSupported => (StatusCode::BAD_REQUEST, "NOT_SUPPORTED_BY_PROVIDER"),
        LlmErrorKind::ContentFiltered => (StatusCode::BAD_REQUEST, "CONTENT_FILTERED"),
        LlmErrorKind::UnknownModel => (StatusCode::NOT_FOUND, "MODEL_NOT_FOUND"),
        LlmErrorKind::RateLimited => (StatusCode::TOO_MANY_REQUESTS, "PROVIDER_RATE_LIMITED"),
        LlmErrorKind::Unauthorized => (StatusCode::BAD_GATEWAY, "PROVIDER_UNAUTHORIZED"),
        LlmErrorKind::QuotaExhausted => (StatusCode::BAD_GATEWAY, "PROVIDER_QUOTA_EXHAUSTED"),
        LlmErrorKind::SchemaMismatch => (StatusCode::BAD_GATEWAY, "SCHEMA_MISMATCH"),
        LlmErrorKind::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "PROVIDER_OVERLOADED"),
        LlmErrorKind::Unreachable => (StatusCode::SERVICE_UNAVAILABLE, "PROVIDER_UNREACHABLE"),
        LlmErrorKind::Timeout(_) => (StatusCode::GATEWAY_TIMEOUT, "PROVIDER_TIMEOUT"),
        LlmErrorKind::Interrupted => (StatusCode::BAD_GATEWAY, "ANSWER_INTERRUPTED"),
        LlmErrorKind::Failed | LlmErrorKind::Protocol => (StatusCode::BAD_GATEWAY, "PROVIDER_FAILED"),
    }
}

/// Returns whole seconds, rounded up, so that a caller who waits this long has waited long enough.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::TimeoutPhase;

    #[test]
    fn each_kind_has_a_status_and_a_code() {
        for (kind, status, code) in [
            (LlmErrorKind::InvalidRequest, 400, "REQUEST_REJECTED_BY_PROVIDER"),
            (LlmErrorKind::ContextLength, 400, "CONTEXT_LENGTH_EXCEEDED"),
            (LlmErrorKind::RateLimited, 429, "PROVIDER_RATE_LIMITED"),
            (LlmErrorKind::Overloaded, 503, "PROVIDER_OVERLOADED"),
            (LlmErrorKind::UnknownModel, 404, "MODEL_NOT_FOUND"),
            (LlmErrorKind::Timeout(TimeoutPhase::Idle), 504, "PROVIDER_TIMEOUT"),
            (LlmErrorKind::QuotaExhausted, 502, "PROVIDER_QUOTA_EXHAUSTED"),
        ] {
            let error = http_error(LlmError::new(kind, "p", "no").into());
            assert_eq!((error.status().as_u16(), error.code()), (status, code));
        }
    }

    #[test]
    fn messages_about_the_account_of_the_app_are_not_for_tenants() {
        for kind in [LlmErrorKind::Unauthorized, LlmErrorKind::QuotaExhausted, LlmErrorKind::Unreachable] {
            let error = LlmError::new(kind, "p", "Incorrect API key provided: sk-abc*****xyz");
            assert!(!provider_error(&error).to_string().contains("sk-abc"));
        }
    }

    #[test]
    fn the_gateway_is_no_provider() {
        let error = |provider: &'static str| LlmError::new(LlmErrorKind::Interrupted, provider, "cut");
        assert_eq!((provider_of(&error("p")), provider_of(&error(GATEWAY))), (Some("p"), None));
    }

    #[test]
    fn a_wait_is_rounded_up() {
        assert_eq!(whole_seconds(Duration::from_millis(1_001)), 2);
        assert_eq!(whole_seconds(Duration::from_secs(3)), 3);
        assert_eq!(whole_seconds(Duration::ZERO), 0);
    }
}
