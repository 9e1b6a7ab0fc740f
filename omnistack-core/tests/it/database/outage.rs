//! Tests of a PostgreSQL outage during requests.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::{join_all, try_join_all};
use omnistack_core::{app::App, db::ErrorKind};
use omnistack_testkit::{TestApp, TestClient, TestDatabase, TestPostgres};
use serde_json::json;
use tokio::{sync::watch, time::timeout};

use super::shelf::{BOOKS, Shelf};

const CONNECTIONS: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_answered_through_restarts_and_crashes() {
    let mut server = TestPostgres::start().await;
    let app = TestApp::start(TestDatabase::sqlite(), |app| {
        app.set("DATABASE_URL", server.url())
            .set("DATABASE_MAX_CONNECTIONS", CONNECTIONS.to_string())
            .set("DATABASE_ACQUIRE_TIMEOUT", "2s")
            .with(Shelf)
    })
    .await;
    let traffic = Traffic::default();
    let caller = app.user();
    let flowing: Vec<_> =
        (0..2 * CONNECTIONS).map(|lane| tokio::spawn(traffic.clone().flow(caller.clone(), lane))).collect();

    traffic.more(Outcome::Served).await;
    for crash in [false, true] {
        if crash {
            server.kill().await;
        } else {
            server.stop().await;
        }
        traffic.more(Outcome::Refused).await;
        server.restart().await;
        traffic.more(Outcome::Served).await;
    }
    traffic.end.store(true, Ordering::SeqCst);
    for lane in join_all(flowing).await {
        lane.unwrap();
    }

    // All connections of the pool can be acquired at once.
    let open = try_join_all((0..CONNECTIONS).map(|_| app.db().begin())).await.unwrap();
    drop(open);
    // All accepted rows are stored.
    let accepted = traffic.accepted.lock().unwrap().clone();
    for code in accepted {
        let mut tx = app.db().all_tenants().begin_read().await.unwrap();
        let (count,): (i64,) =
            tx.query("select count(*) from books where code = $1").bind(code.as_str()).fetch_one().await.unwrap();
        assert_eq!(count, 1, "{code}");
    }
    app.anonymous().get("/health/ready").await.expect_ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_between_requests_costs_at_most_one_failure_a_connection() {
    let mut server = TestPostgres::start().await;
    let app = TestApp::start(TestDatabase::sqlite(), |app| {
        app.set("DATABASE_URL", server.url()).set("DATABASE_MAX_CONNECTIONS", CONNECTIONS.to_string()).with(Shelf)
    })
    .await;
    let caller = app.user();
    drop(try_join_all((0..CONNECTIONS).map(|_| app.db().begin())).await.unwrap());
    server.stop().await;
    server.restart().await;
    let mut refused = 0;
    for _ in 0..20 {
        let answer = caller.get(BOOKS).await;
        if !answer.status.is_success() {
            answer.expect_error(503, "DATABASE_UNAVAILABLE");
            refused += 1;
        }
    }
    assert!(refused <= CONNECTIONS, "{refused}");
    caller.get(BOOKS).await.expect(200);
}

#[tokio::test]
async fn a_server_that_is_down_at_start_is_said_so() {
    let mut server = TestPostgres::start().await;
    server.stop().await;
    let config =
        TestDatabase::sqlite().config().with("DATABASE_URL", server.url()).with("DATABASE_ACQUIRE_TIMEOUT", "200ms");
    let app = App::builder(config).build().unwrap();
    let error = app.migrate().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let text = error.to_string();
    assert!(text.contains("DATABASE_URL") || text.contains("refused"), "says where to look: {text}");
}

#[derive(Clone, Copy)]
enum Outcome {
    Served,
    Refused,
}

#[derive(Clone, Default)]
struct Traffic {
    served: watch::Sender<usize>,
    refused: watch::Sender<usize>,
    accepted: Arc<Mutex<Vec<String>>>,
    end: Arc<AtomicBool>,
}

impl Traffic {
    /// Sends one request after another. Each response must be 2xx, or 503 in the error format.
    async fn flow(self, caller: TestClient, lane: usize) {
        for turn in 0.. {
            if self.end.load(Ordering::SeqCst) {
                break;
            }
            let code = format!("{lane}-{turn}");
            let answers =
                [caller.post(BOOKS, json!({"code": code})).await, caller.get(format!("{BOOKS}?limit=3")).await];
            if answers[0].status.is_success() {
                self.accepted.lock().unwrap().push(code);
            }
            for answer in answers {
                if answer.status.is_success() {
                    self.served.send_modify(|served| *served += 1);
                } else {
                    let code = answer.json()["error"]["code"].as_str().unwrap_or_default().to_owned();
                    assert!(code.starts_with("DATABASE_"), "{} {}", answer.status, answer.text());
                    answer.expect_error(503, &code);
                    self.refused.send_modify(|refused| *refused += 1);
                }
            }
        }
    }

    /// Waits until every lane has had more requests with this outcome.
    async fn more(&self, outcome: Outcome) {
        let counter = match outcome {
            Outcome::Served => &self.served,
            Outcome::Refused => &self.refused,
        };
        let mut counter = counter.subscribe();
        let enough = *counter.borrow() + 4 * CONNECTIONS;
        let waiting = counter.wait_for(|count| *count >= enough);
        timeout(Duration::from_secs(30), waiting).await.expect("the outcome changes in time").unwrap();
    }
}
