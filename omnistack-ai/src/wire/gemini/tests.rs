use std::slice;

use proptest::{collection::vec, prelude::*, sample::Index};
use serde_json::{Value, json};

use super::*;
use crate::{
    chat::{
        Message, OutputFormat, Part, ReasoningEffort, Role, StopKind, StopReason, TokenUsage, Tool, ToolCall,
        ToolChoice, ToolResult,
    },
    error::LlmErrorKind,
    wire::openai_chat::testing::{body_of, read, read_all, split},
};

mod requests;

fn codec() -> Gemini {
    Gemini::new("gemini".into())
}

fn piece(parts: Value) -> Value {
    json!({"candidates": [{"content": {"role": "model", "parts": parts}, "index": 0}], "modelVersion": "m-1",
        "responseId": "r1", "usageMetadata": {"promptTokenCount": 10, "totalTokenCount": 10}})
}

fn last(parts: Value, reason: &str) -> Value {
    let mut last = piece(parts);
    last["candidates"][0]["finishReason"] = json!(reason);
    last["usageMetadata"] = json!({
        "promptTokenCount": 10, "cachedContentTokenCount": 4, "candidatesTokenCount": 5, "thoughtsTokenCount": 7,
        "toolUsePromptTokenCount": 3, "totalTokenCount": 25,
    });
    last
}

fn rich_pieces() -> [Value; 5] {
    [
        piece(json!([{"text": "Hm ", "thought": true}])),
        piece(json!([{"text": "🌍", "thought": true}])),
        piece(json!([{"text": "你"}])),
        piece(json!([
            {"text": "好"},
            {"functionCall": {"name": "weather", "args": {"city": "Köln"}}, "thoughtSignature": "sig"},
            {"functionCall": {"id": "own", "name": "now"}},
        ])),
        last(json!([]), "STOP"),
    ]
}

/// Returns the calls of an answer, with ids that the gateway has minted as `minted`.
fn calls(answer: &ChatResponse) -> Vec<ToolCall> {
    let calls = answer.tool_calls().cloned().map(|mut call| {
        if call.id.starts_with("call_") {
            call.id = "minted".to_owned();
        }
        call
    });
    calls.collect()
}

fn call(id: &str, name: &str, arguments: &str, signature: Option<&str>) -> ToolCall {
    let mut call = ToolCall::new(id, name, arguments);
    call.signature = signature.map(str::to_owned);
    call
}

#[test]
fn a_stream_becomes_an_answer() {
    let answer = read_all(&codec(), &body_of(&rich_pieces()));
    assert_eq!((answer.id.as_str(), answer.model.as_str()), ("r1", "m-1"));
    let thought = Part::Reasoning { text: "Hm 🌍".to_owned(), signature: None, redacted: None };
    assert_eq!(answer.parts[..2], [thought, Part::text("你好")]);
    let expected = [call("minted", "weather", "{\"city\":\"Köln\"}", Some("sig")), call("own", "now", "{}", None)];
    assert_eq!(calls(&answer), expected);
    assert_eq!(answer.stop, StopReason::new(StopKind::ToolCalls, Some("STOP".to_owned())));
    let usage = TokenUsage { input: 13, cached: 4, output: 12, reasoning: 7, ..TokenUsage::default() };
    assert_eq!(answer.usage, Some(usage));
    assert_eq!(answer.raw_usage.unwrap()["totalTokenCount"], 25);
}

proptest! {
    #[test]
    fn an_answer_does_not_depend_on_how_its_stream_is_split(cuts in vec(any::<Index>(), 0..40)) {
        let body = body_of(&rich_pieces());
        let (answer, error) = read(&codec(), &split(body.as_bytes(), &cuts));
        prop_assert!(error.is_none());
        prop_assert_eq!(answer, read_all(&codec(), &body));
    }
}

