//! Tests of the circuit breaker.

use std::{
    future::pending,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use omnistack_core::{
    clock::MockClock,
    resilience::{
        Breaker, BreakerSample, BreakerSettings, BreakerState, Bulkhead, Classification, Classify as _, Error, Timeout,
    },
};
use tower::{Service, ServiceBuilder, ServiceExt as _, service_fn};

use super::{BUSY, CallError, CallResult, DECLINED, LOST, ResilienceLog, err, label, ok, seconds};

fn settings() -> BreakerSettings {
    BreakerSettings { minimum_calls: 4, open_for: seconds(30), ..BreakerSettings::default() }
}

fn clock() -> MockClock {
    MockClock::at("2030-01-01T00:00:00Z".parse().unwrap())
}

fn breaker(clock: &MockClock) -> Breaker {
    Breaker::new("peer", settings(), clock.clock())
}

/// Makes calls with this result, and returns the result of the last one.
async fn calls(breaker: &Breaker, times: usize, said: CallResult) -> CallResult {
    let mut last = ok("not called");
    for _ in 0..times {
        last = breaker.run(async { said.clone() }).await;
    }
    last
}

#[tokio::test]
async fn it_opens_refuses_probes_and_closes_and_says_so_once() {
    let (lines, _guard) = ResilienceLog::keep();
    let clock = clock();
    let breaker = breaker(&clock);
    calls(&breaker, 2, ok("done")).await.unwrap();
    calls(&breaker, 2, err("lost", LOST)).await.unwrap_err();
    assert_eq!((breaker.state(), breaker.name()), (BreakerState::Open, "peer"));

    clock.advance(seconds(10));
    let refused = calls(&breaker, 100, ok("done")).await;
    let Err(CallError::Policy(error)) = refused else { panic!("{refused:?}") };
    assert_eq!(error, Error::CircuitOpen { name: "peer".into(), retry_after: Some(seconds(20)) });
    assert!(error.is_retryable());
    assert_eq!(error.class().retry_delay(), Some(seconds(20)), "a retry knows when to come");

    clock.advance(seconds(20));
    assert_eq!(label(&calls(&breaker, 1, err("busy", BUSY)).await), "busy");
    assert_eq!(label(&calls(&breaker, 1, ok("done")).await), "open");
    clock.advance(seconds(30));
    assert_eq!(label(&calls(&breaker, 5, ok("done")).await), "done");
    assert_eq!(breaker.state(), BreakerState::Closed);
    assert_eq!(
        lines.take(),
        [
            r#"WARN the circuit breaker opened breaker="peer" from="closed" calls=4 failures=2"#,
            r#"INFO the circuit breaker admits a probe breaker="peer" from="open""#,
            r#"WARN the circuit breaker opened breaker="peer" from="half_open" calls=1 failures=1"#,
            r#"INFO the circuit breaker admits a probe breaker="peer" from="open""#,
            r#"INFO the circuit breaker closed breaker="peer" from="half_open""#,
        ]
    );
}

#[tokio::test]
async fn which_outcomes_count_is_told() {
    let cases = [
        (Classification::success(), BreakerSample::Success),
        (LOST, BreakerSample::Failure),
        (Classification::unknown(), BreakerSample::Failure),
        (BUSY, BreakerSample::Failure),
        (DECLINED, BreakerSample::Success),
        (Classification::rejected_locally(), BreakerSample::Ignored),
    ];
    for (class, count) in cases {
        assert_eq!(BreakerSample::from_class(&class), count, "{class:?}");
        let breaker = breaker(&clock());
        calls(&breaker, 4, err("no", class)).await.unwrap_err();
        let opens = if count == BreakerSample::Failure { BreakerState::Open } else { BreakerState::Closed };
        assert_eq!(breaker.state(), opens, "{class:?}");
    }

    // A peer that responds "too many requests" is not down.
    let sample = |class: &Classification| {
        if class.retry_delay().is_some() { BreakerSample::Ignored } else { BreakerSample::from_class(class) }
    };
    let breaker = Breaker::new("peer", BreakerSettings { sample, ..settings() }, clock().clock());
    calls(&breaker, 50, err("slow down", BUSY.retry_after(seconds(1)))).await.unwrap_err();
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[tokio::test]
async fn one_breaker_serves_calls_of_many_kinds() {
    let breaker = breaker(&clock());
    let texts = breaker.classify(|text: Result<&String, &CallError>| match text {
        Ok(text) if text.is_empty() => LOST,
        _ => Classification::success(),
    });
    for _ in 0..2 {
        assert_eq!(texts.run(async { Ok(String::new()) }).await, Ok(String::new()));
        calls(&breaker, 1, err("lost", LOST)).await.unwrap_err();
    }
    assert_eq!((texts.state(), breaker.state()), (BreakerState::Open, BreakerState::Open));
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_dropped_makes_room_for_the_next() {
    let clock = clock();
    for how in
        ["dropped before it began", "dropped while it ran", "cut by a timeout outside", "it panicked", "never ends"]
    {
        let breaker = breaker(&clock);
        calls(&breaker, 4, err("lost", LOST)).await.unwrap_err();
        clock.advance(seconds(30));
        match how {
            "dropped before it began" => drop(breaker.acquire().unwrap()),
            "dropped while it ran" => {
                let mut probe = Box::pin(breaker.run(pending::<CallResult>()));
                assert!(futures_util::poll!(&mut probe).is_pending());
                assert_eq!(label(&calls(&breaker, 1, ok("done")).await), "open", "one at a time");
                drop(probe);
            }
            "cut by a timeout outside" => {
                let cut = Timeout::new(seconds(1)).run(breaker.run(pending::<CallResult>())).await;
                assert_eq!(label(&cut), "timeout");
            }
            "it panicked" => {
                let breaker = breaker.clone();
                let probe =
                    tokio::spawn(async move { breaker.run::<(), CallError>(async { panic!("on purpose") }).await });
                assert!(probe.await.unwrap_err().is_panic());
            }
            _ => {
                std::mem::forget(breaker.acquire().unwrap());
                assert_eq!(label(&calls(&breaker, 1, ok("done")).await), "open");
                clock.advance(seconds(30));
            }
        }
        assert_eq!(breaker.state(), BreakerState::HalfOpen, "{how}");
        assert_eq!(label(&calls(&breaker, 1, ok("done")).await), "done", "{how}");
        assert_eq!(breaker.state(), BreakerState::Closed, "{how}");
    }
}

#[tokio::test]
async fn of_many_callers_one_is_the_probe() {
    let clock = clock();
    let breaker = breaker(&clock);
    calls(&breaker, 4, err("lost", LOST)).await.unwrap_err();
    clock.advance(seconds(30));
    let callers = (0..50).map(|_| {
        breaker.run(async {
            tokio::task::yield_now().await;
            ok("done")
        })
    });
    let said = futures_util::future::join_all(callers).await;
    let (done, open): (Vec<_>, Vec<_>) = said.iter().map(label).partition(|word| *word == "done");
    assert_eq!((done.len(), open.len()), (1, 49));
}

#[tokio::test(start_paused = true)]
async fn as_a_layer_it_calls_nobody_while_open() {
    let clock = clock();
    let breaker = breaker(&clock);
    let (called, mut calls) = tokio::sync::mpsc::unbounded_channel();
    let mut service = ServiceBuilder::new()
        .layer(breaker.clone())
        .layer(Bulkhead::new("peer", 1))
        .layer(Timeout::new(Duration::from_millis(100)))
        .service(service_fn(move |well: bool| {
            called.send(well).unwrap();
            async move { if well { ok("done") } else { pending().await } }
        }));
    for _ in 0..4 {
        assert_eq!(label(&service.ready().await.unwrap().call(false).await), "timeout");
    }
    assert_eq!(label(&service.ready().await.unwrap().call(true).await), "open");
    assert_eq!(calls.len(), 4);

    clock.advance(seconds(30));
    let probe = service.ready().await.unwrap().call(true);
    assert_eq!(label(&service.ready().await.unwrap().call(true).await), "open");
    drop(probe);
    assert_eq!(label(&service.ready().await.unwrap().call(true).await), "done");
    assert_eq!((breaker.state(), calls.recv().await), (BreakerState::Closed, Some(false)));
}

#[tokio::test]
async fn a_service_that_does_not_become_ready_counts() {
    struct Unconnected;
    impl Service<()> for Unconnected {
        type Response = &'static str;
        type Error = CallError;
        type Future = std::future::Ready<CallResult>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), CallError>> {
            Poll::Ready(err("no connection", BUSY).map(drop))
        }

        fn call(&mut self, (): ()) -> Self::Future {
            panic!("it is never ready")
        }
    }
    let breaker = breaker(&clock());
    let mut service = ServiceBuilder::new().layer(breaker.clone()).service(Unconnected);
    for _ in 0..4 {
        service.ready().await.map(drop).unwrap_err();
    }
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[tokio::test]
async fn settings_out_of_range_still_make_a_breaker() {
    let settings = BreakerSettings {
        window: Duration::ZERO,
        minimum_calls: 0,
        failure_ratio: f64::NAN,
        open_for: Duration::MAX,
        probes: 0,
        close_after: 0,
        ..BreakerSettings::default()
    };
    let clock = clock();
    let breaker = Breaker::new("peer", settings, clock.clock());
    calls(&breaker, 1, err("lost", LOST)).await.unwrap_err();
    assert_eq!(breaker.state(), BreakerState::Open);
    clock.advance(seconds(3_155_760_000));
    calls(&breaker, 1, ok("done")).await.unwrap();
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[tokio::test]
async fn who_listens_hears_of_every_change() {
    let clock = clock();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let (first, second) = (Arc::clone(&heard), Arc::clone(&heard));
    let breaker = breaker(&clock).on_change(move |from, to| first.lock().unwrap().push(format!("{from} to {to}")));
    // A panic in an observer does not affect calls or other observers, and a clone notifies the same observers.
    let clone = breaker.clone().on_change(|_, _| panic!("not today"));
    let asked = breaker.clone();
    let breaker = breaker.on_change(move |_, to| {
        assert_eq!(asked.state(), to);
        second.lock().unwrap().push("again".into());
    });
    let heard = || std::mem::take(&mut *heard.lock().unwrap());
    calls(&clone, 4, err("lost", LOST)).await.unwrap_err();
    assert_eq!(heard(), ["closed to open", "again"]);
    _ = calls(&breaker, 3, ok("done")).await;
    assert!(heard().is_empty(), "nothing changed");
    clock.advance(seconds(30));
    calls(&breaker, 1, err("busy", BUSY)).await.unwrap_err();
    assert_eq!(heard(), ["open to half_open", "again", "half_open to open", "again"]);
    clock.advance(seconds(30));
    calls(&breaker, 2, ok("done")).await.unwrap();
    assert_eq!(heard(), ["open to half_open", "again", "half_open to closed", "again"]);
}
