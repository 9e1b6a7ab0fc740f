use super::*;
use crate::chat::{Media, MediaSource, OutputFormat, ReasoningEffort, Role, Tool, ToolChoice, ToolResult};

fn encode(quirks: Quirks, request: &ChatRequest) -> WireRequest {
    codec(quirks).encode(request, false).unwrap()
}

fn messages(quirks: Quirks, messages: Vec<Message>) -> Value {
    encode(quirks, &ChatRequest::new("m", messages)).body["messages"].clone()
}

fn schema() -> Value {
    json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": false})
}

fn full_request() -> ChatRequest {
    let mut tool = Tool::new("f", "Does it.", schema());
    tool.strict = true;
    let mut request = ChatRequest::new("m", [Message::system("Be brief."), Message::user("Hi")]).tool(tool);
    request.tool_choice = ToolChoice::Named("f".to_owned());
    request.parallel_tool_calls = Some(false);
    request.output = OutputFormat::JsonSchema { name: "My answer!".to_owned(), schema: schema(), strict: true };
    request.max_output_tokens = Some(100);
    request.temperature = Some(0.5);
    request.top_p = Some(0.25);
    request.stop = vec!["END".to_owned()];
    request.seed = Some(-1);
    request.reasoning = Some(ReasoningEffort::Highest);
    request.service_tier = Some("flex".to_owned());
    request.user = Some("u".to_owned());
    let extra =
        json!({"verbosity": "low", "n": 2, "metadata": {"a": "b"}, "stream": false, "model": "x", "logprobs": null});
    request.extra = extra.as_object().unwrap().clone();
    request
}

#[test]
fn a_request_has_all_parameters() {
    let request = codec(Quirks::OPENAI).encode(&full_request(), true).unwrap();
    assert_eq!(request.path, "/chat/completions");
    assert_eq!(
        request.body,
        json!({
            "model": "m",
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
            "tools": [{"type": "function", "function":
                {"name": "f", "description": "Does it.", "parameters": schema(), "strict": true}}],
            "tool_choice": {"type": "function", "function": {"name": "f"}},
            "parallel_tool_calls": false,
            "response_format": {"type": "json_schema", "json_schema":
                {"name": "My_answer_", "schema": schema(), "strict": true}},
            "max_completion_tokens": 100,
            "temperature": 0.5,
            "top_p": 0.25,
            "stop": ["END"],
            "seed": -1,
            "reasoning_effort": "xhigh",
            "service_tier": "flex",
            "user": "u",
            "verbosity": "low",
            "metadata": {"a": "b"},
            "stream": true,
            "stream_options": {"include_usage": true},
        })
    );
    assert_eq!(request.warnings, ["the provider does not have the parameter `n`"]);
}

#[test]
fn quirks_change_what_is_sent() {
    let groq = encode(Quirks::GROQ, &full_request());
    assert_eq!(groq.body["reasoning_effort"], "high");
    assert_eq!((groq.body.get("metadata"), groq.body.get("stream")), (None, None));
    assert_eq!(groq.warnings.len(), 3, "{:?}", groq.warnings);
    let compatible = encode(Quirks::COMPATIBLE, &full_request());
    assert_eq!((&compatible.body["max_tokens"], compatible.body.get("max_completion_tokens")), (&json!(100), None));
    let mut of_responses = ChatRequest::new("m", []);
    of_responses.extra.insert("reasoning".to_owned(), json!({"summary": "auto"}));
    of_responses.extra.insert("truncation".to_owned(), json!("auto"));
    for (quirks, is_sent) in [(Quirks::OPENAI, false), (Quirks::COMPATIBLE, true)] {
        let request = encode(quirks, &of_responses);
        assert_eq!(request.body.get("reasoning").is_some(), is_sent);
        assert_eq!(request.warnings.len(), 2 - usize::from(is_sent), "{:?}", request.warnings);
    }
    for (quirks, by_default, is_sent) in
        [(Quirks::OPENAI, true, true), (Quirks::COMPATIBLE, true, false), (Quirks::COMPATIBLE, false, true)]
    {
        let mut request = full_request();
        request.tools[0].is_strict_by_default = by_default;
        let function = encode(quirks, &request).body["tools"][0]["function"].clone();
        assert_eq!(function.get("strict").is_some(), is_sent, "{function}");
    }
    let quirks = Quirks { accepts_stream_options: false, ..Quirks::COMPATIBLE };
    let request = codec(quirks).encode(&ChatRequest::new("m", []), true).unwrap();
    assert_eq!(request.body, json!({"model": "m", "messages": [], "stream": true}));
    assert!(codec(Quirks::OPENAI).accepts_media_urls() && !codec(Quirks::COMPATIBLE).accepts_media_urls());
}

#[test]
fn tools_have_a_schema_even_without_parameters() {
    let mut request = ChatRequest::new("m", []).tool(Tool::new("f", "", Value::Null));
    for (choice, expected) in [
        (ToolChoice::Auto, None),
        (ToolChoice::None, Some(json!("none"))),
        (ToolChoice::Required, Some(json!("required"))),
    ] {
        request.tool_choice = choice;
        let body = encode(Quirks::OPENAI, &request).body;
        let function = json!({"name": "f", "parameters": {"type": "object", "properties": {}}});
        assert_eq!(body["tools"], json!([{"type": "function", "function": function}]));
        assert_eq!(body.get("tool_choice"), expected.as_ref());
    }
    // Without tools, OpenAI rejects what concerns them.
    request.tools.clear();
    request.parallel_tool_calls = Some(true);
    assert_eq!(encode(Quirks::OPENAI, &request).body, json!({"model": "m", "messages": []}));
    request.output = OutputFormat::JsonObject;
    assert_eq!(encode(Quirks::OPENAI, &request).body["response_format"], json!({"type": "json_object"}));
}

