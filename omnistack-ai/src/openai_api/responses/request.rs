//! A request for a response.

use serde_json::{Map, Value};

use super::{input::parse_input, object::RequestEcho};
use crate::{
    chat::{ChatRequest, Message},
    openai_api::{
        fields::{FieldProblem, ObjectFields},
        format::parse_text_format,
        request::{
            MAX_MODEL_BYTES, MAX_OUTPUT_TOKENS, MAX_TOOL_NAME_BYTES, MAX_USER_BYTES, ToolForm, parse_effort,
            parse_tools,
        },
    },
};

/// Largest number of values of `include`.
const MAX_INCLUDED_PARTS: usize = 64;
/// Largest number of alternatives to a token that OpenAI's API has.
const MAX_TOP_LOGPROBS: f64 = 20.0;
/// The part of an answer that no answer has here.
const LOGPROBS: &str = "message.output_text.logprobs";

const NOT_STORED: &str = "is not supported, because responses are not stored: send the whole conversation in `input`";

/// Fields that are refused, and what to send instead. Without them the answer would be another one than the caller
/// expects.
const REFUSED_FIELDS: [(&str, &str); 12] = [
    ("previous_response_id", NOT_STORED),
    ("conversation", NOT_STORED),
    ("prompt", "is not supported, because prompts are not stored here: send `instructions` and `input`"),
    ("context_management", "is not supported: send a shorter `input`"),
    ("messages", "is a field of chat completions: send `input`"),
    ("max_tokens", "is a field of chat completions: send `max_output_tokens`"),
    ("max_completion_tokens", "is a field of chat completions: send `max_output_tokens`"),
    ("response_format", "is a field of chat completions: send `text.format`"),
    ("reasoning_effort", "is a field of chat completions: send `reasoning.effort`"),
    ("functions", "is a field of chat completions: send `tools`"),
    ("function_call", "is a field of chat completions: send `tool_choice`"),
    ("n", "is a field of chat completions: send one request for each answer"),
];

/// A request, and how its response is sent.
#[derive(Debug)]
pub(super) struct ResponseCall {
    pub(super) request: ChatRequest,
    /// Whether the response is sent in pieces.
    pub(super) stream: bool,
    /// The fields that the response repeats.
    pub(super) echo: RequestEcho,
}

/// Reads the body of a request to `/v1/responses`.
pub(super) fn parse_response(body: Map<String, Value>) -> Result<ResponseCall, FieldProblem> {
    let echo = RequestEcho::of(&body);
    let mut body = ObjectFields::new("", body);
    refuse(&mut body)?;
    let model = body.required_text("model", MAX_MODEL_BYTES)?;
    let instructions = body.text("instructions", usize::MAX)?.filter(|text| !text.is_empty());
    let mut messages: Vec<Message> = instructions.map(Message::system).into_iter().collect();
    messages.extend(parse_input(body.take("input"))?);
    let mut request = ChatRequest::new(model, messages);
    let stream = body.boolean("stream")?.unwrap_or(false);
    // Its options concern padding, which this API does not send.
    _ = body.object("stream_options")?;
    request.max_output_tokens = body.count("max_output_tokens", MAX_OUTPUT_TOKENS)?;
    request.temperature = body.number("temperature", 0.0, 2.0)?;
    request.top_p = body.number("top_p", 0.0, 1.0)?;
    parse_tools(&mut body, &mut request, ToolForm::Flat)?;
    request.service_tier = body.text("service_tier", MAX_TOOL_NAME_BYTES)?;
    request.user = body.text("user", MAX_USER_BYTES)?;
    parse_options(&mut body, &mut request)?;
    request.extra.extend(body.into_rest());
    Ok(ResponseCall { request, stream, echo })
}

/// Refuses what needs stored responses, and fields of another API.
fn refuse(body: &mut ObjectFields) -> Result<(), FieldProblem> {
    for (name, message) in REFUSED_FIELDS {
        if body.take(name).is_some() {
            return Err(body.problem(name, message));
        }
    }
    if body.boolean("store")? == Some(true) {
        return Err(body.problem("store", "must be `false`: responses are not stored"));
    }
    if body.boolean("background")? == Some(true) {
        return Err(body.problem("background", "must be `false`: send `stream` for a response that takes long"));
    }
    Ok(())
}

