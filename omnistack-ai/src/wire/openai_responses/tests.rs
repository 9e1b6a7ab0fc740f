use std::slice;

use proptest::{collection::vec, prelude::*, sample::Index};
use serde_json::{Value, json};

use super::*;
use crate::{
    chat::{
        Media, Message, OutputFormat, Part, ReasoningEffort, Role, StopKind, StopReason, TokenUsage, Tool, ToolCall,
        ToolChoice, ToolResult,
    },
    error::LlmErrorKind,
    wire::openai_chat::testing::{body_of, read, read_all, split},
};

fn codec() -> OpenAiResponses {
    OpenAiResponses::new("openai".into(), Quirks::OPENAI)
}

fn usage() -> Value {
    json!({"input_tokens": 20, "input_tokens_details": {"cached_tokens": 5}, "output_tokens": 9,
        "output_tokens_details": {"reasoning_tokens": 4}, "total_tokens": 29})
}

fn output() -> Value {
    json!([
        {"type": "reasoning", "id": "rs_1", "encrypted_content": "enc",
            "summary": [{"type": "summary_text", "text": "One"}, {"type": "summary_text", "text": "Two"}]},
        {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
            "content": [{"type": "output_text", "text": "你好🌍", "annotations": []}]},
        {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{\"x\":1}"},
        {"type": "function_call", "id": "fc_2", "call_id": "call_2", "name": "g", "arguments": ""},
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
    ])
}

fn response(status: &str, output: &Value) -> Value {
    json!({"id": "resp_1", "object": "response", "model": "m-1", "status": status, "error": null,
        "incomplete_details": null, "output": output, "usage": usage(), "service_tier": "default"})
}

fn answer() -> ChatResponse {
    let parts = vec![
        Part::Reasoning {
            text: "One\n\nTwo".to_owned(),
            signature: Some("rs_1".to_owned()),
            redacted: Some("enc".to_owned()),
        },
        Part::text("你好🌍"),
        Part::ToolCall(ToolCall::new("call_1", "f", "{\"x\":1}")),
        Part::ToolCall(ToolCall::new("call_2", "g", "{}")),
    ];
    let stop = StopReason::new(StopKind::ToolCalls, "completed".to_owned());
    let mut answer = ChatResponse::new("resp_1", "m-1", parts, stop);
    answer.usage = Some(TokenUsage { input: 20, cached: 5, output: 9, reasoning: 4, ..TokenUsage::default() });
    answer.raw_usage = Some(usage());
    answer.service_tier = Some("default".to_owned());
    answer
}

/// The events of the answer. Calls alternate.
fn events() -> Vec<Value> {
    let items = output();
    let mut begun = items[2].clone();
    begun["arguments"] = json!("");
    let summary = |index: u64, delta: &str| json!({"type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": index, "delta": delta});
    let text = |delta: &str| json!({"type": "response.output_text.delta", "output_index": 1, "content_index": 0, "delta": delta, "obfuscation": "x"});
    let arguments =
        |delta: &str| json!({"type": "response.function_call_arguments.delta", "output_index": 2, "delta": delta});
    let done = |index: usize| json!({"type": "response.output_item.done", "output_index": index, "item": items[index]});
    vec![
        json!({"type": "response.created", "response": {"id": "resp_1", "model": "m-1", "status": "in_progress"}}),
        json!({"type": "response.in_progress", "response": {"id": "resp_1", "model": "m-1"}}),
        json!({"type": "response.output_item.added", "output_index": 0, "item": {"type": "reasoning", "id": "rs_1", "summary": []}}),
        summary(0, "On"),
        summary(0, "e"),
        summary(1, "Two"),
        done(0),
        json!({"type": "response.output_item.added", "output_index": 1, "item": {"type": "message", "content": []}}),
        text("你"),
        text("好"),
        json!({"type": "response.output_text.done", "output_index": 1, "content_index": 0, "text": "你好🌍"}),
        done(1),
        json!({"type": "response.output_item.added", "output_index": 2, "item": begun}),
        arguments("{\"x\""),
        json!({"type": "response.output_item.added", "output_index": 3, "item": items[3]}),
        arguments(":1"),
        json!({"type": "response.function_call_arguments.done", "output_index": 2, "arguments": "{\"x\":1}"}),
        done(3),
        done(2),
        done(4),
        json!({"type": "response.completed", "response": response("completed", &items)}),
    ]
}

fn body() -> String {
    // OpenAI names the event in both places.
    let event = |event: &Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap());
    events().iter().map(event).collect()
}

#[test]
fn a_stream_is_the_answer_that_it_carries() {
    assert_eq!(read_all(&codec(), &body()), answer());
    // Names only in the data, or only outside.
    assert_eq!(read_all(&codec(), &body_of(&events())), answer());
    let unnamed = |event: Value| {
        let name = event["type"].as_str().unwrap().to_owned();
        let mut event = event;
        event.as_object_mut().unwrap().remove("type");
        format!("event: {name}\ndata: {event}\n\n")
    };
    let body: String = events().into_iter().map(unnamed).collect();
    assert_eq!(read_all(&codec(), &body), answer());
}