#[test]
fn a_stream_that_is_cut_anywhere_is_interrupted() {
    let body = body_of(&rich_pieces());
    for length in 0..body.len() {
        let (answer, error) = read(&codec(), &[&body.as_bytes()[..length]]);
        assert_eq!(error.map(|error| error.kind), Some(LlmErrorKind::Interrupted), "{length}");
        assert_eq!(answer.stop.unified, StopKind::Interrupted, "{length}");
    }
}

#[test]
fn lists_of_pieces_and_whole_answers_mean_the_same() {
    let streamed = read_all(&codec(), &body_of(&rich_pieces()));
    let list = codec().decode(json!(rich_pieces()).to_string().as_bytes()).unwrap();
    assert_eq!(list, streamed);
    let parts: Vec<Value> = rich_pieces()
        .iter()
        .flat_map(|piece| piece["candidates"][0]["content"]["parts"].as_array().cloned().unwrap_or_default())
        .collect();
    let whole = codec().decode(last(json!(parts), "STOP").to_string().as_bytes()).unwrap();
    assert_eq!(whole, streamed);
}

#[test]
fn partial_arguments_mean_the_same_as_whole_ones() {
    let signed = |call: Value| json!({"functionCall": call, "thoughtSignature": "sig"});
    let unsigned = |call: Value| json!({"functionCall": call});
    let city = |text: &str, goes_on: bool| json!({"jsonPath": "$.city", "stringValue": text, "willContinue": goes_on});
    let whole = [
        piece(json!([signed(json!({"name": "weather", "args": {"city": "Köln", "days": 3}}))])),
        piece(json!([unsigned(json!({"id": "b", "name": "now", "args": {}}))])),
        last(json!([]), "STOP"),
    ];
    let partial = [
        piece(json!([signed(json!({"name": "weather", "willContinue": true}))])),
        piece(json!([unsigned(json!({"partialArgs": [city("Kö", true)], "willContinue": true}))])),
        piece(json!([unsigned(json!({"partialArgs": [city("ln", false)], "willContinue": true}))])),
        piece(json!([unsigned(
            json!({"partialArgs": [{"jsonPath": "$.days", "numberValue": 3}], "willContinue": true})
        )])),
        piece(json!([unsigned(json!({}))])),
        piece(json!([unsigned(json!({"id": "b", "name": "now"}))])),
        last(json!([]), "STOP"),
    ];
    let expected =
        [call("minted", "weather", "{\"city\":\"Köln\",\"days\":3}", Some("sig")), call("b", "now", "{}", None)];
    let (whole, partial) = (read_all(&codec(), &body_of(&whole)), read_all(&codec(), &body_of(&partial)));
    assert_eq!(calls(&whole), expected);
    assert_eq!(whole.parts, partial.parts);
    let misplaced = piece(json!([signed(json!({"name": "f", "partialArgs": [{"jsonPath": "x", "numberValue": 1}]}))]));
    let (_, error) = read(&codec(), &[body_of(&[misplaced]).as_bytes()]);
    assert_eq!(error.unwrap().kind, LlmErrorKind::Protocol);
}

#[test]
fn ids_are_minted_per_answer_and_call() {
    let twice = |response: &str| {
        let mut piece = last(json!([{"functionCall": {"name": "f"}}, {"functionCall": {"name": "f"}}]), "STOP");
        piece["responseId"] = json!(response);
        let answer = codec().decode(piece.to_string().as_bytes()).unwrap();
        answer.tool_calls().map(|call| call.id.clone()).collect::<Vec<_>>()
    };
    let mut ids = [twice("r1"), twice("r2")].concat();
    assert_eq!(twice("r1"), ids[..2]);
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 4);
}

#[test]
fn signatures_of_texts_survive_the_next_request() {
    let pieces = [piece(json!([{"text": "Hi"}])), last(json!([{"text": "", "thoughtSignature": "sig"}]), "STOP")];
    let answer = read_all(&codec(), &body_of(&pieces));
    let request = ChatRequest::new("m", [Message::new(Role::Assistant, answer.parts)]);
    let parts = codec().encode(&request, false).unwrap().body["contents"][0]["parts"].clone();
    assert_eq!(parts, json!([{"text": "Hi"}, {"text": "", "thoughtSignature": "sig"}]));
}

