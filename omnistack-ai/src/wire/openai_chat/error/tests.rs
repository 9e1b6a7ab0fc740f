use std::time::Duration;

use http::HeaderValue;
use serde_json::json;

use super::*;

const PROVIDER: &str = "openai";

fn now() -> Timestamp {
    "2026-11-28T12:00:00Z".parse().unwrap()
}

fn response(status: u16, body: &str) -> LlmError {
    let status = StatusCode::from_u16(status).unwrap();
    error_of_response(PROVIDER, status, &HeaderMap::new(), body.as_bytes(), now())
}

#[test]
fn statuses_and_codes_decide_the_kind() {
    use LlmErrorKind::{
        ContentFiltered, ContextLength, Failed, InvalidRequest, NotSupported, Overloaded, Protocol, QuotaExhausted,
        RateLimited, Unauthorized, UnknownModel,
    };
    let body = |code: &str, kind: &str, message: &str| {
        json!({"error": {"message": message, "type": kind, "param": null, "code": code}}).to_string()
    };
    let gemini = r#"[{"error":{"code":429,"message":"You exceeded your quota","status":"RESOURCE_EXHAUSTED"}}]"#;
    for (status, body, kind) in [
        (400, body("", "invalid_request_error", "bad"), InvalidRequest),
        (400, body("context_length_exceeded", "invalid_request_error", "long"), ContextLength),
        (400, body("", "BadRequestError", "This model's maximum context length is 8192 tokens."), ContextLength),
        (400, body("model_decommissioned", "invalid_request_error", "gone"), UnknownModel),
        (400, body("content_policy_violation", "invalid_request_error", "no"), ContentFiltered),
        (400, r#"{"error":{"innererror":{"code":"ResponsibleAIPolicyViolation"}}}"#.to_owned(), ContentFiltered),
        (401, body("invalid_api_key", "invalid_request_error", "Incorrect API key provided: sk-abc"), Unauthorized),
        (401, String::new(), Unauthorized),
        (402, body("", "", "Insufficient Balance"), QuotaExhausted),
        (403, body("", "", "no"), Unauthorized),
        (404, body("model_not_found", "invalid_request_error", "no such model"), UnknownModel),
        (404, body("DeploymentNotFound", "", "no such deployment"), UnknownModel),
        (404, body("unknown_url", "invalid_request_error", "no such URL"), NotSupported),
        (404, r#"{"error":"model \"x\" not found, try pulling it first"}"#.to_owned(), UnknownModel),
        (413, body("rate_limit_exceeded", "tokens", "too large"), ContextLength),
        (422, r#"{"detail":[{"msg":"field required"}]}"#.to_owned(), InvalidRequest),
        (429, body("rate_limit_exceeded", "requests", "slow"), RateLimited),
        (429, body("insufficient_quota", "insufficient_quota", "pay"), QuotaExhausted),
        // A rate limit of Gemini whose message is that of OpenAI's quota.
        (429, gemini.to_owned(), RateLimited),
        (429, "<html>".to_owned(), RateLimited),
        (498, String::new(), Overloaded),
        (500, body("", "server_error", "oops"), Failed),
        (502, "<html>".to_owned(), Failed),
        (503, body("", "", "busy"), Overloaded),
        (529, body("", "overloaded_error", "busy"), Overloaded),
        (302, String::new(), Protocol),
    ] {
        let error = response(status, &body);
        assert_eq!((error.kind, error.status), (kind, Some(status)), "{status} {body}");
        assert!(!error.message.is_empty() && !error.message.contains("sk-abc"), "{}", error.message);
    }
}

#[test]
fn errors_in_streams_have_a_kind_without_a_status() {
    for (error, kind) in [
        (json!({"error": {"message": "x", "type": "server_error"}}), LlmErrorKind::Failed),
        (json!({"error": {"message": "x", "type": "overloaded_error"}}), LlmErrorKind::Overloaded),
        (json!({"error": {"message": "x", "code": "rate_limit_exceeded"}}), LlmErrorKind::RateLimited),
        (json!({"error": {"message": "x", "code": "insufficient_quota"}}), LlmErrorKind::QuotaExhausted),
        (json!({"error": {"message": "x", "code": 429}}), LlmErrorKind::RateLimited),
        (json!({"error": {"message": "x", "code": 502}}), LlmErrorKind::Failed),
        (json!({"error": {"message": "x", "code": "529"}}), LlmErrorKind::Overloaded),
        (json!({"error": "over capacity"}), LlmErrorKind::Failed),
        (json!({"error": "the prompt exceeds the context window"}), LlmErrorKind::ContextLength),
        (json!({"error": {"message": "x", "type": "invalid_request_error"}}), LlmErrorKind::InvalidRequest),
        (json!({"type": "error", "code": "invalid_prompt", "message": "x"}), LlmErrorKind::ContentFiltered),
        (json!({"type": "error", "code": "invalid_base64_image", "message": "x"}), LlmErrorKind::InvalidRequest),
        (json!(null), LlmErrorKind::Failed),
    ] {
        let decoded = error_in_answer(PROVIDER, &error);
        assert_eq!((decoded.kind, decoded.status), (kind, None), "{error}");
        assert!(!decoded.message.is_empty());
    }
}

#[test]
fn fields_and_headers_are_kept() {
    let body =
        json!({"error": {"message": "a\nb", "type": "tokens", "param": "messages", "code": "rate_limit_exceeded"}});
    let mut headers = HeaderMap::new();
    headers.insert("x-request-id", HeaderValue::from_static("req_1"));
    headers.insert("retry-after", HeaderValue::from_static("1.5"));
    let error =
        error_of_response(PROVIDER, StatusCode::TOO_MANY_REQUESTS, &headers, body.to_string().as_bytes(), now());
    assert_eq!(error.message, "a b");
    assert_eq!(error.code.as_deref(), Some("rate_limit_exceeded"));
    assert_eq!(error.error_type.as_deref(), Some("tokens"));
    assert_eq!(error.param.as_deref(), Some("messages"));
    assert_eq!(error.request_id.as_deref(), Some("req_1"));
    assert_eq!(error.retry_after, Some(Duration::from_millis(1500)));
    // Waiting does not help.
    let body = json!({"error": {"message": "pay", "code": "insufficient_quota"}}).to_string();
    let error = error_of_response(PROVIDER, StatusCode::TOO_MANY_REQUESTS, &headers, body.as_bytes(), now());
    assert_eq!(error.retry_after, None);
}

#[test]
fn a_long_message_is_cut_at_a_character() {
    let body = json!({"error": {"message": "é".repeat(10_000), "code": "x".repeat(10_000)}}).to_string();
    let error = response(400, &body);
    assert_eq!(error.message, "é".repeat(MAX_MESSAGE_CHARS));
    assert_eq!(error.code, Some("x".repeat(MAX_CODE_CHARS)));
}
