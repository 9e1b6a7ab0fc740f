//! Tests of the operators' routes of the job queue.

use std::time::Duration;

use omnistack_core::jobs::{JobFilter, JobState, NewJob};
use omnistack_testkit::{TestDatabase, on_each_database};
use serde_json::json;

use super::{JobBehavior, ScriptedJob, acting, run};

const JOBS: &str = "/api/v1/admin/jobs";

on_each_database! {
    async fn jobs_are_listed_shown_and_changed(database: TestDatabase) {
        let (app, jobs, _) = acting(database).await;
        let admin = app.operator();
        for how in [JobBehavior::Succeed, JobBehavior::Fatal, JobBehavior::Fail] {
            jobs.enqueue(ScriptedJob::new("a", how)).await.unwrap();
            app.clock().advance(Duration::from_millis(1));
        }
        run(&app).await;
        let page = admin.get(format!("{JOBS}?limit=2")).await.expect(200).json();
        let states: Vec<_> = page["items"].as_array().unwrap().iter().map(|job| job["state"].clone()).collect();
        assert_eq!(states, ["scheduled", "dead"]);
        let cursor = page["next_cursor"].as_str().unwrap();
        let rest = admin.get(format!("{JOBS}?limit=2&cursor={cursor}")).await.expect(200).json();
        assert_eq!(rest["items"][0]["state"], "done");
        assert!(rest["next_cursor"].is_null());

        let dead = page["items"][1]["id"].as_str().unwrap();
        let shown = admin.get(format!("{JOBS}/{dead}")).await.expect(200).json();
        assert_eq!(shown["failures"][0]["error"], "no hope");
        assert_eq!(shown["payload"]["name"], "a");
        let done = rest["items"][0]["id"].as_str().unwrap();
        let refused = admin.post(format!("{JOBS}/{done}/cancel"), json!({})).await.expect(409).json();
        assert_eq!(refused["error"]["code"], "JOB_STATE");
        admin.post(format!("{JOBS}/{dead}/retry"), json!({})).await.expect(200);

        // A request without a filter must ask for all jobs explicitly.
        admin.post(format!("{JOBS}/cancel"), json!({})).await.expect(422);
        let changed = admin.post(format!("{JOBS}/cancel"), json!({"all": true})).await.expect(200).json();
        assert_eq!(changed["changed"], 2);
        let queues = admin.get(format!("{JOBS}/queues")).await.expect(200).json();
        assert_eq!(queues[0]["jobs"], json!({"done": 1, "cancelled": 2}));
        admin.post(format!("{JOBS}/queues/default/pause"), json!({})).await.expect(204);
        let queues = admin.get(format!("{JOBS}/queues")).await.expect(200).json();
        assert_eq!(queues[0]["paused"], true);

        let nobody = uuid::Uuid::nil();
        for (path, status) in [
            (format!("{JOBS}/{nobody}"), 404),
            (format!("{JOBS}?state=lost"), 422),
            (format!("{JOBS}?limit=0"), 422),
            (format!("{JOBS}?colour=red"), 422),
        ] {
            admin.get(&path).await.expect(status);
        }
        admin.post(format!("{JOBS}/queues/{}/pause", "q".repeat(600)), json!({})).await.expect(404);
        app.user().get(JOBS).await.expect(403);
        app.anonymous().get(JOBS).await.expect(401);
    }

    async fn many_are_discarded_some_at_a_time(database: TestDatabase) {
        let (app, jobs, _) = acting(database).await;
        jobs.enqueue_all((0..1_100).map(|_| ScriptedJob::new("a", JobBehavior::Fatal))).await.unwrap();
        jobs.enqueue_all((0..3).map(|_| ScriptedJob::new("b", JobBehavior::Succeed))).await.unwrap();
        let waits = jobs.enqueue(NewJob::new(ScriptedJob::new("c", JobBehavior::Succeed)).delay(Duration::from_secs(60))).await.unwrap().id;
        run(&app).await;
        let count = async || {
            let (left,): (i64,) = app.db().query("select count(*) from omni_job_failures").fetch_one().await.unwrap();
            left
        };
        assert_eq!(count().await, 1_100);
        assert_eq!(jobs.delete(&JobFilter::default().state(JobState::Dead)).await.unwrap(), 1_100);
        assert_eq!(count().await, 0, "failures go with their jobs");
        assert_eq!(jobs.delete(&JobFilter::default()).await.unwrap(), 3, "what waits is not finished");
        assert_eq!(jobs.delete(&JobFilter::default()).await.unwrap(), 0);
        assert_eq!(jobs.get(waits).await.unwrap().unwrap().0.state, JobState::Scheduled);
    }
}
