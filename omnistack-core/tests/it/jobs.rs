//! Tests of the job queue, on both databases.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests panic; a child process prints")]

mod clocks;
mod crash;
mod crons;
mod life;
mod operators;
mod outage;
pub(crate) mod replicas;
mod traces;
mod unique;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use omnistack_core::{
    jobs::{Job, JobContext, JobError, Jobs, Queue},
    module::{Module, Registry},
};
use omnistack_testkit::{TestApp, TestDatabase};
use serde::{Deserialize, Serialize};

/// The jobs that ran, in order.
#[derive(Clone, Default)]
pub(crate) struct RunLog(Arc<Mutex<Vec<String>>>);

impl RunLog {
    pub(crate) fn add(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// A job that ends as its payload says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ScriptedJob {
    pub(crate) name: String,
    pub(crate) how: JobBehavior,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum JobBehavior {
    Succeed,
    Fail,
    FailBefore(u32),
    Fatal,
    Panic,
    Snooze,
    Hang,
    /// Fails with a message that can't be stored unchanged.
    Odd,
}

impl ScriptedJob {
    pub(crate) fn new(name: &str, how: JobBehavior) -> Self {
        Self { name: name.into(), how }
    }
}

#[async_trait]
impl Job for ScriptedJob {
    const NAME: &'static str = "act";
    const MAX_ATTEMPTS: u32 = 3;
    const TIMEOUT: Duration = Duration::from_millis(200);

    type State = RunLog;

    async fn run(self, ran: &RunLog, ctx: &JobContext) -> Result<(), JobError> {
        ran.add(format!("{}#{}", self.name, ctx.attempt()));
        match self.how {
            JobBehavior::Succeed => Ok(()),
            JobBehavior::FailBefore(attempt) if ctx.attempt() >= attempt => Ok(()),
            JobBehavior::Fail | JobBehavior::FailBefore(_) => Err(JobError::retry("no luck")),
            JobBehavior::Fatal => Err(JobError::fatal("no hope")),
            JobBehavior::Panic => panic!("no manners"),
            JobBehavior::Snooze => Err(JobError::snooze(Duration::from_secs(60))),
            JobBehavior::Odd => Err(JobError::retry(format!("a NUL: \0{}", "x".repeat(10_000)))),
            JobBehavior::Hang => std::future::pending().await,
        }
    }

    fn backoff(attempt: u32) -> Duration {
        Duration::from_secs(u64::from(attempt) * 10)
    }
}

pub(crate) struct Acting(pub(crate) RunLog);

impl Module for Acting {
    fn name(&self) -> &'static str {
        "acting"
    }

    fn register(&self, registry: &mut Registry) {
        let ran = self.0.clone();
        registry.job::<ScriptedJob>(move |_| Ok(ran)).queue(Queue::new("slow").concurrency(1));
    }
}

pub(crate) async fn acting(database: TestDatabase) -> (TestApp, Jobs, RunLog) {
    let ran = RunLog::default();
    let app = TestApp::start(database, |app| app.with(Acting(ran.clone()))).await;
    let jobs = app.jobs();
    (app, jobs, ran)
}

pub(crate) async fn run(app: &TestApp) -> usize {
    app.run_jobs().await
}
