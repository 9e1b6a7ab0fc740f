//! Requests.

use super::*;
use crate::chat::{ChatRequest, Media, MediaSource};

fn encoded(request: &ChatRequest) -> (Value, Vec<String>) {
    let encoded = codec().encode(request, false).unwrap();
    assert_eq!(encoded.path, "/v1/messages");
    (encoded.body, encoded.warnings)
}

#[test]
fn a_conversation_has_the_form_of_the_api() {
    let mut result = ToolResult::text("call|1", "sunny");
    result.is_error = true;
    let request = ChatRequest::new(
        "m",
        [
            Message::system("Be brief."),
            Message::user("Weather?"),
            Message::new(
                Role::Assistant,
                vec![
                    reasoning("Hm", Some("anthropic:sig"), None),
                    reasoning("", None, Some("anthropic:secret")),
                    // Of other providers.
                    reasoning("Foreign", Some("gemini:x"), None),
                    reasoning("Foreign", Some("rs_1"), Some("encrypted")),
                    Part::text(" "),
                    Part::ToolCall(ToolCall::new("call|1", "weather", "{\"city\":\"Köln\"}")),
                    Part::ToolCall(ToolCall::new("b", "now", "")),
                    Part::ToolCall(ToolCall::new("c", "now", "{oops")),
                ],
            ),
            Message::tool_results([result]),
            Message::tool_results([ToolResult::text("b", ""), ToolResult::text("c", "x")]),
            Message::user("And now?"),
            Message::system("Really brief."),
            Message::assistant("It is  \n"),
        ],
    );
    let (body, warnings) = encoded(&request);
    let expected = json!({
        "model": "m", "max_tokens": 8192,
        "system": [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Really brief."}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Weather?"}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "Hm", "signature": "sig"},
                {"type": "redacted_thinking", "data": "secret"},
                {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Köln"}},
                {"type": "tool_use", "id": "b", "name": "now", "input": {}},
                {"type": "tool_use", "id": "c", "name": "now", "input": {"arguments": "{oops"}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "call_1", "content": [{"type": "text", "text": "sunny"}],
                    "is_error": true},
                {"type": "tool_result", "tool_use_id": "b"},
                {"type": "tool_result", "tool_use_id": "c", "content": [{"type": "text", "text": "x"}]},
                {"type": "text", "text": "And now?"},
            ]},
            {"role": "assistant", "content": [{"type": "text", "text": "It is"}]},
        ],
    });
    assert_eq!(body, expected);
    assert_eq!(warnings, [""; 0]);
}

#[test]
fn images_and_files_are_sources() {
    let mut named = Media::bytes(&b"%PDF-"[..], "application/pdf");
    named.name = Some("a.pdf".to_owned());
    let mut id = Media::url("");
    id.source = MediaSource::FileId("file_1".to_owned());
    let parts = vec![
        Part::Image(Media::bytes(&b"png"[..], "image/png")),
        Part::Image(Media::url("https://example.com/a.png")),
        Part::File(named),
        Part::File(Media::bytes(&b"a,b"[..], "text/csv")),
        Part::File(id),
    ];
    let (body, _) = encoded(&ChatRequest::new("m", [Message::new(Role::User, parts)]));
    let expected = json!([
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "cG5n"}},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {"type": "document", "title": "a.pdf",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a,b"}},
        {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
    ]);
    assert_eq!(body["messages"][0]["content"], expected);
    let audio = Part::File(Media::bytes(&b"\xFF\xFB"[..], "audio/mpeg"));
    let error = codec().encode(&ChatRequest::new("m", [Message::new(Role::User, vec![audio])]), false).unwrap_err();
    assert_eq!(error.kind, LlmErrorKind::InvalidRequest);
}

#[test]
fn only_the_last_four_cache_breakpoints_are_sent() {
    let part = |cache| Part::Text { text: "a".to_owned(), cache };
    let mut parts = vec![part(Some(CacheLifetime::Short)); 4];
    parts.push(part(None));
    parts.push(part(Some(CacheLifetime::Hour)));
    let (body, _) = encoded(&ChatRequest::new("m", [Message::new(Role::User, parts)]));
    let content = body["messages"][0]["content"].as_array().unwrap();
    let controls: Vec<_> =
        content.iter().map(|block| block.get("cache_control").cloned().unwrap_or_default()).collect();
    let short = json!({"type": "ephemeral"});
    let hour = json!({"type": "ephemeral", "ttl": "1h"});
    assert_eq!(controls, [json!(null), short.clone(), short.clone(), short, json!(null), hour]);
}

#[test]
fn parameters_are_sent_as_the_api_has_them() {
    let mut request = ChatRequest::new("m", [Message::user("Hi")]).max_output_tokens(5);
    request.temperature = Some(1.5);
    request.top_p = Some(0.5);
    request.stop = vec!["END".to_owned(), "\n".to_owned()];
    request.seed = Some(1);
    request.service_tier = Some("priority".to_owned());
    request.user = Some("u".to_owned());
    let extra = json!({"top_k": 3, "n": 1, "logprobs": true, "mcp_servers": [{}], "model": "other"});
    request.extra = extra.as_object().unwrap().clone();
    let (body, warnings) = encoded(&request);
    let expected = json!({
        "model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
        "temperature": 1.0, "top_k": 3, "stop_sequences": ["END"], "service_tier": "auto",
        "metadata": {"user_id": "u"},
    });
    assert_eq!(body, expected);
    for name in ["logprobs", "mcp_servers", "model", "seed", "temperature", "top_p", "white space"] {
        assert!(warnings.iter().any(|warning| warning.contains(name)), "{name} {warnings:?}");
    }
    assert_eq!(codec().encode(&request, true).unwrap().body["stream"], true);
}

