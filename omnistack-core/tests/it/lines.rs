//! Captures the log of the code under test.

#![cfg(test)]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{sync::Notify, time::timeout};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::{Layer, layer::SubscriberExt as _};

/// The log lines of `omnistack` on this thread, at level info and above.
#[derive(Clone, Default)]
pub(crate) struct CapturedLog(Arc<Heard>);

#[derive(Default)]
struct Heard {
    lines: Mutex<Vec<String>>,
    more: Notify,
}

impl CapturedLog {
    /// Captures log lines until the guard is dropped.
    pub(crate) fn capture() -> (Self, DefaultGuard) {
        let lines = Self::default();
        let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(lines.clone()));
        (lines, guard)
    }

    /// Returns the lines since the last call.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lines.lock().unwrap())
    }

    /// Waits for a line. Panics if it does not come in time.
    pub(crate) async fn wait_for(&self, line: &str) {
        let heard = async {
            loop {
                let more = self.0.more.notified();
                if self.0.lines.lock().unwrap().iter().any(|heard| heard == line) {
                    return;
                }
                more.await;
            }
        };
        let heard = timeout(Duration::from_secs(20), heard).await;
        assert!(heard.is_ok(), "`{line}` was to be heard, and this was: {:?}", self.take());
    }
}

impl<S: tracing::Subscriber> Layer<S> for CapturedLog {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        struct Message(String);
        impl tracing::field::Visit for Message {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                if field.name() == "message" {
                    self.0 = format!("{value:?}");
                }
            }
        }
        if event.metadata().target().starts_with("omnistack::") && *event.metadata().level() <= tracing::Level::INFO {
            let mut message = Message(String::new());
            event.record(&mut message);
            self.0.lines.lock().unwrap().push(message.0);
            self.0.more.notify_waiters();
        }
    }
}
