//! A module with a till, whose handlers sell in the way the path says and can be held.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    body::Body,
    extract::{Path, State},
    response::{IntoResponse as _, Response},
    routing::{any, post},
};
use omnistack_core::{
    app::AppBuilder,
    db::{Db, Migration, QueryEvent, QueryObserver, Tx},
    http::{Error, FieldError, Json, StatusCode},
    idempotency::Idempotency,
    module::{Api, Module, Mount, Registry},
};
use omnistack_testkit::{TestApp, TestClient, TestDatabase, TestRequest, TestResponse};
use serde_json::json;
use tokio::{sync::Semaphore, task::JoinHandle};

use super::super::support::soon;

pub(super) const TILL: &str = "/api/v1/app/till";

/// The state of the till: the calls of its handlers and the gate they wait at.
#[derive(Clone)]
pub(super) struct Till(Arc<Inner>);

struct Inner {
    calls: AtomicUsize,
    arrived: Semaphore,
    gate: Semaphore,
    looked: Semaphore,
}

impl Till {
    /// Returns the number of handler calls.
    pub(super) fn calls(&self) -> usize {
        self.0.calls.load(Ordering::SeqCst)
    }

    /// Waits until a handler has reached the gate.
    pub(super) async fn arrived(&self) {
        soon(self.0.arrived.acquire()).await.unwrap().forget();
    }

    /// Releases one held handler.
    pub(super) fn open(&self) {
        self.0.gate.add_permits(1);
    }

    /// Waits until a request has looked up its key again.
    pub(super) async fn looked(&self) {
        soon(self.0.looked.acquire()).await.unwrap().forget();
    }

    /// Resets the lookups counted so far.
    pub(super) fn forget_looks(&self) {
        self.0.looked.forget_permits(usize::MAX >> 4);
    }

    async fn hold(&self) {
        self.0.arrived.add_permits(1);
        self.0.gate.acquire().await.unwrap().forget();
    }
}

impl QueryObserver for Till {
    fn observe(&self, event: QueryEvent<'_>) {
        if event.sql.starts_with("select fingerprint") {
            self.0.looked.add_permits(1);
        }
    }
}

/// Starts an app with a till on every kind of mount.
pub(super) async fn open(database: TestDatabase, assemble: impl FnOnce(AppBuilder) -> AppBuilder) -> (TestApp, Till) {
    let semaphore = || Semaphore::new(0);
    let inner = Inner { calls: AtomicUsize::new(0), arrived: semaphore(), gate: semaphore(), looked: semaphore() };
    let till = Till(Arc::new(inner));
    let app = TestApp::start(database, |app| assemble(app.with(till.clone()))).await;
    app.db().observe(till.clone());
    (app, till)
}

impl Module for Till {
    fn name(&self) -> &'static str {
        "till"
    }

    fn register(&self, registry: &mut Registry) {
        let api = || {
            Api::new()
                .hidden("/{act}", post(act).patch(act).get(act))
                .hidden("/status/{code}", any(status))
                .hidden("/{act}/receipt", post(act))
        };
        let mounts = [
            Mount::app("/till"),
            Mount::admin("/till"),
            Mount::public("/till"),
            Mount::app("/till").v2(),
            Mount::app("/patient").no_timeout(),
            Mount::app("/strict").require_idempotency_key(),
            Mount::app("/lax").without_idempotency(),
            Mount::app("/small").body_limit(16),
        ];
        registry.migrations(&[Migration {
            name: "0001_till",
            postgres: "create table sales (key text)",
            sqlite: "create table sales (key text)",
        }]);
        for mount in mounts {
            let till = self.clone();
            registry.routes(mount, api(), move |ctx| Ok((ctx.get::<Db>()?, till)));
        }
    }
}

/// Returns the status in the path, and counts the call.
async fn status(State((_, till)): State<(Db, Till)>, Path(code): Path<u16>) -> StatusCode {
    till.0.calls.fetch_add(1, Ordering::SeqCst);
    StatusCode::from_u16(code).unwrap()
}

