//! Requests for chat completions.

use serde_json::{Map, Value, json};

use super::{messages::encode_messages, schema::StrictSchema};
use crate::{
    chat::{ChatRequest, OutputFormat, Tool, ToolChoice},
    error::LlmError,
    wire::{Quirks, WireRequest},
};

/// Fields that are never sent, whatever the request says: those that the gateway sets, and old names of others.
const RESERVED_FIELDS: [&str; 5] = ["messages", "model", "stream", "stream_options", "tools"];

/// Fields that are not sent, and that a caller would miss: several answers, the predecessors of tools, and a field that
/// only Responses have.
const REFUSED_FIELDS: [&str; 4] = ["function_call", "functions", "n", "truncation"];

/// Longest name of a field that a warning repeats, in characters.
const MAX_NAME_CHARS: usize = 64;

/// Encodes a request.
pub(super) fn encode(
    provider: &str,
    quirks: &Quirks,
    request: &ChatRequest,
    stream: bool,
) -> Result<WireRequest, LlmError> {
    let mut warnings = Vec::new();
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(request.model));
    body.insert("messages".to_owned(), encode_messages(provider, quirks, request)?);
    if !request.tools.is_empty() {
        let tools = request.tools.iter().map(|tool| encode_tool(quirks, tool, &mut warnings));
        body.insert("tools".to_owned(), tools.collect());
        let named = |name: &str| json!({"type": "function", "function": {"name": name}});
        let choice = encode_tool_choice(&request.tool_choice, named);
        body.extend(choice.map(|choice| ("tool_choice".to_owned(), choice)));
        set(&mut body, "parallel_tool_calls", request.parallel_tool_calls);
    }
    match &request.output {
        OutputFormat::Text => {}
        OutputFormat::JsonObject => {
            body.insert("response_format".to_owned(), json!({"type": "json_object"}));
        }
        OutputFormat::JsonSchema { name, schema, strict } => {
            let StrictSchema { schema, strict } = StrictSchema::new(quirks, schema, *strict, name, &mut warnings);
            let format = json!({"name": schema_name(name), "schema": schema, "strict": strict});
            body.insert("response_format".to_owned(), json!({"type": "json_schema", "json_schema": format}));
        }
    }
    set(&mut body, quirks.max_tokens_field, request.max_output_tokens);
    set(&mut body, "temperature", request.temperature);
    set(&mut body, "top_p", request.top_p);
    if !request.stop.is_empty() {
        body.insert("stop".to_owned(), json!(request.stop));
    }
    set(&mut body, "seed", request.seed);
    if let Some(effort) = request.reasoning {
        let accepted = quirks.nearest_effort(effort);
        if accepted != effort {
            warnings.push("the provider does not offer this effort of reasoning; the nearest is used".to_owned());
        }
        body.insert("reasoning_effort".to_owned(), json!(accepted));
    }
    set(&mut body, "service_tier", request.service_tier.as_deref());
    set(&mut body, "user", request.user.as_deref());
    add_extra(quirks, &request.extra, &mut body, &mut warnings);
    if stream {
        body.insert("stream".to_owned(), json!(true));
        if quirks.accepts_stream_options {
            body.insert("stream_options".to_owned(), json!({"include_usage": true}));
        }
    }
    Ok(WireRequest { path: "/chat/completions".into(), body: body.into(), warnings })
}

/// Sets a field if it has a value.
pub(crate) fn set<T: serde::Serialize>(body: &mut Map<String, Value>, name: &str, value: Option<T>) {
    if let Some(value) = value {
        body.insert(name.to_owned(), json!(value));
    }
}

/// Encodes whether the model must call a tool. `named` encodes the choice of one.
pub(crate) fn encode_tool_choice(choice: &ToolChoice, named: impl FnOnce(&str) -> Value) -> Option<Value> {
    match choice {
        ToolChoice::Auto => None,
        ToolChoice::None => Some(json!("none")),
        ToolChoice::Required => Some(json!("required")),
        ToolChoice::Named(name) => Some(named(name)),
    }
}

/// Returns the name of a schema with the characters and the length that OpenAI accepts.
pub(crate) fn schema_name(name: &str) -> String {
    let accepted = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' };
    let name: String = name.chars().map(accepted).take(64).collect();
    if name.is_empty() { "answer".to_owned() } else { name }
}

/// Returns the remark that a field was not sent.
pub(crate) fn unsupported(name: &str) -> String {
    let name: String = name.chars().take(MAX_NAME_CHARS).collect();
    format!("the provider does not have the parameter `{name}`")
}

fn encode_tool(quirks: &Quirks, tool: &Tool, warnings: &mut Vec<String>) -> Value {
    // Other servers may refuse a field that the request does not have.
    let strict = tool.strict && (quirks.strict_schemas || !tool.is_strict_by_default);
    let StrictSchema { schema, strict } = StrictSchema::new(quirks, &tool.parameters, strict, &tool.name, warnings);
    let mut function = json!({"name": tool.name, "parameters": schema});
    if !tool.description.is_empty() {
        function["description"] = json!(tool.description);
    }
    if strict {
        function["strict"] = json!(true);
    }
    json!({"type": "function", "function": function})
}

fn add_extra(quirks: &Quirks, extra: &Map<String, Value>, body: &mut Map<String, Value>, warnings: &mut Vec<String>) {
    for (name, value) in extra {
        let name = name.as_str();
        if value.is_null() || RESERVED_FIELDS.contains(&name) || body.contains_key(name) {
            continue;
        }
        if name == "n" && value.as_u64() == Some(1) {
            continue;
        }
        if REFUSED_FIELDS.contains(&name) || quirks.unsupported_fields.contains(&name) {
            warnings.push(unsupported(name));
        } else {
            body.insert(name.to_owned(), value.clone());
        }
    }
}
