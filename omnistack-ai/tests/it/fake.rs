//! The built-in fake.

#![cfg(test)]

use std::time::Duration;

use futures_util::StreamExt as _;
use omnistack_ai::{
    Call, ChatEvent, ChatRequest, ChatResponse, ChatStream, EmbeddingRequest, FakeLlm, LlmError, LlmErrorKind,
    LlmProvider as _, Message, OutputFormat, Part, StopKind, StopReason, StreamAssembler, TimeoutPhase, Tool,
    ToolChoice, ToolResult,
};
use serde_json::{Value, json};

fn request(text: &str) -> ChatRequest {
    ChatRequest::new("fake-small", [Message::user(text)])
}

fn weather() -> Tool {
    let schema = json!({ "type": "object", "properties": { "city": { "type": "string" } }, "required": ["city"] });
    Tool::new("get_weather", "Returns the weather.", schema)
}

async fn complete(fake: &FakeLlm, request: &ChatRequest) -> Result<ChatResponse, LlmErrorKind> {
    fake.complete(request, &Call::default()).await.map_err(|error| error.kind)
}

async fn stream(fake: &FakeLlm, request: &ChatRequest) -> ChatStream {
    fake.stream(request, &Call::default()).await.unwrap()
}

/// Returns the texts of a stream, and the kind of the error at its end.
async fn texts(events: ChatStream) -> (Vec<String>, Option<LlmErrorKind>) {
    let items: Vec<_> = events.collect().await;
    let error = items.iter().find_map(|item| item.as_ref().err()).map(|error| error.kind);
    let texts = items.into_iter().filter_map(|item| match item {
        Ok(ChatEvent::Text { delta, .. }) => Some(delta),
        _ => None,
    });
    (texts.collect(), error)
}

#[tokio::test]
async fn without_a_script_the_same_request_has_the_same_answer() {
    let fake = FakeLlm::new();
    for _ in 0..2 {
        let response = complete(&fake, &request("Hello, 你好")).await.unwrap();
        assert_eq!(response.text(), "You said: Hello, 你好");
        assert_eq!((response.stop.unified, response.model.as_str()), (StopKind::Stop, "fake-small"));
        let usage = response.usage.unwrap();
        // 13 and 23 bytes, four of them a token.
        assert_eq!((usage.input, usage.output, usage.total()), (4, 6, 10));
    }
    assert_eq!((fake.calls(), fake.requests().len()), (2, 0));
}

#[tokio::test]
async fn a_stream_has_the_same_answer_word_by_word() {
    let fake = FakeLlm::new();
    let request = request("one two");
    let (pieces, error) = texts(stream(&fake, &request).await).await;
    assert_eq!((pieces, error), (["You ", "said: ", "one ", "two"].map(str::to_owned).to_vec(), None));

    let mut assembler = StreamAssembler::default();
    let mut events = stream(&fake, &request).await;
    while let Some(event) = events.next().await {
        assembler.push(&event.unwrap());
    }
    let (mut streamed, mut whole) = (assembler.finish(), complete(&fake, &request).await.unwrap());
    (streamed.id, whole.id) = (String::new(), String::new());
    assert_eq!(streamed, whole);
}

#[tokio::test]
async fn an_answer_ends_where_the_request_says() {
    let fake = FakeLlm::new();
    let short = request("a long story").max_output_tokens(2);
    let response = complete(&fake, &short).await.unwrap();
    assert_eq!((response.text().as_str(), response.stop.unified), ("You said", StopKind::Length));

    let mut stopped = request("one END two");
    stopped.stop = vec!["END".to_owned()];
    let response = complete(&fake, &stopped).await.unwrap();
    assert_eq!((response.text().as_str(), response.stop.unified), ("You said: one ", StopKind::Stop));
}

