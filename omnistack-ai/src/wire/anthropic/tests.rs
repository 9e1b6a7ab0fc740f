use http::{HeaderName, HeaderValue};
use proptest::{collection::vec, prelude::*, sample::Index};
use serde_json::{Value, json};

use super::*;
use crate::{
    chat::{
        CacheLifetime, Message, OutputFormat, Part, ReasoningEffort, Role, StopKind, StopReason, TokenUsage, Tool,
        ToolCall, ToolChoice, ToolResult,
    },
    wire::openai_chat::testing::{read, read_all, split},
};

mod requests;

fn codec() -> Anthropic {
    Anthropic::new("anthropic".into())
}

/// Returns a stream as the provider sends it.
fn stream(events: &[Value]) -> String {
    let line = |event: &Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default());
    events.iter().map(line).collect()
}

fn start(usage: Value) -> Value {
    json!({"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant",
        "model": "m-1", "content": [], "stop_reason": null, "stop_sequence": null, "usage": usage}})
}

fn begin(index: u64, block: Value) -> Value {
    json!({"type": "content_block_start", "index": index, "content_block": block})
}

fn delta(index: u64, delta: Value) -> Value {
    json!({"type": "content_block_delta", "index": index, "delta": delta})
}

fn end(index: u64) -> Value {
    json!({"type": "content_block_stop", "index": index})
}

fn stop(reason: Value, usage: Value) -> [Value; 2] {
    let delta =
        json!({"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": null}, "usage": usage});
    [delta, json!({"type": "message_stop"})]
}

