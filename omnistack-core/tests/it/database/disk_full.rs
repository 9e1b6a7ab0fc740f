//! Tests of SQLite on a full disk.

use std::{process::Command, time::Duration};

use omnistack_core::{
    app::App,
    clock::MockClock,
    config::Config,
    db::{Db, ErrorKind},
};
use omnistack_testkit::{TestApp, TestDatabase};
use serde_json::json;
use sqlx::AssertSqlSafe;

use super::shelf::{BOOKS, Shelf};

#[tokio::test]
async fn a_full_sqlite_disk_is_a_503_until_there_is_room() {
    let app = TestApp::start(TestDatabase::sqlite(), |app| app.with(Shelf)).await;
    let caller = app.user();
    let note = "x".repeat(20_000);
    let mut written = 0;
    for round in 0..2 {
        let pages = page_count(app.db()).await;
        limit_pages(app.db(), pages + 20).await;
        let mut refused = 0;
        for attempt in 0..30 {
            let code = format!("{round}-{attempt}");
            let answer = caller.post(BOOKS, json!({"code": code, "note": note})).await;
            if answer.status.is_success() {
                assert_eq!(refused, 0, "no room came back by itself");
                written += 1;
            } else {
                let answer = answer.expect_error(503, "DATABASE_UNAVAILABLE");
                assert!(answer.header("retry-after").is_some());
                refused += 1;
            }
        }
        assert!(refused > 10, "the disk was to be full: {refused} refused");
        // Reads still work.
        let total = caller.get(format!("{BOOKS}?page=1")).await.expect(200).json()["total"].clone();
        assert_eq!(total, json!(written), "nothing is half-written");

        limit_pages(app.db(), 1_000_000).await;
        caller.post(BOOKS, json!({"code": format!("{round}-after"), "note": note})).await.expect(201);
        written += 1;
    }
    let (state,): (String,) = app.db().query("pragma integrity_check").fetch_one().await.unwrap();
    assert_eq!(state, "ok");
    // Another process finds the accepted rows and no rejected ones.
    let (kept,): (i64,) = app.database().open_db().query("select count(*) from books").fetch_one().await.unwrap();
    assert_eq!(kept, written);
}

async fn page_count(db: &Db) -> i64 {
    let (pages,): (i64,) = db.query("pragma page_count").fetch_one().await.unwrap();
    pages
}

/// Limits the pages of the database on the only writing connection, like a disk without room for another page.
async fn limit_pages(db: &Db, pages: i64) {
    db.query(AssertSqlSafe(format!("pragma max_page_count = {pages}"))).fetch_one::<(i64,)>().await.unwrap();
}

/// Simulates a disk that is full during a commit.
#[tokio::test]
async fn a_transaction_that_sqlite_ends_by_itself_does_not_block_the_next() {
    let database = TestDatabase::sqlite();
    let db = database.open_db();
    db.query("create table marks (n integer primary key) strict").execute().await.unwrap();
    db.query("insert into marks values (1)").execute().await.unwrap();
    for n in 2..5 {
        let mut tx = db.begin().await.unwrap();
        tx.query("insert into marks values ($1)").bind(100_i64).execute().await.unwrap();
        let error = tx.query("insert or rollback into marks values (1)").execute().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unique);
        if n == 3 {
            tx.commit().await.unwrap_err();
        } else {
            drop(tx);
        }
        let mut tx = db.begin().await.unwrap();
        tx.query("insert into marks values ($1)").bind(n).execute().await.unwrap();
        tx.commit().await.unwrap();
    }
    let marks: Vec<(i64,)> = db.query("select n from marks order by n").fetch_all().await.unwrap();
    assert_eq!(marks, [(1,), (2,), (3,), (4,)]);
}

const URL: &str = "TEST_FULL_DISK_URL";

/// The process has a file size limit of 1 KiB, so that no file can grow.
#[cfg(unix)]
#[tokio::test]
async fn an_app_starts_on_a_full_disk_to_read() {
    let app = TestApp::start(TestDatabase::sqlite(), |app| app.with(Shelf)).await;
    app.user().post(BOOKS, json!({"code": "kept"})).await.expect(201);
    // As after an orderly shutdown: the `-wal` and `-shm` files are gone.
    app.db().close().await;
    let name = concat!(module_path!(), "::on_a_full_disk");
    let run = Command::new("bash")
        .args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name.split_once("::").unwrap().1, "--ignored", "--nocapture"])
        .env(URL, app.database().url())
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success() && said.contains("1 passed"), "{said}");
}

/// The child process with the limit.
#[tokio::test]
#[ignore = "a part of `an_app_starts_on_a_full_disk_to_read`"]
#[expect(clippy::disallowed_methods, reason = "a setting of the test, not of the app")]
async fn on_a_full_disk() {
    let Ok(url) = std::env::var(URL) else { return };
    let clock = MockClock::at("2030-01-01T00:00:00Z".parse().unwrap());
    let config = Config::from_pairs([("APP_ENV", "test"), ("DATABASE_URL", url.as_str())]);
    let app = App::builder(config).clock(clock.clock()).with(Shelf);
    let app = app.replace(omnistack_core::identity::Authenticator::new(Nobody)).build().unwrap();
    app.migrate().await.unwrap();
    app.start().await.unwrap();
    for _ in 0..2 {
        let (books,): (i64,) = app.db().query("select count(*) from books").fetch_one().await.unwrap();
        assert_eq!(books, 1);
        let error = app.db().query("update books set title = 'x'").execute().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        let request = http::Request::get("/health/ready").body(axum::body::Body::empty()).unwrap();
        let answer = tower::ServiceExt::oneshot(app.service(), request).await.unwrap();
        assert_eq!(answer.status().as_u16(), 200);
        let body = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap().to_bytes();
        let report: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(report["status"], "degraded", "{report}");
        clock.advance(Duration::from_secs(6));
    }
}

struct Nobody;

#[omnistack_core::async_trait]
impl omnistack_core::identity::Authenticate for Nobody {
    async fn authenticate(
        &self,
        _: &http::request::Parts,
    ) -> Result<Option<omnistack_core::identity::Identity>, omnistack_core::http::Error> {
        Ok(None)
    }
}
