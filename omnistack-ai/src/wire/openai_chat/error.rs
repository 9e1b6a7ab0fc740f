//! Errors of APIs in OpenAI's form: as responses, and inside streams.

use http::{HeaderMap, StatusCode};
use omnistack_core::clock::Timestamp;
use serde_json::Value;

use super::{fields::text, retry_after::retry_after};
use crate::error::{LlmError, LlmErrorKind};

/// Longest message of a provider that is kept, in characters.
const MAX_MESSAGE_CHARS: usize = 500;

/// Longest code, type, parameter or id of a provider that is kept, in characters.
const MAX_CODE_CHARS: usize = 100;

/// Headers with the provider's id of the request, in the order of preference.
const REQUEST_ID_HEADERS: [&str; 3] = ["x-request-id", "request-id", "apim-request-id"];

/// Codes and types that say more than the status.
const SPECIFIC_CODES: &[(&str, LlmErrorKind)] = &[
    ("insufficient_quota", LlmErrorKind::QuotaExhausted),
    ("insufficient_balance", LlmErrorKind::QuotaExhausted),
    ("insufficient_credits", LlmErrorKind::QuotaExhausted),
    ("billing_hard_limit_reached", LlmErrorKind::QuotaExhausted),
    ("billing_not_active", LlmErrorKind::QuotaExhausted),
    ("exceeded_current_quota_error", LlmErrorKind::QuotaExhausted),
    ("context_length_exceeded", LlmErrorKind::ContextLength),
    ("context_window_exceeded", LlmErrorKind::ContextLength),
    ("invalid_api_key", LlmErrorKind::Unauthorized),
    ("invalid_organization", LlmErrorKind::Unauthorized),
    ("authentication_error", LlmErrorKind::Unauthorized),
    ("permission_denied", LlmErrorKind::Unauthorized),
    ("unauthenticated", LlmErrorKind::Unauthorized),
    ("account_deactivated", LlmErrorKind::Unauthorized),
    ("unsupported_country_region_territory", LlmErrorKind::Unauthorized),
    ("model_not_found", LlmErrorKind::UnknownModel),
    ("model_decommissioned", LlmErrorKind::UnknownModel),
    ("model_not_active", LlmErrorKind::UnknownModel),
    ("deploymentnotfound", LlmErrorKind::UnknownModel),
    ("content_filter", LlmErrorKind::ContentFiltered),
    ("content_policy_violation", LlmErrorKind::ContentFiltered),
    ("moderation_blocked", LlmErrorKind::ContentFiltered),
    ("responsibleaipolicyviolation", LlmErrorKind::ContentFiltered),
    ("invalid_prompt", LlmErrorKind::ContentFiltered),
    ("unknown_url", LlmErrorKind::NotSupported),
    ("previous_response_not_found", LlmErrorKind::InvalidRequest),
];

/// Codes and types that repeat the status. They count where there is none: in streams.
const GENERAL_CODES: &[(&str, LlmErrorKind)] = &[
    ("rate_limit_exceeded", LlmErrorKind::RateLimited),
    ("rate_limit_error", LlmErrorKind::RateLimited),
    ("resource_exhausted", LlmErrorKind::RateLimited),
    ("too_many_requests", LlmErrorKind::RateLimited),
    ("overloaded", LlmErrorKind::Overloaded),
    ("overloaded_error", LlmErrorKind::Overloaded),
    ("server_overloaded", LlmErrorKind::Overloaded),
    ("engine_overloaded_error", LlmErrorKind::Overloaded),
    ("service_unavailable", LlmErrorKind::Overloaded),
    ("unavailable", LlmErrorKind::Overloaded),
    ("slow_down", LlmErrorKind::Overloaded),
    ("invalid_request_error", LlmErrorKind::InvalidRequest),
    ("invalid_argument", LlmErrorKind::InvalidRequest),
    ("invalid_image", LlmErrorKind::InvalidRequest),
    ("badrequesterror", LlmErrorKind::InvalidRequest),
    ("not_found_error", LlmErrorKind::UnknownModel),
];

/// Phrases of servers that have no code for an input that is too long.
const CONTEXT_LENGTH_PHRASES: [&str; 6] = [
    "context length",
    "context window",
    "maximum context",
    "prompt is too long",
    "input is too long",
    "input token count",
];

/// The fields of an error, wherever the provider puts them.
#[derive(Debug, Default)]
struct ErrorFields {
    message: String,
    code: Option<String>,
    error_type: Option<String>,
    param: Option<String>,
    inner_code: Option<String>,
}

