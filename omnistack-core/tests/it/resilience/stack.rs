//! Tests of combined policies.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use omnistack_core::{
    clock::{Clock, MockClock},
    resilience::{
        Breaker, BreakerSettings, BreakerState, Bulkhead, Classify as _, Fallback, Jitter, Outcome, Retry, Timeout,
    },
};
use tokio::time::Instant;
use tower::{BoxError, ServiceBuilder, ServiceExt as _, service_fn};

use super::{BUSY, CallResult, LOST, Peer, err, label, ok, outcome, seconds};

fn retry() -> Retry {
    Retry::new(3, seconds(100)).delays(seconds(1), seconds(5)).jitter(Jitter::none())
}

#[tokio::test(start_paused = true)]
async fn a_retry_waits_until_the_breaker_lets_it_through() {
    // The breaker's clock advances with tokio's.
    let mock = MockClock::at("2030-01-01T00:00:00Z".parse().unwrap());
    let settings = BreakerSettings { minimum_calls: 1, open_for: seconds(30), ..BreakerSettings::default() };
    let breaker = Breaker::new("peer", settings, mock.clock());
    let peer = Peer::new([err("busy", BUSY), ok("done")]);
    let moves = tokio::spawn(async move {
        loop {
            tokio::time::sleep(seconds(1)).await;
            mock.advance(seconds(1));
        }
    });
    let began = Instant::now();
    let said = retry().run(|| breaker.run(peer.call())).await;
    moves.abort();
    // The first attempt fails as busy. After 1 second the breaker rejects the second, for some 29 more seconds. Then
    // 2 seconds of backoff follow.
    assert_eq!((label(&said), peer.calls()), ("done", 2));
    assert!((31..=33).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_may_have_happened_is_not_forgotten_behind_an_open_breaker() {
    let settings = BreakerSettings { minimum_calls: 1, open_for: seconds(3_600), ..BreakerSettings::default() };
    let breaker = Breaker::new("payments", settings, Clock::system());
    let (first, second) = (Peer::new([err("lost", LOST)]), Peer::new([ok("charged twice")]));
    let said = Fallback::new().run(retry().idempotent().run(|| breaker.run(first.call())), || second.call()).await;
    // The breaker rejected the second attempt, so it was not sent. The first one was.
    assert_eq!((label(&said), outcome(&said)), ("lost", Outcome::Unknown));
    assert_eq!((first.calls(), second.calls()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_call_goes_through_every_policy_with_a_boxed_error() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let peer = service_fn(move |hangs: u32| {
        let call = counted.fetch_add(1, Ordering::SeqCst);
        async move {
            if call < hangs as usize {
                std::future::pending::<()>().await;
            }
            Ok::<_, BoxError>("done")
        }
    });
    let spare = service_fn(|_| async { Ok::<_, BoxError>("by the other") });
    let service = ServiceBuilder::new()
        .layer(Fallback::new().read_only().to(spare))
        .layer(retry().read_only())
        .layer(Breaker::new("peer", BreakerSettings::default(), Clock::system()))
        .layer(Bulkhead::new("peer", 2))
        .layer(Timeout::new(seconds(2)))
        .service(peer);
    assert_eq!(tokio::spawn(service.clone().oneshot(2)).await.unwrap().unwrap(), "done");
    assert_eq!(calls.swap(0, Ordering::SeqCst), 3);
    assert_eq!(service.clone().oneshot(3).await.unwrap(), "by the other");
    assert_eq!(calls.swap(0, Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn a_full_bulkhead_does_not_open_the_breaker() {
    let settings = BreakerSettings { minimum_calls: 1, ..BreakerSettings::default() };
    let breaker = Breaker::new("peer", settings, Clock::system());
    let bulkhead = Bulkhead::new("peer", 1).queue(1, seconds(1));
    let held = bulkhead.acquire().await.unwrap();
    let refused: CallResult = breaker.run(bulkhead.run(async { ok("done") })).await;
    assert_eq!(label(&refused), "no place");
    assert!(refused.unwrap_err().class().is_rejected_locally());
    assert_eq!(breaker.state(), BreakerState::Closed);
    drop(held);
}