#[test]
fn several_texts_are_a_list_or_a_string() {
    let message = || vec![Message::new(Role::User, vec![Part::text("a"), Part::text("b")])];
    let list = json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]);
    assert_eq!(messages(Quirks::OPENAI, message()), json!([{"role": "user", "content": list}]));
    assert_eq!(messages(Quirks::COMPATIBLE, message()), json!([{"role": "user", "content": "a\nb"}]));
    let empty = vec![Message::new(Role::User, vec![]), Message::new(Role::Assistant, vec![])];
    let expected = json!([{"role": "user", "content": ""}, {"role": "assistant", "content": ""}]);
    assert_eq!(messages(Quirks::OPENAI, empty), expected);
    let mut named = Message::user("a");
    named.name = Some("Ada".to_owned());
    assert_eq!(messages(Quirks::OPENAI, vec![named]), json!([{"role": "user", "content": "a", "name": "Ada"}]));
}

#[test]
fn media_are_sent_as_the_api_wants_them() {
    let mut image = Media::bytes(&b"\x01\x02"[..], "image/png");
    image.detail = Some("low".to_owned());
    let mut pdf = Media::bytes(&b"%PDF"[..], "application/pdf");
    pdf.name = Some("a.pdf".to_owned());
    let parts = vec![
        Part::text("a"),
        Part::Image(image),
        Part::Image(Media::url("https://example.com/a.png")),
        Part::File(pdf),
        Part::File(Media::bytes(&b"x"[..], "audio/mpeg")),
    ];
    assert_eq!(
        messages(Quirks::OPENAI, vec![Message::new(Role::User, parts)])[0]["content"],
        json!([
            {"type": "text", "text": "a"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AQI=", "detail": "low"}},
            {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERg=="}},
            {"type": "input_audio", "input_audio": {"data": "eA==", "format": "mp3"}},
        ])
    );
}

#[test]
fn tool_calls_and_results_are_sent_back() {
    let mut first = ToolCall::new("a", "f", "{\"x\":1}");
    first.signature = Some("sig".to_owned());
    let mut with_image = ToolResult::text("a", "done");
    with_image.parts.push(Part::Image(Media::bytes(&b"\x01"[..], "image/png")));
    let conversation = || {
        let reasoning = Part::Reasoning { text: "Hm".to_owned(), signature: Some("s".to_owned()), redacted: None };
        let parts = vec![reasoning, Part::ToolCall(first.clone()), call("b", "g", "")];
        vec![
            Message::new(Role::Assistant, parts),
            Message::tool_results([with_image.clone()]),
            Message::tool_results([ToolResult::text("b", "2")]),
            Message::user("Go on"),
        ]
    };
    let call = |signature: Value| {
        let mut first = json!({"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}});
        if signature.is_object() {
            first["extra_content"] = signature;
        }
        let second = json!({"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}});
        json!({"role": "assistant", "content": null, "tool_calls": [first, second]})
    };
    let results = [
        json!({"role": "tool", "tool_call_id": "a", "content": "done"}),
        json!({"role": "tool", "tool_call_id": "b", "content": "2"}),
        json!({"role": "user", "content": [
            {"type": "text", "text": "The result of the tool call a:"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AQ=="}},
        ]}),
        json!({"role": "user", "content": "Go on"}),
    ];
    let expected = |first: Value| Value::from([vec![first], results.to_vec()].concat());
    assert_eq!(messages(Quirks::OPENAI, conversation()), expected(call(Value::Null)));
    let signature = json!({"google": {"thought_signature": "sig"}});
    assert_eq!(messages(Quirks::COMPATIBLE, conversation()), expected(call(signature)));
    let mut with_reasoning = call(Value::Null);
    with_reasoning["reasoning"] = json!("Hm");
    assert_eq!(messages(Quirks::GROQ, conversation()), expected(with_reasoning));
}

#[test]
fn what_the_api_can_not_express_is_an_error() {
    let file_id = || {
        let mut media = Media::url("");
        media.source = MediaSource::FileId("file-1".to_owned());
        media
    };
    let user = |part| Message::new(Role::User, vec![part]);
    for (quirks, message) in [
        (Quirks::OPENAI, user(Part::Image(file_id()))),
        (Quirks::OPENAI, user(Part::File(Media::url("https://example.com/a.pdf")))),
        (Quirks::OPENAI, user(Part::File(Media::bytes(&b"x"[..], "audio/ogg")))),
        (Quirks::GROQ, user(Part::File(file_id()))),
        (Quirks::OPENAI, user(call("a", "f", "{}"))),
        (Quirks::OPENAI, Message::new(Role::System, vec![Part::Image(Media::url("https://example.com"))])),
        (Quirks::OPENAI, Message::new(Role::Assistant, vec![Part::Image(Media::url("https://example.com"))])),
        (Quirks::OPENAI, Message::new(Role::Tool, vec![Part::text("a")])),
    ] {
        let request = ChatRequest::new("m", [message]);
        let error = codec(quirks).encode(&request, false).unwrap_err();
        assert_eq!((error.kind, error.is_retryable()), (LlmErrorKind::InvalidRequest, false), "{request:?}");
    }
    assert_eq!(
        messages(Quirks::OPENAI, vec![user(Part::File(file_id()))])[0]["content"],
        json!([{"type": "file", "file": {"file_id": "file-1"}}])
    );
}
