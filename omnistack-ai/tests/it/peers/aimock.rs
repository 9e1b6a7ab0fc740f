//! npm's aimock as a provider, with its chaos: failed, malformed, disconnected and rate-limited responses, and streams
//! that are cut.

use std::time::Duration;

use omnistack_ai::{AiGateway, CallOptions, ChatRequest, HttpProvider, LlmErrorKind, Message, StopKind, Tool};
use omnistack_core::{http::Method, identity::Plan};
use omnistack_testkit::{TestApp, TestDatabase};
use serde_json::{Value, json};

use super::{LineProgram, answer, client, each_format, node};
use crate::{
    accounting::{Account, RecordedUsage, with_ai},
    gateway::read,
};

/// The text of the answers.
const TEXT: &str = "The quick brown fox jumps over the lazy dog.";
/// The calls while the provider fails in all ways.
const CALLS: usize = 60;

struct Aimock {
    url: String,
    _program: LineProgram,
}

impl Aimock {
    async fn start() -> Self {
        let mut program = LineProgram::start(node("aimock.mjs"));
        let port = program.line().await["port"].as_u64().unwrap();
        Self { url: format!("http://127.0.0.1:{port}"), _program: program }
    }

    /// Replaces the rates of failures.
    async fn set_chaos(&self, rates: &Value) {
        let url = format!("{}/__aimock/chaos", self.url);
        for (method, body) in [(Method::DELETE, String::new()), (Method::POST, rates.to_string())] {
            let request = client().request(method, &url).header("content-type", "application/json").body(body);
            let status = request.send().await.unwrap().status();
            assert!(status.is_success(), "{status}");
        }
    }

    fn providers(&self) -> Vec<(&'static str, HttpProvider)> {
        let mut all = Vec::from(each_format(&self.url));
        let responses = HttpProvider::openai(client(), "key".to_owned().into());
        all.push(("responses", responses.with_base_url(format!("{}/v1", self.url)).responses()));
        all
    }
}

fn ask(about: &str) -> ChatRequest {
    ChatRequest::new("scripted-model", [Message::user(about)]).max_output_tokens(100)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn its_answers_are_read() {
    let aimock = Aimock::start().await;
    let parameters = json!({ "type": "object", "properties": { "city": { "type": "string" } } });
    let with_tool = ask("weather").tool(Tool::new("weather", "Tells the weather.", parameters));
    for (name, provider) in aimock.providers() {
        for streams in [false, true] {
            let answered = answer(&provider, &ask("fox"), streams).await.unwrap();
            assert_eq!((answered.text().as_str(), answered.stop.unified), (TEXT, StopKind::Stop), "{name}");
            let called = answer(&provider, &with_tool, streams).await.unwrap();
            assert_eq!(called.stop.unified, StopKind::ToolCalls, "{name}");
            let calls: Vec<_> = called.tool_calls().collect();
            assert_eq!(calls.len(), 1, "{name}: {calls:?}");
            let arguments: Value = serde_json::from_str(&calls[0].arguments).unwrap();
            assert_eq!((calls[0].name.as_str(), arguments), ("weather", json!({ "city": "Rome" })), "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn each_chaos_is_an_error() {
    let aimock = Aimock::start().await;
    let garbled = [LlmErrorKind::Protocol, LlmErrorKind::Interrupted];
    let gone = [LlmErrorKind::Unreachable, LlmErrorKind::Interrupted];
    for (chaos, kinds) in [
        ("dropRate", &[LlmErrorKind::Failed][..]),
        ("malformedRate", &garbled[..]),
        ("disconnectRate", &gone[..]),
        ("rateLimitRate", &[LlmErrorKind::RateLimited][..]),
    ] {
        aimock.set_chaos(&json!({ chaos: 1 })).await;
        for (name, provider) in aimock.providers() {
            for streams in [false, true] {
                let error = answer(&provider, &ask("fox"), streams).await.unwrap_err();
                assert!(kinds.contains(&error.kind), "{chaos} {name}, streams: {streams}: {error:?}");
                if error.kind == LlmErrorKind::RateLimited {
                    assert_eq!(error.retry_after, Some(Duration::from_secs(1)), "{name}");
                }
            }
        }
    }
    aimock.set_chaos(&json!({ "dropRate": 0 })).await;
    for (name, provider) in aimock.providers() {
        let error = answer(&provider, &ask("cut"), true).await.unwrap_err();
        // It may close the connection before the beginning of the answer has been sent.
        assert!(gone.contains(&error.kind), "{name}: {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn every_call_is_settled_whatever_fails() {
    let aimock = Aimock::start().await;
    let rates = json!({ "dropRate": 0.2, "malformedRate": 0.2, "disconnectRate": 0.2 });
    aimock.set_chaos(&rates).await;
    let (plan, usage) = (Plan::new("none"), RecordedUsage::default());
    let app = TestApp::start(TestDatabase::sqlite(), |app| {
        let app = app.set("AI_COMPATIBLE_URL", format!("{}/v1", aimock.url)).set("AI_COMPATIBLE_NAME", "aimock");
        with_ai(app.set("AI_RETRIES", "0"), &plan, &usage)
    })
    .await;
    let account = Account::new(&app);
    account.limit(json!({ "limit_tokens": 1_000_000_000 })).await;
    let gateway: AiGateway = app.app().context().get().unwrap();
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..CALLS {
        let (gateway, caller) = (gateway.clone(), account.caller());
        let about = if number % 3 == 0 { "cut" } else { "fox" };
        let request = ChatRequest::new("aimock/scripted-model", [Message::user(about)]);
        calls.spawn(async move {
            if number % 2 == 0 {
                let _ = gateway.complete(caller, request, CallOptions::default()).await;
            } else if let Ok(stream) = gateway.stream(caller, request, CallOptions::default()).await {
                read(stream).await;
            }
        });
    }
    calls.join_all().await;
    account.accounting.settle_dropped().await.unwrap();
    account.expect_settled(&usage).await;
}
