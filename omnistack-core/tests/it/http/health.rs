//! Tests of health checks.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use omnistack_core::db::{QueryEvent, QueryObserver};
use omnistack_testkit::{TestClient, TestResponse};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::support::{InlineModule, module, soon, start};

/// A health check that the test controls.
#[derive(Clone, Default)]
struct Probe {
    ran: Arc<AtomicUsize>,
    failing: Arc<AtomicBool>,
}

fn probed(probe: &Probe) -> InlineModule {
    let probe = probe.clone();
    module("test", move |registry| {
        let probe = probe.clone();
        registry.health("probe", move |_| {
            Ok(move || {
                let probe = probe.clone();
                async move {
                    probe.ran.fetch_add(1, Ordering::SeqCst);
                    // Let the other tasks run.
                    tokio::task::yield_now().await;
                    if probe.failing.load(Ordering::SeqCst) { Err("the cause: swordfish".into()) } else { Ok(()) }
                }
            })
        });
    })
}

fn statuses(report: &Value) -> Value {
    let checks = report["checks"].as_array().unwrap().iter();
    checks
        .map(|check| (check["name"].as_str().unwrap().to_owned(), check["status"].clone()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

async fn ready(client: &TestClient) -> TestResponse {
    client.get("/health/ready").await
}

#[tokio::test]
async fn liveness_touches_nothing() {
    let probe = Probe::default();
    let app = start(|app| app.with(probed(&probe))).await;
    app.db().close().await;
    let answer = app.anonymous().get("/health").await.expect(200);
    assert_eq!(answer.json(), json!({"status": "ok"}));
    assert_eq!(probe.ran.load(Ordering::SeqCst), 0);
    let report = ready(&app.anonymous()).await.expect(503).json();
    assert_eq!(statuses(&report), json!({"database": "failing", "database-writes": "degraded", "probe": "ok"}));
}

#[tokio::test]
async fn it_is_not_ready_while_a_check_fails_and_says_no_cause() {
    let probe = Probe::default();
    let app = start(|app| app.with(probed(&probe))).await;
    let client = app.anonymous();
    let report = ready(&client).await.expect(200).json();
    assert_eq!(statuses(&report), json!({"database": "ok", "database-writes": "ok", "probe": "ok"}));

    probe.failing.store(true, Ordering::SeqCst);
    app.clock().advance(Duration::from_secs(5));
    let answer = ready(&client).await.expect(503);
    assert_eq!(answer.json()["status"], "failing");
    assert_eq!(statuses(&answer.json()), json!({"database": "ok", "database-writes": "ok", "probe": "failing"}));
    assert!(!answer.text().contains("swordfish"));
    // The report for people and dashboards has status 200 even if the app is failing.
    assert_eq!(client.get("/api/v1/public/health").await.expect(200).json()["status"], "failing");

    probe.failing.store(false, Ordering::SeqCst);
    app.clock().advance(Duration::from_secs(5));
    ready(&client).await.expect(200);
}

#[tokio::test]
async fn results_are_kept_for_five_seconds_and_say_their_age() {
    let probe = Probe::default();
    let app = start(|app| app.with(probed(&probe))).await;
    let client = app.anonymous();
    for (advance, age, uptime, ran) in
        [(0, 0.0, 0, 1), (1500, 1500.0, 1, 1), (3499, 4999.0, 4, 1), (1, 0.0, 5, 2), (4000, 4000.0, 9, 2)]
    {
        app.clock().advance(Duration::from_millis(advance));
        for path in ["/health/ready", "/api/v1/public/health"] {
            let report = client.get(path).await.expect(200).json();
            assert_eq!((&report["age_ms"], &report["uptime_seconds"]), (&json!(age), &json!(uptime)), "{path}");
        }
        assert_eq!(probe.ran.load(Ordering::SeqCst), ran);
    }
}

#[tokio::test]
async fn fifty_callers_at_once_are_one_run() {
    let probe = Probe::default();
    let app = start(|app| app.with(probed(&probe))).await;
    let client = app.anonymous();
    for round in 1..=2 {
        let answers = soon(join_all((0..50).map(|_| ready(&client)))).await;
        assert!(answers.iter().all(|answer| answer.status == 200));
        assert_eq!(probe.ran.load(Ordering::SeqCst), round);
        app.clock().advance(Duration::from_secs(5));
    }
}

/// A query observer that signals the end of a statement.
struct Ended(Arc<Notify>, AtomicUsize);

/// The number of statements of the database's health checks.
const STATEMENTS: usize = ["select 1", "begin", "read", "write", "commit"].len();

impl QueryObserver for Ended {
    fn observe(&self, _: QueryEvent<'_>) {
        if self.1.fetch_add(1, Ordering::SeqCst) + 1 == STATEMENTS {
            self.0.notify_one();
        }
    }
}

#[tokio::test]
async fn a_check_that_hangs_fails_after_two_seconds() {
    let hanging = module("test", |registry| {
        registry.health("hanging", |_| Ok(|| async { pending().await }));
    });
    let app = start(|app| app.with(hanging)).await;
    let ended = Arc::new(Notify::new());
    app.db().observe(Ended(Arc::clone(&ended), AtomicUsize::new(0)));

    tokio::time::pause();
    // A paused clock does not advance while a blocking task runs, so the database has enough time.
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = tokio::task::spawn_blocking(move || held.recv());
    let began = tokio::time::Instant::now();
    let client = app.anonymous();
    let release = async {
        ended.notified().await;
        drop(release);
    };
    let (answer, ()) = tokio::join!(ready(&client), release);
    assert_eq!(began.elapsed().as_secs(), 2);
    assert_eq!(
        statuses(&answer.expect(503).json()),
        json!({"database": "ok", "database-writes": "ok", "hanging": "failing"})
    );
    _ = held.await;
}
