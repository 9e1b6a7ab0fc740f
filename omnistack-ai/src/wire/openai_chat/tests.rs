use std::slice;

use proptest::{collection::vec, prelude::*, sample::Index};
use serde_json::{Value, json};

use super::{
    testing::{body_of, read, read_all, split},
    *,
};
use crate::{
    chat::{ChatEvent, Message, Part, StopKind, StopReason, TokenUsage, ToolCall},
    error::LlmErrorKind,
    wire::SseEvent,
};

mod requests;

fn codec(quirks: Quirks) -> OpenAiChat {
    OpenAiChat::new("openai".into(), quirks)
}

fn openai() -> OpenAiChat {
    codec(Quirks::OPENAI)
}

/// A chunk with a delta.
fn delta(delta: Value) -> Value {
    json!({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m-1",
        "choices": [{"index": 0, "delta": delta, "finish_reason": null}], "usage": null})
}

fn finish(reason: &Value) -> Value {
    json!({"id": "c1", "created": 1, "model": "m-1", "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
}

fn tool(index: u64, id: Option<&str>, name: Option<&str>, arguments: Option<&str>) -> Value {
    json!({"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
}

fn tools(pieces: &[Value]) -> Value {
    delta(json!({"tool_calls": pieces}))
}

fn stream(events: &[Value]) -> String {
    body_of(events) + "data: [DONE]\n\n"
}

fn usage_chunk() -> Value {
    json!({"id": "c1", "choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14,
        "prompt_tokens_details": {"cached_tokens": 6}, "completion_tokens_details": {"reasoning_tokens": 1}}})
}

fn call(id: &str, name: &str, arguments: &str) -> Part {
    Part::ToolCall(ToolCall::new(id, name, arguments))
}

fn rich_stream() -> String {
    stream(&[
        delta(json!({"role": "assistant", "content": "", "refusal": null})),
        delta(json!({"reasoning": "Hm"})),
        delta(json!({"reasoning": "m 🌍"})),
        delta(json!({"content": "你好"})),
        tools(&[tool(0, Some("a"), Some("first"), Some(""))]),
        tools(&[tool(1, Some("b"), Some("second"), Some("{\"x\"")), tool(0, None, None, Some("{\"y\":"))]),
        tools(&[tool(1, None, None, Some(":\"é\"}")), tool(0, None, None, Some("1}"))]),
        delta(json!({"content": "🌍"})),
        finish(&json!("tool_calls")),
        usage_chunk(),
    ])
}

fn rich_answer() -> ChatResponse {
    let reasoning = Part::Reasoning { text: "Hmm 🌍".to_owned(), signature: None, redacted: None };
    let parts =
        vec![reasoning, Part::text("你好🌍"), call("a", "first", "{\"y\":1}"), call("b", "second", "{\"x\":\"é\"}")];
    let mut answer =
        ChatResponse::new("c1", "m-1", parts, StopReason::new(StopKind::ToolCalls, "tool_calls".to_owned()));
    answer.usage = Some(TokenUsage { input: 10, cached: 6, output: 4, reasoning: 1, ..TokenUsage::default() });
    answer.raw_usage = Some(usage_chunk()["usage"].clone());
    answer
}

#[test]
fn a_stream_is_the_answer_that_it_carries() {
    assert_eq!(read_all(&openai(), &rich_stream()), rich_answer());
    let windows = rich_stream().replace('\n', "\r\n");
    assert_eq!(read_all(&openai(), &windows), rich_answer());
    let with_comments = format!("\u{FEFF}: PROCESSING\n\n{}", rich_stream().replace("data: {", ":\n\ndata:{"));
    assert_eq!(read_all(&openai(), &with_comments), rich_answer());
}

#[test]
fn a_whole_answer_means_the_same() {
    let body = json!({
        "id": "c1", "object": "chat.completion", "created": 1, "model": "m-1", "error": null,
        "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {
            "role": "assistant", "reasoning": "Hmm 🌍", "content": "你好🌍", "refusal": null, "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "first", "arguments": "{\"y\":1}"}},
                {"id": "b", "type": "function", "function": {"name": "second", "arguments": "{\"x\":\"é\"}"}},
            ],
        }}],
        "usage": usage_chunk()["usage"], "service_tier": "flex",
    });
    let mut expected = rich_answer();
    expected.service_tier = Some("flex".to_owned());
    assert_eq!(openai().decode(body.to_string().as_bytes()).unwrap(), expected);
}

