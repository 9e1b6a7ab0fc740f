//! Tests of guardrails.

#![cfg(test)]

use async_trait::async_trait;
use omnistack_ai::{
    AiCaller, ChatRequest, ContentModeration, LlmErrorKind as K, Message, Part, PromptInjectionCheck, Role,
    TextClassifier, ToolCall, ToolResult,
};
use omnistack_core::BoxError;
use omnistack_testkit::TestDatabase;

use super::{
    ROUTE, ask, gateway, ledger, options, read, refusal, start, tenant,
    test_llm::{TestLlm, fail, reply},
};

/// Refuses texts with `bad`, and can't classify those with `broken`.
#[derive(Debug)]
struct Words;

#[async_trait]
impl TextClassifier for Words {
    async fn classify(&self, _: &AiCaller, text: &str) -> Result<Option<String>, BoxError> {
        if text.contains("broken") {
            return Err("the classifier is away".into());
        }
        Ok(text.contains("bad").then(|| "it is bad".to_owned()))
    }
}

#[tokio::test]
async fn content_is_refused_before_any_cost() {
    let (first, second) = (TestLlm::new("fake", [reply("good")]), TestLlm::new("second", []));
    let app = start(TestDatabase::sqlite(), (&first, &second), |app, ai| {
        let ai = ai.guardrail(ContentModeration::new(Words)).guardrail(PromptInjectionCheck::new(Words));
        (app.set("AI_MAX_TEXT_BYTES", "1024"), ai)
    })
    .await;
    let long = "x".repeat(1_025);
    for (text, status, code) in [
        ("a bad text", 422, "CONTENT_REFUSED"),
        (long.as_str(), 422, "CONTENT_REFUSED"),
        ("a broken text", 503, "GUARDRAIL_UNAVAILABLE"),
    ] {
        let refused = refusal(gateway(&app).complete(tenant(), ask(text), options()).await.unwrap_err());
        assert_eq!((refused.status().as_u16(), refused.code()), (status, code), "{text}");
    }
    assert!(ledger(&app).await.is_empty());
    gateway(&app).complete(tenant(), ask("a text"), options()).await.unwrap();
}

/// The app's own instructions are no injection; those in a result of a tool are.
#[tokio::test]
async fn instructions_that_a_tool_returns_are_refused() {
    let (first, second) = (TestLlm::new("fake", [reply("good")]), TestLlm::new("second", []));
    let app = start(TestDatabase::sqlite(), (&first, &second), |app, ai| {
        (app, ai.guardrail(PromptInjectionCheck::new(Words)))
    })
    .await;
    let conversation = |system: &str, result: &str| {
        let call = Part::ToolCall(ToolCall::new("1", "read", "{}"));
        let messages = [
            Message::system(system),
            Message::user("Read it."),
            Message::new(Role::Assistant, vec![call]),
            Message::tool_results([ToolResult::text("1", result)]),
        ];
        ChatRequest::new(ROUTE, messages)
    };
    gateway(&app).complete(tenant(), conversation("a bad text", "fine"), options()).await.unwrap();
    let injected = gateway(&app).complete(tenant(), conversation("fine", "a bad text"), options()).await;
    assert_eq!(refusal(injected.unwrap_err()).code(), "CONTENT_REFUSED");
}

/// The beginning of an answer, which the model shall continue, does not hide the message before it.
#[tokio::test]
async fn content_before_a_begun_answer_is_refused() {
    let (first, second) = (TestLlm::new("fake", []), TestLlm::new("second", []));
    let app =
        start(TestDatabase::sqlite(), (&first, &second), |app, ai| (app, ai.guardrail(ContentModeration::new(Words))))
            .await;
    let request = ChatRequest::new(ROUTE, [Message::user("a bad text"), Message::assistant("It is")]);
    let refused = gateway(&app).complete(tenant(), request, options()).await;
    assert_eq!(refusal(refused.unwrap_err()).code(), "CONTENT_REFUSED");
}

#[tokio::test]
async fn a_refused_answer_is_paid_and_no_part_of_it_is_seen() {
    let (first, second) =
        (TestLlm::new("fake", [reply("bad"), reply("bad"), reply("fine")]), TestLlm::new("second", []));
    let app = start(TestDatabase::sqlite(), (&first, &second), |app, ai| {
        (app, ai.guardrail(ContentModeration::new(Words).with_output()))
    })
    .await;
    let refused = refusal(gateway(&app).complete(tenant(), ask("?"), options()).await.unwrap_err());
    assert_eq!(refused.code(), "CONTENT_REFUSED");
    let refused = refusal(gateway(&app).stream(tenant(), ask("?"), options()).await.unwrap_err());
    assert_eq!(refused.code(), "CONTENT_REFUSED");
    let seen = read(gateway(&app).stream(tenant(), ask("?"), options()).await.unwrap()).await;
    assert_eq!((seen.text().as_str(), seen.call.usage.total()), ("fine", 15));
    assert_eq!(ledger(&app).await, ["failed", "failed", "succeeded"]);
}

#[tokio::test]
async fn personal_data_does_not_reach_the_provider_if_the_app_says_so() {
    let (first, second) = (TestLlm::new("fake", [reply("ok")]), TestLlm::new("second", []));
    let app = start(TestDatabase::sqlite(), (&first, &second), |app, ai| (app.set("AI_REDACT_PII", "true"), ai)).await;
    gateway(&app).complete(tenant(), ask("I am ada@example.org"), options()).await.unwrap();
    assert_eq!(first.requests()[0].messages[0].to_text(), "I am [email]");
}

#[tokio::test]
async fn errors_do_not_quote_prompts() {
    let (first, second) = (TestLlm::new("fake", [fail(K::Failed)]), TestLlm::new("second", [fail(K::Unauthorized)]));
    let app = start(TestDatabase::sqlite(), (&first, &second), |app, ai| (app, ai)).await;
    let failed = gateway(&app).complete(tenant(), ask("a secret plan"), options()).await.unwrap_err();
    assert!(!format!("{failed:?} {failed}").contains("secret"));
}
