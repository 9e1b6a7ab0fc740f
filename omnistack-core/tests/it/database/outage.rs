//! Tests of a PostgreSQL outage during requests.

use futures_util::future::try_join_all;
use omnistack_core::{app::App, db::ErrorKind};
use omnistack_testkit::{TestApp, TestDatabase, TestPostgres};

use super::{
    shelf::{BOOKS, Shelf},
    traffic::{CONNECTIONS, Outcome, Traffic},
};

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
    let traffic = Traffic::start(&app);

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
    traffic.end_with_all_stored(&app).await;
    app.anonymous().get("/health/ready").await.expect_ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_between_requests_costs_at_most_one_failure() {
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
    // The pool tests its other connections when one was lost.
    assert!(refused <= 1, "{refused}");
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
