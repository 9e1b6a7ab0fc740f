//! Tests of the page `/live`: its files, its job, and mentions.

use omnistack::jobs::{JobId, JobState};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use serde_json::json;

use crate::disabled_webhook::{sign_in, user};

const CLIENT: &str = "/realtime/client.js";
const MENTIONS: &str = "/api/v1/app/live/mentions";

#[tokio::test]
async fn the_page_loads_files_of_the_app_alone_under_a_strict_policy() {
    let app = TestApp::start(TestDatabase::sqlite(), saas::app).await;
    let anonymous = app.anonymous();
    let page = anonymous.get("/live").await.expect(200);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = page.header("content-security-policy").unwrap();
    for part in ["default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");

    let html = page.text();
    let quoted = |mark: &str| {
        let parts = html.split(mark).skip(1);
        parts.map(|rest| rest.split('"').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let scripts = quoted("<script src=\"");
    assert_eq!(scripts, [&*format!("{CLIENT}?v=5.7.4"), "/live/common.js", "/live/live.js"]);
    assert_eq!(html.matches("<script").count(), scripts.len(), "no script is inline");
    assert!(!html.contains("<style") && !html.contains(" style=") && !html.contains(" on"), "nothing else is inline");
    let styles = quoted("rel=\"stylesheet\" href=\"");
    for (path, kind) in scripts.iter().map(|path| (path, "javascript")).chain(styles.iter().map(|path| (path, "css"))) {
        let file = anonymous.get(path).await.expect(200);
        assert_eq!(file.header("content-type"), Some(format!("text/{kind}; charset=utf-8").as_str()), "{path}");
        assert_eq!(file.header("x-content-type-options"), Some("nosniff"), "{path}");
    }
}

#[tokio::test]
async fn browsers_keep_the_client_of_a_version_and_ask_for_changes_of_the_other() {
    let app = TestApp::start(TestDatabase::sqlite(), saas::app).await;
    let anonymous = app.anonymous();
    for (path, kept) in [
        (format!("{CLIENT}?v=5.7.4"), "public, max-age=31536000, immutable"),
        (format!("{CLIENT}?v=5.0.0"), "public, no-cache"),
        (CLIENT.to_owned(), "public, no-cache"),
    ] {
        let client = anonymous.get(&path).await.expect(200);
        assert_eq!(client.header("cache-control"), Some(kept), "{path}");
        assert!(client.text().contains("Copyright (c) 2023 Centrifugal Labs LTD"), "{path}");
        let etag = client.header("etag").unwrap();
        let known = anonymous.get(&path).header("if-none-match", etag).await.expect(304);
        assert_eq!((known.header("etag"), known.header("cache-control")), (Some(etag), Some(kept)), "{path}");
        assert!(known.text().is_empty(), "{path}");
        anonymous.get(&path).header("if-none-match", "\"another\"").await.expect(200);
        let packed = anonymous.get(&path).header("accept-encoding", "gzip").await.expect(200);
        assert_eq!(packed.header("content-encoding"), Some("gzip"), "{path}");
    }
}

on_each_database! {
    async fn a_count_is_a_job_of_the_team(database: TestDatabase) {
        let app = TestApp::start(database, saas::app).await;
        let ada = app.user();
        let started = ada.post("/api/v1/app/live/counts", json!({})).await.expect(202).json();
        let id: JobId = serde_json::from_value(started["job"].clone()).unwrap();
        assert_eq!(app.run_jobs().await, 1);
        let (job, _) = app.jobs().get(id).await.unwrap().unwrap();
        assert_eq!((job.name.as_str(), job.state, job.progress), ("demo.count", JobState::Done, Some(100)));
        assert_eq!(job.tenant, ada.identity().unwrap().tenant);
    }

    async fn a_mention_notifies_a_member_of_the_team(database: TestDatabase) {
        let app = TestApp::start_with_auth(database, saas::app).await;
        let (ada, eva) = (user(&app, "ada@example.com").await, user(&app, "eva@example.com").await);
        let (id, stranger) = (ada.user, eva.user);
        let client = sign_in(&app, ada).await;
        client.post(MENTIONS, json!({ "user": stranger, "room": "lobby" })).await.expect_error(404, "NOT_FOUND");
        client.post(MENTIONS, json!({ "user": id, "room": "" })).await.expect_error(422, "VALIDATION_FAILED");
        client.post(MENTIONS, json!({ "user": id, "room": "lobby" })).await.expect(204);
        let list = client.get("/api/v1/app/notifications").await.expect(200).json();
        assert_eq!(list["items"].as_array().map(Vec::len), Some(1));
        let mention = &list["items"][0];
        assert_eq!((&mention["kind"], &mention["link"]), (&json!("chat.mentioned"), &json!("/live")));
        assert_eq!(mention["title"], "You were mentioned in lobby");
        app.anonymous().post(MENTIONS, json!({ "user": id, "room": "lobby" })).await.expect(401);
    }
}
