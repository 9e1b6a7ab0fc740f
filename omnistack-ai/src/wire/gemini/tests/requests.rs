//! Requests.

use super::*;
use crate::chat::{Media, MediaSource};

fn encoded(request: &ChatRequest) -> (Value, Vec<String>) {
    let encoded = codec().encode(request, false).unwrap();
    (encoded.body, encoded.warnings)
}

#[test]
fn paths_name_the_model() {
    for (model, stream, expected) in [
        ("m-1.5", false, "/v1beta/models/m-1.5:generateContent"),
        ("m", true, "/v1beta/models/m:streamGenerateContent?alt=sse"),
        ("models/m", false, "/v1beta/models/m:generateContent"),
        ("tunedModels/m", false, "/v1beta/tunedModels/m:generateContent"),
        ("../x?y", false, "/v1beta/models/..%2Fx%3Fy:generateContent"),
        ("models/../x", false, "/v1beta/models/..%2Fx:generateContent"),
    ] {
        let request = ChatRequest::new(model, [Message::user("Hi")]);
        assert_eq!(codec().encode(&request, stream).unwrap().path, expected);
    }
}

#[test]
fn a_conversation_has_the_form_of_the_api() {
    let mut failed = ToolResult::text("own", "no");
    failed.is_error = true;
    let request = ChatRequest::new(
        "m",
        [
            Message::system("Be brief."),
            Message::user("Weather?"),
            Message::new(
                Role::Assistant,
                vec![
                    Part::Reasoning { text: "Hm".to_owned(), signature: Some("gemini:t".to_owned()), redacted: None },
                    Part::Reasoning {
                        text: "Foreign".to_owned(),
                        signature: Some("anthropic:x".to_owned()),
                        redacted: None,
                    },
                    Part::text(""),
                    Part::ToolCall(call("call_1", "weather", "{\"city\":\"Köln\"}", Some("sig"))),
                    Part::ToolCall(call("own", "now", "", None)),
                ],
            ),
            Message::tool_results([ToolResult::text("call_1", "{\"sky\":\"blue\"}")]),
            Message::tool_results([failed]),
            Message::assistant("Blue."),
        ],
    );
    let (body, warnings) = encoded(&request);
    let expected = json!({
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "Weather?"}]},
            {"role": "model", "parts": [
                {"text": "Hm", "thought": true, "thoughtSignature": "t"},
                {"functionCall": {"name": "weather", "args": {"city": "Köln"}}, "thoughtSignature": "sig"},
                {"functionCall": {"id": "own", "name": "now", "args": {}}},
            ]},
            {"role": "user", "parts": [
                {"functionResponse": {"name": "weather", "response": {"output": {"sky": "blue"}}}},
                {"functionResponse": {"id": "own", "name": "now", "response": {"error": "no"}}},
            ]},
            {"role": "model", "parts": [{"text": "Blue."}]},
        ],
    });
    assert_eq!((body, warnings.len()), (expected, 0));
}

