//! OpenAI's own clients for Python and for JavaScript against the API. `cargo xtask test --peers` runs them: they need
//! `TEST_PEERS_PYTHON`, a Python with openai, and `TEST_PEERS_OPENAI_CLIENT`, the path of `clients.mjs` beside a
//! `node_modules` with openai.

use std::time::Duration;

use omnistack_ai::{ChatEvent, LlmError, LlmErrorKind, Part, Role, ToolCall};
use omnistack_testkit::TestDatabase;
use serde_json::{Value, json};
use tokio::process::Command;

use super::{MODEL, ScriptedProvider, key, start};

#[expect(clippy::disallowed_methods, reason = "a setting of the test, not of the app")]
fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("set {name}, as `cargo xtask test --peers` does"))
}

fn python() -> Command {
    let mut command = Command::new(setting("TEST_PEERS_PYTHON"));
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/openai_api/clients.py"));
    command
}

fn node() -> Command {
    let mut command = Command::new("node");
    command.arg(setting("TEST_PEERS_OPENAI_CLIENT"));
    command
}

/// Runs one case of a client, and returns what it prints.
async fn run(mut command: Command, case: &str, url: &str, token: &str) -> Value {
    let output = command.args([case, url, token, MODEL]).kill_on_drop(true).output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    serde_json::from_str(text.trim()).unwrap_or_else(|error| panic!("{case}: {error}: {text}{errors}"))
}

/// Runs one case of a client against a new app, and returns what it prints.
async fn run_alone(command: Command, case: &str, provider: &ScriptedProvider) -> Value {
    let app = start(TestDatabase::sqlite(), provider).await;
    let server = app.listen_with_defaults().await;
    let key = key(&app);
    let result = run(command, case, &format!("http://{}/v1", server.address), key.token().unwrap()).await;
    server.shut_down().await;
    result
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn openais_clients_work() {
    for command in [python as fn() -> Command, node] {
        let provider = ScriptedProvider::default();
        let app = start(TestDatabase::sqlite(), &provider).await;
        let server = app.listen_with_defaults().await;
        let (url, key) = (format!("http://{}/v1", server.address), key(&app));
        let case = |name: &'static str| run(command(), name, &url, key.token().unwrap());
        assert_eq!(case("chat").await["text"], "Hello world!");
        let streamed = case("stream").await;
        assert_eq!(streamed, json!({ "text": "Hello world!", "total_tokens": 15 }));
        assert_eq!(case("abort").await["text"], "Hello ");
        assert_eq!(case("models").await["found"], true);
        let embedded = case("embeddings").await;
        assert_eq!(embedded["default"], embedded["float"]);
        // JavaScript prints 3.0 as 3.
        let floats: Vec<_> = embedded["float"].as_array().unwrap().iter().map(|number| number.as_f64()).collect();
        assert_eq!(floats, [Some(0.5), Some(-1.25), Some(3.0)]);
        provider.answer_with(vec![Part::text(r#"{"city":"Rome"}"#)]);
        assert_eq!(case("schema").await["city"], "Rome");
        provider.answer_with(vec![Part::ToolCall(ToolCall::new("c1", "weather", r#"{"city":"Rome"}"#))]);
        assert_eq!(case("tools").await["arguments"], r#"{"city":"Rome"}"#);
        server.shut_down().await;
    }
}

/// The client asks for Base64, and decodes it by numpy if it is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn embeddings_are_read_with_and_without_numpy() {
    for (case, has_numpy) in [("embeddings", true), ("embeddings_without_numpy", false)] {
        let read = run_alone(python(), case, &ScriptedProvider::default()).await;
        assert_eq!((&read["default"], &read["numpy"]), (&json!([0.5, -1.25, 3.0]), &json!(has_numpy)), "{case}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn openais_clients_read_responses() {
    for command in [python as fn() -> Command, node] {
        let provider = ScriptedProvider::default();
        let app = start(TestDatabase::sqlite(), &provider).await;
        let server = app.listen_with_defaults().await;
        let (url, key) = (format!("http://{}/v1", server.address), key(&app));
        let case = |name: &'static str| run(command(), name, &url, key.token().unwrap());
        let whole = json!({ "text": "Hello world!", "status": "completed", "total_tokens": 15 });
        assert_eq!(case("respond").await, whole);
        let streamed = json!({ "text": "Hello world!", "whole": "Hello world!", "total_tokens": 15 });
        assert_eq!(case("respond_stream").await, streamed);
        assert_eq!(case("respond_abort").await["text"], "Hello ");
        provider.answer_with(vec![Part::text(r#"{"city":"Rome"}"#)]);
        assert_eq!(case("respond_schema").await["city"], "Rome");
        provider.answer_with(vec![Part::ToolCall(ToolCall::new("c1", "weather", r#"{"city":"Rome"}"#))]);
        let called = case("respond_tools").await;
        assert_eq!(called, json!({ "arguments": r#"{"city":"Rome"}"#, "whole": r#"{"city":"Rome"}"# }));
        let roles: Vec<_> = provider.last_request().messages.iter().map(|message| message.role).collect();
        assert_eq!(roles, [Role::User, Role::Assistant, Role::Tool], "the client sends the call and its result back");
        provider.stream_with(vec![
            Ok(ChatEvent::Start { id: "r".into(), model: MODEL.into() }),
            Ok(ChatEvent::Text { index: 0, delta: "Hel".into() }),
            Err(LlmError::new(LlmErrorKind::Failed, "fake", "it broke")),
        ]);
        let raised = json!({ "text": "Hel", "message": "it broke", "code": "provider_failed" });
        assert_eq!(case("respond_error").await, raised);
        server.shut_down().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn openais_clients_raise_their_errors() {
    for command in [python as fn() -> Command, node] {
        for (kind, class) in [
            (LlmErrorKind::InvalidRequest, "BadRequestError"),
            (LlmErrorKind::RateLimited, "RateLimitError"),
            (LlmErrorKind::Failed, "InternalServerError"),
            (LlmErrorKind::Overloaded, "InternalServerError"),
        ] {
            let provider = ScriptedProvider::default();
            let mut error = LlmError::new(kind, "fake", "no");
            error.retry_after = (kind == LlmErrorKind::RateLimited).then_some(Duration::from_secs(1));
            provider.fail_with(error);
            let failed = run_alone(command(), "error", &provider).await;
            assert_eq!(failed["class"], class);
            assert!(failed["request_id"].is_string(), "{failed}");
            assert_eq!(failed["retry_after"].is_string(), kind == LlmErrorKind::RateLimited, "{failed}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn openais_clients_repeat_what_can_succeed() {
    for command in [python as fn() -> Command, node] {
        // Repeating does not help against a wrong request, nor before the operator acts.
        for (kind, requests) in
            [(LlmErrorKind::InvalidRequest, 1), (LlmErrorKind::Unauthorized, 1), (LlmErrorKind::Failed, 3)]
        {
            let provider = ScriptedProvider::default();
            provider.fail_with(LlmError::new(kind, "fake", "no"));
            assert_eq!(run_alone(command(), "retries", &provider).await["requests"], requests, "{kind:?}");
        }
    }
}
