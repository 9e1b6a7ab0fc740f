//! Tests of retries.

use std::time::Duration;

use omnistack_core::resilience::{Classification, Retry, RetrySafety};
use tokio::time::Instant;

use super::{BUSY, CallResult, DECLINED, LOST, Peer, err, label, ok, seconds};

#[tokio::test(start_paused = true)]
async fn what_may_have_happened_is_repeated_only_when_the_caller_says_so() {
    use RetrySafety::{Idempotent, Never};
    let (busy, declined, lost) = (|| err("busy", BUSY), || err("declined", DECLINED), || err("lost", LOST));
    let cases: Vec<(&str, Vec<CallResult>, RetrySafety, usize, &str)> = vec![
        ("a success is final", vec![ok("done")], Idempotent, 1, "done"),
        ("a failure that may pass", vec![busy(), ok("done")], Never, 2, "done"),
        ("a failure for good", vec![declined(), ok("done")], Idempotent, 1, "declined"),
        ("attempts are counted", vec![busy()], Never, 3, "busy"),
        ("it may have happened", vec![lost(), ok("twice")], Never, 1, "lost"),
        ("also after a failure", vec![busy(), lost(), ok("twice")], Never, 2, "lost"),
        ("twice is once", vec![lost(), ok("done")], Idempotent, 2, "done"),
        ("it would not help", vec![err("garbled", Classification::unknown()), ok("done")], Idempotent, 1, "garbled"),
        ("what may have happened has not failed", vec![lost(), busy()], Idempotent, 3, "lost"),
        ("not even for good", vec![lost(), declined()], Idempotent, 2, "lost"),
        ("nor before", vec![busy(), lost(), declined()], Idempotent, 3, "lost"),
        ("unless the peer knows", vec![lost(), err("no", DECLINED.settled())], Idempotent, 2, "no"),
        ("the last of two unknown", vec![lost(), err("cut", LOST)], Idempotent, 3, "cut"),
    ];
    for (name, answers, safety, calls, expected) in cases {
        let peer = Peer::new(answers);
        let said = Retry::new(2, seconds(60)).run(safety, || peer.call()).await;
        assert_eq!((label(&said), peer.calls()), (expected, calls), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn delays_double_up_to_a_limit_with_a_random_part() {
    let waits = async || {
        let peer = Peer::new([err("busy", BUSY)]);
        Retry::new(9, seconds(600)).run(RetrySafety::Never, || peer.call()).await.unwrap_err();
        peer.waits()
    };
    let all = waits().await;
    assert_eq!(all.len(), 9);
    for (wait, shortest) in all.iter().zip([100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]) {
        let shortest = Duration::from_millis(shortest);
        // A timer fires up to a millisecond late.
        assert!((shortest..=shortest * 2 + Duration::from_millis(1)).contains(wait), "{wait:?}, not {shortest:?}");
    }
    assert_ne!(waits().await, all, "clients that fail at the same time don't retry at the same time");
}

#[tokio::test(start_paused = true)]
async fn it_waits_as_long_as_the_peer_asks_and_not_past_the_limit() {
    let retry = Retry::new(2, seconds(10));
    let told = |wait| err("busy", BUSY.retry_after(seconds(wait)));
    let peer = Peer::new([told(7), ok("done")]);
    assert_eq!(label(&retry.run(RetrySafety::Never, || peer.call()).await), "done");
    assert!(peer.waits()[0] > seconds(7), "what the peer asks, and the backoff: {:?}", peer.waits());

    let began = Instant::now();
    let peer = Peer::new([told(60), ok("done")]);
    assert_eq!(label(&retry.run(RetrySafety::Never, || peer.call()).await), "busy");
    assert_eq!((peer.calls(), began.elapsed()), (1, seconds(0)), "it does not wait past the limit");

    // An attempt that has taken the whole time is not repeated.
    let peer = Peer::new([err("lost", LOST)]);
    let slow = || async {
        tokio::time::sleep(seconds(10)).await;
        peer.call().await
    };
    assert_eq!(label(&retry.run(RetrySafety::Idempotent, slow).await), "lost");
    assert_eq!(peer.calls(), 1);
}
