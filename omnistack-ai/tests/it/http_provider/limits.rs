//! Time limits and size limits.

use std::time::Duration;

use omnistack_ai::{Call, CallTimeouts, LlmErrorKind, LlmProvider as _, TimeoutPhase};
use omnistack_testkit::llm::{Gate, Scripted, ScriptedUpstream};

use super::{USAGE, openai, request, stream_error, text_chunk};

/// The limit that passes. The others never do.
const SHORT: Duration = Duration::from_millis(100);
const LONG: Duration = Duration::from_secs(600);

fn call(first_byte: Duration, idle: Duration, total: Duration) -> Call {
    let mut call = Call::default();
    call.timeouts = CallTimeouts { first_byte, idle, total };
    call
}

fn text_then_stall() -> Scripted {
    Scripted::event_stream().event(&text_chunk("a")).stall()
}

#[tokio::test]
async fn each_limit_ends_a_stream() {
    let upstream = ScriptedUpstream::start().await;
    let first_byte = call(SHORT, LONG, LONG);
    let idle = call(LONG, SHORT, LONG);
    let total = call(LONG, LONG, SHORT);
    let cases = [
        (Scripted::hang(), &first_byte, "", TimeoutPhase::FirstByte),
        (Scripted::event_stream().stall(), &first_byte, "", TimeoutPhase::FirstByte),
        (Scripted::event_stream().chunk(": ping\n\n").stall(), &first_byte, "", TimeoutPhase::FirstByte),
        (text_then_stall(), &idle, "a", TimeoutPhase::Idle),
        (Scripted::hang(), &total, "", TimeoutPhase::Total),
    ];
    let provider = openai(&upstream);
    for (number, (response, call, text, phase)) in cases.into_iter().enumerate() {
        upstream.respond(response);
        let outcome = stream_error(&provider, call).await;
        assert_eq!(outcome, (text.to_owned(), LlmErrorKind::Timeout(phase)), "{number}");
        // The connection is closed, so the provider stops.
        upstream.wait_for_abandoned(number + 1).await;
    }
}

#[tokio::test]
async fn each_limit_ends_a_whole_answer() {
    let upstream = ScriptedUpstream::start().await;
    let half = Scripted::openai_chat("a", USAGE).cut_after(20).stall();
    let cases = [
        (Scripted::hang(), call(SHORT, LONG, LONG), TimeoutPhase::FirstByte),
        (half.clone(), call(LONG, SHORT, LONG), TimeoutPhase::Idle),
        (Scripted::hang(), call(LONG, LONG, SHORT), TimeoutPhase::Total),
        (half, call(LONG, LONG, SHORT), TimeoutPhase::Total),
    ];
    let provider = openai(&upstream);
    for (number, (response, call, phase)) in cases.into_iter().enumerate() {
        upstream.respond(response);
        let error = provider.complete(&request(), &call).await.unwrap_err();
        assert_eq!(error.kind, LlmErrorKind::Timeout(phase), "{number}");
        upstream.wait_for_abandoned(number + 1).await;
    }
}

#[tokio::test]
async fn a_failure_is_known_by_its_status_if_its_body_stalls() {
    let upstream = ScriptedUpstream::start().await;
    let provider = openai(&upstream);
    for response in [
        Scripted::status(503).header("content-length", "50").chunk("{").stall(),
        Scripted::status(503).chunk("{\"err").close(),
        Scripted::status(503).body("x".repeat(1 << 20)),
        Scripted::json(503, ""),
    ] {
        upstream.respond(response);
        let error = provider.complete(&request(), &call(LONG, SHORT, LONG)).await.unwrap_err();
        assert_eq!((error.kind, error.status), (LlmErrorKind::Overloaded, Some(503)), "{error}");
        assert!(error.message.len() <= 2_000);
    }
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_refused() {
    let upstream = ScriptedUpstream::start().await;
    upstream.respond(Scripted::openai_chat(&"x".repeat(33 << 20), USAGE));
    let provider = openai(&upstream);
    let error = provider.complete(&request(), &Call::default()).await.unwrap_err();
    assert_eq!(error.kind, LlmErrorKind::Protocol);

    let event = format!("data: {}\n\n", "x".repeat(2 << 20));
    upstream.respond(Scripted::event_stream().chunk(event).stall());
    assert_eq!(stream_error(&provider, &Call::default()).await.1, LlmErrorKind::Protocol);
}

#[tokio::test]
async fn a_drip_of_bytes_ends_with_the_total_limit() {
    let upstream = ScriptedUpstream::start().await;
    let gate = Gate::new();
    let drip = format!("data: {}", text_chunk("a"));
    upstream.respond(Scripted::event_stream().event(&text_chunk("a")).drip(drip, 1, &gate).stall());
    let total = call(LONG, LONG, SHORT);
    let provider = openai(&upstream);
    gate.pass(10);
    let (_, kind) = stream_error(&provider, &total).await;
    assert_eq!(kind, LlmErrorKind::Timeout(TimeoutPhase::Total));
    upstream.wait_for_abandoned(1).await;
}
