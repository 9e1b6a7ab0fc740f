//! The builder of a runner for programs without an [`App`](crate::app::App).

use super::Runner;
use crate::{
    jobs::{Cron, CronSpec, Job, JobHandler, JobSettings, Jobs, Queue},
    module::{BuildError, Problem},
};

/// Builder of a [`Runner`]. Created by [`Runner::builder`].
#[must_use]
pub struct RunnerBuilder {
    jobs: Jobs,
    handlers: Vec<JobHandler>,
    queues: Vec<Queue>,
    crons: Vec<CronSpec>,
    settings: JobSettings,
    problems: Vec<Problem>,
}

impl Runner {
    /// Creates a builder of a runner for a program without an [`App`](crate::app::App), such as an axum app that was
    /// there before. Core's migrations ([`CORE_MIGRATIONS`](crate::db::CORE_MIGRATIONS)) must have run in the database.
    ///
    /// ```
    /// use axum::{Router, extract::State, http::StatusCode, routing::post};
    /// use omnistack_core::{
    ///     ShutdownToken, async_trait, clock::Clock, db::{CORE_MIGRATIONS, Db}, http::Error,
    ///     jobs::{Job, JobContext, JobError, Jobs, Runner},
    /// };
    /// use serde::{Deserialize, Serialize};
    /// # use axum::{body::Body, http::Request};
    /// # use tower::ServiceExt as _;
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct Brew { item: String }
    ///
    /// #[async_trait]
    /// impl Job for Brew {
    ///     const NAME: &'static str = "shop.brew";
    ///     type State = Db;
    ///
    ///     async fn run(self, db: &Db, _: &JobContext) -> Result<(), JobError> {
    ///         db.query("update orders set brewed = 1 where item = $1").bind(self.item).execute().await?;
    ///         Ok(())
    ///     }
    /// }
    ///
    /// async fn order(State((db, jobs)): State<(Db, Jobs)>, item: String) -> Result<StatusCode, Error> {
    ///     let mut tx = db.begin().await?;
    ///     tx.query("insert into orders (item, brewed) values ($1, 0)").bind(item.clone()).execute().await?;
    ///     jobs.enqueue_in(&mut tx, Brew { item }).await?;
    ///     tx.commit().await?;
    ///     Ok(StatusCode::ACCEPTED)
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), omnistack_core::BoxError> {
    /// let db = Db::memory()?;
    /// db.migrate("core", CORE_MIGRATIONS).await?;
    /// # db.query("create table orders (item text not null, brewed integer not null)").execute().await?;
    /// let jobs = Jobs::new(db.clone(), Clock::system());
    /// let runner = Runner::builder(jobs.clone()).job::<Brew>(db.clone()).build()?;
    /// let app = Router::new().route("/orders", post(order)).with_state((db.clone(), jobs));
    ///
    /// # let request = Request::post("/orders").body(Body::from("tea"))?;
    /// # assert_eq!(app.oneshot(request).await?.status(), StatusCode::ACCEPTED);
    /// let shutdown = ShutdownToken::new();
    /// let working = tokio::spawn({
    ///     let (runner, shutdown) = (runner.clone(), shutdown.clone());
    ///     async move { runner.run(shutdown).await }
    /// });
    /// // … axum::serve(listener, app) …
    /// shutdown.cancel();
    /// working.await??;
    /// # runner.run_until_idle().await?;
    /// # let (brewed,): (i64,) = db.query("select brewed from orders").fetch_one().await?;
    /// # assert_eq!(brewed, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder(jobs: Jobs) -> RunnerBuilder {
        RunnerBuilder {
            jobs,
            handlers: Vec::new(),
            queues: Vec::new(),
            crons: Vec::new(),
            settings: JobSettings::default(),
            problems: Vec::new(),
        }
    }
}

impl RunnerBuilder {
    /// Adds the handler of a job, with its state.
    pub fn job<J: Job>(mut self, state: J::State) -> Self {
        if self.handlers.iter().any(|known| known.name == J::NAME) {
            self.report(format!("job `{}` has two handlers", J::NAME), "remove one, or give it another `NAME`");
        }
        self.handlers.push(JobHandler::new::<J>(state));
        self
    }

    /// Sets the limits of a queue.
    pub fn queue(mut self, queue: Queue) -> Self {
        if self.queues.iter().any(|known| known.name == queue.name) {
            let what = format!("the limits of queue `{}` are set twice", queue.name);
            self.report(what, "set the limits of a queue once");
        }
        self.queues.push(queue);
        self
    }

    /// Enqueues a job on a schedule.
    pub fn cron(mut self, cron: Cron) -> Self {
        match cron.compile() {
            Ok(cron) if self.crons.iter().any(|known| known.id == cron.id) => {
                self.report(format!("schedule `{}` is added twice", cron.id), "remove one, or schedule another job");
            }
            Ok(cron) => self.crons.push(cron),
            Err(what) => {
                self.report(what, "use a pattern such as `0 3 * * *` and a time zone such as `Europe/Berlin`");
            }
        }
        self
    }

    /// Sets the settings, in place of their defaults.
    pub fn settings(mut self, settings: JobSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Builds the runner. It does nothing until [`Runner::run`] is called.
    ///
    /// # Errors
    /// Fails with all problems: a job, a queue or a schedule that is added twice, or an invalid schedule.
    pub fn build(self) -> Result<Runner, BuildError> {
        if !self.problems.is_empty() {
            return Err(BuildError(self.problems));
        }
        Ok(Runner::new(self.jobs, self.handlers, &self.queues, self.crons, self.settings))
    }

    fn report(&mut self, what: String, fix: &str) {
        self.problems.push(Problem { module: "jobs", what, fix: fix.into() });
    }
}

impl std::fmt::Debug for RunnerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.handlers.iter().map(|handler| handler.name).collect();
        f.debug_struct("RunnerBuilder").field("jobs", &names).finish_non_exhaustive()
    }
}
