//! Responses and connections that fail.

use std::time::Duration;

use omnistack_ai::{Call, HttpProvider, LlmErrorKind, LlmProvider as _};
use omnistack_testkit::{
    llm::{Scripted, ScriptedUpstream},
    mock_server::ClosedPort,
};

use super::{USAGE, client, each_format, openai, request, stream_error};

#[tokio::test]
async fn a_status_is_a_kind_of_failure() {
    let upstream = ScriptedUpstream::start().await;
    let formats = each_format(&upstream, &[]);
    let (openai, anthropic, gemini) = (&formats[0].0, &formats[2].0, &formats[3].0);
    let failure = |status, code| Scripted::openai_error(status, "t", code, "m");
    for (provider, response, kind) in [
        (openai, failure(429, "rate_limit_exceeded"), LlmErrorKind::RateLimited),
        (openai, failure(429, "insufficient_quota"), LlmErrorKind::QuotaExhausted),
        (openai, failure(401, "invalid_api_key"), LlmErrorKind::Unauthorized),
        (openai, failure(404, "model_not_found"), LlmErrorKind::UnknownModel),
        (openai, failure(400, "context_length_exceeded"), LlmErrorKind::ContextLength),
        (openai, failure(400, "invalid"), LlmErrorKind::InvalidRequest),
        (openai, failure(500, "server_error"), LlmErrorKind::Failed),
        (openai, failure(529, "overloaded"), LlmErrorKind::Overloaded),
        (anthropic, Scripted::anthropic_error(529, "overloaded_error", "Overloaded"), LlmErrorKind::Overloaded),
        (anthropic, Scripted::anthropic_error(429, "rate_limit_error", "m"), LlmErrorKind::RateLimited),
        (gemini, Scripted::gemini_error(429, "RESOURCE_EXHAUSTED", "m"), LlmErrorKind::RateLimited),
        (gemini, Scripted::gemini_array_error(503, "UNAVAILABLE", "m"), LlmErrorKind::Overloaded),
    ] {
        let response = response.header("x-request-id", "req_5");
        upstream.respond(response.clone()).respond(response);
        let error = provider.complete(&request(), &Call::default()).await.unwrap_err();
        assert_eq!((error.kind, error.request_id.is_some()), (kind, true), "{error}");
        assert_eq!(stream_error(provider, &Call::default()).await.1, kind);
    }
}

#[tokio::test]
async fn a_provider_is_asked_once() {
    let upstream = ScriptedUpstream::start().await;
    let limited = Scripted::openai_error(429, "tokens", "rate_limit_exceeded", "slow down");
    upstream.respond_always(limited.header("retry-after", "7"));
    let error = openai(&upstream).complete(&request(), &Call::default()).await.unwrap_err();
    assert_eq!((error.status, error.retry_after), (Some(429), Some(Duration::from_secs(7))));
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn an_error_with_status_200_is_an_error() {
    let upstream = ScriptedUpstream::start().await;
    for (provider, _) in each_format(&upstream, &[]) {
        for (body, kind) in [
            (r#"{"error":{"message":"m","code":429}}"#, LlmErrorKind::RateLimited),
            (r#"[{"error":{"code":503,"message":"m","status":"UNAVAILABLE"}}]"#, LlmErrorKind::Overloaded),
        ] {
            upstream.respond(Scripted::json(200, body)).respond(Scripted::json(200, body));
            let error = provider.complete(&request(), &Call::default()).await.unwrap_err();
            assert_eq!(error.kind, kind, "{body} {error}");
            assert_eq!(stream_error(&provider, &Call::default()).await.1, kind, "{body}");
        }
    }
}

#[tokio::test]
async fn what_is_no_answer_is_a_violation_of_the_protocol() {
    let upstream = ScriptedUpstream::start().await;
    let provider = openai(&upstream);
    for body in ["", "<html>", "null", "[]", r#"{"choices":"#] {
        upstream.respond(Scripted::json(200, body));
        let error = provider.complete(&request(), &Call::default()).await.unwrap_err();
        assert_eq!(error.kind, LlmErrorKind::Protocol, "{body}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let upstream = ScriptedUpstream::start().await;
    upstream.respond_always(Scripted::status(307).header("location", "/elsewhere").body(""));
    assert!(openai(&upstream).complete(&request(), &Call::default()).await.is_err());
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn a_provider_that_is_away_is_unreachable() {
    let port = ClosedPort::reserve();
    let provider = HttpProvider::compatible(client(), "away", port.url());
    let error = provider.complete(&request(), &Call::default()).await.unwrap_err();
    assert_eq!(error.kind, LlmErrorKind::Unreachable);
    assert!(!error.message.contains("127.0.0.1:"), "{}", error.message);

    let invalid = HttpProvider::compatible(client(), "away", "no url");
    let error = invalid.complete(&request(), &Call::default()).await.unwrap_err();
    assert_eq!(error.kind, LlmErrorKind::Unreachable);
}

#[tokio::test]
async fn a_connection_that_breaks_is_no_answer() {
    let upstream = ScriptedUpstream::start().await;
    let provider = openai(&upstream);
    upstream.respond(Scripted::reset());
    let error = provider.complete(&request(), &Call::default()).await.unwrap_err();
    assert_eq!(error.kind, LlmErrorKind::Unreachable);
    for response in [
        Scripted::openai_chat("hello", USAGE).cut_after(30),
        Scripted::status(200).header("content-type", "application/json").chunk("{").close(),
    ] {
        upstream.respond(response);
        let error = provider.complete(&request(), &Call::default()).await.unwrap_err();
        assert_eq!(error.kind, LlmErrorKind::Interrupted, "{error}");
    }
}