/// Reads the options that are objects or lists, and keeps those that only some providers have.
fn parse_options(body: &mut ObjectFields, request: &mut ChatRequest) -> Result<(), FieldProblem> {
    let mut keep = |name: &str, value: Value| _ = request.extra.insert(name.to_owned(), value);
    if let Some(mut text) = body.object("text")? {
        request.output = parse_text_format(&mut text)?;
        if let Some(verbosity) = text.text("verbosity", MAX_TOOL_NAME_BYTES)? {
            keep("verbosity", verbosity.into());
        }
    }
    if let Some(mut reasoning) = body.object("reasoning")? {
        request.reasoning = parse_effort(&mut reasoning, "effort")?;
        let more = reasoning.into_rest();
        if !more.is_empty() {
            keep("reasoning", more.into());
        }
    }
    if let Some(metadata) = body.object("metadata")? {
        keep("metadata", metadata.into_rest().into());
    }
    match body.text("truncation", MAX_TOOL_NAME_BYTES)?.as_deref() {
        None | Some("disabled") => {}
        Some("auto") => keep("truncation", "auto".into()),
        Some(_) => return Err(body.problem("truncation", "must be `auto` or `disabled`")),
    }
    // Only built-in tools are counted.
    _ = body.count("max_tool_calls", u64::MAX)?;
    if body.number("top_logprobs", 0.0, MAX_TOP_LOGPROBS)?.is_some_and(|count| count > 0.0) {
        return Err(body.problem("top_logprobs", "must be 0: responses have no probabilities of tokens"));
    }
    // Encrypted reasoning is always included, and the others are parts of built-in tools.
    let included = body.list("include", MAX_INCLUDED_PARTS)?.unwrap_or_default();
    for part in &included {
        match part.as_str() {
            Some(LOGPROBS) => {
                return Err(body.problem("include", format!("can't have `{LOGPROBS}`: they are not offered")));
            }
            Some(_) => {}
            None => return Err(body.problem("include", "must be a list of texts")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::chat::{OutputFormat, ReasoningEffort, Tool, ToolChoice};

    fn parse(more: Value) -> Result<ResponseCall, FieldProblem> {
        let mut body = json!({ "model": "m", "input": "hi" });
        let Value::Object(more) = more else { panic!("{more}") };
        body.as_object_mut().unwrap().extend(more);
        let Value::Object(body) = body else { panic!("{body}") };
        parse_response(body)
    }

    #[test]
    fn known_fields_are_read_and_others_are_kept() {
        let call = parse(json!({
            "instructions": "Be brief.",
            "stream": true,
            "stream_options": { "include_obfuscation": false },
            "store": false,
            "background": null,
            "previous_response_id": null,
            "max_output_tokens": 7,
            "temperature": 0,
            "top_p": 0.5,
            "tools": [
                { "type": "function", "name": "f", "description": "d", "parameters": { "type": "object" } },
                { "type": "function", "name": "g", "strict": false },
                { "type": "function", "name": "h", "strict": true },
            ],
            "tool_choice": { "type": "function", "name": "f" },
            "parallel_tool_calls": false,
            "text": { "format": { "type": "json_schema", "name": "a", "schema": {} }, "verbosity": "low" },
            "reasoning": { "effort": "low", "summary": "auto" },
            "include": ["reasoning.encrypted_content"],
            "max_tool_calls": 3,
            "top_logprobs": 0,
            "truncation": "disabled",
            "service_tier": "flex",
            "user": "u",
            "metadata": { "a": "b" },
            "prompt_cache_key": "k",
            "logit_bias": null,
        }))
        .unwrap();
        let request = call.request;
        assert!(call.stream);
        assert_eq!(request.messages, [Message::system("Be brief."), Message::user("hi")]);
        assert_eq!(request.max_output_tokens, Some(7));
        assert_eq!((request.temperature, request.top_p), (Some(0.0), Some(0.5)));
        let strict = |tool: &Tool| (tool.strict, tool.is_strict_by_default);
        let tools: Vec<_> = request.tools.iter().map(strict).collect();
        assert_eq!(tools, [(true, true), (false, false), (true, false)], "functions are strict by default");
        assert_eq!(request.tool_choice, ToolChoice::Named("f".into()));
        assert_eq!(request.parallel_tool_calls, Some(false));
        assert!(matches!(request.output, OutputFormat::JsonSchema { strict: false, .. }));
        assert_eq!(request.reasoning, Some(ReasoningEffort::Low));
        assert_eq!((request.service_tier.as_deref(), request.user.as_deref()), (Some("flex"), Some("u")));
        let extra = json!({
            "metadata": { "a": "b" }, "prompt_cache_key": "k", "reasoning": { "summary": "auto" }, "verbosity": "low",
        });
        assert_eq!(Value::Object(request.extra), extra);
    }

    #[test]
    fn a_response_repeats_its_request_with_the_defaults() {
        let echo = |more| serde_json::to_value(parse(more).unwrap().echo).unwrap();
        let defaults = json!({
            "instructions": null, "max_output_tokens": null, "metadata": {}, "parallel_tool_calls": true,
            "reasoning": { "effort": null, "summary": null }, "temperature": null, "text": { "format": { "type": "text" } },
            "tool_choice": "auto", "tools": [], "top_p": null, "truncation": "disabled",
        });
        assert_eq!(echo(json!({})), defaults);
        let tools = json!([{ "type": "function", "name": "f" }]);
        let stated = echo(json!({ "tools": tools, "tool_choice": "required", "text": { "verbosity": "low" } }));
        assert_eq!((&stated["tools"], &stated["tool_choice"]), (&tools, &json!("required")));
        assert_eq!(stated["text"], json!({ "verbosity": "low", "format": { "type": "text" } }));
    }

    #[test]
    fn a_problem_names_the_field() {
        for (more, expected) in [
            (json!({ "model": "" }), "model"),
            (json!({ "input": null }), "input"),
            (json!({ "instructions": [] }), "instructions"),
            (json!({ "stream": "yes" }), "stream"),
            (json!({ "previous_response_id": "resp_1" }), "previous_response_id"),
            (json!({ "conversation": "conv_1" }), "conversation"),
            (json!({ "prompt": { "id": "p" } }), "prompt"),
            (json!({ "background": true }), "background"),
            (json!({ "store": true }), "store"),
            (json!({ "max_tokens": 5 }), "max_tokens"),
            (json!({ "response_format": { "type": "text" } }), "response_format"),
            (json!({ "max_output_tokens": 0 }), "max_output_tokens"),
            (json!({ "temperature": 3 }), "temperature"),
            (json!({ "tools": [{ "type": "web_search" }] }), "tools[0].type"),
            (json!({ "tools": [{ "type": "function" }] }), "tools[0].name"),
            (json!({ "tools": [{ "type": "function", "function": { "name": "f" } }] }), "tools[0].name"),
            (json!({ "tool_choice": { "type": "file_search" } }), "tool_choice.type"),
            (json!({ "tool_choice": { "type": "function", "name": "f" } }), "tool_choice"),
            (json!({ "text": { "format": { "type": "xml" } } }), "text.format.type"),
            (json!({ "text": { "format": { "type": "json_schema", "name": "a" } } }), "text.format.schema"),
            (json!({ "reasoning": { "effort": "heroic" } }), "reasoning.effort"),
            (json!({ "metadata": "x" }), "metadata"),
            (json!({ "truncation": "some" }), "truncation"),
            (json!({ "top_logprobs": 2 }), "top_logprobs"),
            (json!({ "include": ["message.output_text.logprobs"] }), "include"),
            (json!({ "include": [1] }), "include"),
        ] {
            assert_eq!(parse(more.clone()).unwrap_err().param, expected, "{more}");
        }
    }
}
