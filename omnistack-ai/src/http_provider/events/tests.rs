use std::time::Duration;

use tokio::{
    sync::mpsc,
    time::{advance, sleep},
};

use super::*;
use crate::chat::{CallTimeouts, StopKind, StopReason};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// A decoder of events such as `t:text`, `end` and `overloaded`.
struct TextDecoder;

impl StreamDecoder for TextDecoder {
    fn push(&mut self, event: &SseEvent) -> Result<Vec<ChatEvent>, LlmError> {
        match event.data.as_str() {
            "end" => Ok(vec![ChatEvent::End(StopReason::new(StopKind::Stop, None))]),
            "ping" => Ok(Vec::new()),
            "overloaded" => Err(LlmError::new(LlmErrorKind::Overloaded, "p", "overloaded")),
            data => match data.strip_prefix("t:") {
                Some(text) => Ok(vec![ChatEvent::Text { index: 0, delta: text.to_owned() }]),
                None => Err(LlmError::new(LlmErrorKind::Protocol, "p", "unknown")),
            },
        }
    }

    fn end_of_body(&mut self) -> Result<Vec<ChatEvent>, LlmError> {
        Err(LlmError::new(LlmErrorKind::Interrupted, "p", "ended"))
    }
}

type Sender = mpsc::Sender<Result<Bytes, LlmError>>;

/// Returns a reader with the limits of 60 s, 30 s and 10 minutes, and the sender of its body.
fn reader() -> (Sender, EventReader) {
    let timeouts = CallTimeouts { first_byte: MINUTE, idle: 30 * SECOND, total: 10 * MINUTE };
    let (sender, receiver) = mpsc::channel(64);
    let body = stream::unfold(receiver, |mut receiver| async move {
        let bytes = receiver.recv().await?;
        Some((bytes, receiver))
    });
    let decoder = Box::new(TextDecoder);
    (sender, EventReader::new("p".into(), CallDeadlines::start(&timeouts), body.boxed(), decoder))
}

async fn send(sender: &Sender, text: &str) {
    sender.send(Ok(Bytes::copy_from_slice(text.as_bytes()))).await.unwrap();
}

fn text(delta: &str) -> ChatEvent {
    ChatEvent::Text { index: 0, delta: delta.to_owned() }
}

fn end() -> ChatEvent {
    ChatEvent::End(StopReason::new(StopKind::Stop, None))
}

/// Waits for the next item while time, which is paused, passes and bytes arrive after it.
async fn next_after(
    events: &mut ChatStream,
    time: Duration,
    sender: &Sender,
    bytes: &str,
) -> Option<Result<ChatEvent, LlmErrorKind>> {
    let arrival = async {
        sleep(time).await;
        // A stream that has ended takes no more bytes.
        let _ = sender.send(Ok(Bytes::copy_from_slice(bytes.as_bytes()))).await;
    };
    let (event, ()) = tokio::join!(events.next(), arrival);
    event.map(|event| event.map_err(|error| error.kind))
}

async fn rest(events: ChatStream) -> Vec<Result<ChatEvent, LlmErrorKind>> {
    events.map(|event| event.map_err(|error| error.kind)).collect().await
}

