//! The server of the Model Context Protocol.

use std::sync::{Arc, OnceLock};

use axum::body::to_bytes;
use http::request::Parts;
use omnistack_core::{
    app::OwnRoutes,
    http::{Error, Response, StatusCode, header},
    identity::Identity,
    metrics::AI_TOOL_CALLS,
};
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation, JsonObject,
        ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
    },
    service::RequestContext,
};
use serde_json::Value;
use tokio::time::timeout;

use super::{
    TOOL_TIMEOUT,
    arguments::request_of,
    tools::{AppTool, ToolSet},
};

/// Largest answer of a tool, in bytes. A model reads all of it.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

const INSTRUCTIONS: &str = "Each tool is an operation of this app's API, and acts with the permissions of your \
    credentials. A failed call returns an error with a code. Repeat a call that changes something only with the same \
    `idempotency_key`.";

/// The tools of the app, which are made when the first agent asks for them.
#[derive(Debug)]
pub(super) struct ToolCatalog {
    routes: OwnRoutes,
    app: Implementation,
    tools: OnceLock<ToolSet>,
}

impl ToolCatalog {
    pub(super) fn new(routes: OwnRoutes, name: String, version: String) -> Self {
        Self { routes, app: Implementation::new(name, version), tools: OnceLock::new() }
    }

    fn tools(&self) -> Result<&ToolSet, Error> {
        if let Some(tools) = self.tools.get() {
            return Ok(tools);
        }
        let (document, operations) = (self.routes.openapi()?, self.routes.agent_operations()?);
        let tools = ToolSet::new(&document, &operations).map_err(Error::internal)?;
        Ok(self.tools.get_or_init(|| tools))
    }
}

/// The handler of the messages of one request.
#[derive(Clone, Debug)]
pub(super) struct AppTools(Arc<ToolCatalog>);

impl AppTools {
    pub(super) fn new(catalog: Arc<ToolCatalog>) -> Self {
        Self(catalog)
    }

    fn tools(&self) -> Result<&ToolSet, ErrorData> {
        self.0.tools().map_err(|error| ErrorData::internal_error(error.to_string(), None))
    }

    async fn call(&self, tool: &AppTool, arguments: JsonObject, caller: &Parts) -> CallToolResult {
        let request = match request_of(tool, arguments) {
            Ok(request) => request,
            Err(problem) => return failure(problem),
        };
        let answered = async {
            let response = self.0.routes.call(caller, request).await?;
            Ok::<_, Error>(result_of(response).await)
        };
        match timeout(TOOL_TIMEOUT, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(error)) => failure(error.to_string()),
            Err(_) => failure(format!("the operation took longer than {} seconds", TOOL_TIMEOUT.as_secs())),
        }
    }
}

impl ServerHandler for AppTools {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(self.0.app.clone())
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let caller = caller_of(&context)?;
        let admitted = self.tools()?.iter().filter(|tool| tool.operation.admits(caller));
        Ok(ListToolsResult::with_all_items(admitted.map(|tool| tool.tool.clone()).collect()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let parts = parts_of(&context)?;
        let Some(tool) = self.tools()?.get(&request.name) else {
            return Err(ErrorData::invalid_params(format!("there is no tool `{}`", shortened(&request.name)), None));
        };
        let result = self.call(tool, request.arguments.unwrap_or_default(), parts).await;
        let status = if result.is_error == Some(true) { "failed" } else { "succeeded" };
        AI_TOOL_CALLS.counter([tool.tool.name.to_string(), status.to_owned()]).increment(1);
        Ok(result.into())
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.0.tools().ok()?.get(name).map(|tool| tool.tool.clone())
    }
}

/// Returns the head of the HTTP request that a message came with.
fn parts_of(context: &RequestContext<RoleServer>) -> Result<&Parts, ErrorData> {
    let parts = context.extensions.get::<Parts>();
    parts.ok_or_else(|| ErrorData::internal_error("the message came without an HTTP request", None))
}

fn caller_of(context: &RequestContext<RoleServer>) -> Result<&Identity, ErrorData> {
    let caller = parts_of(context)?.extensions.get::<Identity>();
    caller.ok_or_else(|| ErrorData::invalid_request("sign in first", None))
}

fn failure(text: impl Into<String>) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(text)])
}

/// Returns the beginning of a text of the caller, for a message.
fn shortened(text: &str) -> String {
    text.chars().take(100).collect()
}

/// Returns the result of a tool for the response of its operation.
async fn result_of(response: Response) -> CallToolResult {
    let status = response.status();
    let headers = response.headers();
    let text_of = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let kind = text_of(header::CONTENT_TYPE).unwrap_or_default();
    let retry_after = text_of(header::RETRY_AFTER);
    let location = text_of(header::LOCATION);
    let Ok(body) = to_bytes(response.into_body(), MAX_ANSWER_BYTES).await else {
        return failure(format!(
            "{status}: the answer is interrupted or has more than {MAX_ANSWER_BYTES} bytes; ask for less"
        ));
    };
    let Ok(text) = String::from_utf8(body.into()) else {
        return failure(format!("{status}: the answer is no text but `{}`", shortened(&kind)));
    };
    if status.is_client_error() || status.is_server_error() {
        let wait = retry_after.map(|seconds| format!(" Retry after {seconds} seconds.")).unwrap_or_default();
        return failure(format!("{status}: {text}{wait}"));
    }
    if text.is_empty() {
        let place = location.map(|place| format!(", see {place}")).unwrap_or_default();
        let done = if status == StatusCode::NO_CONTENT { "done".to_owned() } else { format!("{status}{place}") };
        return CallToolResult::success(vec![ContentBlock::text(done)]);
    }
    let structured = if is_json(&kind) { serde_json::from_str(&text).ok().filter(Value::is_object) } else { None };
    let mut result = CallToolResult::success(vec![ContentBlock::text(text)]);
    result.structured_content = structured;
    result
}

fn is_json(kind: &str) -> bool {
    kind.split(';').next().unwrap_or_default().trim().ends_with("json")
}
