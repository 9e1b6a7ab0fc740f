//! Errors of the Messages API.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use omnistack_core::clock::Timestamp;
use serde_json::Value;

use crate::{
    error::{LlmError, LlmErrorKind},
    wire::openai_chat,
};

/// The limits that headers describe.
const LIMITS: [&str; 4] = ["requests", "tokens", "input-tokens", "output-tokens"];

/// Longest waiting time by the headers of limits, which are of one minute.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60 * 60);

/// Longest id of a request that is kept, in characters.
const MAX_ID_CHARS: usize = 100;

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
    if error.kind == LlmErrorKind::RateLimited && error.retry_after.is_none() {
        error.retry_after = reset(headers, now);
    }
    error
}

/// Decodes an error inside a successful response.
pub(super) fn error_in_answer(provider: &str, answer: &Value) -> LlmError {
    let mut error = openai_chat::error_in_answer(provider, answer);
    error.kind = match error.error_type.as_deref() {
        Some("authentication_error" | "permission_error") => LlmErrorKind::Unauthorized,
        Some("rate_limit_error") => LlmErrorKind::RateLimited,
        Some("overloaded_error") => LlmErrorKind::Overloaded,
        Some("request_too_large") => LlmErrorKind::ContextLength,
        Some("not_found_error") => LlmErrorKind::UnknownModel,
        Some("api_error" | "timeout_error") => LlmErrorKind::Failed,
        _ => error.kind,
    };
    if error.kind == LlmErrorKind::Unauthorized {
        // Providers repeat parts of the key.
        "the provider rejects the app's credentials".clone_into(&mut error.message);
    }
    refine(&mut error, answer);
    error
}

/// Corrects the kind by what only this API says: that money is missing, which no waiting helps against.
fn refine(error: &mut LlmError, body: &Value) {
    let details = body.pointer("/error/details");
    let detail = ["type", "error_code", "code", "reason"].into_iter().find_map(|name| details?.get(name)?.as_str());
    let message = body.pointer("/error/message").and_then(Value::as_str).unwrap_or_default();
    let lacks_money = error.error_type.as_deref() == Some("billing_error")
        || detail.is_some_and(|detail| {
            detail.ends_with("spend_limit_reached") || detail.ends_with("not_billable") || detail == "credits_exhausted"
        })
        || message.contains("credit balance is too low");
    if lacks_money {
        error.kind = LlmErrorKind::QuotaExhausted;
        error.retry_after = None;
    }
    if error.request_id.is_none() {
        let id = body.get("request_id").and_then(Value::as_str);
        let id = id.filter(|id| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_graphic()));
        error.request_id = id.map(|id| id.chars().take(MAX_ID_CHARS).collect());
    }
}

/// Returns the time until the limits that are exhausted are renewed.
fn reset(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name: String| headers.get(name)?.to_str().ok();
    let exhausted = LIMITS.iter().filter_map(|limit| {
        let remaining = text(format!("anthropic-ratelimit-{limit}-remaining"))?;
        let reset: Timestamp = text(format!("anthropic-ratelimit-{limit}-reset"))?.parse().ok()?;
        (remaining == "0").then(|| reset.duration_since(now))
    });
    exhausted.max().map(|wait| wait.min(MAX_RETRY_AFTER))
}
