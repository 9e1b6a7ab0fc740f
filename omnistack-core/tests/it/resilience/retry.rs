//! Tests of retries.

use std::{
    future::pending,
    sync::atomic::{AtomicU32, Ordering},
};

use omnistack_core::resilience::{Classification, Error, Jitter, Outcome, Retry, RetryBudget, RetrySafety};
use tokio::time::Instant;
use tower::{Service as _, ServiceBuilder, ServiceExt as _};

use super::{BUSY, CallError, CallResult, DECLINED, LOST, Peer, ResilienceLog, err, label, ok, outcome, seconds};

fn retry() -> Retry {
    Retry::new(3, seconds(60)).delays(seconds(1), seconds(5)).jitter(Jitter::none())
}

#[tokio::test(start_paused = true)]
async fn what_may_have_happened_is_repeated_only_when_the_caller_says_so() {
    use RetrySafety::{Idempotent, Never, ReadOnly};
    let (busy, declined, lost) = (|| err("busy", BUSY), || err("declined", DECLINED), || err("lost", LOST));
    let cases: Vec<(&str, Vec<CallResult>, RetrySafety, usize, &str)> = vec![
        ("a success is final", vec![ok("done")], Idempotent, 1, "done"),
        ("a failure that may pass", vec![busy(), ok("done")], Never, 2, "done"),
        ("a failure for good", vec![declined(), ok("done")], Idempotent, 1, "declined"),
        ("attempts are counted", vec![busy()], Never, 3, "busy"),
        ("it may have happened", vec![lost(), ok("twice")], Never, 1, "lost"),
        ("also after a failure", vec![busy(), lost(), ok("twice")], Never, 2, "lost"),
        ("twice is once", vec![lost(), ok("done")], Idempotent, 2, "done"),
        ("nothing is changed", vec![lost(), ok("done")], ReadOnly, 2, "done"),
        ("it would not help", vec![err("garbled", Classification::unknown()), ok("done")], Idempotent, 1, "garbled"),
        ("what may have happened has not failed", vec![lost(), busy()], Idempotent, 3, "lost"),
        ("not even for good", vec![lost(), declined()], Idempotent, 2, "lost"),
        ("nor before", vec![busy(), lost(), declined()], Idempotent, 3, "lost"),
        ("unless the peer knows", vec![lost(), err("no", DECLINED.settled())], Idempotent, 2, "no"),
        ("or nothing can have", vec![lost(), declined()], ReadOnly, 2, "declined"),
        ("the last of two unknown", vec![lost(), err("cut", LOST)], Idempotent, 3, "cut"),
    ];
    for (name, answers, repeat, calls, expected) in cases {
        let peer = Peer::new(answers.clone());
        let said = retry().repeating(repeat).run(|| peer.call()).await;
        assert_eq!((label(&said), peer.calls()), (expected, calls), "{name}");

        // The same with the layer.
        let peer = Peer::new(answers);
        let said = ServiceBuilder::new().layer(retry().repeating(repeat)).service(peer.service()).oneshot(()).await;
        assert_eq!((label(&said), peer.calls()), (expected, calls), "{name}, as a layer");
    }
}

#[tokio::test(start_paused = true)]
async fn a_policy_by_itself_repeats_nothing_unknown() {
    let peer = Peer::new([err("lost", LOST)]);
    assert_eq!(label(&retry().run(|| peer.call()).await), "lost");
    assert_eq!(label(&ServiceBuilder::new().layer(retry()).service(peer.service()).oneshot(()).await), "lost");
    assert_eq!(peer.calls(), 2, "one each");
}