#[tokio::test(start_paused = true)]
async fn the_idle_limit_starts_anew_with_each_part() {
    let (sender, reader) = reader();
    let mut events = reader.into_stream();
    for _ in 0..10 {
        let event = next_after(&mut events, 29 * SECOND, &sender, "data: t:a\n\n").await;
        assert_eq!(event, Some(Ok(text("a"))));
    }
    let event = next_after(&mut events, 31 * SECOND, &sender, "data: t:b\n\n").await;
    assert_eq!(event, Some(Err(LlmErrorKind::Timeout(TimeoutPhase::Idle))));
    assert!(sender.is_closed());
    assert!(events.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn comments_are_not_the_first_part() {
    let (sender, reader) = reader();
    send(&sender, ": processing\n\n").await;
    let mut events = reader.into_stream();
    let event = next_after(&mut events, 61 * SECOND, &sender, "data: t:a\n\n").await;
    assert_eq!(event, Some(Err(LlmErrorKind::Timeout(TimeoutPhase::FirstByte))));
}

#[tokio::test(start_paused = true)]
async fn a_slow_drip_ends_with_the_total_limit() {
    let (sender, reader) = reader();
    send(&sender, "data: t:a\n\ndata: t:").await;
    let mut events = reader.into_stream();
    assert_eq!(events.next().await.unwrap().unwrap(), text("a"));
    let drip = async {
        for _ in 0..40 {
            advance(20 * SECOND).await;
            let _ = sender.send(Ok(Bytes::from_static(b"x"))).await;
        }
    };
    let (event, ()) = tokio::join!(events.next(), drip);
    assert_eq!(event.unwrap().unwrap_err().kind, LlmErrorKind::Timeout(TimeoutPhase::Total));
    assert!(sender.is_closed());
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_slow_reader_is_not_idle_but_is_part_of_the_total() {
    let (sender, reader) = reader();
    send(&sender, "data: t:a\n\n").await;
    let mut events = reader.into_stream();
    assert_eq!(events.next().await.unwrap().unwrap(), text("a"));
    advance(5 * MINUTE).await;
    send(&sender, "data: t:b\n\n").await;
    assert_eq!(events.next().await.unwrap().unwrap(), text("b"));
    advance(5 * MINUTE).await;
    send(&sender, "data: t:c\n\n").await;
    let kind = events.next().await.unwrap().unwrap_err().kind;
    assert_eq!(kind, LlmErrorKind::Timeout(TimeoutPhase::Total));
}

#[tokio::test]
async fn what_arrived_before_an_error_comes_before_it() {
    let (sender, reader) = reader();
    send(&sender, "data: t:a\n\ndata: t:b\n\ndata: overloaded\n\ndata: t:c\n\ndata: end\n\n").await;
    let events = rest(reader.into_stream()).await;
    assert_eq!(events, [Ok(text("a")), Ok(text("b")), Err(LlmErrorKind::Overloaded)]);
    assert!(sender.is_closed());

    let (sender, reader) = self::reader();
    send(&sender, "data: t:a\n\n").await;
    sender.send(Err(LlmError::new(LlmErrorKind::Interrupted, "p", "reset"))).await.unwrap();
    assert_eq!(rest(reader.into_stream()).await, [Ok(text("a")), Err(LlmErrorKind::Interrupted)]);
}

#[tokio::test]
async fn a_cut_answer_is_never_complete() {
    let whole = "data: t:a\n\ndata: ping\n\ndata: end\n\n";
    for cut in 0..whole.len() - 2 {
        let (sender, reader) = reader();
        send(&sender, &whole[..cut]).await;
        drop(sender);
        let events = rest(reader.into_stream()).await;
        assert_eq!(events.last(), Some(&Err(LlmErrorKind::Interrupted)), "{cut}");
    }
}

#[tokio::test]
async fn nothing_follows_the_end() {
    let (sender, reader) = reader();
    send(&sender, "data: t:a\n\ndata: end\n\ndata: overloaded\n\n").await;
    assert_eq!(rest(reader.into_stream()).await, [Ok(text("a")), Ok(end())]);
}

#[tokio::test]
async fn remarks_follow_the_first_event() {
    let (sender, reader) = reader();
    send(&sender, "data: t:a\n\ndata: end\n\n").await;
    let events = rest(reader.warnings(vec!["no seed".to_owned()]).into_stream()).await;
    assert_eq!(events, [Ok(text("a")), Ok(ChatEvent::Warning("no seed".to_owned())), Ok(end())]);
}

#[tokio::test]
async fn an_error_has_the_id_of_the_request() {
    let (sender, reader) = reader();
    send(&sender, "data: overloaded\n\n").await;
    let mut events = reader.request_id(Some("req_1".to_owned())).into_stream();
    assert_eq!(events.next().await.unwrap().unwrap_err().request_id.as_deref(), Some("req_1"));
}

#[tokio::test]
async fn an_answer_without_end_is_refused() {
    let (_sender, mut reader) = reader();
    reader.take(vec![text(&"x".repeat(MAX_CONTENT_BYTES)), text("x")]);
    assert_eq!(reader.failure.map(|error| error.kind), Some(LlmErrorKind::Protocol));
}

#[tokio::test]
async fn dropping_the_stream_drops_the_body() {
    let (sender, reader) = reader();
    send(&sender, "data: t:a\n\n").await;
    let mut events = reader.into_stream();
    assert!(events.next().await.is_some());
    drop(events);
    assert!(sender.is_closed());
}