#[test]
fn a_stream_that_is_cut_is_interrupted_at_every_byte() {
    let body = rich_stream();
    for quirks in [Quirks::OPENAI, Quirks::GROQ] {
        for cut in 0..body.len() {
            let (answer, error) = read(&codec(quirks.clone()), &[&body.as_bytes()[..cut]]);
            assert_eq!(error.map(|error| error.kind), Some(LlmErrorKind::Interrupted), "cut at {cut}");
            assert_eq!(answer.stop.unified, StopKind::Interrupted, "cut at {cut}");
        }
    }
    // A server that may leave out `[DONE]` has ended with its finish reason.
    let finished = body.find("\"finish_reason\":\"tool_calls\"").unwrap();
    let finished = finished + body[finished..].find("\n\n").unwrap() + 2;
    for cut in 0..body.len() {
        let (answer, error) = read(&codec(Quirks::COMPATIBLE), &[&body.as_bytes()[..cut]]);
        assert_eq!(error.is_some(), cut < finished, "cut at {cut}");
        assert_eq!(answer.stop.unified == StopKind::Interrupted, cut < finished, "cut at {cut}");
    }
}

#[test]
fn bytes_that_are_not_utf_8_cost_one_character() {
    let body = stream(&[delta(json!({"content": "a?b"})), finish(&json!("stop"))]);
    let body: Vec<u8> = body.bytes().map(|byte| if byte == b'?' { 0xFF } else { byte }).collect();
    let (answer, error) = read(&openai(), &[&body]);
    assert!(error.is_none());
    assert_eq!(answer.text(), "a\u{FFFD}b");
}

#[test]
fn odd_finish_reasons_and_fields_are_no_errors() {
    for (reason, expected) in [
        (json!("stop"), StopReason::new(StopKind::Stop, "stop".to_owned())),
        (json!("length"), StopReason::new(StopKind::Length, "length".to_owned())),
        (json!("content_filter"), StopReason::new(StopKind::ContentFilter, "content_filter".to_owned())),
        (json!("eos"), StopReason::new(StopKind::Other, "eos".to_owned())),
        (json!(""), StopReason::new(StopKind::Other, None)),
        (json!(null), StopReason::new(StopKind::Other, None)),
        (json!(7), StopReason::new(StopKind::Other, None)),
        // Without any call.
        (json!("tool_calls"), StopReason::new(StopKind::Stop, "tool_calls".to_owned())),
    ] {
        let mut first = delta(json!({"content": "a", "tool_calls": null, "audio": {}}));
        first["choices"][0]["finish_reason"] = json!("");
        first["usage"] = json!({});
        let answer = read_all(&openai(), &stream(&[first, finish(&reason)]));
        assert_eq!((answer.text(), answer.stop, answer.usage), ("a".to_owned(), expected, None), "{reason}");
    }
    // Without the fields at all, and with other answers than the first.
    let bare = json!({"choices": [{"delta": {"content": "a"}}, {"index": 1, "delta": {"content": "b"}}]});
    let answer = read_all(&openai(), &stream(&[json!({"choices": null}), bare, json!({"choices": [{"index": 0}]})]));
    assert_eq!(answer.text(), "a");
}

#[test]
fn the_content_corrects_the_stop_reason() {
    let with_call = tools(&[tool(0, Some("a"), Some("f"), Some("{}"))]);
    let answer = read_all(&openai(), &stream(&[with_call.clone(), finish(&json!("stop"))]));
    assert_eq!(answer.stop, StopReason::new(StopKind::ToolCalls, "stop".to_owned()));
    // The arguments may be incomplete.
    let answer = read_all(&openai(), &stream(&[with_call, finish(&json!("length"))]));
    assert_eq!(answer.stop.unified, StopKind::Length);
    let answer = read_all(&openai(), &stream(&[delta(json!({"refusal": "No."})), finish(&json!("stop"))]));
    assert_eq!((answer.stop.unified, answer.parts), (StopKind::Refusal, vec![Part::Refusal("No.".to_owned())]));
}