#[test]
fn reasons_are_unified() {
    let call = json!({"functionCall": {"name": "f"}});
    for (part, reason, expected) in [
        (json!({"text": "x"}), "STOP", StopKind::Stop),
        (json!({"text": "x"}), "MAX_TOKENS", StopKind::Length),
        (json!({"text": ""}), "SAFETY", StopKind::ContentFilter),
        (json!({"text": "x"}), "PROHIBITED_CONTENT", StopKind::ContentFilter),
        (json!({"text": "x"}), "MODEL_ARMOR", StopKind::ContentFilter),
        (json!({"text": "x"}), "CONTINUATION", StopKind::Other),
        (json!({"text": "x"}), "MALFORMED_FUNCTION_CALL", StopKind::Other),
        (json!({"text": ""}), "NEW", StopKind::Other),
        (call.clone(), "STOP", StopKind::ToolCalls),
        (call, "MAX_TOKENS", StopKind::Length),
    ] {
        let answer = read_all(&codec(), &body_of(&[last(json!([part]), reason)]));
        assert_eq!(answer.stop, StopReason::new(expected, Some(reason.to_owned())));
    }
    // Not finished by an empty reason, or by one before more content.
    for pieces in [
        vec![last(json!([{"text": "x"}]), "")],
        vec![last(json!([{"text": "x"}]), "FINISH_REASON_UNSPECIFIED")],
        vec![last(json!([{"text": "x"}]), "STOP"), piece(json!([{"text": "y"}]))],
    ] {
        let (_, error) = read(&codec(), &[body_of(&pieces).as_bytes()]);
        assert_eq!(error.unwrap().kind, LlmErrorKind::Interrupted);
    }
    // A piece with the usage only may follow the reason.
    let usage = json!({"usageMetadata": {"promptTokenCount": 1, "totalTokenCount": 3}});
    let answer = read_all(&codec(), &body_of(&[last(json!([{"text": "x"}]), "STOP"), usage]));
    assert_eq!(answer.usage, Some(TokenUsage { input: 1, output: 2, ..TokenUsage::default() }));
}