/// Decodes the response to a request that failed.
pub(crate) fn error_of_response(
    provider: &str,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> LlmError {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let fields = ErrorFields::read(&body);
    let mut error = fields.into_error(provider, Some(status.as_u16()));
    let may_wait = matches!(error.kind, LlmErrorKind::RateLimited | LlmErrorKind::Overloaded | LlmErrorKind::Failed);
    if may_wait {
        error.retry_after = retry_after(headers, &body, error.error_type.as_deref(), now);
    }
    error.status = Some(status.as_u16());
    let ids = REQUEST_ID_HEADERS.iter().filter_map(|name| headers.get(*name)?.to_str().ok());
    error.request_id = ids.map(|id| cut(id, MAX_CODE_CHARS)).find(|id| !id.is_empty());
    error
}

/// Decodes an error inside a successful response: the object itself, or one with the field `error`.
pub(crate) fn error_in_answer(provider: &str, value: &Value) -> LlmError {
    let fields = ErrorFields::read(value);
    // Some servers repeat the status that the response should have had.
    let status = fields.code.as_ref().and_then(|code| code.parse().ok()).filter(|code| (400..600).contains(code));
    fields.into_error(provider, status)
}

/// Returns the error of an answer that is not in the form of the API.
pub(crate) fn protocol_error(provider: &str, message: &str) -> LlmError {
    LlmError::new(LlmErrorKind::Protocol, provider.to_owned(), message)
}

/// Returns the error of an answer that ended before it was complete.
pub(crate) fn interrupted(provider: &str) -> LlmError {
    LlmError::new(LlmErrorKind::Interrupted, provider.to_owned(), "the answer ended before it was complete")
}

/// Returns the error of a request that the API can't express.
pub(crate) fn inexpressible(provider: &str, message: impl Into<String>) -> LlmError {
    LlmError::new(LlmErrorKind::InvalidRequest, provider.to_owned(), message)
}

impl ErrorFields {
    fn read(value: &Value) -> Self {
        // Gemini's compatible URL answers with a list of one error.
        let value = value.get(0).unwrap_or(value);
        match value.get("error").filter(|error| !error.is_null()) {
            Some(error @ Value::Object(_)) => Self::of_object(error),
            Some(Value::String(message)) => Self { message: message.clone(), ..Self::of_object(value) },
            _ => match value.get("errors").and_then(|errors| errors.get(0)) {
                Some(first) => Self::of_object(first),
                None => Self::of_object(value),
            },
        }
    }

    fn of_object(error: &Value) -> Self {
        let message = [error.get("message"), error.get("detail"), error.pointer("/detail/0/msg")];
        let message = message.into_iter().flatten().find_map(Value::as_str).unwrap_or_default();
        let code = match error.get("code") {
            Some(Value::Number(code)) => Some(code.to_string()),
            code => code.and_then(Value::as_str).map(str::to_owned),
        };
        let kept = |key: &str| Some(text(error, key)).filter(|text| !text.is_empty()).map(str::to_owned);
        Self {
            message: message.to_owned(),
            code: code.filter(|code| !code.is_empty()),
            // Google's name of the error, such as `RESOURCE_EXHAUSTED`.
            error_type: kept("type").or_else(|| kept("status")),
            param: kept("param"),
            inner_code: error.pointer("/innererror/code").and_then(Value::as_str).map(str::to_owned),
        }
    }

    fn into_error(self, provider: &str, status: Option<u16>) -> LlmError {
        let kind = self.kind(status);
        let message = match (kind, status) {
            // Providers repeat parts of the key.
            (LlmErrorKind::Unauthorized, _) => "the provider rejects the app's credentials".to_owned(),
            (_, Some(status)) if self.message.is_empty() => format!("the provider answered with status {status}"),
            _ if self.message.is_empty() => "the provider reports a failure without a message".to_owned(),
            _ => cut(&self.message, MAX_MESSAGE_CHARS),
        };
        let short = |text: String| cut(&text, MAX_CODE_CHARS);
        let mut error = LlmError::new(kind, provider.to_owned(), message);
        error.code = self.code.map(short);
        error.error_type = self.error_type.map(short);
        error.param = self.param.map(short);
        error
    }

    fn kind(&self, status: Option<u16>) -> LlmErrorKind {
        let names = [&self.inner_code, &self.code, &self.error_type];
        let find = |table: &[(&str, LlmErrorKind)]| {
            let mut names = names.into_iter().flatten();
            names.find_map(|name| {
                let found = table.iter().find(|(known, _)| name.eq_ignore_ascii_case(known));
                found.map(|(_, kind)| *kind)
            })
        };
        if let Some(kind) = find(SPECIFIC_CODES) {
            return kind;
        }
        let kind = match status {
            Some(401 | 403) => LlmErrorKind::Unauthorized,
            Some(402) => LlmErrorKind::QuotaExhausted,
            Some(404) => LlmErrorKind::UnknownModel,
            Some(413) => LlmErrorKind::ContextLength,
            Some(429) => LlmErrorKind::RateLimited,
            // 498 is Groq's for a service tier without capacity, 529 Anthropic's.
            Some(498 | 503 | 529) => LlmErrorKind::Overloaded,
            Some(408 | 409 | 425 | 499 | 500..=599) => LlmErrorKind::Failed,
            Some(400..=499) => LlmErrorKind::InvalidRequest,
            Some(_) => LlmErrorKind::Protocol,
            None => find(GENERAL_CODES).unwrap_or(match &self.code {
                // Responses have a code for each way in which an image can be invalid.
                Some(code) if code.starts_with("invalid_") => LlmErrorKind::InvalidRequest,
                _ => LlmErrorKind::Failed,
            }),
        };
        if kind == LlmErrorKind::InvalidRequest || (status.is_none() && kind == LlmErrorKind::Failed) {
            let message = self.message.to_ascii_lowercase();
            if CONTEXT_LENGTH_PHRASES.iter().any(|phrase| message.contains(phrase)) {
                return LlmErrorKind::ContextLength;
            }
        }
        kind
    }
}

/// Cuts a text, and removes what could break a line of a log.
fn cut(text: &str, max_chars: usize) -> String {
    text.trim().chars().take(max_chars).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests;
