//! Fixes of code: from the finding to the pull request.

#![cfg(test)]

mod approval;
mod delivery;
mod generation;
#[cfg(feature = "github")]
mod github;
mod limits;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use omnistack_ai::{
    Ai, Call, ChatRequest, ChatResponse, ChatStream, FakeCodeHost, LlmError, LlmErrorKind, LlmProvider, Part,
    ProviderModel, StopKind, StopReason, TokenUsage,
};
use omnistack_core::{
    app::AppBuilder,
    realtime::{PublishRealtime, RealtimeMessage, RealtimePublisher},
};
use omnistack_testkit::{TestApp, TestClient, TestDatabase};
use serde_json::{Value, json};

const FILE: &str = "fn main() {\n    let x = y.unwrap();\n}\n";
const FIXED: &str = "fn main() {\n    let x = y?;\n}\n";
const PATCH: &str = "@@ -1,3 +1,3 @@\n fn main() {\n-    let x = y.unwrap();\n+    let x = y?;\n }\n";

/// A provider that answers what the test says, in order, and remembers what it was asked.
#[derive(Clone, Debug, Default)]
struct ScriptedModel {
    answers: Arc<Mutex<VecDeque<Result<String, LlmError>>>>,
    asked: Arc<Mutex<Vec<ChatRequest>>>,
}

impl ScriptedModel {
    fn answer(&self, patch: &str, confidence: u32) {
        let answer = json!({ "patch": patch, "explanation": "It returns the error.", "confidence": confidence });
        self.answers.lock().unwrap().push_back(Ok(answer.to_string()));
    }

    fn fail(&self, kind: LlmErrorKind) {
        self.answers.lock().unwrap().push_back(Err(LlmError::new(kind, "fake", "no")));
    }

    fn asked(&self) -> Vec<ChatRequest> {
        self.asked.lock().unwrap().clone()
    }
}

#[async_trait]
impl LlmProvider for ScriptedModel {
    fn name(&self) -> &'static str {
        "fake"
    }

    async fn complete(&self, request: &ChatRequest, _: &Call) -> Result<ChatResponse, LlmError> {
        self.asked.lock().unwrap().push(request.clone());
        let answer = self.answers.lock().unwrap().pop_front();
        let text =
            answer.unwrap_or_else(|| Err(LlmError::new(LlmErrorKind::InvalidRequest, "fake", "no answer left")))?;
        let stop = StopReason::new(StopKind::Stop, None);
        let mut response = ChatResponse::new("1", request.model.clone(), vec![Part::text(text)], stop);
        response.usage = Some(TokenUsage { input: 100, output: 50, ..TokenUsage::default() });
        Ok(response)
    }

    async fn stream(&self, _: &ChatRequest, _: &Call) -> Result<ChatStream, LlmError> {
        Err(LlmError::new(LlmErrorKind::NotSupported, "fake", "no streams"))
    }

    async fn models(&self) -> Result<Vec<ProviderModel>, LlmError> {
        Ok(Vec::new())
    }
}

/// Keeps the messages to connected clients.
#[derive(Clone, Default)]
struct Published(Arc<Mutex<Vec<RealtimeMessage>>>);

#[async_trait]
impl PublishRealtime for Published {
    async fn publish(&self, message: RealtimeMessage) -> Result<(), omnistack_core::http::Error> {
        self.0.lock().unwrap().push(message);
        Ok(())
    }

    async fn publish_in(
        &self,
        tx: &mut omnistack_core::db::Tx,
        message: RealtimeMessage,
    ) -> Result<(), omnistack_core::db::Error> {
        let messages = Arc::clone(&self.0);
        tx.on_commit(move || messages.lock().unwrap().push(message));
        Ok(())
    }
}

struct Setup {
    app: TestApp,
    model: ScriptedModel,
    host: FakeCodeHost,
    published: Published,
}

async fn start(database: TestDatabase, settings: &[(&str, &str)]) -> Setup {
    start_with(database, settings, |app| app).await
}

async fn start_with(
    database: TestDatabase,
    settings: &[(&str, &str)],
    more: impl FnOnce(AppBuilder) -> AppBuilder,
) -> Setup {
    let (model, host, published) = (ScriptedModel::default(), FakeCodeHost::new(), Published::default());
    let ai = Ai::from_env().provider(model.clone()).code_host(host.clone());
    let realtime = RealtimePublisher::new(published.clone());
    let app = TestApp::start(database, |app| {
        let app = app.set("AI_FIX_MODEL", "fake-small");
        let app = settings.iter().fold(app, |app, (name, value)| app.set(*name, *value));
        more(app.with(ai).replace(realtime))
    })
    .await;
    Setup { app, model, host, published }
}

/// Adds a finding with its code, and returns its id.
async fn add_result(user: &TestClient, more: Value) -> String {
    let mut body = json!({
        "path": "src/main.rs", "start_line": 2, "end_line": 2, "rule": "rust/unwrap", "severity": "high",
        "message": "This may panic.", "code": FILE,
    });
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    let added = user.post("/api/v1/app/fixes/results", body).await.expect(201).json();
    added["id"].as_str().unwrap().to_owned()
}

async fn queue(user: &TestClient, result: &str) -> String {
    let queued = user.post(format!("/api/v1/app/fixes/generate/{result}"), json!({})).await.expect(202).json();
    assert_eq!(queued["status"], "queued");
    queued["fix_id"].as_str().unwrap().to_owned()
}

async fn get(user: &TestClient, fix: &str) -> Value {
    user.get(format!("/api/v1/app/fixes/{fix}")).await.expect(200).json()
}

async fn act(user: &TestClient, fix: &str, action: &str) -> omnistack_testkit::TestResponse {
    user.post(format!("/api/v1/app/fixes/{fix}/{action}"), json!({})).await
}

/// Returns the kinds of the events of a verified ledger.
async fn steps(user: &TestClient, fix: &str) -> Vec<String> {
    let ledger = user.get(format!("/api/v1/app/fixes/{fix}/ledger")).await.expect(200).json();
    assert_eq!((&ledger["verified"], &ledger["problem"]), (&json!(true), &Value::Null), "{ledger}");
    let entries = ledger["entries"].as_array().unwrap();
    entries.iter().map(|entry| entry["event"]["kind"].as_str().unwrap().to_owned()).collect()
}

fn repository() -> Value {
    json!({ "repository": "acme/shop", "branch": "main", "code": null })
}