#[test]
fn failures_in_successful_responses_are_errors() {
    let empty = |reason: &str| last(json!([]), reason);
    for (body, expected) in [
        (empty("MALFORMED_FUNCTION_CALL"), LlmErrorKind::Failed),
        (empty("MISSING_THOUGHT_SIGNATURE"), LlmErrorKind::InvalidRequest),
        (json!({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {}}), LlmErrorKind::ContentFiltered),
        (json!({"error": {"code": 503, "message": "m", "status": "UNAVAILABLE"}}), LlmErrorKind::Overloaded),
        (json!([{"error": {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED"}}]), LlmErrorKind::RateLimited),
        (json!({"error": {"code": 400, "message": "The input token count (9) exceeds"}}), LlmErrorKind::ContextLength),
        (json!("text"), LlmErrorKind::Protocol),
    ] {
        let (_, error) = read(&codec(), &[body_of(slice::from_ref(&body)).as_bytes()]);
        assert_eq!(error.unwrap().kind, expected, "{body}");
        assert_eq!(codec().decode(body.to_string().as_bytes()).unwrap_err().kind, expected, "{body}");
    }
    for body in ["", "{}", "[]", "{\"candidates\":null}"] {
        assert_eq!(codec().decode(body.as_bytes()).unwrap_err().kind, LlmErrorKind::Protocol, "{body}");
    }
}

#[test]
fn errors_of_responses_have_kinds() {
    let error = |code: u16, status: &str, details: Value| json!({"error": {"code": code, "message": "m", "status": status, "details": details}});
    let retry = json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"});
    let quota =
        |id: &str| json!({"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": id}]});
    for (body, expected, wait) in [
        (error(429, "RESOURCE_EXHAUSTED", json!([retry])), LlmErrorKind::RateLimited, Some(34)),
        (
            error(429, "RESOURCE_EXHAUSTED", json!([quota("RequestsPerMinutePerProject"), retry])),
            LlmErrorKind::RateLimited,
            Some(34),
        ),
        (
            error(429, "RESOURCE_EXHAUSTED", json!([quota("RequestsPerDayPerProject"), retry])),
            LlmErrorKind::QuotaExhausted,
            None,
        ),
        (error(400, "INVALID_ARGUMENT", json!([{"reason": "API_KEY_INVALID"}])), LlmErrorKind::Unauthorized, None),
        (error(400, "FAILED_PRECONDITION", json!([])), LlmErrorKind::Unauthorized, None),
        (error(400, "INVALID_ARGUMENT", Value::Null), LlmErrorKind::InvalidRequest, None),
        (error(403, "PERMISSION_DENIED", json!([])), LlmErrorKind::Unauthorized, None),
        (error(404, "NOT_FOUND", json!([])), LlmErrorKind::UnknownModel, None),
        (error(500, "INTERNAL", json!([])), LlmErrorKind::Failed, None),
        (error(503, "UNAVAILABLE", json!([])), LlmErrorKind::Overloaded, None),
        (error(504, "DEADLINE_EXCEEDED", json!([])), LlmErrorKind::Failed, None),
    ] {
        let status = StatusCode::from_u16(u16::try_from(body["error"]["code"].as_u64().unwrap()).unwrap()).unwrap();
        for body in [body.clone(), json!([body])] {
            let now = Timestamp::from_micros(0);
            let error = codec().decode_error(status, &HeaderMap::new(), body.to_string().as_bytes(), now);
            assert_eq!((error.kind, error.retry_after.map(|wait| wait.as_secs())), (expected, wait), "{body}");
        }
    }
}

#[test]
fn embeddings_fit_their_request() {
    let mut request = EmbeddingRequest::new("m", ["a", "b"]);
    request.dimensions = Some(2);
    let encoded = codec().encode_embeddings(&request).unwrap();
    assert_eq!(encoded.path, "/v1beta/models/m:batchEmbedContents");
    let one =
        |text: &str| json!({"model": "models/m", "content": {"parts": [{"text": text}]}, "outputDimensionality": 2});
    assert_eq!(encoded.body, json!({"requests": [one("a"), one("b")]}));
    let decode = |body: Value| codec().decode_embeddings(&request, body.to_string().as_bytes());
    let vectors = |first: Value, second: Value| json!({"embeddings": [{"values": first}, {"values": second}]});
    let embeddings = decode(vectors(json!([0.5, 1]), json!([2, -1.5]))).unwrap();
    assert_eq!(embeddings, Embeddings::new("m", vec![vec![0.5, 1.0], vec![2.0, -1.5]], None));
    for (body, expected) in [
        (json!({"embeddings": []}), LlmErrorKind::Protocol),
        (vectors(json!([1, 2]), json!([1])), LlmErrorKind::Protocol),
        (vectors(json!([1, 2]), json!([1, null])), LlmErrorKind::Protocol),
        (vectors(json!([1, 2]), json!([1, 1e300])), LlmErrorKind::Protocol),
        (vectors(json!([1]), json!([2])), LlmErrorKind::InvalidRequest),
        (json!({"error": {"code": 429, "message": "m"}}), LlmErrorKind::RateLimited),
    ] {
        assert_eq!(decode(body).unwrap_err().kind, expected);
    }
    let none: [&str; 0] = [];
    let error = codec().encode_embeddings(&EmbeddingRequest::new("m", none)).unwrap_err();
    assert_eq!(error.kind, LlmErrorKind::InvalidRequest);
}
