//! The keys of the cache of answers.

use std::fmt::Write as _;

use omnistack_core::crypto::Sha256;
use serde_json::{Map, Value, json};

use crate::{
    call::{AiCaller, CachePolicy, CallOptions},
    chat::{ChatRequest, Media, MediaSource, Message, OutputFormat, Part, Role, ToolChoice},
};

/// Changes whenever the key or the stored form of an answer changes.
const KEY_VERSION: u32 = 1;

/// Further fields of requests that change the answer in a known way. They are part of the key.
const FIELDS_IN_KEY: [&str; 20] = [
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "min_p",
    "modalities",
    "n",
    "prediction",
    "presence_penalty",
    "reasoning",
    "repetition_penalty",
    "seed",
    "thinking",
    "thinkingConfig",
    "top_a",
    "top_k",
    "top_logprobs",
    "truncation",
    "typical_p",
    "verbosity",
];
/// Further fields of requests that don't change the answer.
const FIELDS_WITHOUT_EFFECT: [&str; 9] = [
    "metadata",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "store",
    "stream",
    "stream_options",
    "user",
];
/// The text in a scope in place of the user's message.
const ANY_MESSAGE: &str = "\u{0}";

/// The key of a request.
#[derive(Clone, Debug)]
pub(crate) struct CacheKey {
    /// The hash of all that can change the answer.
    pub(crate) exact: Sha256,
    /// The user's message, if messages that mean the same may share an answer.
    pub(crate) semantic: Option<SemanticKey>,
}

/// The part of a key by which messages are compared.
#[derive(Clone)]
pub(crate) struct SemanticKey {
    /// The hash of all but the user's message.
    pub(crate) scope: Sha256,
    /// The user's message.
    pub(crate) text: String,
}

impl std::fmt::Debug for SemanticKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SemanticKey").field("scope", &self.scope).finish_non_exhaustive()
    }
}

impl CacheKey {
    /// Returns the key of a request, or `None` if its answer must not be cached: the caller does not ask for it, the
    /// request has a field that the gateway does not know, or it refers to a URL or a file, whose content can change.
    ///
    /// The variants of an experiment don't share answers.
    pub(crate) fn of(
        caller: &AiCaller,
        request: &ChatRequest,
        options: &CallOptions,
        variant: Option<&str>,
    ) -> Option<Self> {
        let semantic = match options.cache {
            CachePolicy::Off => return None,
            CachePolicy::Exact(_) => false,
            CachePolicy::Semantic(_) => true,
        };
        let describe = |last: Option<&str>| describe(caller, request, (options, variant), last);
        let exact = hash(&describe(None)?);
        let semantic = semantic.then(|| semantic_key(request, describe)).flatten();
        Some(Self { exact, semantic })
    }
}

/// Returns the scope and the text of the last message, if it is a user's text.
fn semantic_key(request: &ChatRequest, describe: impl Fn(Option<&str>) -> Option<Value>) -> Option<SemanticKey> {
    let last = request.messages.last().filter(|message| message.role == Role::User)?;
    let is_text = last.parts.iter().all(|part| matches!(part, Part::Text { .. }));
    let text = last.to_text();
    if !is_text || text.trim().is_empty() {
        return None;
    }
    let scope = hash(&describe(Some(ANY_MESSAGE))?);
    Some(SemanticKey { scope, text })
}

fn hash(description: &Value) -> Sha256 {
    let mut text = String::new();
    write_canonical(description, &mut text);
    Sha256::digest(text)
}

/// Describes all that can change the answer, with `last` in place of the last message's content.
fn describe(
    caller: &AiCaller,
    request: &ChatRequest,
    (options, variant): (&CallOptions, Option<&str>),
    last: Option<&str>,
) -> Option<Value> {
    let mut extra = Map::new();
    for (name, value) in &request.extra {
        if FIELDS_IN_KEY.contains(&name.as_str()) {
            extra.insert(name.clone(), value.clone());
        } else if !FIELDS_WITHOUT_EFFECT.contains(&name.as_str()) {
            return None;
        }
    }
    let end = request.messages.len().checked_sub(usize::from(last.is_some()))?;
    let mut messages = request.messages[..end].iter().map(message).collect::<Option<Vec<_>>>()?;
    if let (Some(last), Some(replaced)) = (last, request.messages.get(end)) {
        messages.push(json!({ "role": replaced.role, "name": replaced.name, "parts": last }));
    }
    let tools = request
        .tools
        .iter()
        .map(|tool| json!([tool.name, tool.description, tool.parameters, tool.strict, tool.is_strict_by_default]));
    let choice = match &request.tool_choice {
        ToolChoice::Auto => json!("auto"),
        ToolChoice::None => json!("none"),
        ToolChoice::Required => json!("required"),
        ToolChoice::Named(name) => json!([name]),
    };
    let output = match &request.output {
        OutputFormat::Text => Value::Null,
        OutputFormat::JsonObject => json!("object"),
        OutputFormat::JsonSchema { name, schema, strict } => json!([name, schema, strict]),
    };
    Some(json!({
        "version": KEY_VERSION,
        "tenant": caller.tenant,
        "environment": caller.environment,
        "provider": options.provider,
        "model": request.model,
        "variant": variant,
        "messages": messages,
        "tools": tools.collect::<Vec<_>>(),
        "tool_choice": choice,
        "parallel_tool_calls": request.parallel_tool_calls,
        "output": output,
        "max_output_tokens": request.max_output_tokens,
        // Bits, so that a number that JSON can't express differs from an absent one.
        "temperature": request.temperature.map(f64::to_bits),
        "top_p": request.top_p.map(f64::to_bits),
        "stop": request.stop,
        "seed": request.seed,
        "reasoning": request.reasoning,
        "service_tier": request.service_tier,
        "extra": extra,
    }))
}

