//! Tests of streams.

#![cfg(test)]

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use omnistack_ai::{CallTimeouts, ChatEvent, GatewayEvent, LlmErrorKind as K, StopKind, StopReason, TimeoutPhase};
use tokio::sync::Notify;

use super::{
    ask, gateway, ledger, options, read, start_plain, tenant,
    test_llm::{Piece, Step, TestLlm, counted, end, error, fail, reply, started, text, usage},
    upstream_error,
};

fn good(words: &[&str]) -> Step {
    let pieces = [started()].into_iter().chain(words.iter().map(|word| text(word)));
    Step::Stream(pieces.chain([counted(10, 5), end()]).collect())
}

#[tokio::test]
async fn a_failure_before_the_first_token_is_not_seen_by_the_caller() {
    for broken in [
        fail(K::RateLimited),
        Step::Stream(vec![Piece::Fail(error(K::Overloaded))]),
        Step::Stream(vec![started(), Piece::Fail(error(K::Failed))]),
        Step::Stream(vec![started(), counted(10, 1), text(""), Piece::Fail(error(K::Interrupted))]),
        Step::Stream(vec![started()]),
        Step::Stream(vec![]),
    ] {
        let (first, second) = (TestLlm::new("fake", [broken.clone()]), TestLlm::new("second", [good(&["a", "b"])]));
        let app = start_plain(&first, &second).await;
        let seen = read(gateway(&app).stream(tenant(), ask("hello"), options()).await.unwrap()).await;
        assert_eq!((seen.text().as_str(), seen.error.is_some()), ("ab", false), "{broken:?}");
        let starts = seen.events.iter().filter(|event| matches!(event, ChatEvent::Start { .. })).count();
        assert_eq!(starts, 1, "{broken:?}");
        assert!(matches!(seen.events.last(), Some(ChatEvent::End(_))));
        assert_eq!((seen.call.provider.as_str(), seen.call.attempts.len()), ("second", 2), "{broken:?}");
        assert_eq!(seen.call.usage, usage(10, 5));
        assert_eq!(ledger(&app).await, ["succeeded"]);
    }
}

#[tokio::test]
async fn after_the_first_token_no_other_provider_is_asked() {
    for (rest, kind) in [
        (vec![Piece::Fail(error(K::Failed))], K::Failed),
        // The end of the body without the end of the answer.
        (vec![], K::Interrupted),
    ] {
        let pieces = [started(), counted(10, 1), text("one "), text("two "), text("three")].into_iter().chain(rest);
        let first = TestLlm::new("fake", [Step::Stream(pieces.collect())]);
        let second = TestLlm::new("second", []);
        let app = start_plain(&first, &second).await;
        let seen = read(gateway(&app).stream(tenant(), ask("hello"), options()).await.unwrap()).await;
        assert_eq!(seen.text(), "one two three");
        assert_eq!(seen.error.map(|error| error.kind), Some(kind));
        assert!(!seen.events.iter().any(|event| matches!(event, ChatEvent::End(_))));
        assert!(second.requests().is_empty());
        // 13 bytes are at least 4 tokens, although the provider had counted 1.
        assert_eq!((seen.call.usage, seen.call.usage_is_estimated), (usage(10, 4), true));
        assert!(seen.call.cost.is_some());
        assert_eq!(ledger(&app).await, ["interrupted"]);
    }
}

#[tokio::test]
async fn tokens_are_estimated_if_the_provider_does_not_count_them() {
    let pieces = vec![started(), text("12345678"), end()];
    let (first, second) = (TestLlm::new("fake", [Step::Stream(pieces)]), TestLlm::new("second", []));
    let app = start_plain(&first, &second).await;
    let seen = read(gateway(&app).stream(tenant(), ask("12345678"), options()).await.unwrap()).await;
    assert!(seen.call.usage_is_estimated);
    assert_eq!(seen.call.usage.output, 2);
    assert!(seen.call.cost.is_some());
}

#[tokio::test]
async fn the_stop_reason_of_a_stream_is_corrected_by_its_content() {
    let call = |event| Piece::Event(event);
    let pieces = vec![
        started(),
        call(ChatEvent::ToolCallStart { index: 0, id: "1".into(), name: "t".into() }),
        call(ChatEvent::ToolCallArguments { index: 0, delta: "{}".into() }),
        counted(10, 5),
        Piece::Event(ChatEvent::End(StopReason::new(StopKind::Stop, "STOP".to_owned()))),
    ];
    let (first, second) = (TestLlm::new("fake", [Step::Stream(pieces)]), TestLlm::new("second", []));
    let app = start_plain(&first, &second).await;
    let seen = read(gateway(&app).stream(tenant(), ask("hello"), options()).await.unwrap()).await;
    let expected = StopReason::new(StopKind::ToolCalls, "STOP".to_owned());
    assert_eq!(seen.events.last(), Some(&ChatEvent::End(expected)));
}

/// A slow drip never lasts longer than the whole call may.
#[tokio::test]
async fn a_stream_ends_at_the_time_limit_of_the_call() {
    let go = Arc::new(Notify::new());
    let pieces = vec![started(), text("a"), Piece::Wait(go.clone()), text("b"), text("c")];
    let (first, second) = (TestLlm::new("fake", [Step::Stream(pieces)]), TestLlm::new("second", []));
    let app = start_plain(&first, &second).await;
    let timeouts = CallTimeouts { total: Duration::from_secs(60), ..CallTimeouts::default() };
    let mut stream = gateway(&app).stream(tenant(), ask("hello"), options().timeouts(timeouts)).await.unwrap();
    for _ in 0..2 {
        stream.events.next().await.unwrap().unwrap();
    }
    app.clock().advance(Duration::from_secs(60));
    go.notify_one();
    let seen = read(stream).await;
    assert_eq!(seen.error.map(|error| error.kind), Some(K::Timeout(TimeoutPhase::Total)));
    assert_eq!(first.ended_streams(), 1, "the provider is told");
    assert_eq!(ledger(&app).await, ["interrupted"]);
}

#[tokio::test]
async fn a_provider_that_hangs_is_left_at_the_time_limit_of_the_call() {
    let never = Arc::new(Notify::new());
    let hangs = Step::Stream(vec![started(), Piece::Wait(never)]);
    let (first, second) = (TestLlm::new("fake", [hangs]), TestLlm::new("second", []));
    let app = start_plain(&first, &second).await;
    let timeouts = CallTimeouts { total: Duration::from_millis(20), ..CallTimeouts::default() };
    let failed = gateway(&app).stream(tenant(), ask("hello"), options().timeouts(timeouts)).await.unwrap_err();
    assert_eq!(upstream_error(failed).kind, K::Timeout(TimeoutPhase::Total));
    assert_eq!((first.ended_streams(), second.requests().len()), (1, 0));
    assert_eq!(ledger(&app).await, ["failed"]);
}

#[tokio::test]
async fn dropping_a_stream_tells_the_provider() {
    let never = Arc::new(Notify::new());
    let pieces = vec![started(), text("a"), Piece::Wait(never)];
    let (first, second) = (TestLlm::new("fake", [Step::Stream(pieces)]), TestLlm::new("second", [reply("unused")]));
    let app = start_plain(&first, &second).await;
    let mut stream = gateway(&app).stream(tenant(), ask("hello"), options()).await.unwrap();
    assert!(matches!(stream.events.next().await, Some(Ok(GatewayEvent::Answer(_)))));
    drop(stream);
    assert_eq!((first.ended_streams(), second.requests().len()), (1, 0));
}
