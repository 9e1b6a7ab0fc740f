//! Errors of Gemini's API.

use http::{HeaderMap, StatusCode};
use omnistack_core::clock::Timestamp;
use serde_json::Value;

use crate::{
    error::{LlmError, LlmErrorKind},
    wire::openai_chat::{self, list, text},
};

/// Decodes the response to a request that failed.
pub(super) fn error_of_response(
    provider: &str,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> LlmError {
    let mut error = openai_chat::error_of_response(provider, status, headers, body, now);
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    refine(&mut error, &body);
    error
}

/// Decodes an error inside a successful response: the object with the field `error`.
pub(super) fn error_in_answer(provider: &str, answer: &Value) -> LlmError {
    let mut error = openai_chat::error_in_answer(provider, answer);
    refine(&mut error, answer);
    error
}

/// Corrects the kind by what only this API says in its details.
fn refine(error: &mut LlmError, body: &Value) {
    // Streams that are no server-sent events wrap the error in a list.
    let body = body.get(0).unwrap_or(body);
    let details = list(body.get("error").unwrap_or(body), "details");
    let is_key_error = details.iter().any(|detail| {
        let reason = text(detail, "reason");
        reason.starts_with("API_KEY_") || reason == "SERVICE_DISABLED" || reason == "CONSUMER_INVALID"
    });
    // A precondition is one of the account: its billing or its country.
    if is_key_error || error.error_type.as_deref() == Some("FAILED_PRECONDITION") {
        error.kind = LlmErrorKind::Unauthorized;
        "the provider rejects the app's credentials".clone_into(&mut error.message);
        error.retry_after = None;
    }
    if error.kind == LlmErrorKind::RateLimited && details.iter().any(is_exhausted_quota) {
        // The delay beside it is the one of the limit per minute.
        error.kind = LlmErrorKind::QuotaExhausted;
        error.retry_after = None;
    }
}

/// Returns whether a detail says that a quota of the day is used up, or that the account has none.
fn is_exhausted_quota(detail: &Value) -> bool {
    let is_exhausted =
        |violation: &Value| text(violation, "quotaId").contains("PerDay") || text(violation, "quotaValue") == "0";
    list(detail, "violations").iter().any(is_exhausted)
}
