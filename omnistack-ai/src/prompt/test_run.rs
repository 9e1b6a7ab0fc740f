//! The test run of a prompt, for operators: `/api/v1/admin/ai/prompts/{name}/test`.

use axum::extract::State;
use garde::Validate;
use omnistack_core::{
    http::{Error, ErrorEnvelope, FieldError, Json, Path},
    identity::{Identity, TenantId},
    module::Api,
    text::Text,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{
    handle::Prompts,
    model::{PRODUCTION, PromptContent, PromptRole, PromptSelection},
};
use crate::{
    call::{AiCaller, CallOptions, CallSummary},
    chat::{CallTimeouts, Role},
    gateway::AiGateway,
    openai_api::http_error,
};

/// State of the route.
#[derive(Clone, Debug)]
pub(super) struct PromptTests {
    pub(super) prompts: Prompts,
    pub(super) gateway: AiGateway,
    pub(super) timeouts: CallTimeouts,
}

/// Returns the route.
pub(super) fn api() -> Api<PromptTests> {
    Api::new().routes(routes!(test))
}

/// A test run.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[garde(allow_unvalidated)]
struct PromptTest {
    /// The tenant whose override and version of the label are used, and that pays for the answer.
    #[schema(value_type = String, format = Uuid)]
    tenant: TenantId,
    /// The version. `null` for that of the label.
    #[garde(range(min = 1))]
    #[serde(default)]
    #[schema(minimum = 1)]
    version: Option<i64>,
    /// The label. Default: `production`.
    #[serde(default)]
    label: Option<Text<0, 100>>,
    /// A content that is not stored, in place of a version.
    #[garde(dive)]
    #[serde(default)]
    content: Option<PromptContent>,
    /// The values of the variables, by name.
    #[serde(default)]
    #[schema(value_type = Object)]
    variables: Map<String, Value>,
    /// Whether a model answers. Otherwise only the messages are rendered.
    #[serde(default)]
    run: bool,
}

/// A rendered message.
#[derive(Debug, Serialize, ToSchema)]
struct RenderedMessage {
    /// The author.
    role: PromptRole,
    /// The text.
    text: String,
}

/// The result of a test run.
#[derive(Debug, Serialize, ToSchema)]
struct PromptTestResult {
    /// The version; `null` for an override or a content that is not stored.
    #[schema(required)]
    version: Option<i64>,
    /// The model that is asked.
    model: String,
    /// The messages.
    messages: Vec<RenderedMessage>,
    /// The answer; `null` if no model was asked.
    #[schema(required)]
    answer: Option<String>,
    /// The usage and the cost; `null` if no model was asked.
    #[schema(required)]
    call: Option<CallSummary>,
}

/// Test a prompt
///
/// Renders a version, or a content that is not stored, and with `run` lets a model answer.
#[utoipa::path(post, path = "/{name}/test", operation_id = "test_prompt", params(("name" = String, Path)),
    request_body = PromptTest, responses(
    (status = 200, body = PromptTestResult),
    (status = 402, body = ErrorEnvelope, description = "`AI_BUDGET_EXCEEDED`: the budget of the tenant is used up."),
    (status = 404, body = ErrorEnvelope),
    (status = 422, body = ErrorEnvelope, description = "`VALIDATION_FAILED`: a variable is missing or unknown."),
    (status = 502, body = ErrorEnvelope, description = "The provider has failed."),
))]
async fn test(
    State(state): State<PromptTests>,
    caller: Identity,
    Path(name): Path<String>,
    Json(PromptTest { tenant, version, label, content, variables, run }): Json<PromptTest>,
) -> Result<Json<PromptTestResult>, Error> {
    let rendered = match (content, version, label) {
        (Some(_), Some(_), _) | (Some(_), _, Some(_)) | (_, Some(_), Some(_)) => {
            let message = "must be the only one of `content`, `version` and `label`";
            return Err(Error::invalid([FieldError::new("content", message)]));
        }
        (Some(content), None, None) => state.prompts.render_unsaved(&name, content, &variables)?,
        (None, version, label) => {
            let selection = version.map_or_else(
                || PromptSelection::Label(label.map_or_else(|| PRODUCTION.to_owned(), String::from)),
                PromptSelection::Version,
            );
            state.prompts.render(tenant, &name, &selection, None, &variables).await?
        }
    };
    let messages = rendered.request.messages.iter().map(|message| RenderedMessage {
        role: match message.role {
            Role::System => PromptRole::System,
            Role::Assistant => PromptRole::Assistant,
            Role::User | Role::Tool => PromptRole::User,
        },
        text: message.to_text(),
    });
    let mut result = PromptTestResult {
        version: rendered.version,
        model: rendered.request.model.clone(),
        messages: messages.collect(),
        answer: None,
        call: None,
    };
    if run {
        state.prompts.record_test(&caller, tenant, &name, rendered.version).await?;
        let options = CallOptions {
            timeouts: state.timeouts,
            prompt: Some(rendered.reference),
            purpose: Some("prompt_test"),
            ..CallOptions::default()
        };
        let answer = state.gateway.complete(AiCaller::of_tenant(tenant), rendered.request, options).await;
        let answer = answer.map_err(http_error)?;
        result.answer = Some(answer.response.text());
        result.call = Some(answer.call);
    }
    Ok(Json(result))
}
