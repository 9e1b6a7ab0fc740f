//! The log of an outage: a line at its beginning, and a line at its end.

use std::{
    fmt::Display,
    sync::atomic::{AtomicBool, Ordering},
};

/// The state of a receiver of exports. The beginning and the end of its outage are logged once each.
#[derive(Debug)]
pub(crate) struct ExportOutage {
    /// The name of the exports, in the plural.
    what: &'static str,
    is_ongoing: AtomicBool,
}

impl ExportOutage {
    /// Creates the state of a receiver that is available. The log lines begin with `what`.
    pub(crate) const fn of(what: &'static str) -> Self {
        Self { what, is_ongoing: AtomicBool::new(false) }
    }

    /// Logs a line if the result of an attempt begins or ends an outage.
    pub(crate) fn observe<T, E: Display>(&self, result: &Result<T, E>) {
        let (what, failed) = (self.what, result.is_err());
        if self.is_ongoing.swap(failed, Ordering::Relaxed) == failed {
            return;
        }
        match result {
            Ok(_) => tracing::info!(target: "omnistack::export", "{what} are exported again"),
            Err(error) => tracing::warn!(target: "omnistack::export", %error,
                "{what} can't be exported, and are dropped until the receiver is available"),
        }
    }
}
