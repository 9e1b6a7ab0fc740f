//! Registration of jobs, event subscribers and background services.

use tower::{Layer, Service};

use super::{Registry, WireJobLayer, WireService, WireSubscriber};
use crate::{
    app::{BoxError, Context, MissingDependency, ShutdownToken, services::BackgroundService as Background},
    events::{Subscriber, SubscriberHandler as EventHandler},
    jobs::{Cron, Job, JobError, JobHandler, JobRequest, JobService, Queue},
};

impl Registry {
    /// Adds a background service, which runs for as long as the app serves. It must end soon after `ShutdownToken` is
    /// cancelled. A service that fails or panics is restarted after a growing delay, from one second up to 30
    /// seconds.
    pub fn background_service<C, F>(
        &mut self,
        name: &'static str,
        service: impl FnOnce(&Context) -> Result<C, MissingDependency> + Send + 'static,
    ) -> &mut Self
    where
        C: Fn(ShutdownToken) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        let wire: WireService = Box::new(move |ctx| service(ctx).map(|service| Background::new(name, service)));
        self.services.push((self.module, wire));
        self
    }

    /// Adds the handler of a job. `state` creates its state once, while the app is built.
    pub fn job<J: Job>(
        &mut self,
        state: impl FnOnce(&Context) -> Result<J::State, MissingDependency> + Send + 'static,
    ) -> &mut Self {
        if let Some((_, other, _)) = self.handlers.iter().find(|(name, ..)| *name == J::NAME) {
            let what = format!("job `{}` is also handled by module `{other}`", J::NAME);
            self.report_problem(what, "give one of them another `NAME`");
        }
        self.handlers.push((J::NAME, self.module, Box::new(move |ctx| state(ctx).map(JobHandler::new::<J>))));
        self
    }

    /// Subscribes to events. `name` is stored with each delivery: it must be unique, must not change, and must not be
    /// reused for another event type.
    pub fn subscribe<S: Subscriber>(
        &mut self,
        name: &'static str,
        subscriber: impl FnOnce(&Context) -> Result<S, MissingDependency> + Send + 'static,
    ) -> &mut Self {
        if let Some((_, other, _)) = self.subscribers.iter().find(|(known, ..)| *known == name) {
            let what = format!("subscriber `{name}` is also registered by module `{other}`");
            self.report_problem(what, "give one of them another name");
        }
        let wire: WireSubscriber = Box::new(move |ctx| subscriber(ctx).map(|made| EventHandler::new(name, made)));
        self.subscribers.push((name, self.module, wire));
        self
    }

    /// Sets the limits of a queue.
    pub fn queue(&mut self, queue: Queue) -> &mut Self {
        if self.queues.iter().any(|known| known.name == queue.name) {
            self.report_problem(
                format!("the limits of queue `{}` are set twice", queue.name),
                "set the limits of a queue once",
            );
        }
        self.queues.push(queue);
        self
    }

    /// Enqueues a job on a schedule.
    pub fn cron(&mut self, cron: Cron) -> &mut Self {
        match cron.compile() {
            Ok(cron) if self.crons.iter().any(|known| known.id == cron.id) => {
                self.report_problem(
                    format!("schedule `{}` is registered twice", cron.id),
                    "remove one of them, or schedule another job",
                );
            }
            Ok(cron) => self.crons.push(cron),
            Err(problem) => {
                self.report_problem(
                    problem,
                    "use a pattern such as `0 3 * * *` and a time zone such as `Europe/Berlin`",
                );
            }
        }
        self
    }

    /// Puts a tower layer around the handler of every job.
    pub fn job_layer<L>(
        &mut self,
        layer: impl FnOnce(&Context) -> Result<L, MissingDependency> + Send + 'static,
    ) -> &mut Self
    where
        L: Layer<JobService> + Send + 'static,
        L::Service: Service<JobRequest, Response = (), Error = JobError> + Clone + Send + Sync + 'static,
        <L::Service as Service<JobRequest>>::Future: Send + 'static,
    {
        let wire: WireJobLayer = Box::new(move |ctx| {
            let layer = layer(ctx)?;
            Ok(Box::new(move |service| JobService::new(layer.layer(service))))
        });
        self.job_layers.push((self.module, wire));
        self
    }
}