#[test]
fn reasoning_excludes_what_the_api_refuses_with_it() {
    let mut request = ChatRequest::new("m", [Message::user("Hi")]);
    request.temperature = Some(0.5);
    request.reasoning = Some(ReasoningEffort::Highest);
    let (body, warnings) = encoded(&request);
    assert_eq!((&body["thinking"], &body["output_config"]), (&json!({"type": "adaptive"}), &json!({"effort": "max"})));
    assert_eq!((body.get("temperature"), warnings.len()), (None, 1));
    request.reasoning = Some(ReasoningEffort::None);
    let (body, _) = encoded(&request);
    assert_eq!((&body["thinking"], &body["temperature"]), (&json!({"type": "disabled"}), &json!(0.5)));
    request.reasoning = Some(ReasoningEffort::Low);
    request.tools.push(Tool::new("f", "", json!({})));
    request.tool_choice = ToolChoice::Required;
    let (body, _) = encoded(&request);
    assert_eq!((body.get("thinking"), &body["output_config"]), (None, &json!({"effort": "low"})));
}

#[test]
fn tools_have_schemas_and_choices() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}});
    let mut strict = Tool::new("g", "", schema.clone());
    strict.strict = true;
    let mut request = ChatRequest::new("m", [Message::user("Hi")]);
    request = request.tool(Tool::new("f", "Does.", schema.clone())).tool(strict).tool(Tool::new("h", "", Value::Null));
    let (body, _) = encoded(&request);
    let translated = json!({"type": "object", "additionalProperties": false,
        "properties": {"a": {"type": "integer", "description": "{minimum: 1}"}}});
    let expected = json!([
        {"name": "f", "description": "Does.", "input_schema": schema},
        {"name": "g", "input_schema": translated, "strict": true},
        {"name": "h", "input_schema": {"type": "object"}},
    ]);
    assert_eq!(body["tools"], expected);
    for (choice, parallel, expected) in [
        (ToolChoice::Auto, None, json!(null)),
        (ToolChoice::Auto, Some(true), json!(null)),
        (ToolChoice::Auto, Some(false), json!({"type": "auto", "disable_parallel_tool_use": true})),
        (ToolChoice::None, Some(false), json!({"type": "none"})),
        (ToolChoice::Required, None, json!({"type": "any"})),
        (ToolChoice::Named("f".to_owned()), None, json!({"type": "tool", "name": "f"})),
    ] {
        request.tool_choice = choice;
        request.parallel_tool_calls = parallel;
        let (body, _) = encoded(&request);
        assert_eq!(body.get("tool_choice").cloned().unwrap_or_default(), expected);
    }
    let stated = |number: usize| {
        let mut tool = Tool::new(format!("t{number}"), "", schema.clone());
        tool.strict = true;
        tool
    };
    let by_default = |number: usize| {
        let mut tool = stated(number);
        tool.is_strict_by_default = true;
        tool
    };
    for (tools, strict, warned) in [
        ((0..20).map(stated).collect::<Vec<_>>(), 20, 0),
        ((0..21).map(stated).collect(), 0, 1),
        ((0..30).map(by_default).collect(), 0, 0),
        ((0..30).map(by_default).chain([stated(30)]).collect(), 1, 0),
    ] {
        let (body, warnings) = encoded(&tools.into_iter().fold(ChatRequest::new("m", []), ChatRequest::tool));
        let found = body["tools"].as_array().unwrap().iter().filter(|tool| tool["strict"] == true).count();
        assert_eq!((found, warnings.len()), (strict, warned), "{warnings:?}");
    }
    let mut remote = ChatRequest::new("m", [Message::user("Hi")]);
    remote = remote.tool(Tool::new("f", "", json!({"$ref": "https://example.com/schema"})));
    assert_eq!(codec().encode(&remote, false).unwrap_err().kind, LlmErrorKind::InvalidRequest);
}

#[test]
fn schemas_are_guaranteed_or_asked_for() {
    let mut request = ChatRequest::new("m", [Message::user("Hi")]);
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]});
    request.output = OutputFormat::JsonSchema { name: "n".to_owned(), schema, strict: true };
    let (body, warnings) = encoded(&request);
    let format = json!({"type": "json_schema", "schema": {"type": "object", "additionalProperties": false,
        "properties": {"a": {"type": "string"}}, "required": ["a"]}});
    assert_eq!((&body["output_config"], warnings.len()), (&json!({"format": format}), 0));
    let schema = json!({"type": "object", "additionalProperties": {"type": "string"}});
    request.output = OutputFormat::JsonSchema { name: "n".to_owned(), schema, strict: true };
    let (body, warnings) = encoded(&request);
    assert_eq!((body.get("output_config"), warnings.len()), (None, 1));
    assert!(body["system"][0]["text"].as_str().unwrap().contains("additionalProperties"));
    request.output = OutputFormat::JsonObject;
    assert!(encoded(&request).0["system"][0]["text"].as_str().unwrap().contains("JSON object"));
}
