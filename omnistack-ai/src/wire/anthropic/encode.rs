//! Requests.

use serde_json::{Map, Value, json};

use super::content::AnthropicConversation;
use crate::{
    chat::{ChatRequest, OutputFormat, ReasoningEffort, Tool, ToolChoice},
    error::LlmError,
    json_schema::{SchemaDialect, instructions, translate},
    wire::{
        WireRequest,
        openai_chat::{inexpressible, set, unsupported},
    },
};

/// Maximum number of tokens of an answer if the request does not limit it. The API requires a number.
const DEFAULT_MAX_OUTPUT_TOKENS: u64 = 8192;

/// Largest temperature of the API. OpenAI's is 2.
const MAX_TEMPERATURE: f64 = 1.0;

/// Maximum number of strict tools of a request. The API refuses more. It also refuses a smaller number whose schemas are
/// large, so tools are not strict only by default.
const MAX_STRICT_TOOLS: usize = 20;

/// Fields of the API that a request can set itself. Fields that lead to resources of the account, let the provider call
/// other services, or change the price are not among them.
const ACCEPTED_FIELDS: [&str; 3] = ["cache_control", "thinking", "top_k"];

/// Encodes a request.
pub(super) fn encode(provider: &str, request: &ChatRequest, stream: bool) -> Result<WireRequest, LlmError> {
    let mut warnings = Vec::new();
    let mut body = Map::new();
    let AnthropicConversation { mut system, messages, .. } = AnthropicConversation::encode(provider, request)?;
    let mut output_config = Map::new();
    match &request.output {
        OutputFormat::Text => {}
        OutputFormat::JsonObject => system.push(json!({"type": "text", "text": instructions(None)})),
        OutputFormat::JsonSchema { name, schema, .. } => match translate(schema, SchemaDialect::Anthropic) {
            Ok(schema) => {
                output_config.insert("format".to_owned(), json!({"type": "json_schema", "schema": schema}));
            }
            Err(reason) => {
                warnings.push(format!("the provider does not guarantee the schema `{name}`: {reason}"));
                system.push(json!({"type": "text", "text": instructions(Some(schema))}));
            }
        },
    }
    body.insert("model".to_owned(), json!(request.model));
    body.insert("max_tokens".to_owned(), json!(request.max_output_tokens.unwrap_or(DEFAULT_MAX_OUTPUT_TOKENS)));
    if !system.is_empty() {
        body.insert("system".to_owned(), system.into());
    }
    body.insert("messages".to_owned(), messages.into());
    if !request.tools.is_empty() {
        let is_strict = |tool: &&Tool| tool.strict && !tool.is_strict_by_default;
        let may_be_strict = request.tools.iter().filter(is_strict).count() <= MAX_STRICT_TOOLS;
        if !may_be_strict {
            warnings.push(format!("the provider guarantees the arguments of at most {MAX_STRICT_TOOLS} tools"));
        }
        let tools = request.tools.iter().map(|tool| {
            let strict = may_be_strict && is_strict(&tool);
            encode_tool(provider, tool, strict, &mut warnings)
        });
        body.insert("tools".to_owned(), tools.collect::<Result<Vec<_>, _>>()?.into());
        body.extend(tool_choice(request).map(|choice| ("tool_choice".to_owned(), choice)));
    }
    for (name, value) in &request.extra {
        if value.is_null() || (name == "n" && value.as_u64() == Some(1)) {
            continue;
        }
        if ACCEPTED_FIELDS.contains(&name.as_str()) {
            body.insert(name.clone(), value.clone());
        } else {
            warnings.push(unsupported(name));
        }
    }
    let thinks = reasoning(request, &mut body, &mut output_config, &mut warnings);
    sampling(request, thinks, &mut body, &mut warnings);
    if !output_config.is_empty() {
        body.insert("output_config".to_owned(), output_config.into());
    }
    let stop: Vec<&String> = request.stop.iter().filter(|stop| !stop.trim().is_empty()).collect();
    if stop.len() < request.stop.len() {
        warnings.push("the provider does not end answers at white space".to_owned());
    }
    if !stop.is_empty() {
        body.insert("stop_sequences".to_owned(), json!(stop));
    }
    if request.seed.is_some() {
        warnings.push(unsupported("seed"));
    }
    match request.service_tier.as_deref() {
        None => {}
        Some("auto" | "priority") => set(&mut body, "service_tier", Some("auto")),
        Some("default" | "standard" | "standard_only") => set(&mut body, "service_tier", Some("standard_only")),
        Some(_) => warnings.push("the provider does not have this `service_tier`".to_owned()),
    }
    if let Some(user) = &request.user {
        body.insert("metadata".to_owned(), json!({"user_id": user}));
    }
    if stream {
        body.insert("stream".to_owned(), json!(true));
    }
    Ok(WireRequest { path: "/v1/messages".to_owned(), body: body.into(), warnings })
}