#[test]
fn a_whole_answer_means_the_same() {
    let body = response("completed", &output()).to_string();
    assert_eq!(codec().decode(body.as_bytes()).unwrap(), answer());
    // A stream that consists only of its last event.
    let last = json!({"type": "response.completed", "response": response("completed", &output())});
    assert_eq!(read_all(&codec(), &body_of(&[last])), answer());
}

#[test]
fn a_stream_that_is_cut_is_interrupted_at_every_byte() {
    let body = body();
    for cut in 0..body.len() {
        let (answer, error) = read(&codec(), &[&body.as_bytes()[..cut]]);
        assert_eq!(error.map(|error| error.kind), Some(LlmErrorKind::Interrupted), "cut at {cut}");
        assert_eq!(answer.stop.unified, StopKind::Interrupted, "cut at {cut}");
    }
    let without_end = body_of(&events()[..20]) + "data: [DONE]\n\n";
    let (_, error) = read(&codec(), &[without_end.as_bytes()]);
    assert_eq!(error.unwrap().kind, LlmErrorKind::Interrupted);
}

#[test]
fn statuses_are_stop_reasons_or_errors() {
    let text = json!([{"type": "message", "content": [{"type": "output_text", "text": "a"}]}]);
    let refusal = json!([{"type": "message", "content": [{"type": "refusal", "refusal": "No."}]}]);
    for (status, reason, output, kind, raw) in [
        ("completed", None, &text, StopKind::Stop, "completed"),
        ("completed", None, &refusal, StopKind::Refusal, "completed"),
        ("incomplete", Some("max_output_tokens"), &text, StopKind::Length, "max_output_tokens"),
        ("incomplete", Some("max_output_tokens"), &output(), StopKind::Length, "max_output_tokens"),
        ("incomplete", Some("content_filter"), &text, StopKind::ContentFilter, "content_filter"),
        ("incomplete", Some("new"), &text, StopKind::Other, "new"),
        ("incomplete", None, &text, StopKind::Other, "incomplete"),
        ("new", None, &text, StopKind::Other, "new"),
    ] {
        let mut body = response(status, output);
        if let Some(reason) = reason {
            body["incomplete_details"] = json!({"reason": reason});
        }
        let expected = StopReason::new(kind, raw.to_owned());
        assert_eq!(codec().decode(body.to_string().as_bytes()).unwrap().stop, expected, "{status} {reason:?}");
        let event = json!({"type": if status == "incomplete" { "response.incomplete" } else { "response.completed" }, "response": body});
        assert_eq!(read_all(&codec(), &body_of(&[event])).stop, expected, "{status} {reason:?}");
    }
    for (status, error, kind) in [
        ("failed", json!({"code": "server_error", "message": "x"}), LlmErrorKind::Failed),
        ("failed", json!({"code": "rate_limit_exceeded", "message": "x"}), LlmErrorKind::RateLimited),
        ("failed", json!(null), LlmErrorKind::Failed),
        ("cancelled", json!(null), LlmErrorKind::Interrupted),
        ("in_progress", json!(null), LlmErrorKind::Interrupted),
    ] {
        let mut body = response(status, &text);
        body["error"] = error;
        assert_eq!(codec().decode(body.to_string().as_bytes()).unwrap_err().kind, kind, "{body}");
    }
}

#[test]
fn errors_in_a_stream_are_errors() {
    for (event, kind) in [
        (
            json!({"type": "error", "code": "rate_limit_exceeded", "message": "x", "param": null}),
            LlmErrorKind::RateLimited,
        ),
        (json!({"type": "error", "error": {"type": "server_error", "message": "x"}}), LlmErrorKind::Failed),
        (json!({"error": {"type": "overloaded_error", "message": "x"}}), LlmErrorKind::Overloaded),
        (
            json!({"type": "response.failed", "response": {"status": "failed", "error": {"code": "invalid_prompt", "message": "x"}}}),
            LlmErrorKind::ContentFiltered,
        ),
        (json!({"type": "response.cancelled", "response": {}}), LlmErrorKind::Interrupted),
    ] {
        let (_, error) = read(&codec(), &[body_of(slice::from_ref(&event)).as_bytes()]);
        assert_eq!(error.unwrap().kind, kind, "{event} first");
        let all: Vec<Value> = events()[..10].iter().cloned().chain([event.clone()]).collect();
        let (answer, error) = read(&codec(), &[body_of(&all).as_bytes()]);
        assert_eq!(error.unwrap().kind, kind, "{event} after text");
        assert_eq!(answer.text(), "你好");
    }
    for body in ["data: {\n\n", "event: response.completed\ndata: x\n\n"] {
        let (_, error) = read(&codec(), &[body.as_bytes()]);
        assert_eq!(error.unwrap().kind, LlmErrorKind::Protocol);
    }
    for body in ["", "{}", "[]", "{\"output\":null}"] {
        assert_eq!(codec().decode(body.as_bytes()).unwrap_err().kind, LlmErrorKind::Protocol, "{body}");
    }
}

