//! Tests of unique jobs.

use std::time::Duration;

use omnistack_core::jobs::NewJob;
use omnistack_testkit::{TestDatabase, on_each_database};

use super::{JobBehavior, ScriptedJob, acting, run};

on_each_database! {
    async fn a_key_is_taken_until_its_job_is_finished(database: TestDatabase) {
        let (app, jobs, _) = acting(database).await;
        let draft = || NewJob::new(ScriptedJob::new("a", JobBehavior::Succeed)).unique("order-7");
        let first = jobs.enqueue(draft()).await.unwrap();
        let second = jobs.enqueue(draft()).await.unwrap();
        assert!(!first.duplicate && second.duplicate);
        assert_eq!(first.id, second.id);
        assert_eq!(run(&app).await, 1);
        let third = jobs.enqueue(draft()).await.unwrap();
        assert!(!third.duplicate);
    }

    async fn a_window_outlasts_the_job(database: TestDatabase) {
        let (app, jobs, _) = acting(database).await;
        let draft = || NewJob::new(ScriptedJob::new("a", JobBehavior::Succeed)).unique_for("order-7", Duration::from_secs(3600));
        jobs.enqueue(draft()).await.unwrap();
        run(&app).await;
        app.clock().advance(Duration::from_secs(3599));
        assert!(jobs.enqueue(draft()).await.unwrap().duplicate);
        app.clock().advance(Duration::from_secs(2));
        assert!(!jobs.enqueue(draft()).await.unwrap().duplicate);
    }

    async fn of_many_at_once_one_gets_in(database: TestDatabase) {
        let (app, jobs, ran) = acting(database).await;
        let enqueue = |_| {
            let jobs = jobs.clone();
            tokio::spawn(async move { jobs.enqueue(NewJob::new(ScriptedJob::new("a", JobBehavior::Succeed)).unique("one")).await })
        };
        let mut added = 0;
        for task in (0..20).map(enqueue).collect::<Vec<_>>() {
            added += u32::from(!task.await.unwrap().unwrap().duplicate);
        }
        assert_eq!(added, 1);
        run(&app).await;
        assert_eq!(ran.take(), ["a#1"]);
    }
}
