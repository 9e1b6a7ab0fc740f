//! Tests of the API of OpenAI, with a provider whose answers the tests script.

#![cfg(test)]

mod answers;
mod clients;
mod errors;
mod responses;

use std::sync::{Arc, Mutex};

use futures_util::stream;
use omnistack_ai::{
    Ai, Call, ChatEvent, ChatRequest, ChatResponse, ChatStream, EmbeddingRequest, Embeddings, LlmError, LlmProvider,
    Part, ProviderModel, StopKind, StopReason, TokenUsage,
};
use omnistack_core::{
    async_trait,
    id::Id,
    identity::{Identity, Permissions},
};
use omnistack_testkit::{TestApp, TestClient, TestDatabase};
use serde_json::{Value, json};
use uuid::Uuid;

pub(crate) const CHAT: &str = "/v1/chat/completions";
/// The model of the provider, which the catalog knows.
pub(crate) const MODEL: &str = "fake-small";

/// A provider with the answer `Hello world!`, unless a test sets another. It takes the place of the built-in fake.
#[derive(Clone, Debug, Default)]
pub(crate) struct ScriptedProvider(Arc<Mutex<Script>>);

#[derive(Debug, Default)]
struct Script {
    /// The parts of each answer.
    parts: Option<Vec<Part>>,
    /// The error of each call.
    error: Option<LlmError>,
    /// The pieces of each stream.
    pieces: Option<Vec<Result<ChatEvent, LlmError>>>,
    requests: Vec<ChatRequest>,
}

impl ScriptedProvider {
    pub(crate) fn answer_with(&self, parts: Vec<Part>) {
        self.0.lock().unwrap().parts = Some(parts);
    }

    pub(crate) fn fail_with(&self, error: LlmError) {
        self.0.lock().unwrap().error = Some(error);
    }

    pub(crate) fn stream_with(&self, pieces: Vec<Result<ChatEvent, LlmError>>) {
        self.0.lock().unwrap().pieces = Some(pieces);
    }

    pub(crate) fn last_request(&self) -> ChatRequest {
        self.0.lock().unwrap().requests.last().cloned().expect("the provider was called")
    }

    fn response(&self, request: &ChatRequest) -> Result<ChatResponse, LlmError> {
        let mut script = self.0.lock().unwrap();
        script.requests.push(request.clone());
        if let Some(error) = &script.error {
            return Err(error.clone());
        }
        let parts = script.parts.clone().unwrap_or_else(|| vec![Part::text("Hello world!")]);
        let has_calls = parts.iter().any(|part| matches!(part, Part::ToolCall(_)));
        let kind = if has_calls { StopKind::ToolCalls } else { StopKind::Stop };
        let mut response = ChatResponse::new("resp_1", &request.model, parts, StopReason::new(kind, None));
        response.usage = Some(usage());
        Ok(response)
    }
}

fn usage() -> TokenUsage {
    TokenUsage { input: 10, cached: 4, output: 5, reasoning: 1, ..TokenUsage::default() }
}

#[async_trait]
impl LlmProvider for ScriptedProvider {
    fn name(&self) -> &'static str {
        "fake"
    }

    async fn complete(&self, request: &ChatRequest, _: &Call) -> Result<ChatResponse, LlmError> {
        self.response(request)
    }

    async fn stream(&self, request: &ChatRequest, _: &Call) -> Result<ChatStream, LlmError> {
        let response = self.response(request)?;
        if let Some(pieces) = self.0.lock().unwrap().pieces.clone() {
            return Ok(Box::pin(stream::iter(pieces)));
        }
        let mut events = vec![ChatEvent::Start { id: response.id.clone(), model: response.model.clone() }];
        for (index, part) in response.parts.iter().enumerate() {
            match part {
                Part::Text { text, .. } => {
                    let words = text.split_inclusive(' ');
                    events.extend(words.map(|word| ChatEvent::Text { index, delta: word.to_owned() }));
                }
                Part::ToolCall(call) => {
                    let (id, name) = (call.id.clone(), call.name.clone());
                    events.push(ChatEvent::ToolCallStart { index, id, name });
                    let (first, rest) = call.arguments.split_at(call.arguments.len() / 2);
                    for delta in [first, rest] {
                        events.push(ChatEvent::ToolCallArguments { index, delta: delta.to_owned() });
                    }
                }
                _ => {}
            }
        }
        events.push(ChatEvent::Usage { usage: usage(), raw: json!({}) });
        events.push(ChatEvent::End(response.stop));
        Ok(Box::pin(stream::iter(events.into_iter().map(Ok))))
    }

    async fn embed(&self, request: &EmbeddingRequest, _: &Call) -> Result<Embeddings, LlmError> {
        let vectors = request.input.iter().map(|text| vec![0.5, -1.25, f32::from(u8::try_from(text.len()).unwrap())]);
        let usage = TokenUsage { input: 7, ..TokenUsage::default() };
        Ok(Embeddings::new(&request.model, vectors.collect(), Some(usage)))
    }

    async fn models(&self) -> Result<Vec<ProviderModel>, LlmError> {
        Ok(vec![ProviderModel::new(MODEL)])
    }
}

/// Starts an app with the provider.
pub(crate) async fn start(database: TestDatabase, provider: &ScriptedProvider) -> TestApp {
    let provider = provider.clone();
    TestApp::start(database, |app| app.with(Ai::from_env().provider(provider))).await
}

/// Returns a client with an API key that has permissions in a new tenant.
pub(crate) fn key_with(app: &TestApp, permissions: Permissions) -> TestClient {
    let id = || Uuid::new_v4();
    let owner = Identity::user(Id::from_uuid(id())).for_tenant(Id::from_uuid(id())).with_permissions(permissions);
    app.client_as(owner.with_api_key(Id::from_uuid(id())).into_service_account())
}

pub(crate) fn key(app: &TestApp) -> TestClient {
    key_with(app, Permissions::all())
}

/// Returns a request with a message of the user, and more fields.
pub(crate) fn chat(more: Value) -> Value {
    let mut body = json!({ "model": MODEL, "messages": [{ "role": "user", "content": "Say hello." }] });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// Returns the data of the frames of a stream. The last is `[DONE]` as a text, if it was sent.
pub(crate) fn frames(body: &str) -> Vec<Value> {
    let frames = body.split("\n\n").filter(|frame| !frame.is_empty());
    let data = frames.map(|frame| frame.strip_prefix("data: ").unwrap_or_else(|| panic!("not a frame: {frame}")));
    data.map(|data| serde_json::from_str(data).unwrap_or_else(|_| json!(data))).collect()
}
