//! The app with the gateway, and with a route that asks the same provider without it.

use std::sync::Arc;

use axum::{body::Bytes, extract::State};
use omnistack_ai::{Ai, Call, ChatRequest, HttpProvider, LlmProvider as _, Message};
use omnistack_core::{
    ShutdownToken,
    clock::Clock,
    http::{
        Error, Json,
        client::{Client, ClientSettings},
    },
    id::Id,
    identity::{Identity, Permissions},
    module::{Api, Module, Mount, Registry},
};
use omnistack_testkit::{TestApp, TestDatabase};
use serde_json::{Value, json};
use utoipa_axum::routes;
use uuid::Uuid;

use crate::process::until_input_ends;

/// The model, which has a price.
pub(crate) const MODEL: &str = "fake-small";
/// The route without the gateway.
pub(crate) const PLAIN: &str = "/api/v1/app/plain";

/// A module with the route.
struct PlainRoute(Arc<HttpProvider>);

/// Ask without the gateway
#[utoipa::path(post, path = "/", operation_id = "ask_plain", request_body = Value, responses((status = 200)))]
async fn ask_plain(
    State(provider): State<Arc<HttpProvider>>,
    _caller: Identity,
    body: Bytes,
) -> Result<Json<Value>, Error> {
    let question: Value = serde_json::from_slice(&body).map_err(Error::internal)?;
    let text = question["messages"][0]["content"].as_str().unwrap_or_default();
    let request = ChatRequest::new(MODEL, [Message::user(text)]).max_output_tokens(100);
    let answer = provider.complete(&request, &Call::default()).await.map_err(Error::internal)?;
    let message = json!({ "role": "assistant", "content": answer.text() });
    let tokens = answer.usage.unwrap_or_default();
    Ok(Json(json!({
        "id": answer.id,
        "object": "chat.completion",
        "model": answer.model,
        "choices": [{ "index": 0, "message": message, "finish_reason": "stop" }],
        "usage": { "prompt_tokens": tokens.input, "completion_tokens": tokens.output, "total_tokens": tokens.total() },
    })))
}

impl Module for PlainRoute {
    fn name(&self) -> &'static str {
        "plain"
    }

    fn register(&self, registry: &mut Registry) {
        let provider = Arc::clone(&self.0);
        let mount = Mount::app("/plain").permissions("plain").without_idempotency();
        registry.routes(mount, Api::new().routes(routes!(ask_plain)), move |_| Ok(provider));
    }
}

fn client() -> Client {
    ClientSettings::default().client().unwrap()
}

/// Serves the app until the input ends. Prints the address and a key of a tenant with a budget.
pub(crate) async fn run(upstream: &str) {
    let provider = || HttpProvider::compatible(client(), "fake", format!("{upstream}/v1"));
    let app = TestApp::start(TestDatabase::sqlite(), |app| {
        // With `APP_ENV=test`, descriptions of routes would stay in memory.
        let app = app.clock(Clock::system()).set("DATABASE_SYNCHRONOUS", "full").set("APP_ENV", "development");
        app.with(Ai::from_env().provider(provider())).with(PlainRoute(Arc::new(provider())))
    })
    .await;
    let id = || Uuid::new_v4();
    let owner = Identity::user(Id::from_uuid(id())).for_tenant(Id::from_uuid(id()));
    let owner = owner.with_permissions(Permissions::all());
    let limits = json!({ "limit_tokens": 1_000_000_000 });
    let budget = json!({ "scope": "tenant", "period": "month", "limits": limits });
    app.client_as(owner.clone()).post("/api/v1/app/ai/budgets", budget).await.expect(201);
    let key = app.client_as(owner.with_api_key(Id::from_uuid(id())).into_service_account());
    let server = app.listen_with_defaults().await;
    println!("{}\n{}", server.address, key.token().unwrap());
    tokio::select! {
        () = app.app().run_workers(ShutdownToken::new()) => {}
        () = until_input_ends() => {}
    }
    server.shut_down().await;
}
