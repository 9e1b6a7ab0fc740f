//! Tests of a PostgreSQL outage while jobs run.

use std::time::Duration;

use omnistack_core::{
    ShutdownToken,
    jobs::{JobFilter, JobState},
};
use omnistack_testkit::{TestApp, TestDatabase, TestPostgres};
use tokio::time::timeout;

use super::{Acting, JobBehavior, RunLog, ScriptedJob};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_flow_through_restarts_and_crashes() {
    let mut server = TestPostgres::start().await;
    let ran = RunLog::default();
    let app = TestApp::start(TestDatabase::sqlite(), |app| {
        app.set("DATABASE_URL", server.url())
            .set("DATABASE_ACQUIRE_TIMEOUT", "1s")
            .set("JOBS_POLL", "20ms")
            .set("JOBS_LEASE", "2s")
            .with(Acting(ran.clone()))
    })
    .await;
    let jobs = app.jobs();
    let (runner, shutdown) = (app.app().runner().clone(), ShutdownToken::new());
    let worker = tokio::spawn({
        let shutdown = shutdown.clone();
        async move { runner.run(shutdown).await.unwrap() }
    });
    let mut enqueued = 0;
    for crash in [false, true] {
        // A transaction stays open all the time.
        let _open = app.db().begin().await.unwrap();
        for round in 0..20 {
            let batch = (0..50).map(|_| ScriptedJob::new("flowing", JobBehavior::Succeed));
            // A failed call has enqueued nothing.
            enqueued += jobs.enqueue_all(batch).await.map_or(0, |jobs| jobs.len());
            match (round, crash) {
                (5, true) => server.kill().await,
                (5, false) => server.stop().await,
                (10, _) => server.restart().await,
                _ => {}
            }
        }
    }
    assert!(enqueued >= 1000, "{enqueued}");
    // By then the leases have expired that the worker acquired without receiving the response.
    app.clock().advance(Duration::from_secs(31));
    let all_done = async {
        loop {
            let queues = jobs.queues().await.unwrap();
            let done = queues.iter().filter_map(|queue| queue.jobs.get(&JobState::Done)).sum::<u64>();
            if done >= u64::try_from(enqueued).unwrap() {
                return;
            }
            // Jobs that are taken over wait for their backoff.
            app.clock().advance(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(Duration::from_secs(60), all_done).await.unwrap_or_else(|_| panic!("jobs were lost"));
    shutdown.cancel();
    worker.await.unwrap();
    for state in [JobState::Ready, JobState::Running, JobState::Scheduled, JobState::Dead] {
        let left = jobs.list(&JobFilter::default().state(state), None, 10).await.unwrap();
        assert!(left.is_empty(), "{left:?}");
    }
    assert!(ran.take().len() >= enqueued);
}
