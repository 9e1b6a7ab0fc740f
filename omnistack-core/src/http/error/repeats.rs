//! Limits how often errors of the same code are logged.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Time between two log lines for errors of one code.
const LOG_INTERVAL: Duration = Duration::from_secs(1);
/// Error codes that are tracked. With more, all are dropped and their next errors are logged.
const MAX_CODES: usize = 64;

/// When an error of each code was last logged.
pub(super) struct LogThrottle(Mutex<Vec<LoggedCode>>);

struct LoggedCode {
    code: String,
    at: Instant,
    /// Errors that were not logged since.
    suppressed: u64,
}

impl LogThrottle {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Returns how many errors of the code were not logged since the last one that was. Returns `None` if this one
    /// must not be logged.
    pub(super) fn should_log(&self, code: &str) -> Option<u64> {
        let (mut all, now) = (self.0.lock().unwrap_or_else(PoisonError::into_inner), Instant::now());
        match all.iter_mut().find(|logged| logged.code == code) {
            Some(logged) if now.duration_since(logged.at) < LOG_INTERVAL => {
                logged.suppressed += 1;
                None
            }
            Some(logged) => {
                logged.at = now;
                Some(std::mem::take(&mut logged.suppressed))
            }
            None => {
                if all.len() == MAX_CODES {
                    all.clear();
                }
                all.push(LoggedCode { code: code.to_owned(), at: now, suppressed: 0 });
                Some(0)
            }
        }
    }
}
