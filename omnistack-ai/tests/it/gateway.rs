//! Tests of the gateway, with providers that answer as the test says.

#![cfg(test)]

mod answers;
mod cache;
mod embeddings;
mod experiments;
mod fallback;
mod guardrails;
mod leaving;
mod money;
mod prompt_log;
mod scripted;
mod streams;
mod test_llm;

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::StreamExt as _;
use omnistack_ai::{
    Accounting, Ai, AiCaller, AiError, AiGateway, CallOptions, CallSummary, ChatEvent, ChatRequest, GatewayEvent,
    GatewayStream, LlmError, Message, StreamAssembler,
};
use omnistack_core::{app::AppBuilder, id::Id};
use omnistack_testkit::{TestApp, TestDatabase};
use uuid::Uuid;

use test_llm::TestLlm;

/// The route of the tests: first `fake-small` of the first provider, which has prices at `fake`, then `other` of the
/// second one.
pub(crate) const ROUTE: &str = "main";
/// A model with prices.
pub(crate) const MODEL: &str = "fake-small";

/// Starts an app whose route `main` asks `fake` and then `second`.
pub(crate) async fn start(
    database: TestDatabase,
    (first, second): (&TestLlm, &TestLlm),
    more: impl FnOnce(AppBuilder, Ai) -> (AppBuilder, Ai),
) -> TestApp {
    let routes = format!(
        "[routes.{ROUTE}]\ntargets = [{{ model = \"{}/{MODEL}\" }}, {{ model = \"{}/other\" }}]\n",
        first.name(),
        second.name(),
    );
    let file = toml_file(&routes);
    TestApp::start(database, |app| {
        let (app, ai) = more(app.set("AI_ROUTES_FILE", file), Ai::from_env());
        app.with(ai.provider(first.clone()).provider(second.clone()))
    })
    .await
}

/// Starts an app without further settings.
pub(crate) async fn start_plain(first: &TestLlm, second: &TestLlm) -> TestApp {
    start(TestDatabase::sqlite(), (first, second), |app, ai| (app, ai)).await
}

fn toml_file(text: &str) -> String {
    static FILES: AtomicUsize = AtomicUsize::new(0);
    let number = FILES.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("omnistack-ai-routes-{}-{number}.toml", std::process::id()));
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

pub(crate) fn gateway(app: &TestApp) -> AiGateway {
    app.app().context().get().unwrap()
}

pub(crate) fn tenant() -> AiCaller {
    AiCaller::of_tenant(Id::from_uuid(Uuid::new_v4()))
}

pub(crate) fn ask(text: &str) -> ChatRequest {
    ChatRequest::new(ROUTE, [Message::user(text)])
}

pub(crate) fn options() -> CallOptions {
    CallOptions::default()
}

pub(crate) fn upstream_error(error: AiError) -> LlmError {
    match error {
        AiError::Upstream(error) => error,
        other => panic!("{other}"),
    }
}

pub(crate) fn refusal(error: AiError) -> omnistack_core::http::Error {
    match error {
        AiError::Refused(error) => error,
        other => panic!("{other}"),
    }
}

/// The events that a caller gets of a stream.
pub(crate) struct ReadStream {
    pub(crate) events: Vec<ChatEvent>,
    pub(crate) error: Option<LlmError>,
    pub(crate) call: CallSummary,
}

impl ReadStream {
    pub(crate) fn text(&self) -> String {
        let mut assembler = StreamAssembler::default();
        self.events.iter().for_each(|event| assembler.push(event));
        assembler.finish().text()
    }
}

/// Reads a stream to its end: the account must be the last piece.
pub(crate) async fn read(stream: GatewayStream) -> ReadStream {
    let (mut events, mut error, mut call) = (Vec::new(), None, None);
    let mut pieces = stream.events;
    while let Some(piece) = pieces.next().await {
        assert!(call.is_none(), "nothing follows the account");
        match piece {
            Ok(GatewayEvent::Answer(event)) => events.push(event),
            Ok(GatewayEvent::Settled(settled)) => call = Some(*settled),
            Err(failed) => error = Some(failed),
        }
    }
    ReadStream { events, error, call: call.unwrap() }
}

/// Settles the calls whose callers have left.
pub(crate) async fn settle_dropped(app: &TestApp) {
    app.app().context().get::<Accounting>().unwrap().settle_dropped().await.unwrap();
}

/// Returns the tokens of the input and of the output, and the cost, of the calls in the ledger.
pub(crate) async fn amounts(app: &TestApp) -> Vec<(i64, i64, Option<i64>)> {
    let mut tx = app.db().all_tenants().begin_read().await.unwrap();
    let sql = "select input_tokens, output_tokens, cost_pico from omni_ai_calls order by id";
    let rows = tx.query(sql).fetch_all().await.unwrap();
    tx.commit().await.unwrap();
    rows
}

/// Returns the statuses of the calls in the ledger, sorted: calls of the same time have no order.
pub(crate) async fn ledger(app: &TestApp) -> Vec<String> {
    let mut tx = app.db().all_tenants().begin_read().await.unwrap();
    let rows: Vec<(String,)> = tx.query("select status from omni_ai_calls order by status").fetch_all().await.unwrap();
    tx.commit().await.unwrap();
    rows.into_iter().map(|(status,)| status).collect()
}
