//! Observation of statements: the slow-query log and observers.

use std::{
    fmt,
    sync::{Arc, OnceLock, PoisonError, RwLock},
    time::Duration,
};

use super::Error;
use crate::clock::Clock;

/// A finished statement.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct QueryEvent<'a> {
    /// Text of the statement. It never contains values.
    pub sql: &'a str,
    /// Time from the request for a connection to the last row.
    pub elapsed: Duration,
    /// The error, if the statement failed.
    pub error: Option<&'a Error>,
}

/// An observer of all finished statements. It is called on the task that ran the statement, so it must be quick.
pub trait QueryObserver: Send + Sync + 'static {
    /// Receives one finished statement.
    fn observe(&self, event: QueryEvent<'_>);
}

pub(super) struct Observers {
    pub(super) clock: Clock,
    slow: Duration,
    /// Empty if there are no observers, so that statements need no lock.
    added: OnceLock<RwLock<Vec<Arc<dyn QueryObserver>>>>,
}

impl Observers {
    pub(super) fn new(clock: Clock, slow: Duration) -> Self {
        Self { clock, slow, added: OnceLock::new() }
    }

    pub(super) fn add(&self, observer: impl QueryObserver) {
        let added = self.added.get_or_init(RwLock::default);
        added.write().unwrap_or_else(PoisonError::into_inner).push(Arc::new(observer));
    }

    /// Starts to measure a statement.
    pub(super) fn start(&self) -> QueryTimer<'_> {
        QueryTimer { observers: self, before: self.clock.elapsed() }
    }
}

/// A statement whose duration is measured.
pub(super) struct QueryTimer<'a> {
    observers: &'a Observers,
    before: Duration,
}

impl QueryTimer<'_> {
    /// Logs the statement if it was slow, and calls the observers.
    pub(super) fn finish<T>(self, sql: &str, result: Result<T, Error>) -> Result<T, Error> {
        let Self { observers, before } = self;
        let elapsed = observers.clock.elapsed().saturating_sub(before);
        if elapsed >= observers.slow {
            tracing::warn!(target: "omnistack::db", sql, ?elapsed, "slow query");
        }
        if let Some(added) = observers.added.get() {
            let event = QueryEvent { sql, elapsed, error: result.as_ref().err() };
            for observer in added.read().unwrap_or_else(PoisonError::into_inner).iter() {
                observer.observe(event);
            }
        }
        result
    }
}

impl fmt::Debug for Observers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observers").field("slow", &self.slow).finish_non_exhaustive()
    }
}
