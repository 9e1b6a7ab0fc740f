//! SQLite on a disk without room.

use omnistack_core::db::{Db, ErrorKind};
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
        // Reading goes on.
        let total = caller.get(format!("{BOOKS}?page=1")).await.expect(200).json()["total"].clone();
        assert_eq!(total, json!(written), "nothing is half-written");

        limit_pages(app.db(), 1_000_000).await;
        caller.post(BOOKS, json!({"code": format!("{round}-after"), "note": note})).await.expect(201);
        written += 1;
    }
    let (state,): (String,) = app.db().query("pragma integrity_check").fetch_one().await.unwrap();
    assert_eq!(state, "ok");
    // What was refused is not there, what was accepted is, to a process of its own too.
    let (kept,): (i64,) = app.database().open().query("select count(*) from books").fetch_one().await.unwrap();
    assert_eq!(kept, written);
}

async fn page_count(db: &Db) -> i64 {
    let (pages,): (i64,) = db.query("pragma page_count").fetch_one().await.unwrap();
    pages
}

/// Holds for the writing connection, of which there is one: as a disk without room for another page.
async fn limit_pages(db: &Db, pages: i64) {
    db.query(AssertSqlSafe(format!("pragma max_page_count = {pages}"))).fetch_one::<(i64,)>().await.unwrap();
}

/// What SQLite does when the disk fills up while it writes a commit, without a disk to fill.
#[tokio::test]
async fn a_transaction_that_sqlite_ends_by_itself_does_not_block_the_next() {
    let database = TestDatabase::sqlite();
    let db = database.open();
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
