//! Tests of clocks that jump.

use std::{sync::atomic::Ordering, time::Duration};

use omnistack_core::jobs::{JobFilter, JobState, Jobs, NewJob};
use omnistack_testkit::{TestDatabase, on_each_database};

use super::{
    JobBehavior, ScriptedJob, acting,
    replicas::{GatedJob, GatedJobs, clock, end, replica, soon, wait_for_jobs, work},
    run,
};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

on_each_database! {
    async fn what_is_due_runs_once_whatever_the_clock_does(database: TestDatabase) {
        let (app, jobs, ran) = acting(database).await;
        let back = || app.clock().set(app.clock().clock().now() - HOUR);
        jobs.enqueue(ScriptedJob::new("now", JobBehavior::Succeed)).await.unwrap();
        jobs.enqueue(NewJob::new(ScriptedJob::new("later", JobBehavior::Succeed)).delay(HOUR)).await.unwrap();
        jobs.enqueue(ScriptedJob::new("again", JobBehavior::FailBefore(2))).await.unwrap();
        back();
        jobs.enqueue(ScriptedJob::new("since", JobBehavior::Succeed)).await.unwrap();
        assert_eq!(run(&app).await, 3, "what is ready stays ready");
        let mut first = ran.take();
        first.sort();
        assert_eq!(first, ["again#1", "now#1", "since#1"]);
        app.clock().advance(DAY);
        assert_eq!(run(&app).await, 2);
        let mut second = ran.take();
        second.sort();
        assert_eq!(second, ["again#2", "later#1"]);
        for _ in 0..2 {
            back();
            assert_eq!(run(&app).await, 0);
        }
        let done = jobs.list(&JobFilter::default().state(JobState::Done), None, 10).await.unwrap();
        assert_eq!(done.len(), 4);
    }

    async fn a_clock_that_jumps_takes_no_job_from_who_is_alive(database: TestDatabase) {
        let clock = clock();
        let holding = GatedJobs::default();
        // Long enough for a busy machine to send its heartbeat in time.
        let settings = [("JOBS_POLL", "10ms"), ("JOBS_LEASE", "4s")];
        let first = replica(&database, &clock, &holding, &settings).await;
        let second = replica(&database, &clock, &holding, &settings).await;
        let jobs = first.context().get::<Jobs>().unwrap();
        let id = jobs.enqueue(GatedJob { fail: false }).await.unwrap().id;
        let workers = [work(&first), work(&second)];
        soon("the attempt", holding.gate.begun.notified()).await;
        for (jump, forward) in [(DAY, true), (HOUR, false)] {
            if forward { clock.advance(jump) } else { clock.set(clock.clock().now() - jump) }
            // This job belongs to a dead worker. When it has been taken over, the other job has been checked equally
            // often.
            let dead = jobs.enqueue(NewJob::new(GatedJob { fail: false }).queue("elsewhere")).await.unwrap().id;
            let silent = "update omni_jobs set state = 'running', attempt = 1, lease = 1, lease_until = 0 where id = $1";
            first.db().query(silent).bind(dead).execute().await.unwrap();
            wait_for_jobs("its end", &jobs, JobFilter::id(dead).state(JobState::Scheduled), 1).await;
            let job = jobs.get(id).await.unwrap().unwrap().0;
            assert_eq!((job.state, job.attempt), (JobState::Running, 1), "{jump:?}");
        }
        holding.gate.leave.notify_one();
        wait_for_jobs("the end", &jobs, JobFilter::id(id).state(JobState::Done), 1).await;
        assert_eq!(holding.gate.times.load(Ordering::SeqCst), 1);
        for worker in workers {
            end(worker).await;
        }
    }
}
