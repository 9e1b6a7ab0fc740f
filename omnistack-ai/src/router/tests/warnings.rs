//! Tests of the warnings about models that end.

use std::{
    fmt::{self, Write as _},
    sync::Mutex,
};

use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

use super::*;

/// A tracing subscriber that keeps the messages of the gateway.
#[derive(Clone, Default)]
struct Messages(Arc<Mutex<String>>);

impl Visit for Messages {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            writeln!(self.0.lock().unwrap(), "{value:?}").unwrap();
        }
    }
}

impl Subscriber for Messages {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "omnistack::ai"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn the_start_of_the_app_warns_of_models_that_end() {
    let routed = routed(|state| state.default_model = "oldest".into());
    routed.clock.set("2027-01-15T00:00:00Z".parse().unwrap());
    let shutdown = ShutdownToken::new();
    shutdown.cancel();
    let messages = Messages::default();
    {
        let _guard = tracing::subscriber::set_default(messages.clone());
        warn_of_ends(routed.router, shutdown).await.unwrap();
    }
    let written = messages.0.lock().unwrap().clone();
    for model in
        ["acme/oldest ended on 2026-01-14; its successor is old", "acme/old (named by `mixed`) ended on 2027-01-14"]
    {
        assert!(written.contains(&format!("a model ends: {model}")), "{written}");
    }
}
