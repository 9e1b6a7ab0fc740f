//! Tests of the circuit breaker.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use omnistack_core::{clock::MockClock, resilience::Breaker};
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::Instant,
};

use super::seconds;

/// A service that is probed.
struct Probed {
    clock: MockClock,
    breaker: Breaker,
    responds: Arc<AtomicBool>,
    probes: UnboundedReceiver<Instant>,
    outages: Arc<Mutex<Vec<Duration>>>,
}

impl Probed {
    fn new() -> Self {
        let clock = MockClock::at("2030-01-01T00:00:00Z".parse().unwrap());
        let (responds, outages) = (Arc::new(AtomicBool::new(false)), Arc::<Mutex<Vec<_>>>::default());
        let (sender, probes) = unbounded_channel();
        let (responding, lasted) = (Arc::clone(&responds), Arc::clone(&outages));
        let probe = move || {
            _ = sender.send(Instant::now());
            let responds = responding.load(Ordering::SeqCst);
            async move { responds }
        };
        let breaker = Breaker::new(clock.clock(), probe, move |outage| lasted.lock().unwrap().push(outage));
        Self { clock, breaker, responds, probes, outages }
    }

    /// Opens the breaker and returns the milliseconds before each of the next probes, the last of which succeeds.
    async fn outage(&mut self, probes: usize) -> Vec<u128> {
        self.responds.store(false, Ordering::SeqCst);
        let mut last = Instant::now();
        assert!(self.breaker.open());
        let mut delays = Vec::new();
        for probe in 1..=probes {
            assert!(self.breaker.is_open());
            self.responds.store(probe == probes, Ordering::SeqCst);
            let at = self.probes.recv().await.unwrap();
            delays.push((at - last).as_millis());
            last = at;
        }
        tokio::task::yield_now().await;
        assert!(!self.breaker.is_open());
        delays
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_open_until_a_probe_succeeds() {
    let mut service = Probed::new();
    assert!(!service.breaker.is_open());
    assert_eq!(service.outage(8).await, [20, 40, 80, 160, 320, 500, 500, 500]);
    assert_eq!(*service.outages.lock().unwrap(), [seconds(0)], "by the clock of the app");

    // Only the first caller that notices the outage opens the breaker.
    let other = service.breaker.clone();
    service.responds.store(true, Ordering::SeqCst);
    assert_eq!((other.open(), service.breaker.open(), other.is_open()), (true, false, true));
    service.clock.advance(seconds(5));
    service.probes.recv().await.unwrap();
    tokio::task::yield_now().await;
    assert!(!other.is_open());
    assert_eq!(service.outages.lock().unwrap().last(), Some(&seconds(5)));
    tokio::time::advance(seconds(60)).await;
    assert!(service.probes.is_empty(), "a closed breaker does not probe");
}

#[tokio::test(start_paused = true)]
async fn a_relapse_is_probed_later() {
    let mut service = Probed::new();
    let mut firsts = Vec::new();
    for _ in 0..10 {
        firsts.push(service.outage(1).await[0]);
        service.clock.advance(seconds(29));
    }
    assert_eq!(firsts, [20, 40, 80, 160, 320, 640, 1_280, 2_560, 5_000, 5_000]);
    assert_eq!(service.outage(3).await, [5_000, 5_000, 5_000], "never sooner again within an outage");
    service.clock.advance(seconds(30));
    assert_eq!(service.outage(2).await, [20, 40]);
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_is_dropped_is_not_probed() {
    let Probed { breaker, mut probes, .. } = Probed::new();
    breaker.open();
    probes.recv().await.unwrap();
    drop(breaker);
    // The probe has the only sender.
    assert_eq!(probes.recv().await, None);
}
