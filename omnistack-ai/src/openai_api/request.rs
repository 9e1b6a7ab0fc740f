//! A request for an answer, in the form of OpenAI's API.

use serde_json::{Map, Value};

use super::{
    fields::{FieldProblem, ObjectFields},
    format::parse_response_format,
    messages::parse_messages,
};
use crate::chat::{ChatRequest, ReasoningEffort, Tool, ToolChoice};

/// Longest name of a model, in bytes.
pub(crate) const MAX_MODEL_BYTES: usize = 200;
/// Largest number of tools of a request.
const MAX_TOOLS_PER_REQUEST: usize = 512;
/// Largest number of texts at which an answer ends.
const MAX_STOPS_PER_REQUEST: usize = 16;
/// Longest text at which an answer ends, in bytes.
const MAX_STOP_BYTES: usize = 1024;
/// Longest name of a tool, and of another short value, in bytes.
pub(super) const MAX_TOOL_NAME_BYTES: usize = 128;
/// Longest description of a tool, in bytes.
const MAX_DESCRIPTION_BYTES: usize = 64 * 1024;
/// Longest id of an end user, in bytes.
pub(super) const MAX_USER_BYTES: usize = 512;
/// Largest number of tokens that a request can ask for.
pub(super) const MAX_OUTPUT_TOKENS: u64 = 10_000_000;

/// A request, and how its answer is sent.
#[derive(Debug)]
pub(super) struct ChatCall {
    pub(super) request: ChatRequest,
    /// Whether the answer is sent in pieces.
    pub(super) stream: bool,
    /// Whether the tokens are sent after the last piece.
    pub(super) include_usage: bool,
}

/// Reads the body of a request to `/v1/chat/completions`.
pub(super) fn parse_chat(body: Map<String, Value>) -> Result<ChatCall, FieldProblem> {
    let mut body = ObjectFields::new("", body);
    let model = body.required_text("model", MAX_MODEL_BYTES)?;
    let messages = parse_messages("messages", body.take("messages"))?;
    let mut request = ChatRequest::new(model, messages);
    let stream = body.boolean("stream")?.unwrap_or(false);
    let include_usage = match body.object("stream_options")? {
        Some(mut options) => options.boolean("include_usage")?.unwrap_or(false),
        None => false,
    };
    if body.count("n", u64::MAX)?.is_some_and(|count| count > 1) {
        return Err(body.problem("n", "must be 1: send one request for each answer"));
    }
    for name in ["functions", "function_call"] {
        if body.take(name).is_some() {
            return Err(body.problem(name, "is not supported: use `tools` and `tool_choice`"));
        }
    }
    parse_common(&mut body, &mut request)?;
    request.extra = body.into_rest();
    Ok(ChatCall { request, stream, include_usage })
}

/// Reads the fields of a request besides the model and the messages. What is not known is left.
pub(crate) fn parse_common(body: &mut ObjectFields, request: &mut ChatRequest) -> Result<(), FieldProblem> {
    // The older name is read too, and counts if the newer one is absent.
    let older = body.count("max_tokens", MAX_OUTPUT_TOKENS)?;
    request.max_output_tokens = body.count("max_completion_tokens", MAX_OUTPUT_TOKENS)?.or(older);
    request.temperature = body.number("temperature", 0.0, 2.0)?;
    request.top_p = body.number("top_p", 0.0, 1.0)?;
    request.stop = parse_stop(body)?;
    request.seed = match body.take("seed") {
        None => None,
        Some(seed) => Some(seed.as_i64().ok_or_else(|| body.problem("seed", "must be a whole number"))?),
    };
    parse_tools(body, request, ToolForm::Nested)?;
    request.output = parse_response_format(body)?;
    request.reasoning = parse_effort(body, "reasoning_effort")?;
    request.service_tier = body.text("service_tier", MAX_TOOL_NAME_BYTES)?;
    request.user = body.text("user", MAX_USER_BYTES)?;
    Ok(())
}

fn parse_stop(body: &mut ObjectFields) -> Result<Vec<String>, FieldProblem> {
    let all = match body.take("stop") {
        None => return Ok(Vec::new()),
        Some(Value::String(text)) => vec![Value::String(text)],
        Some(Value::Array(texts)) => texts,
        Some(_) => return Err(body.problem("stop", "must be a text or a list of texts")),
    };
    if all.len() > MAX_STOPS_PER_REQUEST {
        return Err(body.problem("stop", format!("must have at most {MAX_STOPS_PER_REQUEST} texts")));
    }
    let read = |text| match text {
        Value::String(text) if (1..=MAX_STOP_BYTES).contains(&text.len()) => Ok(text),
        _ => Err(body.problem("stop", format!("must be texts of 1 to {MAX_STOP_BYTES} bytes"))),
    };
    all.into_iter().map(read).collect()
}

