//! Vercel's AI SDK, with its provider for APIs in the form of OpenAI's.

use std::time::Duration;

use omnistack_ai::{LlmError, LlmErrorKind, Part, ToolCall};
use omnistack_testkit::TestDatabase;
use serde_json::{Value, json};

use super::{node, printed};
use crate::openai_api::{MODEL, ScriptedProvider, key, start};

/// Runs a case against a new app, and returns what it prints.
async fn run(case: &str, provider: &ScriptedProvider) -> Value {
    let app = start(TestDatabase::sqlite(), provider).await;
    let server = app.listen_with_defaults().await;
    let (url, key) = (format!("http://{}/v1", server.address), key(&app));
    let result = printed(node("ai_sdk.mjs"), [case, url.as_str(), key.token().unwrap(), MODEL]).await;
    server.shut_down().await;
    result
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn the_sdk_gets_answers() {
    let provider = ScriptedProvider::default();
    assert_eq!(run("chat", &provider).await, json!({ "text": "Hello world!", "finishReason": "stop" }));
    let streamed = json!({ "text": "Hello world!", "total_tokens": 15, "finishReason": "stop" });
    assert_eq!(run("stream", &provider).await, streamed);
    assert_eq!(run("abort", &provider).await["text"], "Hello ");
    let embedded = run("embeddings", &provider).await;
    // JavaScript prints 3.0 as 3.
    let floats: Vec<_> = embedded["float"].as_array().unwrap().iter().map(|number| number.as_f64()).collect();
    assert_eq!(floats, [Some(0.5), Some(-1.25), Some(3.0)]);
    provider.answer_with(vec![Part::text(r#"{"city":"Rome"}"#)]);
    assert_eq!(run("schema", &provider).await, json!({ "city": "Rome" }));
    provider.answer_with(vec![Part::ToolCall(ToolCall::new("c1", "weather", r#"{"city":"Rome"}"#))]);
    let called = json!({ "name": "weather", "input": { "city": "Rome" }, "finishReason": "tool-calls" });
    for case in ["tools", "stream-tools"] {
        assert_eq!(run(case, &provider).await, called, "{case}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn the_sdk_tells_errors_apart() {
    for (kind, statuses, is_retryable) in [
        (LlmErrorKind::InvalidRequest, 400..=400, false),
        (LlmErrorKind::RateLimited, 429..=429, true),
        (LlmErrorKind::Failed, 500..=599, true),
    ] {
        let provider = ScriptedProvider::default();
        let mut error = LlmError::new(kind, "fake", "no");
        error.retry_after = (kind == LlmErrorKind::RateLimited).then_some(Duration::from_secs(1));
        provider.fail_with(error);
        let failed = run("error", &provider).await;
        assert!(statuses.contains(&failed["status"].as_u64().unwrap()), "{failed}");
        assert_eq!(failed["retryable"], is_retryable, "{failed}");
    }
}