#[tokio::test]
async fn a_tool_is_called_if_the_user_or_the_request_says_so() {
    let fake = FakeLlm::new();
    let calls = |text: &str, choice: ToolChoice| {
        let mut request = request(text).tool(weather());
        request.tool_choice = choice;
        request
    };
    for (text, choice, is_called) in [
        ("hello", ToolChoice::Auto, false),
        ("use the tool", ToolChoice::Auto, true),
        ("run get_weather", ToolChoice::Auto, true),
        ("hello", ToolChoice::Required, true),
        ("hello", ToolChoice::Named("get_weather".to_owned()), true),
        ("use the tool", ToolChoice::None, false),
    ] {
        let response = complete(&fake, &calls(text, choice.clone())).await.unwrap();
        let called: Vec<_> = response.tool_calls().map(|call| (call.name.clone(), call.arguments.clone())).collect();
        let expected = vec![("get_weather".to_owned(), r#"{"city":"text"}"#.to_owned())];
        assert_eq!(called, if is_called { expected } else { vec![] }, "{text} {choice:?}");
        assert_eq!(response.stop.unified == StopKind::ToolCalls, is_called, "{text} {choice:?}");
    }

    let first = complete(&fake, &calls("use the tool", ToolChoice::Auto)).await.unwrap();
    let id = first.tool_calls().next().unwrap().id.clone();
    let mut second = calls("use the tool", ToolChoice::Auto);
    second.messages.push(Message::tool_results([ToolResult::text(id, "sunny")]));
    assert_eq!(complete(&fake, &second).await.unwrap().text(), "The tool returned: sunny");
}

#[tokio::test]
async fn json_matches_the_schema() {
    let fake = FakeLlm::new();
    let mut request = request("a person");
    let schema = json!({
        "type": "object",
        "properties": { "name": { "type": "string" }, "age": { "type": "integer", "minimum": 18 } },
        "required": ["name", "age"],
        "additionalProperties": false,
    });
    request.output = OutputFormat::JsonSchema { name: "person".to_owned(), schema: schema.clone(), strict: true };
    let answer: Value = serde_json::from_str(&complete(&fake, &request).await.unwrap().text()).unwrap();
    assert_eq!(answer, json!({ "name": "text", "age": 18 }));

    request.output = OutputFormat::JsonObject;
    let answer: Value = serde_json::from_str(&complete(&fake, &request).await.unwrap().text()).unwrap();
    assert_eq!(answer, json!({ "answer": "You said: a person" }));
}

#[tokio::test]
async fn embeddings_have_the_length_that_is_asked_for() {
    let fake = FakeLlm::new();
    let mut request = EmbeddingRequest::new("fake-embedding", ["cats and dogs", "dogs and cats"]);
    let embeddings = fake.embed(&request, &Call::default()).await.unwrap();
    assert_eq!(embeddings.vectors[0].len(), 64);
    assert_eq!(embeddings.vectors[0], embeddings.vectors[1]);
    assert_eq!(embeddings.usage.unwrap().input, 8);
    request.dimensions = Some(1_536);
    assert_eq!(fake.embed(&request, &Call::default()).await.unwrap().vectors[1].len(), 1_536);
    for dimensions in [0, 4_097, u32::MAX] {
        request.dimensions = Some(dimensions);
        let error = fake.embed(&request, &Call::default()).await.unwrap_err();
        assert_eq!((error.kind, error.param.as_deref()), (LlmErrorKind::InvalidRequest, Some("dimensions")));
    }
}

#[tokio::test]
async fn other_models_are_unknown() {
    let fake = FakeLlm::new();
    for model in ["gpt", "fake-embedding", ""] {
        let request = ChatRequest::new(model, [Message::user("hi")]);
        assert_eq!(complete(&fake, &request).await, Err(LlmErrorKind::UnknownModel), "{model}");
    }
    let error = fake.embed(&EmbeddingRequest::new("fake-small", ["a"]), &Call::default()).await.unwrap_err();
    assert_eq!(error.kind, LlmErrorKind::UnknownModel);
    let empty = ChatRequest::new("fake-small", [Message::system("be brief")]);
    assert_eq!(complete(&fake, &empty).await, Err(LlmErrorKind::InvalidRequest));
}

#[tokio::test]
async fn a_script_is_answered_in_order() {
    let overloaded = LlmError::new(LlmErrorKind::Overloaded, "fake", "overloaded");
    let mut exact = ChatResponse::new("id", "other", vec![Part::text("exact")], StopReason::new(StopKind::Stop, None));
    exact.service_tier = Some("flex".to_owned());
    let fake =
        FakeLlm::script().error(overloaded).reply("first").tool_calls([("a", "{}"), ("b", "{")]).answer(exact.clone());
    let request = ChatRequest::new("any-model", [Message::user("hi")]);
    assert_eq!(complete(&fake, &request).await, Err(LlmErrorKind::Overloaded));
    assert_eq!(complete(&fake, &request).await.unwrap().text(), "first");
    let calls = complete(&fake, &request).await.unwrap();
    assert_eq!(calls.tool_calls().map(|call| call.arguments.as_str()).collect::<Vec<_>>(), ["{}", "{"]);
    assert_eq!(complete(&fake, &request).await, Ok(exact));
    // After the script, the models are its own again.
    assert_eq!(complete(&fake, &request).await, Err(LlmErrorKind::UnknownModel));
    assert_eq!((fake.calls(), fake.requests().len()), (5, 5));
}

#[tokio::test]
async fn streams_are_interrupted_where_the_script_says() {
    let overloaded = LlmError::new(LlmErrorKind::Overloaded, "fake", "overloaded");
    let fake = FakeLlm::script()
        .chunks(["a", "b b", "c"])
        .chunks(["a", "b", "c"])
        .interrupt_after(2)
        .reply("deferred")
        .error_after(0, overloaded);
    let pieces = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let request = request("hi");
    assert_eq!(texts(stream(&fake, &request).await).await, (pieces(&["a", "b b", "c"]), None));
    let interrupted = (pieces(&["a", "b"]), Some(LlmErrorKind::Interrupted));
    assert_eq!(texts(stream(&fake, &request).await).await, interrupted);
    let mut deferred = stream(&fake, &request).await;
    assert_eq!(deferred.next().await.unwrap().unwrap_err().kind, LlmErrorKind::Overloaded);
    assert!(deferred.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_script_that_hangs_ends_with_a_time_limit() {
    let fake = FakeLlm::script().hang().reply("a b").hang_after(1).hang();
    let request = request("hi");
    let call = Call::default();
    let first = fake.complete(&request, &call).await.unwrap_err();
    assert_eq!(first.kind, LlmErrorKind::Timeout(TimeoutPhase::FirstByte));
    let stalled = texts(stream(&fake, &request).await).await;
    assert_eq!(stalled, (vec!["a ".to_owned()], Some(LlmErrorKind::Timeout(TimeoutPhase::Idle))));
    let mut short = Call::default();
    short.timeouts.total = Duration::from_secs(1);
    let total = fake.stream(&request, &short).await.err().unwrap();
    assert_eq!(total.kind, LlmErrorKind::Timeout(TimeoutPhase::Total));
}

#[tokio::test]
async fn dropped_streams_are_counted() {
    let fake = FakeLlm::script().named("other").with_account("team").reply("one two three").reply("four");
    assert_eq!((fake.name(), fake.account()), ("other", "team"));
    let mut first = stream(&fake, &request("hi")).await;
    assert!(first.next().await.is_some());
    assert_eq!((fake.open_streams(), fake.abandoned_streams()), (1, 0));
    drop(first);
    assert_eq!((fake.open_streams(), fake.abandoned_streams()), (0, 1));
    texts(stream(&fake, &request("hi")).await).await;
    assert_eq!((fake.open_streams(), fake.abandoned_streams()), (0, 1));
    assert!(!format!("{fake:?}").contains("hi"));
}