/// Reads the effort of reasoning from a field.
pub(super) fn parse_effort(fields: &mut ObjectFields, name: &str) -> Result<Option<ReasoningEffort>, FieldProblem> {
    match fields.text(name, MAX_TOOL_NAME_BYTES)?.as_deref() {
        None => Ok(None),
        Some("none") => Ok(Some(ReasoningEffort::None)),
        Some("minimal") => Ok(Some(ReasoningEffort::Minimal)),
        Some("low") => Ok(Some(ReasoningEffort::Low)),
        Some("medium") => Ok(Some(ReasoningEffort::Medium)),
        Some("high") => Ok(Some(ReasoningEffort::High)),
        Some("xhigh" | "max") => Ok(Some(ReasoningEffort::Highest)),
        Some(_) => {
            let efforts = "must be `none`, `minimal`, `low`, `medium`, `high` or `xhigh`";
            Err(fields.problem(name, efforts))
        }
    }
}

/// The place of a function in a tool, and in the choice of a tool.
#[derive(Clone, Copy, Debug)]
pub(super) enum ToolForm {
    /// Below `function`, as in chat completions.
    Nested,
    /// Beside `type`, as in Responses. A function is strict unless it says otherwise.
    Flat,
}

impl ToolForm {
    /// Returns the fields of a function. Fails if the object is no function.
    fn function(self, mut object: ObjectFields) -> Result<ObjectFields, FieldProblem> {
        if object.required_text("type", MAX_TOOL_NAME_BYTES)? != "function" {
            return Err(object.problem("type", "must be `function`: built-in tools are not offered"));
        }
        match self {
            Self::Nested => object.required_object("function"),
            Self::Flat => Ok(object),
        }
    }

    const fn is_strict_by_default(self) -> bool {
        matches!(self, Self::Flat)
    }
}

/// Reads the tools and how they are chosen.
pub(super) fn parse_tools(
    body: &mut ObjectFields,
    request: &mut ChatRequest,
    form: ToolForm,
) -> Result<(), FieldProblem> {
    let path = body.path("tools");
    let tools = body.list("tools", MAX_TOOLS_PER_REQUEST)?.unwrap_or_default();
    let tools = tools.into_iter().enumerate().map(|(index, tool)| parse_tool(format!("{path}[{index}]"), tool, form));
    request.tools = tools.collect::<Result<_, _>>()?;
    request.tool_choice = parse_tool_choice(body, form)?;
    request.parallel_tool_calls = body.boolean("parallel_tool_calls")?;
    if let ToolChoice::Named(name) = &request.tool_choice
        && !request.tools.iter().any(|tool| tool.name == *name)
    {
        return Err(body.problem("tool_choice", "must name one of `tools`"));
    }
    if request.tool_choice == ToolChoice::Required && request.tools.is_empty() {
        return Err(body.problem("tool_choice", "needs `tools`"));
    }
    Ok(())
}

fn parse_tool(path: String, tool: Value, form: ToolForm) -> Result<Tool, FieldProblem> {
    let mut function = form.function(ObjectFields::of(path, tool)?)?;
    let name = function.required_text("name", MAX_TOOL_NAME_BYTES)?;
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte)) {
        return Err(function.problem("name", "must consist of letters, digits, `_`, `-`, `.` and `:`"));
    }
    let description = function.text("description", MAX_DESCRIPTION_BYTES)?.unwrap_or_default();
    let parameters = match function.take("parameters") {
        None => serde_json::json!({ "type": "object", "properties": {} }),
        Some(schema @ Value::Object(_)) => schema,
        Some(_) => return Err(function.problem("parameters", "must be a JSON schema")),
    };
    let strict = function.boolean("strict")?;
    let is_strict_by_default = strict.is_none() && form.is_strict_by_default();
    let strict = strict.unwrap_or(is_strict_by_default);
    Ok(Tool { name, description, parameters, strict, is_strict_by_default })
}