#[test]
fn usage_arrives_in_several_places_and_the_last_counts() {
    let groq = json!({"id": "c1", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
        "x_groq": {"id": "r", "usage": {"prompt_tokens": 3, "completion_tokens": 2, "queue_time": 0.1}}});
    let answer = read_all(&codec(Quirks::GROQ), &stream(&[delta(json!({"content": "a"})), groq]));
    assert_eq!(answer.usage, Some(TokenUsage { input: 3, output: 2, ..TokenUsage::default() }));
    let mut first = delta(json!({"content": "a"}));
    first["usage"] = json!({"prompt_tokens": 10, "completion_tokens": 1});
    let answer = read_all(&openai(), &stream(&[first, finish(&json!("stop")), usage_chunk()]));
    assert_eq!(answer.usage.map(|usage| (usage.input, usage.output)), Some((10, 4)));
}

#[test]
fn errors_in_a_stream_are_errors() {
    let text = delta(json!({"content": "a"}));
    for (chunk, kind) in [
        (json!({"error": {"message": "busy", "type": "overloaded_error"}}), LlmErrorKind::Overloaded),
        (json!({"error": {"message": "slow", "code": 429}, "choices": []}), LlmErrorKind::RateLimited),
        (json!({"error": "broken"}), LlmErrorKind::Failed),
        (json!({"x_groq": {"error": "over capacity"}, "choices": []}), LlmErrorKind::Failed),
        (
            json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "error", "error": {"code": 502}}]}),
            LlmErrorKind::Failed,
        ),
        (json!([{"error": {"code": 503, "message": "x", "status": "UNAVAILABLE"}}]), LlmErrorKind::Overloaded),
        (json!([]), LlmErrorKind::Protocol),
        (json!("text"), LlmErrorKind::Protocol),
    ] {
        let (_, error) = read(&openai(), &[stream(slice::from_ref(&chunk)).as_bytes()]);
        assert_eq!(error.unwrap().kind, kind, "{chunk} first");
        let (answer, error) = read(&openai(), &[stream(&[text.clone(), chunk.clone()]).as_bytes()]);
        assert_eq!(error.unwrap().kind, kind, "{chunk} after text");
        assert_eq!((answer.text().as_str(), answer.stop.unified), ("a", StopKind::Interrupted));
    }
    for (body, kind) in [
        ("event: error\ndata: {\"message\":\"x\",\"code\":\"rate_limit_exceeded\"}\n\n", LlmErrorKind::RateLimited),
        ("event: error\ndata: broken\n\n", LlmErrorKind::Failed),
        ("data: {\"choices\":\n\n", LlmErrorKind::Protocol),
        ("data: [DONE]\n\n", LlmErrorKind::Interrupted),
    ] {
        let (_, error) = read(&openai(), &[body.as_bytes()]);
        assert_eq!(error.unwrap().kind, kind, "{body}");
    }
    for (body, kind) in [
        ("", LlmErrorKind::Protocol),
        ("{}", LlmErrorKind::Protocol),
        ("{\"choices\":[]}", LlmErrorKind::Protocol),
        ("{\"error\":{\"message\":\"x\",\"code\":\"insufficient_quota\"}}", LlmErrorKind::QuotaExhausted),
    ] {
        assert_eq!(openai().decode(body.as_bytes()).unwrap_err().kind, kind, "{body}");
    }
}

