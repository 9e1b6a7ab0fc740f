//! The bodies of requests.

use std::time::Duration;

use omnistack_core::{
    http::{Error, HeaderMap},
    identity::Identity,
};
use serde_json::{Map, Value};

use super::AppApi;
use crate::{
    call::{AiCaller, CachePolicy, CallOptions},
    chat::{ChatRequest, OutputFormat},
    openai_api::{FieldProblem, MAX_MODEL_BYTES, ObjectFields, ai_caller, call_options, parse_common, parse_messages},
    prompt::PromptSelection,
};

/// Longest name of a provider, of a prompt and of a label, in bytes.
const MAX_NAME_BYTES: usize = 100;
/// Longest time for which an answer is kept, in seconds.
const MAX_CACHE_SECONDS: u64 = 30 * 24 * 3600;
/// Largest number of a version of a prompt.
const MAX_VERSION: u64 = 1_000_000;

/// A call as a request asks for it.
#[derive(Debug)]
pub(super) struct RequestedCall {
    pub(super) caller: AiCaller,
    pub(super) request: ChatRequest,
    pub(super) options: CallOptions,
    /// Whether the answer is sent in pieces.
    pub(super) stream: bool,
    /// Whether the request names a model.
    pub(super) names_model: bool,
}

/// Reads the body of a request for an answer in a conversation.
pub(super) async fn read_chat(
    api: &AppApi,
    caller: &Identity,
    headers: &HeaderMap,
    body: Map<String, Value>,
) -> Result<RequestedCall, Error> {
    let account = ai_caller(caller)?;
    let mut options = call_options(caller, api.settings.timeouts, headers)?;
    let mut body = ObjectFields::new("", body);
    let fields = read_fields(&mut body, &mut options).map_err(FieldProblem::into_validation_error)?;
    let ChatFields { model, messages, stream, prompt, common } = fields;
    let names_model = model.is_some();
    let mut request = match prompt {
        None => {
            let messages = messages
                .ok_or_else(|| FieldProblem::new("messages", "is required, or `prompt`"))
                .and_then(|messages| parse_messages("messages", Some(messages)))
                .map_err(FieldProblem::into_validation_error)?;
            ChatRequest::new(api.settings.default_model.clone(), messages)
        }
        Some(PromptCall { name, selection, variables }) => {
            let rendered = api.prompts.render_shared(account.tenant, &name, &selection, &variables).await?;
            options.prompt = Some(rendered.reference);
            let mut request = rendered.request;
            if let Some(messages) = messages {
                let more = parse_messages("messages", Some(messages)).map_err(FieldProblem::into_validation_error)?;
                request.messages.extend(more);
            }
            request
        }
    };
    if let Some(model) = model {
        request.model = model;
    }
    common.apply(&mut request);
    Ok(RequestedCall { caller: account, request, options, stream, names_model })
}

/// The fields of a body.
struct ChatFields {
    model: Option<String>,
    messages: Option<Value>,
    stream: bool,
    prompt: Option<PromptCall>,
    common: CommonFields,
}

/// The fields that a request sets, in place of those of a prompt.
struct CommonFields(ChatRequest);

impl CommonFields {
    fn apply(self, request: &mut ChatRequest) {
        let set = self.0;
        request.max_output_tokens = set.max_output_tokens.or(request.max_output_tokens);
        request.temperature = set.temperature.or(request.temperature);
        if set.output != OutputFormat::Text {
            request.output = set.output;
        }
        request.top_p = set.top_p;
        request.stop = set.stop;
        request.seed = set.seed;
        request.tools = set.tools;
        request.tool_choice = set.tool_choice;
        request.parallel_tool_calls = set.parallel_tool_calls;
        request.reasoning = set.reasoning;
        request.service_tier = set.service_tier;
        request.user = set.user;
    }
}

/// The prompt of the app that a request names.
struct PromptCall {
    name: String,
    selection: PromptSelection,
    variables: Map<String, Value>,
}

fn read_fields(body: &mut ObjectFields, options: &mut CallOptions) -> Result<ChatFields, FieldProblem> {
    let model = body.text("model", MAX_MODEL_BYTES)?.filter(|model| !model.is_empty());
    options.provider = body.text("provider", MAX_NAME_BYTES)?.filter(|provider| !provider.is_empty());
    options.sticky = body.text("conversation", MAX_NAME_BYTES)?;
    if let Some(seconds) = body.count("cache_seconds", MAX_CACHE_SECONDS)? {
        options.cache = CachePolicy::Exact(Duration::from_secs(seconds));
    }
    let messages = body.take("messages");
    let stream = body.boolean("stream")?.unwrap_or(false);
    let prompt = match body.object("prompt")? {
        Some(prompt) => Some(read_prompt(prompt)?),
        None => None,
    };
    let mut common = ChatRequest::new("", []);
    parse_common(body, &mut common)?;
    refuse_rest(body)?;
    Ok(ChatFields { model, messages, stream, prompt, common: CommonFields(common) })
}

fn read_prompt(mut prompt: ObjectFields) -> Result<PromptCall, FieldProblem> {
    let name = prompt.required_text("name", MAX_NAME_BYTES)?;
    let label = prompt.text("label", MAX_NAME_BYTES)?;
    let version = prompt.count("version", MAX_VERSION)?;
    let variables = prompt.object("variables")?.map(ObjectFields::into_rest).unwrap_or_default();
    let selection = match (label, version) {
        (None, None) => PromptSelection::Production,
        (Some(label), None) => PromptSelection::Label(label),
        (None, Some(version)) => PromptSelection::Version(i64::try_from(version).unwrap_or(i64::MAX)),
        (Some(_), Some(_)) => return Err(prompt.problem("version", "can't be combined with `label`")),
    };
    refuse_rest(&prompt)?;
    Ok(PromptCall { name, selection, variables })
}

/// Fails if a field is left: the routes of the app refuse what they do not know.
fn refuse_rest(fields: &ObjectFields) -> Result<(), FieldProblem> {
    match fields.first_left() {
        Some(name) => Err(fields.problem(&name, "is not a field of this request")),
        None => Ok(()),
    }
}
