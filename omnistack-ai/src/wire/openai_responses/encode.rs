//! Requests for responses.

use serde_json::{Map, Value, json};

use super::items::encode_input;
use crate::{
    chat::{ChatRequest, OutputFormat, Tool},
    error::LlmError,
    wire::{
        Quirks, WireRequest,
        openai_chat::{StrictSchema, encode_tool_choice, schema_name, set, unsupported},
    },
};

/// Further fields of a request that this API has too. Fields by which answers are stored in the app's account, and read
/// from it by their ids, are not among them: the answers of all tenants are there.
const FORWARDED_FIELDS: [&str; 10] = [
    "include",
    "max_tool_calls",
    "metadata",
    "moderation",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "top_logprobs",
    "truncation",
];

/// Further fields that the gateway sets itself.
const RESERVED_FIELDS: [&str; 6] = ["input", "messages", "model", "stream", "stream_options", "tools"];

/// The part of an answer that is asked for in addition: reasoning that the next request can repeat, because no answer
/// is stored at the provider.
const ENCRYPTED_REASONING: &str = "reasoning.encrypted_content";

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
    body.insert("input".to_owned(), encode_input(provider, request)?);
    body.insert("store".to_owned(), json!(false));
    body.insert("include".to_owned(), json!([ENCRYPTED_REASONING]));
    if !request.tools.is_empty() {
        let tools = request.tools.iter().map(|tool| encode_tool(quirks, tool, &mut warnings));
        body.insert("tools".to_owned(), tools.collect());
        let choice = encode_tool_choice(&request.tool_choice, |name| json!({"type": "function", "name": name}));
        body.extend(choice.map(|choice| ("tool_choice".to_owned(), choice)));
        set(&mut body, "parallel_tool_calls", request.parallel_tool_calls);
    }
    let mut text = Map::new();
    match &request.output {
        OutputFormat::Text => {}
        OutputFormat::JsonObject => {
            text.insert("format".to_owned(), json!({"type": "json_object"}));
        }
        OutputFormat::JsonSchema { name, schema, strict } => {
            let StrictSchema { schema, strict } = StrictSchema::new(quirks, schema, *strict, name, &mut warnings);
            let format = json!({"type": "json_schema", "name": schema_name(name), "schema": schema, "strict": strict});
            text.insert("format".to_owned(), format);
        }
    }
    if let Some(verbosity) = request.extra.get("verbosity") {
        text.insert("verbosity".to_owned(), verbosity.clone());
    }
    if !text.is_empty() {
        body.insert("text".to_owned(), text.into());
    }
    set(&mut body, "max_output_tokens", request.max_output_tokens);
    set(&mut body, "temperature", request.temperature);
    set(&mut body, "top_p", request.top_p);
    if !request.stop.is_empty() {
        warnings.push(unsupported("stop"));
    }
    if request.seed.is_some() {
        warnings.push(unsupported("seed"));
    }
    set(&mut body, "reasoning", request.reasoning.map(|effort| json!({"effort": effort})));
    set(&mut body, "service_tier", request.service_tier.as_deref());
    set(&mut body, "user", request.user.as_deref());
    add_extra(&request.extra, &mut body, &mut warnings);
    if stream {
        body.insert("stream".to_owned(), json!(true));
    }
    Ok(WireRequest { path: "/responses".into(), body: body.into(), warnings })
}

fn encode_tool(quirks: &Quirks, tool: &Tool, warnings: &mut Vec<String>) -> Value {
    let StrictSchema { schema, strict } =
        StrictSchema::new(quirks, &tool.parameters, tool.strict, &tool.name, warnings);
    // Without `strict`, this API would be strict.
    let mut encoded = json!({"type": "function", "name": tool.name, "parameters": schema, "strict": strict});
    if !tool.description.is_empty() {
        encoded["description"] = json!(tool.description);
    }
    encoded
}

fn add_extra(extra: &Map<String, Value>, body: &mut Map<String, Value>, warnings: &mut Vec<String>) {
    for (name, value) in extra {
        let name = name.as_str();
        let is_default = value.is_null() || (name == "n" && value.as_u64() == Some(1));
        if is_default || name == "verbosity" || RESERVED_FIELDS.contains(&name) {
            continue;
        }
        match (name, value, body.get_mut(name)) {
            // Other options of reasoning, such as its summary.
            ("reasoning", Value::Object(more), Some(Value::Object(reasoning))) => {
                for (option, value) in more {
                    reasoning.entry(option).or_insert_with(|| value.clone());
                }
            }
            ("reasoning", Value::Object(_), None) => {
                body.insert(name.to_owned(), value.clone());
            }
            ("include", Value::Array(more), Some(Value::Array(included))) => {
                included.extend(more.iter().filter(|value| value.as_str() != Some(ENCRYPTED_REASONING)).cloned());
            }
            _ if FORWARDED_FIELDS.contains(&name) => {
                body.insert(name.to_owned(), value.clone());
            }
            _ => warnings.push(unsupported(name)),
        }
    }
}