fn message(message: &Message) -> Option<Value> {
    let parts = message.parts.iter().map(part).collect::<Option<Vec<_>>>()?;
    Some(json!({ "role": message.role, "name": message.name, "parts": parts }))
}

fn part(part: &Part) -> Option<Value> {
    Some(match part {
        Part::Text { text, .. } => json!({ "text": text }),
        Part::Image(media) => json!({ "image": describe_media(media)? }),
        Part::File(media) => json!({ "file": describe_media(media)? }),
        Part::ToolCall(call) => json!({ "call": [call.id, call.name, call.arguments] }),
        Part::ToolResult(result) => {
            let parts = result.parts.iter().map(self::part).collect::<Option<Vec<_>>>()?;
            json!({ "result": [result.call_id, result.name, parts, result.is_error] })
        }
        Part::Reasoning { text, signature, redacted } => json!({ "reasoning": [text, signature, redacted] }),
        Part::Refusal(text) => json!({ "refusal": text }),
    })
}

fn describe_media(media: &Media) -> Option<Value> {
    let MediaSource::Bytes(bytes) = &media.source else { return None };
    Some(json!([Sha256::digest(bytes), media.media_type, media.name, media.detail]))
}

/// Writes JSON with the names of objects sorted and without spaces.
fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Array(items) => {
            out.push('[');
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    out.push(',');
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(name, _)| *name);
            out.push('{');
            for (position, (name, field)) in fields.into_iter().enumerate() {
                if position > 0 {
                    out.push(',');
                }
                _ = write!(out, "{}:", Value::from(name.as_str()));
                write_canonical(field, out);
            }
            out.push('}');
        }
        scalar => _ = write!(out, "{scalar}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use omnistack_core::{clock::Clock, id::Id};

    use super::*;
    use crate::chat::{ReasoningEffort, Tool, ToolCall, ToolResult};

    fn caller() -> AiCaller {
        AiCaller::of_tenant(Id::new(Clock::system().now()))
    }

    fn exact() -> CallOptions {
        CallOptions { cache: CachePolicy::Exact(Duration::from_secs(60)), ..CallOptions::default() }
    }

    fn request() -> ChatRequest {
        ChatRequest::new("m", [Message::system("be brief"), Message::user("hello")])
    }

    #[test]
    fn every_field_that_can_change_the_answer_changes_the_key() {
        let caller = caller();
        let changes: &[(&str, fn(&mut ChatRequest))] = &[
            ("model", |request| request.model = "other".into()),
            ("message", |request| request.messages[1] = Message::user("hello!")),
            ("role", |request| request.messages[1] = Message::assistant("hello")),
            ("name", |request| request.messages[1].name = Some("ada".into())),
            ("order", |request| request.messages.reverse()),
            ("parts", |request| request.messages[1].parts.push(Part::text(""))),
            ("image", |request| {
                request.messages[1].parts.push(Part::Image(Media::bytes(vec![1], "image/png")));
            }),
            ("call", |request| {
                request.messages[1].parts.push(Part::ToolCall(ToolCall::new("1", "t", "{}")));
            }),
            ("result", |request| request.messages.push(Message::tool_results([ToolResult::text("1", "x")]))),
            ("name of a result", |request| {
                let mut result = ToolResult::text("1", "x");
                result.name = Some("t".into());
                request.messages.push(Message::tool_results([result]));
            }),
            ("tool", |request| request.tools.push(Tool::new("t", "", json!({ "a": 1, "b": 2 })))),
            ("strict tool", |request| {
                request.tools.push(Tool::new("t", "", json!({ "a": 1, "b": 2 })));
                request.tools[0].strict = true;
            }),
            ("tool that is strict by default", |request| {
                request.tools.push(Tool::new("t", "", json!({ "a": 1, "b": 2 })));
                (request.tools[0].strict, request.tools[0].is_strict_by_default) = (true, true);
            }),
            ("tool choice", |request| request.tool_choice = ToolChoice::Required),
            ("named tool", |request| request.tool_choice = ToolChoice::Named("required".into())),
            ("parallel", |request| request.parallel_tool_calls = Some(false)),
            ("object", |request| request.output = OutputFormat::JsonObject),
            ("schema", |request| {
                request.output = OutputFormat::JsonSchema { name: "x".into(), schema: json!({}), strict: true };
            }),
            ("maximum", |request| request.max_output_tokens = Some(1)),
            ("temperature", |request| request.temperature = Some(0.0)),
            ("top_p", |request| request.top_p = Some(0.5)),
            ("stop", |request| request.stop.push("x".into())),
            ("seed", |request| request.seed = Some(1)),
            ("reasoning", |request| request.reasoning = Some(ReasoningEffort::Low)),
            ("tier", |request| request.service_tier = Some("flex".into())),
            ("extra", |request| _ = request.extra.insert("top_k".into(), json!(1))),
        ];
        let mut keys = vec![("none", CacheKey::of(&caller, &request(), &exact(), None).unwrap().exact)];
        for (name, change) in changes {
            let mut changed = request();
            change(&mut changed);
            let key = CacheKey::of(&caller, &changed, &exact(), None).unwrap().exact;
            for (other, known) in &keys {
                assert!(*known != key, "{name} and {other} have the same key");
            }
            keys.push((*name, key));
        }
        let other_tenant = CacheKey::of(&self::caller(), &request(), &exact(), None).unwrap().exact;
        assert!(keys.iter().all(|(_, key)| *key != other_tenant));
        let other_variant = CacheKey::of(&caller, &request(), &exact(), Some("a@b")).unwrap().exact;
        assert!(keys.iter().all(|(_, key)| *key != other_variant));
        let options = CallOptions { provider: Some("fake".into()), ..exact() };
        let other_provider = CacheKey::of(&caller, &request(), &options, None).unwrap().exact;
        assert!(keys.iter().all(|(_, key)| *key != other_provider));
    }

    #[test]
    fn what_does_not_change_the_answer_does_not_change_the_key() {
        let caller = caller();
        let mut tagged = request();
        tagged.user = Some("ada".into());
        tagged.extra.insert("metadata".into(), json!({ "a": 1 }));
        let key = CacheKey::of(&caller, &request(), &exact(), None).unwrap().exact;
        assert!(CacheKey::of(&caller, &tagged, &exact(), None).unwrap().exact == key);
        let with_tool = |schema: &str| {
            let tool = Tool::new("t", "", serde_json::from_str(schema).unwrap());
            CacheKey::of(&caller, &request().tool(tool), &exact(), None).unwrap().exact
        };
        assert!(with_tool(r#"{"a": 1, "b": {"c": [2], "d": null}}"#) == with_tool(r#"{"b":{"d":null,"c":[2]},"a":1}"#));
    }

    #[test]
    fn requests_of_unknown_effect_have_no_key() {
        let caller = caller();
        let mut unknown = request();
        unknown.extra.insert("web_search_options".into(), json!({}));
        assert!(CacheKey::of(&caller, &unknown, &exact(), None).is_none());
        let mut elsewhere = request();
        elsewhere.messages[1].parts.push(Part::Image(Media::url("https://example.org/a.png")));
        assert!(CacheKey::of(&caller, &elsewhere, &exact(), None).is_none());
        assert!(CacheKey::of(&caller, &request(), &CallOptions::default(), None).is_none());
    }

    #[test]
    fn only_the_words_of_the_last_message_are_compared() {
        let caller = caller();
        let options = CallOptions { cache: CachePolicy::Semantic(Duration::from_secs(60)), ..CallOptions::default() };
        let scope = |request: &ChatRequest| CacheKey::of(&caller, request, &options, None).unwrap().semantic;
        let one = scope(&request()).unwrap();
        assert_eq!(one.text, "hello");
        let other = scope(&ChatRequest::new("m", [Message::system("be brief"), Message::user("hi")])).unwrap();
        assert!(one.scope == other.scope);
        let rude = scope(&ChatRequest::new("m", [Message::system("be rude"), Message::user("hello")])).unwrap();
        assert!(one.scope != rude.scope);
        let other = CacheKey::of(&self::caller(), &request(), &options, None).unwrap();
        assert!(other.semantic.unwrap().scope != one.scope);
        assert!(scope(&ChatRequest::new("m", [Message::user("hello"), Message::assistant("hi")])).is_none());
        assert!(scope(&ChatRequest::new("m", [])).is_none());
    }
}