#[test]
fn a_request_has_all_parameters() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": false});
    let mut request = ChatRequest::new("m", [Message::user("Hi")]).tool(Tool::new("f", "Does it.", schema.clone()));
    request.tool_choice = ToolChoice::Named("f".to_owned());
    request.parallel_tool_calls = Some(true);
    request.output = OutputFormat::JsonSchema { name: "answer".to_owned(), schema: schema.clone(), strict: true };
    request.max_output_tokens = Some(100);
    request.temperature = Some(0.5);
    request.top_p = Some(0.25);
    request.stop = vec!["END".to_owned()];
    request.seed = Some(1);
    request.reasoning = Some(ReasoningEffort::Low);
    request.service_tier = Some("flex".to_owned());
    request.user = Some("u".to_owned());
    let extra = json!({"verbosity": "low", "n": 1, "metadata": {"a": "b"}, "background": true, "stream": true,
        "reasoning": {"summary": "auto", "effort": "high"}, "include": ["message.output_text.logprobs"], "store": true,
        "previous_response_id": "resp_of_another_tenant", "conversation": "conv_of_another_tenant"});
    request.extra = extra.as_object().unwrap().clone();
    let encoded = codec().encode(&request, true).unwrap();
    assert_eq!(encoded.path, "/responses");
    assert_eq!(
        encoded.body,
        json!({
            "model": "m",
            "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}],
            "store": false,
            "include": ["reasoning.encrypted_content", "message.output_text.logprobs"],
            "tools": [{"type": "function", "name": "f", "description": "Does it.", "parameters": schema, "strict": false}],
            "tool_choice": {"type": "function", "name": "f"},
            "parallel_tool_calls": true,
            "text": {"verbosity": "low", "format": {"type": "json_schema", "name": "answer", "schema": schema, "strict": true}},
            "max_output_tokens": 100,
            "temperature": 0.5,
            "top_p": 0.25,
            "reasoning": {"effort": "low", "summary": "auto"},
            "service_tier": "flex",
            "user": "u",
            "metadata": {"a": "b"},
            "stream": true,
        })
    );
    let mut warnings = encoded.warnings;
    warnings.sort_unstable();
    assert_eq!(
        warnings,
        ["background", "conversation", "previous_response_id", "seed", "stop", "store"]
            .map(|name| format!("the provider does not have the parameter `{name}`"))
    );
}

#[test]
fn a_conversation_is_a_list_of_items() {
    let mut parts = answer().parts;
    parts.push(Part::Refusal("No.".to_owned()));
    // Reasoning of another provider, which this one could not verify.
    parts.push(Part::Reasoning { text: "Hm".to_owned(), signature: Some("sig".to_owned()), redacted: None });
    let mut with_image = ToolResult::text("call_2", "b");
    with_image.parts.push(Part::Image(Media::bytes(&b"\x01"[..], "image/png")));
    let mut pdf = Media::bytes(&b"%PDF"[..], "application/pdf");
    pdf.name = Some("a.pdf".to_owned());
    let request = ChatRequest::new(
        "m",
        [
            Message::system("Be brief."),
            Message::new(Role::Assistant, parts),
            Message::tool_results([ToolResult::text("call_1", "a"), with_image]),
            Message::new(
                Role::User,
                vec![Part::Image(Media::url("https://example.com/a.png")), Part::File(pdf), Part::text("c")],
            ),
        ],
    );
    assert_eq!(
        codec().encode(&request, false).unwrap().body["input"],
        json!([
            {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "Be brief."}]},
            {"type": "reasoning", "id": "rs_1", "encrypted_content": "enc",
                "summary": [{"type": "summary_text", "text": "One\n\nTwo"}]},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "你好🌍"}]},
            {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{\"x\":1}"},
            {"type": "function_call", "call_id": "call_2", "name": "g", "arguments": "{}"},
            {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
            {"type": "function_call_output", "call_id": "call_1", "output": "a"},
            {"type": "function_call_output", "call_id": "call_2", "output": [
                {"type": "input_text", "text": "b"},
                {"type": "input_image", "image_url": "data:image/png;base64,AQ==", "detail": "auto"},
            ]},
            {"type": "message", "role": "user", "content": [
                {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "auto"},
                {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERg=="},
                {"type": "input_text", "text": "c"},
            ]},
        ])
    );
    let misplaced = Message::new(Role::User, vec![Part::ToolCall(ToolCall::new("a", "f", "{}"))]);
    let error = codec().encode(&ChatRequest::new("m", [misplaced]), false).unwrap_err();
    assert_eq!(error.kind, LlmErrorKind::InvalidRequest);
}

proptest! {
    #[test]
    fn any_split_of_the_bytes_gives_the_same_answer(cuts in vec(any::<Index>(), 0..20)) {
        let body = body();
        let (read, error) = read(&codec(), &split(body.as_bytes(), &cuts));
        prop_assert!(error.is_none());
        prop_assert_eq!(read, answer());
    }

    #[test]
    fn any_bytes_are_decoded(body in vec(any::<u8>(), 0..300)) {
        let _ = codec().decode(&body);
        let _ = read(&codec(), &[&body]);
    }
}
