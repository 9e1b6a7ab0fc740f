//! Answers that arrive in pieces.

use omnistack_ai::{Call, LlmErrorKind, LlmProvider as _, StopKind};
use omnistack_testkit::llm::{Gate, Scripted, ScriptedUpstream};

use super::{USAGE, assemble, each_format, first_text, openai, request, stream, text_chunk};

#[tokio::test]
async fn chunks_of_any_size_are_the_same_answer() {
    let upstream = ScriptedUpstream::start().await;
    let texts = ["Hello ", "你好", "🌍", "!"];
    for (provider, response) in each_format(&upstream, &texts) {
        for sizes in [&[1][..], &[2, 3, 5], &[7], &[64], &[usize::MAX]] {
            upstream.respond(response.clone().rechunk(sizes));
            let (answer, error) = assemble(stream(&provider).await).await;
            assert!(error.is_none(), "{sizes:?} {error:?} {provider:?}");
            assert_eq!((answer.text(), answer.stop.unified), (texts.concat(), StopKind::Stop), "{sizes:?}");
            assert_eq!(answer.usage.map(|usage| (usage.input, usage.output)), Some((10, 3)), "{sizes:?}");
            assert_eq!(answer.model, "scripted-model");
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_cut_is_interrupted() {
    let upstream = ScriptedUpstream::start().await;
    for (provider, response) in each_format(&upstream, &["one ", "two"]) {
        // The last two bytes are the blank line after the event that ends the answer.
        let length = response.to_bytes().len() - 2;
        for cut in (0..length).step_by(17).chain([length - 1]) {
            for cut in [response.clone().cut_after(cut), response.clone().cut_after(cut).close()] {
                upstream.respond(cut);
                let (answer, error) = assemble(stream(&provider).await).await;
                let kind = error.map(|error| error.kind);
                assert_eq!((answer.stop.unified, kind), (StopKind::Interrupted, Some(LlmErrorKind::Interrupted)));
            }
        }
    }
}

#[tokio::test]
async fn an_error_in_a_stream_is_an_error() {
    let upstream = ScriptedUpstream::start().await;
    let provider = openai(&upstream);
    let error = r#"{"error":{"message":"The server is overloaded","type":"server_error","code":null}}"#;
    upstream.respond(Scripted::event_stream().event(error));
    let (answer, failure) = assemble(stream(&provider).await).await;
    assert_eq!((answer.text(), failure.is_some()), (String::new(), true));

    upstream.respond(Scripted::event_stream().event(&text_chunk("Hel")).event(error).event("[DONE]"));
    let (answer, failure) = assemble(stream(&provider).await).await;
    assert_eq!((answer.text().as_str(), answer.stop.unified), ("Hel", StopKind::Interrupted));
    assert!(failure.is_some());
}

#[tokio::test]
async fn an_overloaded_provider_says_so_in_the_first_event() {
    let upstream = ScriptedUpstream::start().await;
    let (provider, _) = each_format(&upstream, &[]).swap_remove(2);
    let response = Scripted::event_stream().header("request-id", "req_9");
    upstream.respond(response.anthropic_error_event("overloaded_error", "Overloaded"));
    let (answer, failure) = assemble(stream(&provider).await).await;
    let failure = failure.unwrap();
    assert_eq!((failure.kind, answer.parts.len()), (LlmErrorKind::Overloaded, 0));
    assert!(failure.allows_fallback() && failure.request_id.is_some());
}

#[tokio::test]
async fn a_server_without_streams_answers_as_a_whole() {
    let upstream = ScriptedUpstream::start().await;
    upstream
        .respond(Scripted::openai_chat("Hello world", USAGE))
        .respond(Scripted::json(200, r#"{"error":{"message":"slow down","code":429}}"#));
    let provider = openai(&upstream);
    let (answer, error) = assemble(stream(&provider).await).await;
    assert_eq!((answer.text().as_str(), answer.stop.unified, error.is_none()), ("Hello world", StopKind::Stop, true));
    let error = provider.stream(&request(), &Call::default()).await.err().unwrap();
    assert_eq!(error.kind, LlmErrorKind::RateLimited);
}

#[tokio::test]
async fn events_arrive_when_they_are_sent() {
    let upstream = ScriptedUpstream::start().await;
    for (provider, response) in each_format(&upstream, &["one", "two"]) {
        let bytes = response.to_bytes();
        let text = String::from_utf8(bytes.clone()).unwrap();
        let one = text.find("one").unwrap();
        let end = one + text[one..].find("\n\n").unwrap() + 2;
        let gate = Gate::new();
        upstream.respond(Scripted::event_stream().chunk(&bytes[..end]).gate(&gate).chunk(&bytes[end..]));
        let mut events = stream(&provider).await;
        assert_eq!(first_text(&mut events).await, "one");
        gate.open();
        let (rest, error) = assemble(events).await;
        assert_eq!((rest.text().as_str(), error.is_none()), ("two", true));
    }
}

#[tokio::test]
async fn a_connection_is_used_again_after_a_whole_stream() {
    let upstream = ScriptedUpstream::start().await;
    upstream.respond_always(Scripted::openai_chat_stream(["a"], USAGE).rechunk(&[usize::MAX]));
    let provider = openai(&upstream);
    for finished in 1..=3 {
        assemble(stream(&provider).await).await;
        upstream.wait_for_finished(finished).await;
    }
    let connections: Vec<_> = upstream.requests().iter().map(|request| request.connection).collect();
    assert!(connections[2] < 2, "{connections:?}");
}

#[tokio::test]
async fn dropping_an_answer_ends_the_request() {
    let upstream = ScriptedUpstream::start().await;
    upstream.respond(Scripted::event_stream().event(&text_chunk("a")).stall());
    let provider = openai(&upstream);
    let mut events = stream(&provider).await;
    first_text(&mut events).await;
    drop(events);
    upstream.wait_for_abandoned(1).await;

    upstream.respond(Scripted::hang());
    let call = tokio::spawn(async move { provider.complete(&request(), &Call::default()).await });
    upstream.wait_for_requests(2).await;
    call.abort();
    upstream.wait_for_abandoned(2).await;
}