fn rich_stream() -> String {
    let [delta_of_message, end_of_message] = stop(json!("tool_use"), json!({"output_tokens": 40}));
    stream(&[
        start(json!({"input_tokens": 10, "cache_read_input_tokens": 5, "output_tokens": 1})),
        json!({"type": "ping"}),
        begin(0, json!({"type": "thinking", "thinking": "", "signature": ""})),
        delta(0, json!({"type": "thinking_delta", "thinking": "Hm "})),
        delta(0, json!({"type": "thinking_delta", "thinking": "🌍"})),
        delta(0, json!({"type": "signature_delta", "signature": "sig"})),
        end(0),
        begin(1, json!({"type": "redacted_thinking", "data": "secret"})),
        end(1),
        begin(2, json!({"type": "text", "text": ""})),
        delta(2, json!({"type": "text_delta", "text": "你"})),
        delta(2, json!({"type": "text_delta", "text": "好"})),
        end(2),
        begin(3, json!({"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}})),
        delta(3, json!({"type": "input_json_delta", "partial_json": ""})),
        delta(3, json!({"type": "input_json_delta", "partial_json": "{\"city\":"})),
        delta(3, json!({"type": "input_json_delta", "partial_json": " \"Köln\"}"})),
        end(3),
        begin(4, json!({"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}})),
        end(4),
        delta_of_message,
        end_of_message,
    ])
}

fn reasoning(text: &str, signature: Option<&str>, redacted: Option<&str>) -> Part {
    Part::Reasoning { text: text.into(), signature: signature.map(Into::into), redacted: redacted.map(Into::into) }
}

#[test]
fn a_stream_becomes_an_answer() {
    let answer = read_all(&codec(), &rich_stream());
    assert_eq!((answer.id.as_str(), answer.model.as_str()), ("msg_1", "m-1"));
    let expected = vec![
        reasoning("Hm 🌍", Some("anthropic:sig"), None),
        reasoning("", None, Some("anthropic:secret")),
        Part::text("你好"),
        Part::ToolCall(ToolCall::new("toolu_1", "weather", "{\"city\": \"Köln\"}")),
        Part::ToolCall(ToolCall::new("toolu_2", "now", "{}")),
    ];
    assert_eq!(answer.parts, expected);
    assert_eq!(answer.stop, StopReason::new(StopKind::ToolCalls, Some("tool_use".to_owned())));
    let usage = TokenUsage { input: 15, cached: 5, output: 40, ..TokenUsage::default() };
    assert_eq!(answer.usage, Some(usage));
}

proptest! {
    #[test]
    fn an_answer_does_not_depend_on_how_its_stream_is_split(cuts in vec(any::<Index>(), 0..40)) {
        let body = rich_stream();
        let (answer, error) = read(&codec(), &split(body.as_bytes(), &cuts));
        prop_assert!(error.is_none());
        prop_assert_eq!(answer, read_all(&codec(), &body));
    }
}

#[test]
fn a_stream_that_is_cut_anywhere_is_interrupted() {
    let body = rich_stream();
    for length in 0..body.len() {
        let (answer, error) = read(&codec(), &[&body.as_bytes()[..length]]);
        assert_eq!(error.map(|error| error.kind), Some(LlmErrorKind::Interrupted), "{length}");
        assert_eq!(answer.stop.unified, StopKind::Interrupted, "{length}");
    }
}

#[test]
fn a_whole_answer_means_the_same_as_its_stream() {
    let body = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m-1", "stop_reason": "tool_use",
        "content": [
            {"type": "thinking", "thinking": "Hm 🌍", "signature": "sig"},
            {"type": "redacted_thinking", "data": "secret"},
            {"type": "text", "text": "你好", "citations": null},
            {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Köln"}},
            {"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}},
        ],
        "usage": {"input_tokens": 10, "cache_read_input_tokens": 5, "output_tokens": 40},
    });
    let mut whole = codec().decode(body.to_string().as_bytes()).unwrap();
    let streamed = read_all(&codec(), &rich_stream());
    for part in &mut whole.parts {
        if let Part::ToolCall(call) = part {
            call.arguments = call.arguments.replace(':', ": ");
        }
    }
    assert_eq!(whole, streamed);
}

#[test]
fn usage_is_the_last_snapshot() {
    let usage = |input, cached, cache_write, cache_write_long, output| {
        Some(TokenUsage { input, cached, cache_write, cache_write_long, output, reasoning: 0 })
    };
    for (first, last, expected) in [
        // Repeated, not added.
        (
            json!({"input_tokens": 3, "cache_creation_input_tokens": 12_304, "output_tokens": 1}),
            json!({"input_tokens": 3, "cache_creation_input_tokens": 12_304, "output_tokens": 550}),
            usage(12_307, 0, 12_304, 0, 550),
        ),
        (
            json!({"input_tokens": 6, "cache_creation_input_tokens": 159_217,
                "cache_creation": {"ephemeral_5m_input_tokens": 159_217, "ephemeral_1h_input_tokens": 0}}),
            json!({"output_tokens": 2_745}),
            usage(159_223, 0, 159_217, 0, 2_745),
        ),
        // The beginning counts the cache as input; only the end splits it.
        (
            json!({"input_tokens": 1_000, "output_tokens": 0}),
            json!({"input_tokens": 100, "cache_read_input_tokens": 900, "output_tokens": 7}),
            usage(1_000, 900, 0, 0, 7),
        ),
        (
            json!({"input_tokens": 1, "cache_creation_input_tokens": 30,
                "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20}}),
            json!({"output_tokens": 2, "cache_read_input_tokens": null}),
            usage(31, 0, 10, 20, 2),
        ),
        (json!({}), json!({}), None),
        (json!(null), json!({"output_tokens": 0, "input_tokens": 0}), usage(0, 0, 0, 0, 0)),
        (json!({"input_tokens": 4, "cache_creation": null}), json!(null), usage(4, 0, 0, 0, 0)),
    ] {
        let body = [&[start(first.clone())][..], &stop(json!("end_turn"), last.clone())].concat();
        let answer = read_all(&codec(), &stream(&body));
        assert_eq!(answer.usage, expected, "{first} {last}");
        if !first.is_null() && !last.is_null() {
            let mut merged = first;
            for (name, value) in last.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
                merged[name] = value.clone();
            }
            let whole = json!({"content": [], "stop_reason": "end_turn", "usage": merged});
            assert_eq!(codec().decode(whole.to_string().as_bytes()).unwrap().usage, expected);
        }
    }
}

#[test]
fn a_fast_answer_has_its_own_tier() {
    for (usage, tier) in [
        (json!({"input_tokens": 1, "service_tier": "standard", "speed": "standard"}), Some("standard")),
        (json!({"input_tokens": 1, "service_tier": "priority"}), Some("priority")),
        (json!({"input_tokens": 1, "service_tier": "standard", "speed": "fast"}), Some("fast")),
        (json!({"input_tokens": 1, "service_tier": null}), None),
    ] {
        let body = json!({"content": [], "stop_reason": "end_turn", "usage": usage});
        let answer = codec().decode(body.to_string().as_bytes()).unwrap();
        assert_eq!(answer.service_tier.as_deref(), tier, "{usage}");
    }
}

#[test]
fn reasons_are_unified() {
    for (reason, content, expected) in [
        ("end_turn", json!([]), StopKind::Stop),
        ("stop_sequence", json!([]), StopKind::Stop),
        ("max_tokens", json!([]), StopKind::Length),
        ("model_context_window_exceeded", json!([]), StopKind::Length),
        ("pause_turn", json!([]), StopKind::Paused),
        ("refusal", json!([]), StopKind::Refusal),
        ("eos", json!([]), StopKind::Other),
        ("", json!([]), StopKind::Other),
        ("tool_use", json!([]), StopKind::Stop),
        ("end_turn", json!([{"type": "tool_use", "id": "a", "name": "b", "input": {}}]), StopKind::ToolCalls),
    ] {
        let body = json!({"content": content, "stop_reason": reason});
        let answer = codec().decode(body.to_string().as_bytes()).unwrap();
        assert_eq!(answer.stop.unified, expected, "{reason} {content}");
    }
}

#[test]
fn odd_streams_of_compatible_servers_are_read() {
    let [delta_of_message, end_of_message] = stop(json!("tool_use"), json!({}));
    // Arguments at the beginning, a text without one, unknown events and blocks, and an empty reason.
    let body = stream(&[
        start(json!({})),
        json!({"type": "news"}),
        begin(0, json!({"type": "server_tool_use", "id": "x", "name": "y", "input": {}})),
        delta(0, json!({"type": "input_json_delta", "partial_json": "{}"})),
        end(0),
        delta(7, json!({"type": "text_delta", "text": "Hi"})),
        delta(7, json!({"type": "citations_delta", "citation": {}})),
        begin(8, json!({"type": "tool_use", "id": "a", "name": "f", "input": {"b": 1}})),
        json!({"type": "message_delta", "delta": {"stop_reason": ""}}),
        delta_of_message,
        end_of_message,
    ]);
    let answer = read_all(&codec(), &body);
    assert_eq!(answer.parts, [Part::text("Hi"), Part::ToolCall(ToolCall::new("a", "f", "{\"b\":1}"))]);
    assert_eq!((answer.stop.unified, answer.usage), (StopKind::ToolCalls, None));
}

#[test]
fn pieces_of_blocks_may_alternate() {
    let [delta_of_message, end_of_message] = stop(json!("tool_use"), json!({}));
    let json = |index, text: &str| delta(index, json!({"type": "input_json_delta", "partial_json": text}));
    let body = stream(&[
        start(json!({})),
        begin(0, json!({"type": "tool_use", "id": "a", "name": "f", "input": {}})),
        begin(1, json!({"type": "tool_use", "id": "b", "name": "f", "input": {}})),
        json(1, "{\"x\":"),
        json(0, "{\"x\":"),
        json(1, "2}"),
        json(0, "1}"),
        end(1),
        end(0),
        delta_of_message,
        end_of_message,
    ]);
    let calls = [ToolCall::new("a", "f", "{\"x\":1}"), ToolCall::new("b", "f", "{\"x\":2}")];
    assert_eq!(read_all(&codec(), &body).parts, calls.map(Part::ToolCall));
}

#[test]
fn errors_in_streams_are_errors() {
    let error = |kind: &str| json!({"type": "error", "error": {"type": kind, "message": "m"}, "request_id": "req_1"});
    for (kind, expected) in [
        ("overloaded_error", LlmErrorKind::Overloaded),
        ("rate_limit_error", LlmErrorKind::RateLimited),
        ("api_error", LlmErrorKind::Failed),
        ("timeout_error", LlmErrorKind::Failed),
        ("invalid_request_error", LlmErrorKind::InvalidRequest),
        ("authentication_error", LlmErrorKind::Unauthorized),
        ("permission_error", LlmErrorKind::Unauthorized),
        ("billing_error", LlmErrorKind::QuotaExhausted),
        ("request_too_large", LlmErrorKind::ContextLength),
    ] {
        let text = delta(0, json!({"type": "text_delta", "text": "Hi"}));
        for body in [stream(&[error(kind)]), stream(&[start(json!({})), text, error(kind)])] {
            let (answer, found) = read(&codec(), &[body.as_bytes()]);
            let found = found.unwrap();
            assert_eq!((found.kind, found.request_id.as_deref()), (expected, Some("req_1")), "{kind}");
            assert_eq!(answer.stop.unified, StopKind::Interrupted);
        }
        assert_eq!(codec().decode(error(kind).to_string().as_bytes()).unwrap_err().kind, expected);
    }
    let malformed = "event: content_block_delta\ndata: {\n\n";
    assert_eq!(read(&codec(), &[malformed.as_bytes()]).1.unwrap().kind, LlmErrorKind::Protocol);
    let empty = stream(&stop(json!("end_turn"), json!({})));
    assert_eq!(read(&codec(), &[empty.as_bytes()]).1.unwrap().kind, LlmErrorKind::Interrupted);
    for body in ["", "[]", "{}", "<html>", "{\"content\":null}"] {
        assert_eq!(codec().decode(body.as_bytes()).unwrap_err().kind, LlmErrorKind::Protocol, "{body}");
    }
}

#[test]
fn errors_of_responses_have_kinds() {
    let body = |kind: &str, message: &str| json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"});
    let spend = json!({"type": "error", "error": {"type": "rate_limit_error", "message": "m",
        "details": {"type": "workspace_spend_limit_reached"}}});
    for (status, body, expected) in [
        (400, body("invalid_request_error", "prompt is too long: 3 tokens > 2 maximum"), LlmErrorKind::ContextLength),
        (400, body("invalid_request_error", "Your credit balance is too low"), LlmErrorKind::QuotaExhausted),
        (400, body("invalid_request_error", "m"), LlmErrorKind::InvalidRequest),
        (401, body("authentication_error", "invalid x-api-key"), LlmErrorKind::Unauthorized),
        (402, body("billing_error", "m"), LlmErrorKind::QuotaExhausted),
        (403, body("permission_error", "m"), LlmErrorKind::Unauthorized),
        (404, body("not_found_error", "model: x"), LlmErrorKind::UnknownModel),
        (413, body("request_too_large", "m"), LlmErrorKind::ContextLength),
        (429, body("rate_limit_error", "m"), LlmErrorKind::RateLimited),
        (429, spend, LlmErrorKind::QuotaExhausted),
        (500, body("api_error", "m"), LlmErrorKind::Failed),
        (504, body("timeout_error", "m"), LlmErrorKind::Failed),
        (529, body("overloaded_error", "m"), LlmErrorKind::Overloaded),
        (529, Value::Null, LlmErrorKind::Overloaded),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        let now = Timestamp::from_micros(0);
        let error = codec().decode_error(status, &HeaderMap::new(), body.to_string().as_bytes(), now);
        assert_eq!((error.kind, error.status), (expected, Some(status.as_u16())), "{body}");
        assert!(!error.message.contains("x-api-key"));
    }
}

fn retry_after(lines: &[(&'static str, &'static str)]) -> Option<u64> {
    let lines = lines.iter();
    let headers: HeaderMap =
        lines.map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect();
    let now = "2026-11-28T12:00:00Z".parse().unwrap();
    let error = codec().decode_error(StatusCode::TOO_MANY_REQUESTS, &headers, b"{}", now);
    error.retry_after.map(|wait| wait.as_secs())
}

#[test]
fn limits_in_headers_say_when_to_try_again() {
    let tokens = [
        ("anthropic-ratelimit-tokens-remaining", "0"),
        ("anthropic-ratelimit-tokens-reset", "2026-11-28T12:00:30Z"),
        ("anthropic-ratelimit-requests-remaining", "5"),
        ("anthropic-ratelimit-requests-reset", "2026-11-28T12:00:50Z"),
    ];
    assert_eq!(retry_after(&tokens), Some(30));
    assert_eq!(retry_after(&[&tokens[..], &[("retry-after", "7")]].concat()), Some(7));
    assert_eq!(retry_after(&tokens[2..]), None);
    assert_eq!(retry_after(&[]), None);
}