fn parse_tool_choice(body: &mut ObjectFields, form: ToolForm) -> Result<ToolChoice, FieldProblem> {
    let path = body.path("tool_choice");
    match body.take("tool_choice") {
        None => Ok(ToolChoice::Auto),
        Some(Value::String(choice)) => match choice.as_str() {
            "auto" => Ok(ToolChoice::Auto),
            "none" => Ok(ToolChoice::None),
            "required" | "any" => Ok(ToolChoice::Required),
            _ => Err(FieldProblem::new(path, "must be `auto`, `none`, `required` or a function")),
        },
        Some(value) => {
            let mut choice = form.function(ObjectFields::of(path, value)?)?;
            Ok(ToolChoice::Named(choice.required_text("name", MAX_TOOL_NAME_BYTES)?))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::chat::OutputFormat;

    fn parse(more: Value) -> Result<ChatCall, FieldProblem> {
        let mut body = json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }] });
        let Value::Object(more) = more else { panic!("{more}") };
        body.as_object_mut().unwrap().extend(more);
        let Value::Object(body) = body else { panic!("{body}") };
        parse_chat(body)
    }

    #[test]
    fn known_fields_are_read_and_others_are_kept() {
        let call = parse(json!({
            "stream": true,
            "stream_options": { "include_usage": true },
            "n": 1,
            "max_tokens": 5,
            "max_completion_tokens": 7,
            "temperature": 0,
            "top_p": 0.5,
            "stop": "END",
            "seed": -3,
            "tools": [{ "type": "function", "function": { "name": "f", "strict": true } }],
            "tool_choice": { "type": "function", "function": { "name": "f" } },
            "parallel_tool_calls": false,
            "response_format": { "type": "json_schema", "json_schema": { "name": "a", "schema": { "type": "object" } } },
            "reasoning_effort": "low",
            "service_tier": "flex",
            "user": "u",
            "logit_bias": null,
            "metadata": { "a": "b" },
        }))
        .unwrap();
        assert!(call.stream && call.include_usage);
        let request = call.request;
        assert_eq!(request.max_output_tokens, Some(7));
        assert_eq!((request.temperature, request.top_p, request.seed), (Some(0.0), Some(0.5), Some(-3)));
        assert_eq!(request.stop, ["END"]);
        assert_eq!(request.tool_choice, ToolChoice::Named("f".into()));
        assert!(request.tools[0].strict);
        assert_eq!(request.parallel_tool_calls, Some(false));
        assert!(matches!(request.output, OutputFormat::JsonSchema { strict: false, .. }));
        assert_eq!(request.reasoning, Some(ReasoningEffort::Low));
        assert_eq!((request.service_tier.as_deref(), request.user.as_deref()), (Some("flex"), Some("u")));
        let extra: Vec<_> = request.extra.keys().collect();
        assert_eq!(extra, ["metadata"], "`null` counts as absent");
    }

    #[test]
    fn a_problem_names_the_field() {
        for (more, expected) in [
            (json!({ "model": "" }), "model"),
            (json!({ "model": 1 }), "model"),
            (json!({ "model": "m".repeat(201) }), "model"),
            (json!({ "stream": "yes" }), "stream"),
            (json!({ "stream_options": [] }), "stream_options"),
            (json!({ "n": 2 }), "n"),
            (json!({ "n": 0 }), "n"),
            (json!({ "functions": [] }), "functions"),
            (json!({ "max_tokens": 0 }), "max_tokens"),
            (json!({ "max_completion_tokens": 1.5 }), "max_completion_tokens"),
            (json!({ "max_completion_tokens": u64::MAX }), "max_completion_tokens"),
            (json!({ "temperature": 3 }), "temperature"),
            (json!({ "temperature": "hot" }), "temperature"),
            (json!({ "stop": [""] }), "stop"),
            (json!({ "seed": 1.5 }), "seed"),
            (json!({ "tools": {} }), "tools"),
            (json!({ "tools": [{ "type": "web_search" }] }), "tools[0].type"),
            (json!({ "tools": [{ "type": "function", "function": { "name": "a b" } }] }), "tools[0].function.name"),
            (json!({ "tool_choice": "required" }), "tool_choice"),
            (json!({ "tool_choice": { "type": "function", "function": { "name": "f" } } }), "tool_choice"),
            (json!({ "response_format": { "type": "xml" } }), "response_format.type"),
            (
                json!({ "response_format": { "type": "json_schema", "json_schema": { "name": "a" } } }),
                "response_format.json_schema.schema",
            ),
            (json!({ "reasoning_effort": "heroic" }), "reasoning_effort"),
        ] {
            assert_eq!(parse(more.clone()).unwrap_err().param, expected, "{more}");
        }
    }
}
