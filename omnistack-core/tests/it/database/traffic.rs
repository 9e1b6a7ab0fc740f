//! Requests that go on while the database fails.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::{join_all, try_join_all};
use omnistack_testkit::{TestApp, TestClient};
use serde_json::json;
use tokio::{sync::watch, task::JoinHandle, time::timeout};

use super::shelf::BOOKS;

/// Connections of the app's pool.
pub(super) const CONNECTIONS: usize = 4;

/// The outcome of a request.
#[derive(Clone, Copy)]
pub(super) enum Outcome {
    Served,
    Refused,
}

/// Requests of twice as many clients as there are connections, until they are ended.
pub(super) struct Traffic {
    counters: Counters,
    lanes: Vec<JoinHandle<()>>,
}

#[derive(Clone, Default)]
struct Counters {
    served: watch::Sender<usize>,
    refused: watch::Sender<usize>,
    accepted: Arc<Mutex<Vec<String>>>,
    end: Arc<AtomicBool>,
}

impl Traffic {
    /// Starts requests to an app with the module `Shelf`.
    pub(super) fn start(app: &TestApp) -> Self {
        let (counters, caller) = (Counters::default(), app.user());
        let lanes =
            (0..2 * CONNECTIONS).map(|lane| tokio::spawn(counters.clone().flow(caller.clone(), lane))).collect();
        Self { counters, lanes }
    }

    /// Waits until every lane has had more requests with this outcome. Panics after 30 seconds.
    pub(super) async fn more(&self, outcome: Outcome) {
        let counter = match outcome {
            Outcome::Served => &self.counters.served,
            Outcome::Refused => &self.counters.refused,
        };
        let mut counter = counter.subscribe();
        let enough = *counter.borrow() + 4 * CONNECTIONS;
        let waiting = counter.wait_for(|count| *count >= enough);
        timeout(Duration::from_secs(30), waiting).await.expect("the outcome changes in time").unwrap();
    }

    /// Ends the requests. Checks that all connections of the pool can be acquired, and that all accepted rows are stored.
    pub(super) async fn end_with_all_stored(self, app: &TestApp) {
        self.counters.end.store(true, Ordering::SeqCst);
        for lane in join_all(self.lanes).await {
            lane.unwrap();
        }
        let open = try_join_all((0..CONNECTIONS).map(|_| app.db().begin())).await.unwrap();
        drop(open);
        let accepted = self.counters.accepted.lock().unwrap().clone();
        assert!(!accepted.is_empty());
        for code in accepted {
            let mut tx = app.db().all_tenants().begin_read().await.unwrap();
            let (count,): (i64,) =
                tx.query("select count(*) from books where code = $1").bind(code.as_str()).fetch_one().await.unwrap();
            assert_eq!(count, 1, "{code}");
        }
    }
}

impl Counters {
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
}
