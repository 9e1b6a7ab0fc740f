//! Tests of the bulkhead.

use std::{future::pending, sync::Arc};

use futures_util::poll;
use omnistack_core::resilience::{Bulkhead, Classify as _, Error, Outcome};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};
use tower::{Service as _, ServiceBuilder, ServiceExt as _, service_fn};

use super::{CallError, CallResult, Peer, label, ok, outcome, seconds};

fn forever(bulkhead: &Bulkhead) -> std::pin::Pin<Box<dyn Future<Output = CallResult> + Send>> {
    let bulkhead = bulkhead.clone();
    Box::pin(async move { bulkhead.run(pending::<CallResult>()).await })
}

#[tokio::test(start_paused = true)]
async fn so_many_run_so_many_wait_and_the_rest_is_refused() {
    let bulkhead = Bulkhead::new("exports", 2).queue(1, seconds(5));
    let (mut first, mut second, mut third) = (forever(&bulkhead), forever(&bulkhead), forever(&bulkhead));
    assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending() && poll!(&mut third).is_pending());
    assert_eq!((bulkhead.running(), bulkhead.waiting()), (2, 1));

    let began = Instant::now();
    let refused: CallResult = bulkhead.run(async { panic!("it is not polled") }).await;
    assert_eq!(refused, Err(CallError::Policy(Error::QueueFull { name: "exports".into(), waiting: 1 })));
    assert_eq!((outcome(&refused), began.elapsed()), (Outcome::Failed, seconds(0)));
    assert!(refused.unwrap_err().class().is_transient());

    let refused = third.await;
    assert_eq!(refused, Err(CallError::Policy(Error::PermitTimeout { name: "exports".into(), waited: seconds(5) })));
    assert_eq!((outcome(&refused), began.elapsed().as_secs()), (Outcome::Failed, 5));
    assert_eq!((bulkhead.running(), bulkhead.waiting()), (2, 0));

    // A dropped call releases its permit.
    drop(first);
    assert_eq!(label(&bulkhead.run(async { ok("done") }).await), "done");
    assert_eq!(bulkhead.running(), 1);
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_come_in_order_and_those_who_leave_make_room() {
    let bulkhead = Bulkhead::new("exports", 1).queue(2, seconds(60));
    let held = bulkhead.acquire().await.unwrap();
    let (mut leaves, mut stays) = (Box::pin(bulkhead.acquire()), Box::pin(bulkhead.acquire()));
    assert!(poll!(&mut leaves).is_pending() && poll!(&mut stays).is_pending());
    assert!(matches!(bulkhead.acquire().await, Err(Error::QueueFull { .. })));

    drop(leaves);
    let mut late = Box::pin(bulkhead.acquire());
    assert!(poll!(&mut late).is_pending(), "it took the room of the one that left");
    drop(held);
    let next = timeout(seconds(1), &mut stays).await.unwrap().unwrap();
    assert!(poll!(&mut late).is_pending());
    drop(next);
    drop(late.await.unwrap());
    assert_eq!((bulkhead.running(), bulkhead.waiting()), (0, 0));
}

#[tokio::test]
async fn as_a_layer_never_more_run_than_there_are_places() {
    let bulkhead = Bulkhead::new("exports", 3).queue(1_000, seconds(60));
    let places = Arc::new(Semaphore::new(3));
    let service = ServiceBuilder::new().layer(bulkhead.clone()).service(service_fn(move |()| {
        let place = Arc::clone(&places).try_acquire_owned().expect("more run than may");
        async move {
            tokio::task::yield_now().await;
            drop(place);
            ok("done")
        }
    }));
    let calls = (0..200).map(|_| tokio::spawn(service.clone().oneshot(())));
    for said in futures_util::future::join_all(calls).await {
        assert_eq!(label(&said.unwrap()), "done");
    }
    assert_eq!((bulkhead.running(), bulkhead.waiting()), (0, 0));
}

#[tokio::test]
async fn as_a_layer_it_calls_the_service_that_was_ready() {
    let bulkhead = Bulkhead::new("exports", 1).queue(1, seconds(60));
    let peer = Peer::new([ok("done")]);
    let mut service = ServiceBuilder::new().layer(bulkhead.clone()).service(peer.service());
    let place = bulkhead.acquire().await.unwrap();
    let mut waiting = Box::pin(service.ready().await.unwrap().call(()));
    assert!(poll!(&mut waiting).is_pending());
    assert_eq!(peer.calls(), 0);
    drop(place);
    assert_eq!((label(&waiting.await), peer.calls(), bulkhead.running()), ("done", 1, 0));
}

#[tokio::test]
async fn as_a_layer_it_refuses_too() {
    let mut service = ServiceBuilder::new()
        .layer(Bulkhead::new("exports", 0))
        .service(service_fn(|()| async { pending::<CallResult>().await }));
    // `call` acquires the permit, and there is always at least one.
    let running = service.ready().await.unwrap().call(());
    assert_eq!(label(&service.ready().await.unwrap().call(()).await), "full");
    drop(running);
    let mut next = Box::pin(service.ready().await.unwrap().call(()));
    assert!(poll!(&mut next).is_pending());
}
