//! Observation of statements: the slow-query log and observers.

use std::{
    fmt,
    sync::{Arc, OnceLock, PoisonError, RwLock},
    time::Duration,
};

use super::{Dialect, Error};
use crate::{
    clock::Clock,
    trace::{Span, SpanKind, attribute},
};

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
    dialect: Dialect,
    slow: Duration,
    /// Empty if there are no observers, so that statements need no lock.
    added: OnceLock<RwLock<Vec<Arc<dyn QueryObserver>>>>,
}

impl Observers {
    pub(super) fn new(clock: Clock, dialect: Dialect, slow: Duration) -> Self {
        Self { clock, dialect, slow, added: OnceLock::new() }
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
        record_span(observers.dialect, sql, elapsed, result.as_ref().err());
        if let Some(added) = observers.added.get() {
            let event = QueryEvent { sql, elapsed, error: result.as_ref().err() };
            for observer in added.read().unwrap_or_else(PoisonError::into_inner).iter() {
                observer.observe(event);
            }
        }
        result
    }
}

/// Records the span of a statement that has ended. Its values are not recorded.
fn record_span(dialect: Dialect, sql: &str, elapsed: Duration, error: Option<&Error>) {
    let span = Span::ended(SpanKind::Client, || Statement::of(sql).summary().into(), elapsed);
    if span.is_recording() {
        let Statement { operation, table } = Statement::of(sql);
        span.set(
            attribute::DB_SYSTEM_NAME,
            match dialect {
                Dialect::Postgres => "postgresql",
                Dialect::Sqlite => "sqlite",
            },
        );
        span.set(attribute::DB_QUERY_SUMMARY, Statement::of(sql).summary());
        span.set(attribute::DB_OPERATION_NAME, operation);
        if let Some(table) = table {
            span.set(attribute::DB_COLLECTION_NAME, table.to_owned());
        }
        if let Some(error) = error {
            span.set_error(error.kind().as_str());
        }
    }
}

/// The operation and the first table of a statement.
struct Statement<'a> {
    operation: String,
    table: Option<&'a str>,
}

impl<'a> Statement<'a> {
    fn of(sql: &'a str) -> Self {
        let mut words = sql.split_whitespace();
        let operation = words.next().unwrap_or_default().to_ascii_uppercase();
        let follows = |word: &str| ["from", "into", "update"].iter().any(|keyword| keyword.eq_ignore_ascii_case(word));
        let mut words = sql.split_whitespace().skip_while(|word| !follows(word));
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.';
        let table = words
            .nth(1)
            .map(|word| word.split(|letter| !u8::try_from(letter).is_ok_and(is_name)).next().unwrap_or_default());
        Self { operation, table: table.filter(|table| !table.is_empty()) }
    }

    fn summary(&self) -> String {
        match self.table {
            Some(table) => format!("{} {table}", self.operation),
            None => self.operation.clone(),
        }
    }
}

impl fmt::Debug for Observers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observers").field("slow", &self.slow).finish_non_exhaustive()
    }
}
