//! Answers of the fake to requests.

use serde_json::{Value, json};

use super::{instance::instance, script::FakeOutcome};
use crate::{
    chat::{
        ChatRequest, ChatResponse, Message, OutputFormat, Part, Role, StopKind, StopReason, TokenUsage, Tool, ToolCall,
        ToolChoice,
    },
    error::{LlmError, LlmErrorKind},
};

/// The tokens that an image or a file counts as.
const MEDIA_TOKENS: u64 = 85;

/// Returns the answer of a step. Fails with the error of the step, or if the conversation is empty.
pub(super) fn answer(
    provider: &str,
    number: u64,
    request: &ChatRequest,
    outcome: &FakeOutcome,
) -> Result<ChatResponse, LlmError> {
    let (parts, stop) = match outcome {
        FakeOutcome::Answer(answer) => return Ok(answer.as_ref().clone()),
        FakeOutcome::Error(error) => return Err(error.clone()),
        FakeOutcome::Pieces(pieces) => text_answer(request, pieces.concat()),
        FakeOutcome::ToolCalls(calls) => tool_answer(number, calls.clone()),
        FakeOutcome::OfRequest | FakeOutcome::Hang => of_request(provider, number, request)?,
    };
    let mut response = ChatResponse::new(format!("fake-{number}"), &request.model, parts, stop);
    let usage = TokenUsage { input: input_tokens(request), output: output_tokens(&response), ..TokenUsage::default() };
    response.usage = Some(usage);
    response.raw_usage = Some(json!({ "input_tokens": usage.input, "output_tokens": usage.output }));
    Ok(response)
}

/// Returns the tokens that bytes count as: four bytes each.
pub(super) fn tokens_of(bytes: usize) -> u64 {
    u64::try_from(bytes.div_ceil(4)).unwrap_or(u64::MAX)
}

fn of_request(provider: &str, number: u64, request: &ChatRequest) -> Result<(Vec<Part>, StopReason), LlmError> {
    let Some(last) = request.messages.iter().rev().find(|message| message.role != Role::System) else {
        let message = "the conversation has no message of the user";
        return Err(LlmError::new(LlmErrorKind::InvalidRequest, provider.to_owned(), message));
    };
    if let Some(tool) = asked_tool(request, last) {
        return Ok(tool_answer(number, [(tool.name.clone(), instance(&tool.parameters).to_string())]));
    }
    let text = match &request.output {
        OutputFormat::Text => echo(last),
        OutputFormat::JsonObject => json!({ "answer": echo(last) }).to_string(),
        OutputFormat::JsonSchema { schema, .. } => instance(schema).to_string(),
    };
    Ok(text_answer(request, text))
}

/// Returns what the fake says to a message.
fn echo(message: &Message) -> String {
    let results = message.parts.iter().filter_map(|part| match part {
        Part::ToolResult(result) => Some(Message::new(Role::Tool, result.parts.clone()).to_text()),
        _ => None,
    });
    let results: Vec<String> = results.collect();
    if results.is_empty() {
        let text = message.to_text();
        if text.is_empty() { "You said nothing.".to_owned() } else { format!("You said: {text}") }
    } else {
        format!("The tool returned: {}", results.join("\n"))
    }
}

/// Returns the tool that the fake calls: the one that the request requires, or the first if the user speaks of it.
fn asked_tool<'a>(request: &'a ChatRequest, last: &Message) -> Option<&'a Tool> {
    let first = request.tools.first();
    match &request.tool_choice {
        ToolChoice::None => None,
        ToolChoice::Named(name) => request.tools.iter().find(|tool| tool.name == *name),
        // The results are there: the turn would never end otherwise.
        _ if last.role == Role::Tool => None,
        ToolChoice::Required => first,
        ToolChoice::Auto => {
            let text = last.to_text().to_lowercase();
            let is_named = |tool: &&Tool| !tool.name.is_empty() && text.contains(&tool.name.to_lowercase());
            let named = request.tools.iter().find(is_named);
            named.or_else(|| first.filter(|_| text.contains("tool")))
        }
    }
}

fn tool_answer(number: u64, calls: impl IntoIterator<Item = (String, String)>) -> (Vec<Part>, StopReason) {
    let calls = calls.into_iter().enumerate();
    let parts = calls.map(|(index, (name, arguments))| {
        Part::ToolCall(ToolCall::new(format!("call_fake_{number}_{index}"), name, arguments))
    });
    (parts.collect(), StopReason::new(StopKind::ToolCalls, "tool_calls".to_owned()))
}

/// Returns an answer of text, which ends where the request says.
fn text_answer(request: &ChatRequest, mut text: String) -> (Vec<Part>, StopReason) {
    let mut stop = StopReason::new(StopKind::Stop, "stop".to_owned());
    let ends = request.stop.iter().filter(|end| !end.is_empty()).filter_map(|end| text.find(end.as_str()));
    if let Some(at) = ends.min() {
        text.truncate(at);
    }
    let most = request.max_output_tokens.and_then(|tokens| usize::try_from(tokens.saturating_mul(4)).ok());
    if let Some(most) = most
        && text.len() > most
    {
        text.truncate(text.floor_char_boundary(most));
        stop = StopReason::new(StopKind::Length, "length".to_owned());
    }
    (vec![Part::text(text)], stop)
}

fn input_tokens(request: &ChatRequest) -> u64 {
    let messages = request.messages.iter().flat_map(|message| &message.parts).map(part_tokens);
    let tools = request
        .tools
        .iter()
        .map(|tool| tokens_of(tool.name.len() + tool.description.len() + json_bytes(&tool.parameters)));
    let schema = match &request.output {
        OutputFormat::JsonSchema { schema, .. } => tokens_of(json_bytes(schema)),
        _ => 0,
    };
    messages.chain(tools).fold(schema, u64::saturating_add)
}

fn output_tokens(response: &ChatResponse) -> u64 {
    response.parts.iter().map(part_tokens).fold(0, u64::saturating_add)
}

fn part_tokens(part: &Part) -> u64 {
    match part {
        Part::Text { text, .. } | Part::Reasoning { text, .. } | Part::Refusal(text) => tokens_of(text.len()),
        Part::Image(_) | Part::File(_) => MEDIA_TOKENS,
        Part::ToolCall(call) => tokens_of(call.name.len() + call.arguments.len()),
        Part::ToolResult(result) => result.parts.iter().map(part_tokens).fold(0, u64::saturating_add),
    }
}

fn json_bytes(value: &Value) -> usize {
    value.to_string().len()
}