#[test]
fn calls_of_other_providers_have_the_documented_signature() {
    let calls = [("toolu_1", "f"), ("call_2", "g")].map(|(id, name)| Part::ToolCall(ToolCall::new(id, name, "{}")));
    let request = ChatRequest::new("m", [Message::new(Role::Assistant, calls.to_vec())]);
    let (body, _) = encoded(&request);
    let expected = json!([
        {"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "skip_thought_signature_validator"},
        {"functionCall": {"name": "g", "args": {}}},
    ]);
    assert_eq!(body["contents"][0]["parts"], expected);
}

#[test]
fn results_without_a_call_are_refused() {
    let request = ChatRequest::new("m", [Message::tool_results([ToolResult::text("a", "x")])]);
    assert_eq!(codec().encode(&request, false).unwrap_err().kind, LlmErrorKind::InvalidRequest);
    let mut named = ToolResult::text("a", "x");
    named.name = Some("f".to_owned());
    let (body, _) = encoded(&ChatRequest::new("m", [Message::tool_results([named])]));
    assert_eq!(body["contents"][0]["parts"][0]["functionResponse"]["name"], "f");
}

#[test]
fn images_and_files_are_data() {
    let mut id = Media::bytes(&b""[..], "application/pdf");
    id.source = MediaSource::FileId("files/a".to_owned());
    let parts = vec![Part::Image(Media::bytes(&b"png"[..], "image/png")), Part::File(id)];
    let (body, _) = encoded(&ChatRequest::new("m", [Message::new(Role::User, parts)]));
    let url = "https://generativelanguage.googleapis.com/v1beta/files/a";
    let expected = json!([
        {"inlineData": {"mimeType": "image/png", "data": "cG5n"}},
        {"fileData": {"mimeType": "application/pdf", "fileUri": url}},
    ]);
    assert_eq!(body["contents"][0]["parts"], expected);
    for foreign in ["https://example.com/a", "gs://bucket/a", "files/", "files/../x", "file-1"] {
        let mut id = Media::bytes(&b""[..], "application/pdf");
        id.source = MediaSource::FileId(foreign.to_owned());
        let request = ChatRequest::new("m", [Message::new(Role::User, vec![Part::File(id)])]);
        let error = codec().encode(&request, false).unwrap_err();
        assert_eq!(error.kind, LlmErrorKind::InvalidRequest, "{foreign}");
    }
    let parts = vec![Part::Image(Media::url("https://example.com/a.png"))];
    let error = codec().encode(&ChatRequest::new("m", [Message::new(Role::User, parts)]), false).unwrap_err();
    assert_eq!(error.kind, LlmErrorKind::InvalidRequest);
    assert!(!codec().accepts_media_urls());
}

#[test]
fn parameters_are_sent_as_the_api_has_them() {
    let mut request = ChatRequest::new("m", [Message::user("Hi")]).max_output_tokens(5);
    request.temperature = Some(0.5);
    request.top_p = Some(0.25);
    request.stop = vec!["END".to_owned()];
    request.seed = Some(7);
    request.reasoning = Some(ReasoningEffort::Low);
    request.service_tier = Some("flex".to_owned());
    request.user = Some("u".to_owned());
    request.parallel_tool_calls = Some(true);
    let extra = json!({"top_k": 3, "presence_penalty": 0.5, "logit_bias": {}, "cachedContent": "x", "store": null});
    request.extra = extra.as_object().unwrap().clone();
    let (body, warnings) = encoded(&request);
    let expected = json!({
        "contents": [{"role": "user", "parts": [{"text": "Hi"}]}],
        "generationConfig": {"maxOutputTokens": 5, "temperature": 0.5, "topP": 0.25, "stopSequences": ["END"],
            "seed": 7, "thinkingConfig": {"thinkingLevel": "LOW"}, "topK": 3, "presencePenalty": 0.5},
        "serviceTier": "flex",
    });
    assert_eq!(body, expected);
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    request.seed = Some(1 << 40);
    request.reasoning = Some(ReasoningEffort::None);
    let (body, warnings) = encoded(&request);
    assert_eq!(body["generationConfig"]["thinkingConfig"], json!({"thinkingBudget": 0}));
    assert_eq!((body["generationConfig"].get("seed"), warnings.len()), (None, 4));
}

#[test]
fn tools_and_schemas_are_in_the_dialect() {
    let schema = json!({"$schema": "x", "type": "object", "properties": {"a": {"type": "string", "pattern": "^a"}}});
    let mut request = ChatRequest::new("m", [Message::user("Hi")]);
    request = request.tool(Tool::new("f", "Does.", schema.clone()));
    request = request.tool(Tool::new("g", "", json!({"type": "object", "properties": {}})));
    request.tool_choice = ToolChoice::Named("f".to_owned());
    request.output = OutputFormat::JsonSchema { name: "n".to_owned(), schema, strict: true };
    let (body, _) = encoded(&request);
    let translated =
        json!({"type": "object", "properties": {"a": {"type": "string", "description": "{pattern: \"^a\"}"}}});
    let tools = json!([{"functionDeclarations": [
        {"name": "f", "description": "Does.", "parametersJsonSchema": translated}, {"name": "g"},
    ]}]);
    assert_eq!(body["tools"], tools);
    let calling = json!({"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}});
    assert_eq!(body["toolConfig"], calling);
    let config = json!({"responseMimeType": "application/json", "responseJsonSchema": translated});
    assert_eq!(body["generationConfig"], config);
}