#[test]
fn tool_calls_are_told_apart_by_index_and_id() {
    let split_call = [call("a", "f", "{\"x\":1}")];
    let two_calls = [call("a", "f", "{\"x\":1}"), call("b", "f", "{\"x\":2}")];
    for (pieces, expected) in [
        // Two entries with one index in the first chunk.
        (
            vec![tools(&[tool(0, Some("a"), Some("f"), Some("")), tool(0, None, None, Some("{\"x\":1}"))])],
            &split_call[..],
        ),
        // Id and name are repeated, or empty.
        (
            vec![
                tools(&[tool(0, Some("a"), Some("f"), Some("{\"x\""))]),
                tools(&[tool(0, Some("a"), Some("f"), Some(":"))]),
                tools(&[tool(0, Some(""), Some(""), Some("1}"))]),
            ],
            &split_call[..],
        ),
        // Each piece has another id.
        (
            vec![
                tools(&[tool(0, Some("a"), Some("f"), Some("{\"x\":"))]),
                tools(&[tool(0, Some("other"), None, Some("1}"))]),
            ],
            &split_call[..],
        ),
        // The name arrives after the arguments began.
        (
            vec![tools(&[tool(0, Some("a"), None, Some("{\"x\""))]), tools(&[tool(0, None, Some("f"), Some(":1}"))])],
            &split_call[..],
        ),
        // Whole calls that all have the index 0.
        (
            vec![tools(&[
                tool(0, Some("a"), Some("f"), Some("{\"x\":1}")),
                tool(0, Some("b"), Some("f"), Some("{\"x\":2}")),
            ])],
            &two_calls[..],
        ),
        // No index at all, arguments as an object.
        (
            vec![tools(&[
                json!({"id": "a", "function": {"name": "f", "arguments": {"x": 1}}}),
                json!({"id": "b", "function": {"name": "f", "arguments": {"x": 2}}}),
            ])],
            &two_calls[..],
        ),
        // Pieces of calls with one index alternate, by their ids.
        (
            vec![
                tools(&[tool(0, Some("a"), Some("f"), Some("{")), tool(0, Some("b"), Some("f"), Some("{"))]),
                tools(&[tool(0, Some("a"), None, Some("\"x\":1}")), tool(0, Some("b"), None, Some("\"x\":2}"))]),
            ],
            &two_calls[..],
        ),
        // An empty entry after the last call.
        (
            vec![tools(&[tool(0, Some("a"), Some("f"), Some("{\"x\":1}")), tool(1, None, Some(""), Some(""))])],
            &split_call[..],
        ),
    ] {
        let events: Vec<Value> = pieces.iter().cloned().chain([finish(&json!("stop"))]).collect();
        assert_eq!(read_all(&openai(), &stream(&events)).parts, expected, "{pieces:?}");
    }
}

#[test]
fn a_tool_without_parameters_has_an_empty_object() {
    for arguments in [None, Some("")] {
        let events = [tools(&[tool(0, Some("a"), Some("f"), arguments)]), finish(&json!("tool_calls"))];
        assert_eq!(read_all(&openai(), &stream(&events)).parts, [call("a", "f", "{}")]);
    }
    let nameless = [tools(&[tool(0, Some("a"), None, Some("{}"))]), finish(&json!("tool_calls"))];
    let (_, error) = read(&openai(), &[stream(&nameless).as_bytes()]);
    assert_eq!(error.unwrap().kind, LlmErrorKind::Protocol);
    let many: Vec<Value> = (0..600).map(|index| tools(&[tool(index, None, Some("f"), None)])).collect();
    let (_, error) = read(&openai(), &[stream(&many).as_bytes()]);
    assert_eq!(error.unwrap().kind, LlmErrorKind::Protocol);
}

#[test]
fn calls_without_ids_get_ids_that_differ_between_answers() {
    let ids = |id: &str| {
        let mut chunk = tools(&[tool(0, None, Some("f"), Some("{}")), tool(1, None, Some("f"), Some("{}"))]);
        chunk["id"] = json!(id);
        let answer = read_all(&openai(), &stream(&[chunk, finish(&json!("tool_calls"))]));
        answer.tool_calls().map(|call| call.id.clone()).collect::<Vec<_>>()
    };
    let (first, second) = (ids("c1"), ids("c2"));
    assert_eq!(first, ids("c1"));
    let all: std::collections::HashSet<&String> = first.iter().chain(&second).collect();
    assert_eq!(all.len(), 4);
    assert!(all.iter().all(|id| id.len() <= 40 && id.starts_with("call_")));
}

