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
    /// The first keyword of the statement, as it is written there, such as `select`. Empty if it begins with none.
    pub keyword: &'a str,
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
            let event = QueryEvent { sql, keyword: first_keyword(sql), elapsed, error: result.as_ref().err() };
            for observer in added.read().unwrap_or_else(PoisonError::into_inner).iter() {
                observer.observe(event);
            }
        }
        result
    }
}

/// Returns the first keyword of a statement, or an empty text if it begins with none.
fn first_keyword(sql: &str) -> &str {
    let sql = sql.trim_start();
    sql.find(|letter: char| !letter.is_ascii_alphabetic()).map_or(sql, |end| &sql[..end])
}

/// Records the span of a statement that has ended. Its values are not recorded.
fn record_span(dialect: Dialect, sql: &str, elapsed: Duration, error: Option<&Error>) {
    let span = Span::ended(SpanKind::Client, || ObservedStatement::of(sql).summary().into(), elapsed);
    if span.is_recording() {
        let ObservedStatement { operation, table } = ObservedStatement::of(sql);
        span.set(
            attribute::DB_SYSTEM_NAME,
            match dialect {
                Dialect::Postgres => "postgresql",
                Dialect::Sqlite => "sqlite",
            },
        );
        span.set(attribute::DB_QUERY_SUMMARY, ObservedStatement::of(sql).summary());
        span.set(attribute::DB_OPERATION_NAME, operation);
        if let Some(table) = table {
            span.set(attribute::DB_COLLECTION_NAME, table.to_owned());
        }
        if let Some(error) = error {
            span.set_error(error.kind().as_str());
        }
    }
}

/// The operation and the first table of a statement. A statement that begins with `with` has the operation of its last
/// part.
struct ObservedStatement<'a> {
    operation: String,
    table: Option<&'a str>,
}

impl<'a> ObservedStatement<'a> {
    fn of(sql: &'a str) -> Self {
        let is_one_of =
            |word: &str, keywords: &[&str]| keywords.iter().any(|keyword| keyword.eq_ignore_ascii_case(word));
        let (words, first) = (sql.split_whitespace(), first_keyword(sql));
        let mut changes =
            words.clone().enumerate().filter(|(_, word)| is_one_of(word, &["insert", "update", "delete"]));
        let (start, operation) = match first.eq_ignore_ascii_case("with").then(|| changes.next()) {
            None => (0, first),
            Some(None) => (0, "select"),
            Some(Some(change)) => change,
        };
        let after = words.skip(start).skip_while(|word| !is_one_of(word, &["from", "into", "update"])).nth(1);
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.';
        let table = after.and_then(|word| word.split(|letter| !u8::try_from(letter).is_ok_and(is_name)).next());
        Self { operation: operation.to_ascii_uppercase(), table: table.filter(|table| !table.is_empty()) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_named_by_its_operation_and_table() {
        for (sql, expected) in [
            ("select * from projects where id = $1", "SELECT projects"),
            ("insert into omni_jobs (id) values ($1)", "INSERT omni_jobs"),
            ("update omni_users set name = $1", "UPDATE omni_users"),
            ("delete from omni_users", "DELETE omni_users"),
            ("with new as (select * from json) insert into omni_jobs (id) select 1", "INSERT omni_jobs"),
            ("with due as (select id from omni_jobs) update omni_jobs set state = 1", "UPDATE omni_jobs"),
            ("with some as (select id from users) select * from some", "SELECT users"),
            ("select count(*) from (select 1)", "SELECT"),
            ("begin", "BEGIN"),
            ("select 1", "SELECT"),
            ("select(1)", "SELECT"),
            ("\n    update omni_users set name = $1", "UPDATE omni_users"),
        ] {
            assert_eq!(ObservedStatement::of(sql).summary(), expected);
        }
    }
}
