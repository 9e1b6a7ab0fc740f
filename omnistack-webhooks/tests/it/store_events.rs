//! Helpers for tests of the sources of app stores.
#![cfg(test)]

use std::sync::{Arc, Mutex};

use http::HeaderMap;
use omnistack_core::{
    async_trait,
    jobs::JobError,
    module::{Module, Registry},
    webhook::{
        InboundWebhook, SourceEvent, WebhookHandler, WebhookOutcome, WebhookRejection, WebhookRequest, WebhookSources,
        WebhookTx,
    },
};
use omnistack_testkit::{TestApp, TestDatabase};
use omnistack_webhooks::Webhooks;
use serde_json::Value;

/// A module that records the events of a source.
#[derive(Clone, Default)]
pub(crate) struct RecordedEvents(Arc<Mutex<Vec<InboundWebhook>>>);

impl RecordedEvents {
    pub(crate) fn all(&self) -> Vec<SourceEvent> {
        self.0.lock().unwrap().iter().map(|webhook| webhook.event.clone()).collect()
    }
}

#[async_trait]
impl WebhookHandler for RecordedEvents {
    async fn handle(&self, webhook: &InboundWebhook, _: &mut WebhookTx<'_>) -> Result<WebhookOutcome, JobError> {
        self.0.lock().unwrap().push(webhook.clone());
        Ok(WebhookOutcome::Processed)
    }
}

impl Module for RecordedEvents {
    fn name(&self) -> &'static str {
        "recorded-events"
    }

    fn register(&self, registry: &mut Registry) {
        for source in ["apple", "google-play"] {
            let recorded = self.clone();
            registry.webhook_handler(source, "*", move |_| Ok(recorded));
        }
    }
}

/// Starts an app with these settings.
pub(crate) async fn start(database: TestDatabase, settings: &[(&str, &str)], recorded: RecordedEvents) -> TestApp {
    TestApp::start(database, |app| {
        let app = app.with(Webhooks::from_env()).with(recorded);
        settings.iter().fold(app, |app, (name, value)| app.set(*name, *value))
    })
    .await
}

/// Returns a value with changes. `null` removes a field.
pub(crate) fn with(mut value: Value, changes: Value) -> Value {
    for (name, change) in changes.as_object().unwrap() {
        let fields = value.as_object_mut().unwrap();
        if change.is_null() {
            fields.remove(name)
        } else {
            fields.insert(name.clone(), change.clone())
        };
    }
    value
}

/// Processes what was received.
pub(crate) async fn process(app: &TestApp) {
    app.run_jobs().await;
    app.run_events().await;
}

/// Verifies and describes a request with a source of the app. Fails with the reason of a rejection.
pub(crate) async fn verify(
    app: &TestApp,
    source: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<SourceEvent, String> {
    let (_, verifier) = app.app().context().get::<WebhookSources>().unwrap().get(source).unwrap();
    let url = format!("https://app.example.com/api/v1/public/webhooks/{source}?a=b");
    let request = WebhookRequest { url: &url, headers, body, now: app.clock().clock().now() };
    let verified = match verifier.verify(&request).await {
        Ok(()) => verifier.describe(&request),
        Err(rejection) => Err(rejection),
    };
    verified.map_err(|rejection| match rejection {
        WebhookRejection::Unverified(reason) => reason.to_owned(),
        other => other.to_string(),
    })
}