#[test]
fn the_signature_of_reasoning_is_kept_with_the_call() {
    let mut piece = tool(0, Some("a"), Some("f"), Some("{}"));
    piece["extra_content"] = json!({"google": {"thought_signature": "sig"}});
    let answer = read_all(&codec(Quirks::COMPATIBLE), &stream(&[tools(&[piece]), finish(&json!("stop"))]));
    let mut expected = ToolCall::new("a", "f", "{}");
    expected.signature = Some("sig".to_owned());
    assert_eq!(answer.parts, [Part::ToolCall(expected)]);
}

#[test]
fn the_first_chunk_of_azure_does_not_start_the_answer() {
    let filter = json!({"choices": [], "created": 0, "id": "", "model": "", "prompt_filter_results": []});
    let event = |chunk: &Value| SseEvent { event: None, data: chunk.to_string() };
    let mut decoder = openai().decoder();
    assert_eq!(decoder.push(&event(&filter)).unwrap(), []);
    let start = ChatEvent::Start { id: "c1".to_owned(), model: "m-1".to_owned() };
    let text = ChatEvent::Text { index: 0, delta: "a".to_owned() };
    assert_eq!(decoder.push(&event(&delta(json!({"content": "a"})))).unwrap(), [start, text]);
}

#[test]
fn texts_and_reasoning_are_read_in_lists_too() {
    let content = json!([
        {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]},
        {"type": "text", "text": "a"},
        {"type": "text", "text": "b"},
    ]);
    let answer = read_all(&openai(), &stream(&[delta(json!({"content": content})), finish(&json!("stop"))]));
    let reasoning = Part::Reasoning { text: "Hm".to_owned(), signature: None, redacted: None };
    assert_eq!(answer.parts, [reasoning, Part::text("ab")]);
    let answer = read_all(&openai(), &stream(&[delta(json!({"reasoning_content": "Hm", "reasoning": ""}))]));
    assert!(matches!(&answer.parts[..], [Part::Reasoning { text, .. }] if text == "Hm"));
}

proptest! {
    #[test]
    fn any_split_of_the_bytes_gives_the_same_answer(cuts in vec(any::<Index>(), 0..20)) {
        let body = rich_stream();
        let (answer, error) = read(&openai(), &split(body.as_bytes(), &cuts));
        prop_assert!(error.is_none());
        prop_assert_eq!(answer, rich_answer());
    }

    #[test]
    fn pieces_of_calls_in_any_order_give_the_same_calls(order in Just((0..3_u64).cycle().take(21).collect::<Vec<_>>()).prop_shuffle()) {
        // Seven pieces for each of three calls, in an order that is kept within each call.
        let whole = |call: u64| format!("{{\"call\":{call},\"é\":[1,2,3]}}");
        let mut sent = [0_usize; 3];
        let mut events = Vec::new();
        for call in order {
            let at = &mut sent[usize::try_from(call).unwrap()];
            let arguments: String = whole(call).chars().skip(*at * 4).take(if *at == 6 { usize::MAX } else { 4 }).collect();
            let (id, name) = (format!("id{call}"), format!("f{call}"));
            let is_first = *at == 0;
            events.push(tools(&[tool(call, is_first.then_some(&*id), is_first.then_some(&*name), Some(&arguments))]));
            *at += 1;
        }
        events.push(finish(&json!("tool_calls")));
        let mut calls: Vec<ToolCall> = read_all(&openai(), &stream(&events)).tool_calls().cloned().collect();
        calls.sort_by(|a, b| a.id.cmp(&b.id));
        let expected: Vec<ToolCall> =
            (0..3).map(|call| ToolCall::new(format!("id{call}"), format!("f{call}"), whole(call))).collect();
        prop_assert_eq!(calls, expected);
    }

    #[test]
    fn any_bytes_are_decoded(body in vec(any::<u8>(), 0..300)) {
        let _ = openai().decode(&body);
        let _ = read(&openai(), &[&body]);
    }
}
