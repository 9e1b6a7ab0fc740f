//! Registration of jobs, queues and schedules by modules.

use tower::{Layer, Service};

use super::{Cron, CronSpec, Job, JobError, JobHandler, JobRequest, JobService, Queue};
use crate::module::{Context, MissingDependency, Registry};

type ResolveHandler = Box<dyn FnOnce(&Context) -> Result<JobHandler, MissingDependency> + Send>;
type ResolveLayer = Box<dyn FnOnce(&Context) -> Result<JobLayer, MissingDependency> + Send>;

/// Puts a layer around the handler of every job.
type JobLayer = Box<dyn Fn(JobService) -> JobService + Send>;

/// The contributions of modules to the job queue.
#[derive(Default)]
pub(crate) struct JobRegistrations {
    /// Name of the job, name of the module, handler.
    handlers: Vec<(&'static str, &'static str, ResolveHandler)>,
    /// Name of the module, layer.
    layers: Vec<(&'static str, ResolveLayer)>,
    pub(crate) queues: Vec<Queue>,
    pub(crate) crons: Vec<CronSpec>,
}

impl JobRegistrations {
    /// Creates the handlers, with the layers around them. Passes each value that is missing to `report`, with the name
    /// of the module that needs it.
    pub(crate) fn resolve(
        &mut self,
        ctx: &Context,
        mut report: impl FnMut(&'static str, MissingDependency),
    ) -> Vec<JobHandler> {
        let mut handlers = Vec::with_capacity(self.handlers.len());
        for (_, module, handler) in self.handlers.drain(..) {
            match handler(ctx) {
                Ok(handler) => handlers.push(handler),
                Err(missing) => report(module, missing),
            }
        }
        for (module, layer) in self.layers.drain(..) {
            match layer(ctx) {
                Ok(layer) => handlers.iter_mut().for_each(|handler| handler.service = layer(handler.service.clone())),
                Err(missing) => report(module, missing),
            }
        }
        handlers
    }
}

impl Registry {
    /// Adds the handler of a job. `state` creates its state once, while the app is built.
    pub fn job<J: Job>(
        &mut self,
        state: impl FnOnce(&Context) -> Result<J::State, MissingDependency> + Send + 'static,
    ) -> &mut Self {
        let known = &self.contributions::<JobRegistrations>().handlers;
        if let Some((_, other, _)) = known.iter().find(|(name, ..)| *name == J::NAME) {
            let what = format!("job `{}` is also handled by module `{other}`", J::NAME);
            self.report_problem(what, "give one of them another `NAME`");
        }
        let module = self.module_name();
        let handler: ResolveHandler = Box::new(move |ctx| state(ctx).map(JobHandler::new::<J>));
        self.contributions::<JobRegistrations>().handlers.push((J::NAME, module, handler));
        self
    }

    /// Sets the limits of a queue.
    pub fn queue(&mut self, queue: Queue) -> &mut Self {
        if self.contributions::<JobRegistrations>().queues.iter().any(|known| known.name == queue.name) {
            self.report_problem(
                format!("the limits of queue `{}` are set twice", queue.name),
                "set the limits of a queue once",
            );
        }
        self.contributions::<JobRegistrations>().queues.push(queue);
        self
    }

    /// Enqueues a job on a schedule.
    pub fn cron(&mut self, cron: Cron) -> &mut Self {
        match cron.compile() {
            Ok(cron) if self.contributions::<JobRegistrations>().crons.iter().any(|known| known.id == cron.id) => {
                self.report_problem(
                    format!("schedule `{}` is registered twice", cron.id),
                    "remove one of them, or schedule another job",
                );
            }
            Ok(cron) => self.contributions::<JobRegistrations>().crons.push(cron),
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
        let resolve: ResolveLayer = Box::new(move |ctx| {
            let layer = layer(ctx)?;
            Ok(Box::new(move |service| JobService::new(layer.layer(service))))
        });
        let module = self.module_name();
        self.contributions::<JobRegistrations>().layers.push((module, resolve));
        self
    }
}
