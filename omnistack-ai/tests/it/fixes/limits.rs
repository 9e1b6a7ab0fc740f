//! The limits of findings and fixes: their form, their number, and the time for which they are kept.

#![cfg(test)]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use omnistack_ai::LlmErrorKind;
use omnistack_core::{
    db::{self, Tx},
    http::Error,
    identity::{Entitlements, Plan, PlanSource, TenantId},
    jobs::{Job, JobContext, JobError, JobFilter},
    usage::{Decimal, UsageEvent, UsageRecorder, UsageSink},
};
use omnistack_testkit::{TestDatabase, on_each_database};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::{PATCH, Setup, add_result, get, queue, start, start_with};

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

/// A plan that allows two fixes a month.
struct TwoFixes;

#[async_trait]
impl PlanSource for TwoFixes {
    async fn plan(&self, _: TenantId) -> Result<Arc<Plan>, Error> {
        Ok(Arc::new(Plan::new("small").feature("*").limit("ai_fixes", 2)))
    }
}

/// Keeps the usage that is recorded, when its transaction commits.
#[derive(Clone, Default)]
struct Recorded(Arc<Mutex<Vec<UsageEvent>>>);

impl Recorded {
    /// Returns the events of the meter `ai_fixes`.
    fn fixes(&self) -> Vec<UsageEvent> {
        self.0.lock().unwrap().iter().filter(|event| event.meter == "ai_fixes").cloned().collect()
    }
}

#[async_trait]
impl UsageRecorder for Recorded {
    fn count(&self, event: UsageEvent) {
        self.0.lock().unwrap().push(event);
    }

    async fn record_in(&self, tx: &mut Tx, events: Vec<UsageEvent>) -> Result<(), db::Error> {
        let recorded = self.clone();
        tx.on_commit(move || recorded.0.lock().unwrap().extend(events));
        Ok(())
    }
}

on_each_database! {
    async fn a_plan_limits_the_fixes_of_a_month(database: TestDatabase) {
        let recorded = Recorded::default();
        let (usage, plans) = (UsageSink::new(recorded.clone()), Entitlements::new(TwoFixes));
        let Setup { app, model, .. } = start_with(database, &[], |app| app.replace(usage).replace(plans)).await;
        let user = app.user();
        let result = add_result(&user, json!({})).await;
        let first = queue(&user, &result).await;
        model.answer(PATCH, 80);
        app.run_jobs().await;
        assert_eq!(get(&user, &first).await["status"], "proposed");
        let [used] = recorded.fixes().try_into().unwrap();
        assert_eq!((used.source.as_ref(), used.id.as_deref()), ("fixes", Some(first.as_str())));
        assert_eq!((used.quantity, used.user), (Decimal::ONE, Some(user.identity().unwrap().user)));
        assert_eq!(used.category.as_deref(), Some("fake-small"));

        // A fix without a patch does not count.
        let failed = queue(&user, &result).await;
        model.fail(LlmErrorKind::InvalidRequest);
        app.run_jobs().await;
        assert_eq!(get(&user, &failed).await["status"], "failed");
        assert_eq!(recorded.fixes().len(), 1);

        // One that waits for a model does.
        queue(&user, &result).await;
        let path = format!("/api/v1/app/fixes/generate/{result}");
        let refused = user.post(&path, json!({})).await.expect_error(402, "PLAN_LIMIT_REACHED").json();
        let details = &refused["error"]["details"];
        assert_eq!((&details["limit"], &details["used"]), (&json!("ai_fixes"), &json!(2)), "{refused}");
        // Other tenants have fixes of their own.
        let other = app.user();
        let theirs = add_result(&other, json!({})).await;
        queue(&other, &theirs).await;

        app.clock().set("2030-02-01T00:00:00Z".parse().unwrap());
        queue(&user, &result).await;
    }

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
