//! Tests of a SQLite file that is deleted while the app runs.

use std::{path::PathBuf, time::Duration};

use omnistack_testkit::{TestApp, TestDatabase};
use serde_json::json;
use tokio::time::Instant;

use super::shelf::{BOOKS, Shelf};
use crate::lines::CapturedLog;

#[tokio::test]
async fn nothing_is_written_to_a_file_that_was_deleted_or_replaced() {
    let app = TestApp::start(TestDatabase::sqlite(), |app| app.with(Shelf)).await;
    let caller = app.user();
    let ready = async || {
        app.clock().advance(Duration::from_secs(6));
        app.anonymous().get("/health/ready").await
    };
    caller.post(BOOKS, json!({"code": "kept"})).await.expect(201);
    ready().await.expect(200);
    let file = PathBuf::from(app.database().url().strip_prefix("sqlite:").unwrap());
    let aside = file.with_extension("aside");
    std::fs::rename(&file, &aside).unwrap();
    for replaced in [false, true] {
        if replaced {
            std::fs::copy(&aside, &file).unwrap();
        }
        caller.post(BOOKS, json!({"code": "lost"})).await.expect_error(503, "DATABASE_UNAVAILABLE");
        let checks = ready().await.expect(503).json()["checks"].clone();
        let database = checks.as_array().unwrap().iter().find(|check| check["name"] == "database").unwrap();
        assert_eq!(database["status"], "failing");
        assert_eq!(file.exists(), replaced, "no new, empty database is made");
    }
    // After the file is restored, the app serves again.
    std::fs::rename(&aside, &file).unwrap();
    caller.post(BOOKS, json!({"code": "more"})).await.expect(201);
    ready().await.expect(200);
}

#[tokio::test]
async fn many_refused_requests_are_one_line_a_second() {
    let app = TestApp::start(TestDatabase::sqlite(), |app| app.with(Shelf)).await;
    let caller = app.user();
    caller.get(BOOKS).await.expect(200);
    std::fs::remove_file(app.database().url().strip_prefix("sqlite:").unwrap()).unwrap();
    let (lines, _guard) = CapturedLog::capture();
    let began = Instant::now();
    for _ in 0..50 {
        caller.get(BOOKS).await.expect_error(503, "DATABASE_UNAVAILABLE");
    }
    let causes = lines.take().into_iter().filter(|line| line.contains("the database is not available")).count();
    assert!(causes >= 1 && causes as u64 <= 1 + began.elapsed().as_secs(), "{causes}");
}
