//! The sources and handlers of all modules.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use serde_json::Value;

use super::{
    InboundWebhook, SampleKeys, WebhookHandler, WebhookOutcome, WebhookRejection, WebhookRequest, WebhookSource,
    WebhookTx,
};
use crate::{BoxError, jobs::JobError};

/// A handler with the name of its source and the pattern of its types.
pub(super) type PatternHandler = (&'static str, &'static str, Arc<dyn WebhookHandler>);

#[derive(Default)]
struct Resolved {
    sources: Vec<(&'static str, Arc<dyn WebhookSource>)>,
    handlers: Vec<PatternHandler>,
    /// The keys of samples, if they are accepted.
    samples: Option<SampleKeys>,
}

/// The sources and handlers that modules have registered. It is in the [`Context`](crate::module::Context) of every
/// app, and empty until the app is built. Cheap to clone.
#[derive(Clone, Default)]
pub struct WebhookSources(Arc<OnceLock<Resolved>>);

impl WebhookSources {
    pub(super) fn set(
        &self,
        sources: Vec<(&'static str, Arc<dyn WebhookSource>)>,
        handlers: Vec<PatternHandler>,
        samples: Option<SampleKeys>,
    ) {
        _ = self.0.set(Resolved { sources, handlers, samples });
    }

    /// Returns the names of the sources, in the order of registration.
    pub fn names(&self) -> Vec<&'static str> {
        self.0.get().map(|all| all.sources.iter().map(|(name, _)| *name).collect()).unwrap_or_default()
    }

    /// Returns a source and its name.
    pub fn get(&self, name: &str) -> Option<(&'static str, Arc<dyn WebhookSource>)> {
        self.0.get()?.sources.iter().find(|(known, _)| *known == name).cloned()
    }

    /// Verifies a request with its source. Outside production, samples that the command `webhooks send` has signed with
    /// `SECRET_KEYS` are accepted too. With the keys for development, which are public, they are accepted only while
    /// `HOST` is an address that only this machine can reach.
    ///
    /// # Errors
    /// Returns the reason why the request is rejected.
    pub async fn verify(
        &self,
        name: &str,
        source: &dyn WebhookSource,
        request: &WebhookRequest<'_>,
    ) -> Result<(), WebhookRejection> {
        let samples = self.0.get().and_then(|all| all.samples.as_ref());
        match samples.and_then(|samples| samples.verify(name, request)) {
            Some(verified) => verified,
            None => source.verify(request).await,
        }
    }

    /// Asks the provider of a webhook for the current state of its object: see [`WebhookSource::fetch_object`].
    ///
    /// # Errors
    /// Returns the error of the call to the provider.
    pub async fn fetch_object(&self, webhook: &InboundWebhook) -> Result<Option<Value>, BoxError> {
        match self.get(&webhook.source) {
            Some((_, source)) => source.fetch_object(webhook).await,
            None => Ok(None),
        }
    }

    /// Calls the handlers of a webhook one after another. Returns [`WebhookOutcome::Ignored`] if there is none, or if
    /// all have ignored it.
    ///
    /// # Errors
    /// Returns the first error. No further handler is called then.
    pub async fn handle(&self, webhook: &InboundWebhook, tx: &mut WebhookTx<'_>) -> Result<WebhookOutcome, JobError> {
        let mut outcome = WebhookOutcome::Ignored;
        for (source, pattern, handler) in self.0.get().into_iter().flat_map(|all| &all.handlers) {
            if *source == webhook.source && matches(pattern, &webhook.event.kind) {
                outcome = outcome.max(handler.handle(webhook, tx).await?);
            }
        }
        Ok(outcome)
    }
}

impl fmt::Debug for WebhookSources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WebhookSources").field(&self.names()).finish()
    }
}

/// Returns whether a type matches a pattern: the type itself, a prefix before `*`, or `*`.
fn matches(pattern: &str, kind: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => kind.starts_with(prefix),
        None => pattern == kind,
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_types() {
        for (pattern, kind, expected) in [
            ("*", "invoice.paid", true),
            ("invoice.*", "invoice.paid", true),
            ("invoice.*", "invoices", false),
            ("invoice.paid", "invoice.paid", true),
            ("invoice.paid", "invoice.paid.late", false),
        ] {
            assert_eq!(matches(pattern, kind), expected, "{pattern} {kind}");
        }
    }
}
