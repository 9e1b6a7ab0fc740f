//! Registration of sources, handlers and event types by modules.

use std::sync::Arc;

use super::{
    ForwardToWebhooks, SampleKeys, WebhookCatalogue, WebhookEvent, WebhookHandler, WebhookPublisher, WebhookSource,
    WebhookSources, sources::PatternHandler,
};
use crate::{
    events::Event,
    module::{Context, MissingDependency, Registry},
};

type ResolveSource = Box<dyn FnOnce(&Context) -> Result<Arc<dyn WebhookSource>, MissingDependency> + Send>;
type ResolveWebhookHandler = Box<dyn FnOnce(&Context) -> Result<PatternHandler, MissingDependency> + Send>;

/// The sources and handlers that modules contribute. A source has its name, and both the name of their module.
#[derive(Default)]
pub(crate) struct WebhookRegistrations {
    sources: Vec<(&'static str, &'static str, ResolveSource)>,
    handlers: Vec<(&'static str, ResolveWebhookHandler)>,
}

impl WebhookRegistrations {
    /// Creates the sources and handlers. Passes each value that is missing to `report`, with the name of the module
    /// that needs it.
    pub(crate) fn resolve(self, ctx: &Context, mut report: impl FnMut(&'static str, MissingDependency)) {
        let (mut sources, mut handlers) = (Vec::new(), Vec::new());
        for (name, module, source) in self.sources {
            match source(ctx) {
                Ok(source) => sources.push((name, source)),
                Err(missing) => report(module, missing),
            }
        }
        for (module, handler) in self.handlers {
            match handler(ctx) {
                Ok(handler) => handlers.push(handler),
                Err(missing) => report(module, missing),
            }
        }
        if let Ok(known) = ctx.get::<WebhookSources>() {
            known.set(sources, handlers, SampleKeys::of_app(ctx));
        }
    }
}

impl Registry {
    /// Adds a source of webhooks. The feature `webhooks` serves it at `/api/v1/public/webhooks/NAME`. The name is
    /// stored with each webhook, so it must not change.
    pub fn webhook_source<S: WebhookSource>(
        &mut self,
        name: &'static str,
        source: impl FnOnce(&Context) -> Result<S, MissingDependency> + Send + 'static,
    ) -> &mut Self {
        let known = &self.contributions::<WebhookRegistrations>().sources;
        if let Some((_, other, _)) = known.iter().find(|(known, ..)| *known == name) {
            let what = format!("the webhook source `{name}` is also registered by module `{other}`");
            self.report_problem(what, "configure it for one of them only");
        }
        let module = self.module_name();
        let resolve: ResolveSource = Box::new(move |ctx| Ok(Arc::new(source(ctx)?)));
        self.contributions::<WebhookRegistrations>().sources.push((name, module, resolve));
        self
    }

    /// Adds a handler for the webhooks of a source. `kinds` is a type such as `invoice.paid`, a prefix such as
    /// `invoice.*`, or `*`. Several handlers of one webhook are called in the order of their registration, in one
    /// transaction.
    pub fn webhook_handler<H: WebhookHandler>(
        &mut self,
        source: &'static str,
        kinds: &'static str,
        handler: impl FnOnce(&Context) -> Result<H, MissingDependency> + Send + 'static,
    ) -> &mut Self {
        let module = self.module_name();
        let resolve: ResolveWebhookHandler = Box::new(move |ctx| Ok((source, kinds, Arc::new(handler(ctx)?))));
        self.contributions::<WebhookRegistrations>().handlers.push((module, resolve));
        self
    }

    /// Adds a type of event that tenants can receive by webhook, to the [catalogue](WebhookCatalogue) and to the
    /// section `webhooks` of the OpenAPI document.
    pub fn webhook_event<E: WebhookEvent>(&mut self) -> &mut Self {
        if let Some(catalogue) = self.provided::<WebhookCatalogue>()
            && !catalogue.add::<E>()
        {
            let what = format!("the webhook event `{}` is registered twice", E::TYPE);
            self.report_problem(what, "give one of them another `TYPE`");
        }
        self.describe_webhook::<E>()
    }

    /// Offers an event of the app to tenants: each one that is published in a transaction of a tenant is sent to that
    /// tenant's webhook endpoints. `subscriber` is stored with each delivery, as in [`subscribe`](Self::subscribe).
    pub fn forward_to_webhooks<E: Event + WebhookEvent>(&mut self, subscriber: &'static str) -> &mut Self {
        self.webhook_event::<E>();
        self.subscribe(subscriber, |ctx| Ok(ForwardToWebhooks::<E>::new(ctx.get::<WebhookPublisher>()?)))
    }
}