async fn act(
    State((db, till)): State<(Db, Till)>,
    Path(act): Path<String>,
    idempotency: Idempotency,
    body: String,
) -> Result<Response, Error> {
    let call = till.0.calls.fetch_add(1, Ordering::SeqCst) + 1;
    let answer = (StatusCode::CREATED, [("location", "/sales/1")], Json(json!({"call": call, "body": body})));
    match act.as_str() {
        // The effect and the response are in one transaction.
        "sell" => {
            let tx = sale(&db, &idempotency).await?;
            idempotency.commit(tx, answer).await
        }
        // Held after the effect, before the response is stored.
        "hold" => {
            let tx = sale(&db, &idempotency).await?;
            till.hold().await;
            idempotency.commit(tx, answer).await
        }
        // Held after the response is stored, before the commit.
        "stored" => {
            let mut tx = sale(&db, &idempotency).await?;
            let answer = idempotency.complete_in(&mut tx, answer).await?;
            till.hold().await;
            tx.commit().await?;
            Ok(answer)
        }
        // Held before any effect, since on SQLite an open write transaction would block other writers.
        "freeze" => {
            till.hold().await;
            let tx = sale(&db, &idempotency).await?;
            idempotency.commit(tx, answer).await
        }
        // Ignores that the request is no longer its own.
        "stubborn" => {
            till.hold().await;
            let mut tx = sale(&db, &idempotency).await?;
            _ = idempotency.complete_in(&mut tx, StatusCode::OK).await;
            tx.commit().await?;
            Ok(answer.into_response())
        }
        "panic" => {
            let mut tx = sale(&db, &idempotency).await?;
            idempotency.complete_in(&mut tx, answer).await?;
            panic!("between the answer and the commit");
        }
        "panic-after" => {
            let tx = sale(&db, &idempotency).await?;
            idempotency.commit(tx, answer).await?;
            panic!("after the commit");
        }
        "forget" => {
            let mut tx = sale(&db, &idempotency).await?;
            idempotency.complete_in(&mut tx, answer).await
        }
        // Commits an effect and allows a retry.
        "again" => {
            let tx = sale(&db, &idempotency).await?;
            idempotency.commit(tx, StatusCode::TOO_MANY_REQUESTS).await
        }
        // The layer stores the response.
        "plain" => {
            sale(&db, &idempotency).await?.commit().await?;
            let headers = [
                ("set-cookie", "session=1"),
                ("date", "Tue, 01 Jan 2030 00:00:00 GMT"),
                ("x-ratelimit-limit", "1"),
                ("x-kept", "yes"),
                ("etag", "\"\u{e9}\""),
            ];
            Ok((headers, answer).into_response())
        }
        "forever" => std::future::pending().await,
        "invalid" => Err(Error::invalid([FieldError::new("name", "is odd")])),
        "stream" => {
            let pieces = futures_util::stream::iter([Ok::<_, std::io::Error>("bit by bit")]);
            Ok(Body::from_stream(pieces).into_response())
        }
        size => Ok("x".repeat(size.parse().unwrap()).into_response()),
    }
}

async fn sale(db: &Db, idempotency: &Idempotency) -> Result<Tx, Error> {
    let mut tx = db.begin().await?;
    tx.query("insert into sales (key) values ($1)").bind(idempotency.key().map(ToOwned::to_owned)).execute().await?;
    Ok(tx)
}

/// Returns a request with an idempotency key.
#[track_caller]
pub(super) fn keyed(client: &TestClient, path: impl AsRef<str>, key: &str) -> TestRequest {
    client.request(http::Method::POST, path).header("idempotency-key", key)
}

/// Sends a request on a new task.
pub(super) fn send(request: TestRequest) -> JoinHandle<TestResponse> {
    tokio::spawn(async move { request.await })
}

pub(super) async fn answer(sent: JoinHandle<TestResponse>) -> TestResponse {
    soon(sent).await.unwrap()
}

pub(super) async fn count(app: &TestApp, table: &'static str) -> i64 {
    let sql = match table {
        "sales" => "select count(*) from sales",
        _ => "select count(*) from omni_idempotency_keys",
    };
    app.db().query(sql).fetch_one::<(i64,)>().await.unwrap().0
}

pub(super) fn replayed(answer: &TestResponse) -> bool {
    answer.header("idempotent-replayed") == Some("true")
}

pub(super) const LEASE: Duration = Duration::from_secs(60);
pub(super) const WAIT: Duration = Duration::from_secs(5);
