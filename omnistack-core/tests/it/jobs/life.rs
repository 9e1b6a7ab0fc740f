//! Tests of a job's states, from enqueued to finished.

use std::time::Duration;

use omnistack_core::jobs::{EnqueueError, JobFilter, JobInfo, JobState, Jobs, MAX_PAYLOAD_BYTES, NewJob, Priority};
use omnistack_testkit::{TestDatabase, on_each_database};

use super::{JobBehavior, ScriptedJob, acting, run};

async fn state(jobs: &Jobs, id: omnistack_core::jobs::JobId) -> JobInfo {
    jobs.get(id).await.unwrap().unwrap().0
}

on_each_database! {
    async fn a_job_exists_when_its_transaction_commits(database: TestDatabase) {
        let (app, jobs, ran) = acting(database).await;
        let mut tx = app.db().begin().await.unwrap();
        jobs.enqueue_in(&mut tx, ScriptedJob::new("never", JobBehavior::Succeed)).await.unwrap();
        tx.rollback().await.unwrap();
        let mut tx = app.db().begin().await.unwrap();
        let job = jobs.enqueue_in(&mut tx, ScriptedJob::new("once", JobBehavior::Succeed)).await.unwrap();
        tx.commit().await.unwrap();
        let waiting: Vec<ScriptedJob> = app.unfinished_jobs().await;
        assert_eq!(waiting.iter().map(|job| job.name.as_str()).collect::<Vec<_>>(), ["once"]);
        assert_eq!(run(&app).await, 1);
        assert!(app.unfinished_jobs::<ScriptedJob>().await.is_empty());
        assert_eq!(ran.take(), ["once#1"]);
        let job = state(&jobs, job.id).await;
        assert_eq!((job.state, job.attempt, job.error), (JobState::Done, 1, None));
        assert!(job.finished_at.is_some());
        assert_eq!(run(&app).await, 0, "it is done");
    }

    async fn a_failure_is_tried_again_later_and_in_the_end_is_a_dead_letter(database: TestDatabase) {
        let (app, jobs, ran) = acting(database).await;
        let job = jobs.enqueue(ScriptedJob::new("a", JobBehavior::Fail)).await.unwrap().id;
        for attempt in 1..=3 {
            assert_eq!(run(&app).await, 1, "attempt {attempt}");
            let job = state(&jobs, job).await;
            assert_eq!(job.attempt, attempt);
            assert_eq!(job.error.as_deref(), Some("no luck"));
            let expected = if attempt == 3 { JobState::Dead } else { JobState::Scheduled };
            assert_eq!(job.state, expected);
            // The backoff is stored with a jitter of a fifth.
            app.clock().advance(Duration::from_secs(u64::from(attempt) * 10) * 79 / 100);
            assert_eq!(run(&app).await, 0, "too early");
            app.clock().advance(Duration::from_secs(u64::from(attempt) * 10) * 42 / 100);
        }
        assert_eq!(run(&app).await, 0);
        assert_eq!(ran.take(), ["a#1", "a#2", "a#3"]);
        let (_, failures) = jobs.get(job).await.unwrap().unwrap();
        assert_eq!(failures.iter().map(|failure| failure.attempt).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(jobs.retry(&JobFilter::id(job)).await.unwrap(), 1);
        assert_eq!(run(&app).await, 1, "by hand, once more");
        assert_eq!(state(&jobs, job).await.state, JobState::Dead);
        assert_eq!(jobs.delete(&JobFilter::default().state(JobState::Dead)).await.unwrap(), 1);
        assert!(jobs.get(job).await.unwrap().is_none());
    }

    async fn each_way_to_end_is_stored(database: TestDatabase) {
        let (app, jobs, _) = acting(database).await;
        for (how, expected, error, attempt) in [
            (JobBehavior::Succeed, JobState::Done, None, 1),
            (JobBehavior::Fatal, JobState::Dead, Some("no hope"), 1),
            (JobBehavior::Panic, JobState::Scheduled, Some("panicked: no manners"), 1),
            (JobBehavior::Snooze, JobState::Scheduled, None, 0),
            (JobBehavior::Hang, JobState::Scheduled, Some("took longer than 200ms"), 1),
        ] {
            let id = jobs.enqueue(ScriptedJob::new("a", how.clone())).await.unwrap().id;
            run(&app).await;
            let job = state(&jobs, id).await;
            assert_eq!((job.state, job.error.as_deref(), job.attempt), (expected, error, attempt), "{how:?}");
            jobs.cancel(&JobFilter::id(id)).await.unwrap();
        }
    }

    async fn jobs_run_when_they_are_due_the_most_urgent_first(database: TestDatabase) {
        let (app, jobs, ran) = acting(database).await;
        let draft = |name: &str| NewJob::new(ScriptedJob::new(name, JobBehavior::Succeed)).queue("slow");
        jobs.enqueue_all([
            draft("later").delay(Duration::from_secs(600)),
            draft("normal"),
            draft("low").priority(Priority::Low),
            draft("high").priority(Priority::High),
        ]).await.unwrap();
        run(&app).await;
        assert_eq!(ran.take(), ["high#1", "normal#1", "low#1"]);
        app.clock().advance(Duration::from_secs(600));
        run(&app).await;
        assert_eq!(ran.take(), ["later#1"]);
        // A job that has waited gains priority.
        jobs.enqueue(draft("low").priority(Priority::Low)).await.unwrap();
        app.clock().advance(Duration::from_secs(61));
        jobs.enqueue(draft("normal")).await.unwrap();
        run(&app).await;
        assert_eq!(ran.take(), ["low#1", "normal#1"]);
    }

    async fn what_is_too_large_is_refused_with_advice(database: TestDatabase) {
        let (app, jobs, _) = acting(database).await;
        let error = jobs.enqueue(ScriptedJob::new(&"x".repeat(1 << 20), JobBehavior::Succeed)).await.unwrap_err();
        assert!(matches!(error, EnqueueError::TooLarge { name: "act", .. }), "{error}");
        assert!(error.to_string().contains("its id in the job"), "{error}");
        let draft = || NewJob::new(ScriptedJob::new("a", JobBehavior::Succeed));
        for long in [draft().unique("k".repeat(501)), draft().queue("q".repeat(501))] {
            let error = jobs.enqueue(long).await.unwrap_err();
            assert!(matches!(error, EnqueueError::KeyTooLong { bytes: 501, .. }), "{error}");
        }
        jobs.enqueue(ScriptedJob::new(&"x".repeat(MAX_PAYLOAD_BYTES - 100), JobBehavior::Succeed)).await.unwrap();
        assert_eq!(run(&app).await, 1);
    }

    async fn what_cannot_be_read_any_more_is_a_dead_letter_and_unknown_names_are_left_alone(database: TestDatabase) {
        let (app, jobs, _) = acting(database).await;
        let id = jobs.enqueue(ScriptedJob::new("a", JobBehavior::Succeed)).await.unwrap().id;
        let stranger = jobs.enqueue(ScriptedJob::new("a", JobBehavior::Succeed)).await.unwrap().id;
        app.db().query("update omni_jobs set payload = '{\"name\":7}' where id = $1").bind(id).execute().await.unwrap();
        app.db().query("update omni_jobs set name = 'of_another_version' where id = $1").bind(stranger).execute().await.unwrap();
        assert_eq!(run(&app).await, 1);
        let job = state(&jobs, id).await;
        assert_eq!(job.state, JobState::Dead);
        assert!(job.error.unwrap().starts_with("the payload can't be read as `act`: "));
        assert_eq!(state(&jobs, stranger).await.state, JobState::Ready);
    }

    async fn a_batch_is_followed_by_its_callback(database: TestDatabase) {
        let (app, jobs, ran) = acting(database).await;
        let mut tx = app.db().begin().await.unwrap();
        let members = [JobBehavior::Succeed, JobBehavior::Fatal, JobBehavior::FailBefore(2)].map(|how| ScriptedJob::new("member", how));
        jobs.enqueue_batch_in(&mut tx, members, ScriptedJob::new("after", JobBehavior::Succeed)).await.unwrap();
        tx.commit().await.unwrap();
        run(&app).await;
        assert_eq!(ran.take(), ["member#1"; 3], "one is to be tried again");
        app.clock().advance(Duration::from_secs(15));
        run(&app).await;
        assert_eq!(ran.take(), ["member#2", "after#1"]);
    }

    async fn a_batch_calls_back_once_whatever_is_done_by_hand(database: TestDatabase) {
        let (app, jobs, ran) = acting(database).await;
        let mut tx = app.db().begin().await.unwrap();
        let members = [JobBehavior::Fatal, JobBehavior::FailBefore(2)].map(|how| ScriptedJob::new("member", how));
        jobs.enqueue_batch_in(&mut tx, members, ScriptedJob::new("after", JobBehavior::Succeed)).await.unwrap();
        tx.commit().await.unwrap();
        run(&app).await;
        // A retried dead letter has its full number of attempts again.
        assert_eq!(jobs.retry(&JobFilter::default().state(JobState::Dead)).await.unwrap(), 1);
        run(&app).await;
        assert_eq!(ran.take(), ["member#1", "member#1", "member#2"]);
        app.clock().advance(Duration::from_secs(15));
        run(&app).await;
        assert_eq!(ran.take(), ["member#2", "after#1"]);
        jobs.retry(&JobFilter::default().state(JobState::Dead)).await.unwrap();
        run(&app).await;
        assert_eq!(ran.take(), ["member#3"]);
        // A unique job that was enqueued before is not a member of the batch.
        let same = || NewJob::new(ScriptedJob::new("same", JobBehavior::Succeed)).unique("same");
        jobs.enqueue(same()).await.unwrap();
        let mut tx = app.db().begin().await.unwrap();
        jobs.enqueue_batch_in(&mut tx, [same()], ScriptedJob::new("after", JobBehavior::Succeed)).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(run(&app).await, 2);
    }

    async fn whatever_a_job_says_can_be_stored(database: TestDatabase) {
        let (app, jobs, _) = acting(database).await;
        let odd = jobs.enqueue(NewJob::new(ScriptedJob::new("a", JobBehavior::Odd)).max_attempts(u32::MAX)).await.unwrap().id;
        let other = jobs.enqueue(ScriptedJob::new("b", JobBehavior::Succeed)).await.unwrap().id;
        assert_eq!(run(&app).await, 2);
        let odd = state(&jobs, odd).await;
        let error = odd.error.unwrap();
        assert!(error.starts_with("a NUL: \u{fffd}") && error.chars().count() == 4000, "{error:.20}");
        assert_eq!((odd.state, odd.max_attempts), (JobState::Scheduled, i32::MAX.unsigned_abs()));
        assert_eq!(state(&jobs, other).await.state, JobState::Done);
    }

    async fn a_paused_queue_waits(database: TestDatabase) {
        let (app, jobs, ran) = acting(database).await;
        jobs.pause("default").await.unwrap();
        jobs.enqueue(ScriptedJob::new("a", JobBehavior::Succeed)).await.unwrap();
        assert_eq!(run(&app).await, 0);
        let queues = jobs.queues().await.unwrap();
        assert!(queues[0].paused);
        assert_eq!(queues[0].jobs[&JobState::Ready], 1);
        jobs.resume("default").await.unwrap();
        assert_eq!(run(&app).await, 1);
        assert_eq!(ran.take(), ["a#1"]);
    }
}
