//! Requests.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

use super::content::GeminiConversation;
use crate::{
    chat::{ChatRequest, OutputFormat, ReasoningEffort, Tool, ToolChoice},
    error::LlmError,
    json_schema::{SchemaDialect, instructions, translate},
    wire::{
        WireRequest,
        openai_chat::{inexpressible, set, unsupported},
    },
};

/// The characters of a path segment that are encoded: all but the unreserved ones (RFC 3986, section 2.3).
const PATH_SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Maximum number of texts at which an answer ends.
const MAX_STOP_SEQUENCES: usize = 5;

/// Fields of `generationConfig` that a request can set itself, and their names in OpenAI's API.
const GENERATION_FIELDS: [(&str, &str); 5] = [
    ("top_k", "topK"),
    ("topK", "topK"),
    ("presence_penalty", "presencePenalty"),
    ("frequency_penalty", "frequencyPenalty"),
    ("thinking_config", "thinkingConfig"),
];

/// Encodes a request.
pub(super) fn encode(provider: &str, request: &ChatRequest, stream: bool) -> Result<WireRequest, LlmError> {
    let mut warnings = Vec::new();
    let mut config = Map::new();
    let GeminiConversation { mut system, contents } = GeminiConversation::encode(provider, request)?;
    match &request.output {
        OutputFormat::Text => {}
        OutputFormat::JsonObject => set(&mut config, "responseMimeType", Some("application/json")),
        OutputFormat::JsonSchema { name, schema, .. } => {
            set(&mut config, "responseMimeType", Some("application/json"));
            match translate(schema, SchemaDialect::Gemini) {
                Ok(schema) => set(&mut config, "responseJsonSchema", Some(schema)),
                Err(reason) => {
                    warnings.push(format!("the provider does not guarantee the schema `{name}`: {reason}"));
                    system.push(json!({"text": instructions(Some(schema))}));
                }
            }
        }
    }
    set(&mut config, "maxOutputTokens", request.max_output_tokens);
    set(&mut config, "temperature", request.temperature);
    set(&mut config, "topP", request.top_p);
    let stop: Vec<&String> = request.stop.iter().filter(|stop| !stop.is_empty()).take(MAX_STOP_SEQUENCES).collect();
    if stop.len() < request.stop.len() {
        warnings.push(format!("the provider ends answers at no more than {MAX_STOP_SEQUENCES} texts"));
    }
    if !stop.is_empty() {
        set(&mut config, "stopSequences", Some(stop));
    }
    match request.seed.map(i32::try_from) {
        Some(Ok(seed)) => set(&mut config, "seed", Some(seed)),
        Some(Err(_)) => warnings.push("the provider does not have a `seed` of this size".to_owned()),
        None => {}
    }
    set(&mut config, "thinkingConfig", request.reasoning.map(thinking));
    let mut body = Map::new();
    add_extra(request, &mut body, &mut config, &mut warnings);
    body.insert("contents".to_owned(), contents.into());
    if !system.is_empty() {
        body.insert("systemInstruction".to_owned(), json!({"parts": system}));
    }
    if !request.tools.is_empty() {
        let tools = request.tools.iter().map(|tool| encode_tool(provider, tool, &mut warnings));
        let tools = tools.collect::<Result<Vec<_>, _>>()?;
        body.insert("tools".to_owned(), json!([{"functionDeclarations": tools}]));
        if let Some(calling) = tool_choice(&request.tool_choice) {
            body.insert("toolConfig".to_owned(), json!({"functionCallingConfig": calling}));
        }
        if request.parallel_tool_calls == Some(false) {
            warnings.push(unsupported("parallel_tool_calls"));
        }
    }
    if !config.is_empty() {
        body.insert("generationConfig".to_owned(), config.into());
    }
    match request.service_tier.as_deref() {
        None | Some("auto") => {}
        Some("default" | "standard") => set(&mut body, "serviceTier", Some("standard")),
        Some(tier @ ("flex" | "priority")) => set(&mut body, "serviceTier", Some(tier)),
        Some(_) => warnings.push("the provider does not have this `service_tier`".to_owned()),
    }
    if request.user.is_some() {
        warnings.push(unsupported("user"));
    }
    let method = if stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
    let path = format!("/v1beta/{}:{method}", model_path(&request.model));
    Ok(WireRequest { path, body: body.into(), warnings })
}

/// Returns the path of a model: `models/NAME`, or that of a tuned one.
pub(super) fn model_path(model: &str) -> String {
    let encoded = |segment: &str| utf8_percent_encode(segment, PATH_SEGMENT).to_string();
    match model.split_once('/') {
        Some((collection @ ("models" | "tunedModels"), name)) => format!("{collection}/{}", encoded(name)),
        _ => format!("models/{}", encoded(model)),
    }
}

fn thinking(effort: ReasoningEffort) -> Value {
    let level = match effort {
        ReasoningEffort::None => return json!({"thinkingBudget": 0}),
        ReasoningEffort::Minimal => "MINIMAL",
        ReasoningEffort::Low => "LOW",
        ReasoningEffort::Medium => "MEDIUM",
        ReasoningEffort::High => "HIGH",
        ReasoningEffort::Highest => "XHIGH",
    };
    json!({"thinkingLevel": level})
}

fn tool_choice(choice: &ToolChoice) -> Option<Value> {
    match choice {
        ToolChoice::Auto => None,
        ToolChoice::None => Some(json!({"mode": "NONE"})),
        ToolChoice::Required => Some(json!({"mode": "ANY"})),
        ToolChoice::Named(name) => Some(json!({"mode": "ANY", "allowedFunctionNames": [name]})),
    }
}

fn encode_tool(provider: &str, tool: &Tool, warnings: &mut Vec<String>) -> Result<Value, LlmError> {
    let mut encoded = json!({"name": tool.name});
    if !tool.description.is_empty() {
        encoded["description"] = json!(tool.description);
    }
    if tool.strict && !tool.is_strict_by_default {
        warnings.push(format!("the provider does not guarantee the arguments of `{}`", tool.name));
    }
    let has_parameters = tool.parameters.as_object().is_some_and(|schema| {
        let properties = schema.get("properties").and_then(Value::as_object);
        properties.is_some_and(|properties| !properties.is_empty())
            || schema
                .keys()
                .any(|key| !matches!(key.as_str(), "type" | "properties" | "required" | "$schema" | "title"))
    });
    // The API refuses objects without properties, but no parameters are accepted.
    if has_parameters {
        let schema = translate(&tool.parameters, SchemaDialect::Gemini);
        let schema = schema.map_err(|reason| inexpressible(provider, format!("the tool `{}`: {reason}", tool.name)))?;
        encoded["parametersJsonSchema"] = schema;
    }
    Ok(encoded)
}

fn add_extra(
    request: &ChatRequest,
    body: &mut Map<String, Value>,
    config: &mut Map<String, Value>,
    warnings: &mut Vec<String>,
) {
    for (name, value) in &request.extra {
        if value.is_null() || (name == "n" && value.as_u64() == Some(1)) {
            continue;
        }
        let field = GENERATION_FIELDS.iter().find(|(known, _)| known == name);
        if let Some((_, field)) = field {
            config.insert((*field).to_owned(), value.clone());
        } else if matches!(name.as_str(), "safety_settings" | "safetySettings") {
            body.insert("safetySettings".to_owned(), value.clone());
        } else {
            warnings.push(unsupported(name));
        }
    }
}
