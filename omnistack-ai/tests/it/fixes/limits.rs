//! The limits of findings and fixes: their form, their number, and the time for which they are kept.

#![cfg(test)]

use std::time::Duration;

use async_trait::async_trait;
use omnistack_core::jobs::{Job, JobContext, JobError, JobFilter};
use omnistack_testkit::{TestDatabase, on_each_database};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::{Setup, add_result, get, queue, start};

/// The room's own jobs, as their crons enqueue them.
#[derive(Serialize, Deserialize)]
struct Purge {}

#[async_trait]
impl Job for Purge {
    const NAME: &'static str = "ai.purge_fixes";
    type State = ();

    async fn run(self, (): &(), _: &JobContext) -> Result<(), JobError> {
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
struct EndSilent {}

#[async_trait]
impl Job for EndSilent {
    const NAME: &'static str = "ai.end_silent_fixes";
    type State = ();

    async fn run(self, (): &(), _: &JobContext) -> Result<(), JobError> {
        Ok(())
    }
}

on_each_database! {
    async fn invalid_results_and_protected_files_are_refused(database: TestDatabase) {
        let Setup { app, .. } = start(database, &[("AI_FIX_MAX_WAITING", "1")]).await;
        let user = app.user();
        let valid = json!({ "path": "a.rs", "start_line": 2, "end_line": 3, "rule": "r", "severity": "low",
            "message": "m", "code": "a" });
        for (name, value) in [
            ("path", json!("../a")),
            ("path", json!("/etc/passwd")),
            ("end_line", json!(1)),
            ("start_line", json!(0)),
            ("code", json!(null)),
            ("repository", json!("acme/shop")),
            ("severity", json!("huge")),
            ("unknown", json!(1)),
        ] {
            let mut body = valid.clone();
            body[name] = value;
            let refused = user.post("/api/v1/app/fixes/results", body).await;
            refused.expect_error(422, "VALIDATION_FAILED");
        }
        for (branch, expected) in [("main", None), ("../../../../evil/bank/git/ref/heads/main", Some("branch"))] {
            let mut body = valid.clone();
            (body["repository"], body["branch"]) = (json!("acme/shop"), json!(branch));
            let answer = user.post("/api/v1/app/fixes/results", body).await.json();
            assert_eq!(answer["error"]["details"]["fields"][0]["field"].as_str(), expected, "{answer}");
        }
        let protected = add_result(&user, json!({ "path": ".github/workflows/ci.yml" })).await;
        let generate = |result: &str| format!("/api/v1/app/fixes/generate/{result}");
        user.post(generate(&protected), json!({})).await.expect_error(422, "FIX_FORBIDDEN");
        let result = add_result(&user, json!({})).await;
        queue(&user, &result).await;
        user.post(generate(&result), json!({})).await.expect_error(429, "TOO_MANY_FIXES");
        // The limit is that of the tenant.
        let other = app.user();
        queue(&other, &add_result(&other, json!({})).await).await;
        user.post(generate(&Uuid::new_v4().to_string()), json!({})).await.expect_error(404, "NOT_FOUND");
    }

    async fn old_findings_are_deleted_and_silent_fixes_end(database: TestDatabase) {
        let Setup { app, model, .. } = start(database, &[("AI_FIX_KEEP", "2d")]).await;
        let user = app.user();
        let result = add_result(&user, json!({})).await;
        let fix = queue(&user, &result).await;
        // The job is lost: a worker has died with it as often as it may.
        let lost = JobFilter { name: Some("ai.generate_fix".into()), ..JobFilter::default() };
        assert_eq!(app.jobs().cancel(&lost).await.unwrap(), 1);
        app.jobs().enqueue(EndSilent {}).await.unwrap();
        app.run_jobs().await;
        assert_eq!(get(&user, &fix).await["status"], "queued");
        app.clock().advance(Duration::from_secs(8 * 60 * 60));
        app.jobs().enqueue(EndSilent {}).await.unwrap();
        app.jobs().enqueue(Purge {}).await.unwrap();
        app.run_jobs().await;
        let ended = get(&user, &fix).await;
        assert_eq!((&ended["status"], &ended["error"]["code"]), (&json!("failed"), &json!("FIX_TIMED_OUT")), "{ended}");
        assert!(model.asked().is_empty());
        app.clock().advance(Duration::from_secs(3 * 24 * 60 * 60));
        app.jobs().enqueue(Purge {}).await.unwrap();
        app.run_jobs().await;
        user.get(format!("/api/v1/app/fixes/{fix}")).await.expect_error(404, "NOT_FOUND");
        user.get(format!("/api/v1/app/fixes/result/{result}/all")).await.expect_error(404, "NOT_FOUND");
    }
}
