//! Registration of subscribers by modules.

use super::{Subscriber, SubscriberHandler};
use crate::module::{Context, MissingDependency, Registry};

/// Creates a subscriber, or returns `None` if the app has no use for it.
type ResolveSubscriber = Box<dyn FnOnce(&Context) -> Result<Option<SubscriberHandler>, MissingDependency> + Send>;

/// The subscribers that modules contribute: name of the subscriber, name of the module, handler.
#[derive(Default)]
pub(crate) struct SubscriberRegistrations(Vec<(&'static str, &'static str, ResolveSubscriber)>);

impl SubscriberRegistrations {
    /// Creates the subscribers. Passes each value that is missing to `report`, with the name of the module that needs
    /// it.
    pub(crate) fn resolve(
        self,
        ctx: &Context,
        mut report: impl FnMut(&'static str, MissingDependency),
    ) -> Vec<SubscriberHandler> {
        let mut subscribers = Vec::with_capacity(self.0.len());
        for (_, module, subscriber) in self.0 {
            match subscriber(ctx) {
                Ok(subscriber) => subscribers.extend(subscriber),
                Err(missing) => report(module, missing),
            }
        }
        subscribers
    }
}

impl Registry {
    /// Subscribes to events. `name` is stored with each delivery: it must be unique, must not change, and must not be
    /// reused for another event type.
    pub fn subscribe<S: Subscriber>(
        &mut self,
        name: &'static str,
        subscriber: impl FnOnce(&Context) -> Result<S, MissingDependency> + Send + 'static,
    ) -> &mut Self {
        self.subscribe_if(name, |ctx| subscriber(ctx).map(Some))
    }

    /// Like [`subscribe`](Self::subscribe), but without effect if there is no subscriber.
    pub(super) fn subscribe_if<S: Subscriber>(
        &mut self,
        name: &'static str,
        subscriber: impl FnOnce(&Context) -> Result<Option<S>, MissingDependency> + Send + 'static,
    ) -> &mut Self {
        let known = &self.contributions::<SubscriberRegistrations>().0;
        if let Some((_, other, _)) = known.iter().find(|(known, ..)| *known == name) {
            let what = format!("subscriber `{name}` is also registered by module `{other}`");
            self.report_problem(what, "give one of them another name");
        }
        let resolve: ResolveSubscriber =
            Box::new(move |ctx| Ok(subscriber(ctx)?.map(|made| SubscriberHandler::new(name, made))));
        let module = self.module_name();
        self.contributions::<SubscriberRegistrations>().0.push((name, module, resolve));
        self
    }
}