/// Sets how much the model reasons. Returns whether it does.
fn reasoning(
    request: &ChatRequest,
    body: &mut Map<String, Value>,
    output_config: &mut Map<String, Value>,
    warnings: &mut Vec<String>,
) -> bool {
    if let Some(thinking) = body.get("thinking") {
        return thinking["type"] != "disabled";
    }
    let effort = match request.reasoning {
        None => return false,
        Some(ReasoningEffort::None) => {
            body.insert("thinking".to_owned(), json!({"type": "disabled"}));
            return false;
        }
        Some(ReasoningEffort::Minimal | ReasoningEffort::Low) => "low",
        Some(ReasoningEffort::Medium) => "medium",
        Some(ReasoningEffort::High) => "high",
        Some(ReasoningEffort::Highest) => "max",
    };
    output_config.insert("effort".to_owned(), json!(effort));
    if !request.tools.is_empty() && matches!(request.tool_choice, ToolChoice::Required | ToolChoice::Named(_)) {
        warnings.push("the provider does not reason before the call of a tool that must be called".to_owned());
        return false;
    }
    body.insert("thinking".to_owned(), json!({"type": "adaptive"}));
    true
}

/// Sets the randomness, in the combinations that the API accepts.
fn sampling(request: &ChatRequest, thinks: bool, body: &mut Map<String, Value>, warnings: &mut Vec<String>) {
    if thinks {
        if request.temperature.is_some() || request.top_p.is_some() {
            warnings.push("the provider does not accept `temperature` and `top_p` with reasoning".to_owned());
        }
        if body.remove("top_k").is_some() {
            warnings.push("the provider does not accept `top_k` with reasoning".to_owned());
        }
        return;
    }
    let Some(temperature) = request.temperature else {
        set(body, "top_p", request.top_p);
        return;
    };
    if temperature > MAX_TEMPERATURE {
        warnings.push("the provider does not accept a temperature above 1; 1 is used".to_owned());
    }
    set(body, "temperature", Some(temperature.min(MAX_TEMPERATURE)));
    if request.top_p.is_some_and(|top_p| top_p < 1.0) {
        warnings.push("the provider does not accept `top_p` with `temperature`".to_owned());
    }
}

fn tool_choice(request: &ChatRequest) -> Option<Value> {
    let mut choice = match &request.tool_choice {
        ToolChoice::Auto if request.parallel_tool_calls != Some(false) => return None,
        ToolChoice::Auto => json!({"type": "auto"}),
        ToolChoice::None => return Some(json!({"type": "none"})),
        ToolChoice::Required => json!({"type": "any"}),
        ToolChoice::Named(name) => json!({"type": "tool", "name": name}),
    };
    if request.parallel_tool_calls == Some(false) {
        choice["disable_parallel_tool_use"] = json!(true);
    }
    Some(choice)
}

fn encode_tool(provider: &str, tool: &Tool, strict: bool, warnings: &mut Vec<String>) -> Result<Value, LlmError> {
    let translated = if strict { translate(&tool.parameters, SchemaDialect::Anthropic) } else { Err(String::new()) };
    let is_strict = translated.is_ok();
    let schema = match translated {
        Ok(schema) => schema,
        Err(reason) => {
            if strict {
                warnings.push(format!("the provider does not guarantee the arguments of `{}`: {reason}", tool.name));
            }
            let parameters = if tool.parameters.is_object() { tool.parameters.clone() } else { json!({}) };
            let plain = translate(&parameters, SchemaDialect::Plain);
            plain.map_err(|reason| inexpressible(provider, format!("the tool `{}`: {reason}", tool.name)))?
        }
    };
    let mut encoded = json!({"name": tool.name, "input_schema": schema});
    // The API requires the type, which the schema of a tool without parameters may lack.
    encoded["input_schema"]["type"] = json!("object");
    if !tool.description.is_empty() {
        encoded["description"] = json!(tool.description);
    }
    if is_strict {
        encoded["strict"] = json!(true);
    }
    Ok(encoded)
}
