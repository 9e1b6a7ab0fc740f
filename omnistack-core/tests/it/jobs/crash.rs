//! Tests of workers that are killed.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

use async_trait::async_trait;
use omnistack_core::{
    ShutdownToken,
    app::App,
    config::Config,
    jobs::{Job, JobContext, JobError, JobFilter, JobState, Queue},
    module::{Module, Registry},
};
use omnistack_testkit::{TestApp, TestDatabase, on_each_database};
use serde::{Deserialize, Serialize};

use super::run;

/// A job that kills its worker, or waits to be killed, in the worker that is to die. In other workers it ends at once.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Doomed {
    kills: bool,
}

#[async_trait]
impl Job for Doomed {
    const NAME: &'static str = "doomed";
    const MAX_ATTEMPTS: u32 = 2;
    type State = bool;

    async fn run(self, dying: &bool, _: &JobContext) -> Result<(), JobError> {
        match (*dying, self.kills) {
            (true, true) => std::process::abort(),
            (true, false) => {
                println!("begun");
                std::future::pending().await
            }
            _ => Ok(()),
        }
    }
}

struct Dooming {
    dying: bool,
}

impl Module for Dooming {
    fn name(&self) -> &'static str {
        "dooming"
    }

    fn register(&self, registry: &mut Registry) {
        let dying = self.dying;
        registry.job::<Doomed>(move |_| Ok(dying)).queue(Queue::new("default").concurrency(1000));
    }
}

const URL: &str = "DOOMED_WORKER_URL";

/// The worker that dies, in a child process.
#[tokio::test]
#[ignore = "a child process of other tests"]
async fn doomed_worker() {
    let environment = Config::from_env();
    let Some((url, _)) = environment.get(URL) else { return };
    let config = Config::from_pairs([("DATABASE_URL", url), ("JOBS_POLL", "20ms"), ("APP_ENV", "test")]);
    let app = App::builder(config).with(Dooming { dying: true }).build().unwrap();
    app.runner().run(ShutdownToken::new()).await.unwrap();
}

fn worker(database: &TestDatabase) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "jobs::crash::doomed_worker", "--ignored", "--nocapture"]).env(URL, database.url());
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

on_each_database! {
    async fn a_thousand_running_jobs_survive_kill_9(database: TestDatabase) {
        const JOBS: usize = 1000;
        let app = TestApp::start(database, |app| app.with(Dooming { dying: false })).await;
        let jobs = app.jobs();
        // The app's clock is years ahead of the worker's.
        app.db().query("select 1").execute().await.unwrap();
        jobs.enqueue_all((0..JOBS).map(|_| Doomed { kills: false })).await.unwrap();
        app.db().query("update omni_jobs set run_at = 0, rank = 0").execute().await.unwrap();
        let mut child = worker(app.database());
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let begun = tokio::task::spawn_blocking(|| lines.map_while(Result::ok).filter(|line| line.contains("begun")).take(JOBS).count());
        assert_eq!(begun.await.unwrap(), JOBS);
        child.kill().unwrap();
        child.wait().unwrap();

        assert_eq!(run(&app).await, 0, "tried again later");
        app.clock().advance(Duration::from_secs(60));
        assert_eq!(run(&app).await, JOBS);
        let mut done = 0;
        for queue in jobs.queues().await.unwrap() {
            done += queue.jobs.get(&JobState::Done).copied().unwrap_or(0);
            assert_eq!(queue.jobs.len(), 1, "{queue:?}");
        }
        assert_eq!(done, u64::try_from(JOBS).unwrap());
        let newest = jobs.list(&JobFilter::default(), None, 1).await.unwrap();
        assert_eq!(newest[0].attempt, 2);
    }

    async fn a_job_that_kills_its_worker_is_a_dead_letter_in_the_end(database: TestDatabase) {
        let app = TestApp::start(database, |app| app.with(Dooming { dying: false })).await;
        let jobs = app.jobs();
        let id = jobs.enqueue(Doomed { kills: true }).await.unwrap().id;
        for attempt in 1..=2 {
            app.db().query("update omni_jobs set run_at = 0, rank = 0").execute().await.unwrap();
            let mut child = worker(app.database());
            let died = tokio::task::spawn_blocking(move || child.wait());
            assert!(!died.await.unwrap().unwrap().success());
            assert_eq!(run(&app).await, 0);
            let (job, failures) = jobs.get(id).await.unwrap().unwrap();
            assert_eq!((job.attempt, failures.len()), (attempt, usize::try_from(attempt).unwrap()));
            assert_eq!(job.state, if attempt == 2 { JobState::Dead } else { JobState::Scheduled });
        }
    }
}