#[tokio::test(start_paused = true)]
async fn each_request_of_a_layer_says_whether_it_may_be_made_twice() {
    let cases = [
        ("GET", None, 3),
        ("HEAD", None, 3),
        ("PUT", None, 3),
        ("DELETE", None, 3),
        ("POST", None, 1),
        ("PATCH", None, 1),
        ("POST", Some("order-7"), 3),
    ];
    for (method, key, calls) in cases {
        let peer = Peer::new([err("lost", LOST)]);
        let layer = retry().by_request(RetrySafety::from_request);
        let mut service = ServiceBuilder::new().layer(layer).service(peer.service());
        let mut request = http::Request::builder().method(method);
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        let said = service.ready().await.unwrap().call(request.body(()).unwrap()).await;
        assert_eq!((label(&said), peer.calls()), ("lost", calls), "{method} {key:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn delays_double_up_to_a_limit_and_a_random_share_is_waited() {
    let waits = async |jitter: Jitter| {
        let peer = Peer::new([err("busy", BUSY)]);
        let retry = Retry::new(6, seconds(600)).delays(seconds(1), seconds(5)).jitter(jitter);
        retry.run(|| peer.call()).await.unwrap_err();
        peer.waits()
    };
    assert_eq!(waits(Jitter::none()).await, [1_000, 2_000, 4_000, 5_000, 5_000]);
    assert_eq!(waits(Jitter::from_fn(|| 0.5)).await, [500, 1_000, 2_000, 2_500, 2_500]);
    assert_eq!(waits(Jitter::from_fn(|| f64::NAN)).await, [1_000, 2_000, 4_000, 5_000, 5_000]);
    assert_eq!(waits(Jitter::from_fn(|| -7.0)).await, [0, 0, 0, 0, 0]);

    let seeded = waits(Jitter::seeded(7)).await;
    assert_eq!(seeded, waits(Jitter::seeded(7)).await, "a seed repeats itself");
    assert_ne!(seeded, waits(Jitter::seeded(8)).await);
    for waits in [seeded, waits(Jitter::full()).await] {
        // A timer fires up to a millisecond late.
        let longest = [1_001, 2_001, 4_001, 5_001, 5_001];
        assert!(waits.iter().zip(longest).all(|(wait, longest)| *wait <= longest), "{waits:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn it_waits_as_long_as_the_peer_asks_and_not_past_the_deadline() {
    let told = |wait| err("busy", BUSY.retry_after(seconds(wait)));
    let peer = Peer::new([told(7), ok("done")]);
    assert_eq!(label(&retry().run(|| peer.call()).await), "done");
    assert_eq!(peer.waits(), [8_000], "what the peer asks, and the backoff");

    let began = Instant::now();
    let peer = Peer::new([told(60), ok("done")]);
    assert_eq!(label(&retry().run(|| peer.call()).await), "busy");
    assert_eq!(began.elapsed(), seconds(0), "it does not wait for a deadline it can't meet");

    // Delays of 1, 2 and 4 seconds fit into the deadline, 5 more do not.
    let peer = Peer::new([err("busy", BUSY)]);
    let retry = Retry::new(100, seconds(10)).delays(seconds(1), seconds(5)).jitter(Jitter::none());
    retry.run(|| peer.call()).await.unwrap_err();
    assert_eq!((peer.calls(), began.elapsed().as_secs()), (4, 7));
}

#[tokio::test(start_paused = true)]
async fn the_deadline_cuts_an_attempt_and_its_outcome_is_unknown() {
    let (lines, _guard) = ResilienceLog::keep();
    let began = Instant::now();
    let said: CallResult = retry().run(pending).await;
    assert!(lines.take()[0].contains(r#"outcome="unknown""#));
    assert_eq!(said, Err(CallError::Policy(Error::Timeout { after: seconds(60) })));
    assert_eq!((outcome(&said), began.elapsed().as_secs()), (Outcome::Unknown, 60));

    // The classifier can't turn a timeout into a retryable failure.
    let calls = AtomicU32::new(0);
    let said: CallResult = retry()
        .classify(|_: Result<&&str, &CallError>| BUSY)
        .run(|| {
            calls.fetch_add(1, Ordering::SeqCst);
            pending()
        })
        .await;
    assert_eq!((label(&said), calls.load(Ordering::SeqCst)), ("timeout", 1));

    // With a deadline of zero, one attempt is polled once.
    let peer = Peer::new([ok("done")]);
    assert_eq!(label(&Retry::new(0, seconds(0)).run(|| peer.call()).await), "done");
}

#[tokio::test(start_paused = true)]
async fn retries_are_a_share_of_calls() {
    let budget = RetryBudget::new(2, 0.5);
    let peer = Peer::new([err("busy", BUSY)]);
    let (one, other) = (retry().budget(budget.clone()), retry().budget(budget.clone()));
    let mut attempts = Vec::new();
    for call in 0..8 {
        let before = peer.calls();
        let retry = if call % 2 == 0 { &one } else { &other };
        retry.run(|| peer.call()).await.unwrap_err();
        attempts.push(peer.calls() - before);
    }
    assert_eq!(attempts, [3, 1, 2, 1, 2, 1, 2, 1], "the two in the bucket, then one for every two calls");

    // An outage during which all calls run at once.
    let budget = RetryBudget::new(10, 0.1);
    let retry = retry().budget(budget.clone());
    let peer = Peer::new([err("busy", BUSY)]);
    let calls = (0..1_000).map(|_| {
        let (retry, peer) = (retry.clone(), peer.clone());
        tokio::spawn(async move { retry.run(|| peer.call()).await })
    });
    futures_util::future::join_all(calls).await;
    // The first call's deposit finds the budget full.
    assert_eq!((peer.calls(), budget.left()), (1_000 + 10 + 99, 0));

    // A call without retries costs no budget.
    let budget = RetryBudget::new(1, 0.0);
    let peer = Peer::new([err("declined", DECLINED)]);
    retry.budget(budget.clone()).run(|| peer.call()).await.unwrap_err();
    assert_eq!(budget.left(), 1);
}

#[tokio::test(start_paused = true)]
async fn answers_can_be_judged_by_a_closure() {
    let peer = Peer::new([ok("pending"), ok("pending"), ok("done")]);
    let unfinished = retry().classify(|said: Result<&&str, &CallError>| match said {
        Ok(&"pending") => BUSY,
        _ => Classification::success(),
    });
    assert_eq!(label(&unfinished.run(|| peer.call()).await), "done");
    assert_eq!(peer.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn each_attempt_is_logged() {
    let (lines, _guard) = ResilienceLog::keep();
    let peer = Peer::new([err("busy", BUSY), ok("done")]);
    retry().run(|| peer.call()).await.unwrap();
    assert_eq!(
        lines.take(),
        [
            r#"DEBUG the attempt ended and is retried attempt=1 outcome="failed" wait_ms=1000"#,
            r#"DEBUG the attempt ended and is not retried attempt=2 outcome="success" reason="it succeeded""#,
        ]
    );
    let reasons: [(&str, Retry, Classification); 5] = [
        ("trying again would not help", retry(), DECLINED),
        ("the outcome is unknown", retry(), LOST),
        ("no attempts are left", Retry::new(1, seconds(1)), BUSY),
        ("the deadline is too near", retry(), BUSY.retry_after(seconds(60))),
        ("the retry budget is spent", retry().budget(RetryBudget::new(0, 0.0)), BUSY),
    ];
    for (reason, retry, class) in reasons {
        retry.run(|| async move { err("no", class) }).await.unwrap_err();
        let lines = lines.take();
        assert!(lines.len() == 1 && lines[0].contains(reason), "{reason}: {lines:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_makes_no_further_attempt() {
    let peer = Peer::new([err("busy", BUSY)]);
    let running = tokio::spawn({
        let peer = peer.clone();
        async move { retry().run(|| peer.call()).await }
    });
    tokio::time::sleep(seconds(2)).await;
    running.abort();
    tokio::time::sleep(seconds(60)).await;
    assert_eq!(peer.calls(), 2);
}
