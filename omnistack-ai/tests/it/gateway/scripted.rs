//! Tests with the bytes of an upstream.

#![cfg(test)]
#![cfg(feature = "providers")]

use omnistack_ai::Ai;
use omnistack_testkit::{
    TestApp, TestDatabase,
    llm::{Scripted, ScriptedUpstream, ScriptedUsage},
};
use serde_json::json;

use super::{CallOptions, ChatRequest, Message, gateway, options, read, tenant};

/// Starts an app whose only provider is an upstream with the API of OpenAI.
async fn start(upstream: &ScriptedUpstream) -> TestApp {
    TestApp::start(TestDatabase::sqlite(), |app| {
        app.set("AI_COMPATIBLE_URL", upstream.url())
            .set("AI_COMPATIBLE_NAME", "upstream")
            .set("AI_COMPATIBLE_API_KEY", "key")
            .set("HTTP_CLIENT_ALLOWED_NETWORKS", "127.0.0.0/8")
            .with(Ai::from_env())
    })
    .await
}

fn request() -> (ChatRequest, CallOptions) {
    let options = options().provider("upstream");
    (ChatRequest::new("deployed", [Message::user("hello")]), options)
}

#[tokio::test]
async fn the_rate_limits_in_headers_are_seen_by_operators() {
    let upstream = ScriptedUpstream::start().await;
    let answer = Scripted::openai_chat("a", ScriptedUsage::new(10, 5));
    let answer = answer.header("x-ratelimit-limit-requests", "500").header("x-ratelimit-remaining-requests", "3");
    upstream.respond(answer.header("x-ratelimit-remaining-tokens", "1000"));
    let app = start(&upstream).await;
    let (request, options) = request();
    gateway(&app).complete(tenant(), request, options).await.unwrap();
    let providers = app.operator().get("/api/v1/admin/ai/providers").await.expect(200).json();
    let providers = providers["items"].as_array().unwrap();
    let upstream = providers.iter().find(|provider| provider["name"] == "upstream").unwrap();
    let health = &upstream["models"][0];
    assert_eq!((&health["remaining_requests"], &health["remaining_tokens"]), (&json!(3), &json!(1_000)), "{health}");
}

/// An error as the first event of a 200 stream is repeated, because the caller has seen nothing yet.
#[tokio::test]
async fn an_error_in_the_first_event_is_not_seen_by_the_caller() {
    let upstream = ScriptedUpstream::start().await;
    let failed =
        b"data: {\"error\":{\"message\":\"overloaded\",\"type\":\"overloaded_error\",\"code\":\"overloaded\"}}\n\n";
    upstream.respond(Scripted::status(200).header("content-type", "text/event-stream").chunk(failed).end());
    upstream.respond(Scripted::openai_chat_stream(["a", "b"], ScriptedUsage::new(10, 5)));
    let app = start(&upstream).await;
    let (request, options) = request();
    let seen = read(gateway(&app).stream(tenant(), request, options).await.unwrap()).await;
    assert_eq!((seen.text().as_str(), seen.error.is_none(), seen.call.attempts.len()), ("ab", true, 2));
    assert_eq!((seen.call.usage.input, seen.call.usage.output), (10, 5));
    assert_eq!(upstream.requests().len(), 2);
}
