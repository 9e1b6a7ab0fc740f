//! What a module does beside answering requests.

use tower::{Layer, Service};

use super::{Registry, WireJobLayer, WireService, WireSubscriber};
use crate::{
    app::{BoxError, Ctx, Missing, Shutdown, services::Service as Background},
    events::{Handler as EventHandler, Subscriber},
    jobs::{Cron, Handler, Job, JobError, JobRequest, JobService, Queue},
};

impl Registry {
    /// Runs a future for as long as the app serves. It ends soon after it is told to; one that fails or panics is started
    /// again, after a pause that grows.
    pub fn service<C, F>(
        &mut self,
        name: &'static str,
        service: impl FnOnce(&Ctx) -> Result<C, Missing> + Send + 'static,
    ) -> &mut Self
    where
        C: Fn(Shutdown) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        let wire: WireService = Box::new(move |ctx| service(ctx).map(|service| Background::new(name, service)));
        self.services.push((self.module, wire));
        self
    }

    /// Runs jobs of this kind, with a state made once, while wiring.
    pub fn job<J: Job>(&mut self, state: impl FnOnce(&Ctx) -> Result<J::State, Missing> + Send + 'static) -> &mut Self {
        if let Some((_, other, _)) = self.handlers.iter().find(|(name, ..)| *name == J::NAME) {
            let what = format!("job `{}` is also handled by module `{other}`", J::NAME);
            self.problem(what, "give one of them another `NAME`");
        }
        self.handlers.push((J::NAME, self.module, Box::new(move |ctx| state(ctx).map(Handler::new::<J>))));
        self
    }

    /// Subscribes to events, under a name that is stored with each delivery: it is unique, stays as it is, and stays with its kind
    /// of event.
    pub fn on<S: Subscriber>(
        &mut self,
        name: &'static str,
        subscriber: impl FnOnce(&Ctx) -> Result<S, Missing> + Send + 'static,
    ) -> &mut Self {
        if let Some((_, other, _)) = self.subscribers.iter().find(|(known, ..)| *known == name) {
            let what = format!("subscriber `{name}` is also one of module `{other}`");
            self.problem(what, "give one of them another name");
        }
        let wire: WireSubscriber = Box::new(move |ctx| subscriber(ctx).map(|made| EventHandler::new(name, made)));
        self.subscribers.push((name, self.module, wire));
        self
    }

    /// Limits a queue.
    pub fn queue(&mut self, queue: Queue) -> &mut Self {
        if self.queues.iter().any(|known| known.name == queue.name) {
            self.problem(format!("queue `{}` has limits already", queue.name), "say them once");
        }
        self.queues.push(queue);
        self
    }

    /// Enqueues a job by the clock.
    pub fn cron(&mut self, cron: Cron) -> &mut Self {
        match cron.compile() {
            Ok(cron) if self.crons.iter().any(|known| known.id == cron.id) => {
                self.problem(
                    format!("cron `{}` is there already", cron.id),
                    "let one of them do for both, or be another job",
                );
            }
            Ok(cron) => self.crons.push(cron),
            Err(problem) => {
                self.problem(problem, "write e.g. `0 3 * * *`, and a zone such as `Europe/Berlin`");
            }
        }
        self
    }

    /// Puts a tower layer around every job's handler.
    pub fn job_layer<L>(&mut self, layer: impl FnOnce(&Ctx) -> Result<L, Missing> + Send + 'static) -> &mut Self
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
