//! Tests of whole answers: form, stop reasons, signatures.

#![cfg(test)]

use omnistack_ai::{ChatRequest, LlmErrorKind as K, Message, OutputFormat, Part, Role, StopKind, ToolCall, ToolResult};
use serde_json::json;

use super::{
    ROUTE, ask, gateway, ledger, options, read, refusal, start_plain, tenant,
    test_llm::{Step, TestLlm, counted, end, reply, reply_of, started, text, usage},
    upstream_error,
};

fn ask_for_json() -> ChatRequest {
    let schema = json!({
        "type": "object", "properties": { "n": { "type": "integer" } }, "required": ["n"], "additionalProperties": false
    });
    let mut request = ask("a number");
    request.output = OutputFormat::JsonSchema { name: "number".into(), schema, strict: true };
    request
}

#[tokio::test]
async fn an_answer_that_does_not_match_the_schema_is_repaired_once() {
    let first = TestLlm::new("fake", [reply(r#"{"n":"one"}"#), reply(r#"{"n":1}"#)]);
    let app = start_plain(&first, &TestLlm::new("second", [])).await;
    let answer = gateway(&app).complete(tenant(), ask_for_json(), options()).await.unwrap();
    assert_eq!(answer.response.text(), r#"{"n":1}"#);
    assert_eq!((answer.call.usage, answer.response.usage), (usage(20, 10), Some(usage(20, 10))), "both turns count");
    assert_eq!(answer.call.attempts.len(), 2);
    let repair = &first.requests()[1];
    assert_eq!(repair.messages.len(), 3);
    assert_eq!(repair.messages[1].to_text(), r#"{"n":"one"}"#);
    assert_eq!(repair.output, ask_for_json().output);
}

#[tokio::test]
async fn an_answer_that_never_matches_the_schema_is_an_error_and_is_paid() {
    let first = TestLlm::new("fake", [reply("no"), reply("still no")]);
    let app = start_plain(&first, &TestLlm::new("second", [])).await;
    let failed = gateway(&app).complete(tenant(), ask_for_json(), options()).await.unwrap_err();
    assert_eq!(upstream_error(failed).kind, K::SchemaMismatch);
    assert_eq!(ledger(&app).await, ["failed"]);
}

#[tokio::test]
async fn a_cut_answer_is_not_repaired() {
    let cut = Step::Reply(Box::new(reply_of(vec![Part::text(r#"{"n":"#)], StopKind::Length)));
    let app = start_plain(&TestLlm::new("fake", [cut]), &TestLlm::new("second", [])).await;
    let answer = gateway(&app).complete(tenant(), ask_for_json(), options()).await.unwrap();
    assert_eq!(answer.response.stop.unified, StopKind::Length);
}

#[tokio::test]
async fn a_stream_that_does_not_match_the_schema_ends_with_an_error() {
    let pieces = vec![started(), text("no"), counted(10, 5), end()];
    let app = start_plain(&TestLlm::new("fake", [Step::Stream(pieces)]), &TestLlm::new("second", [])).await;
    let seen = read(gateway(&app).stream(tenant(), ask_for_json(), options()).await.unwrap()).await;
    assert_eq!(seen.error.map(|error| error.kind), Some(K::SchemaMismatch));
    assert_eq!(seen.call.usage, usage(10, 5));
}

#[tokio::test]
async fn a_schema_that_cannot_be_used_is_refused_before_any_cost() {
    let (first, second) = (TestLlm::new("fake", []), TestLlm::new("second", []));
    let app = start_plain(&first, &second).await;
    let mut request = ask("a number");
    request.output = OutputFormat::JsonSchema { name: "x".into(), schema: json!({ "type": 7 }), strict: true };
    let refused = refusal(gateway(&app).complete(tenant(), request, options()).await.unwrap_err());
    assert_eq!((refused.status().as_u16(), refused.code()), (422, "VALIDATION_FAILED"));
    assert!(ledger(&app).await.is_empty());
}

#[tokio::test]
async fn signatures_survive_clients_that_drop_them() {
    let mut call = ToolCall::new("call_1", "weather", "{}");
    call.signature = Some("signed".into());
    let asks = Step::Reply(Box::new(reply_of(vec![Part::ToolCall(call)], StopKind::Stop)));
    let first = TestLlm::new("fake", [asks, reply("sunny"), reply("?")]);
    let app = start_plain(&first, &TestLlm::new("second", [])).await;
    let caller = tenant();
    let answer = gateway(&app).complete(caller, ask("weather?"), options()).await.unwrap();
    assert_eq!(answer.response.stop.unified, StopKind::ToolCalls);
    let history = || {
        let call = Part::ToolCall(ToolCall::new("call_1", "weather", "{}"));
        let messages = [
            Message::user("weather?"),
            Message::new(Role::Assistant, vec![call]),
            Message::tool_results([ToolResult::text("call_1", "sunny")]),
        ];
        ChatRequest::new(ROUTE, messages)
    };
    gateway(&app).complete(caller, history(), options()).await.unwrap();
    gateway(&app).complete(tenant(), history(), options()).await.unwrap();
    let sent: Vec<_> = first.requests().into_iter().skip(1).collect();
    for (request, expected) in sent.iter().zip([Some("signed"), None]) {
        let Part::ToolCall(call) = &request.messages[1].parts[0] else { panic!("{request:?}") };
        assert_eq!(call.signature.as_deref(), expected);
        let Part::ToolResult(result) = &request.messages[2].parts[0] else { panic!("{request:?}") };
        assert_eq!(result.name.as_deref(), Some("weather"));
    }
}
