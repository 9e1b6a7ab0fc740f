//! The metrics of SQL statements.

use metrics::{Counter, Gauge, Histogram};
use omnistack_core::{
    db::{Db, QueryEvent, QueryObserver},
    metrics::{DB_ERRORS, DB_POOL_CONNECTIONS, DB_QUERIES, DB_QUERY_DURATION},
};

/// The first keywords of statements that are counted apart. Other statements are counted as `OTHER`.
const OPERATIONS: [&str; 6] = ["SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "OTHER"];

/// The metrics of the statements of a database.
pub(crate) struct StatementMetrics {
    operations: [(Counter, Histogram); OPERATIONS.len()],
}

impl Default for StatementMetrics {
    fn default() -> Self {
        Self {
            operations: OPERATIONS
                .map(|operation| (DB_QUERIES.counter([operation]), DB_QUERY_DURATION.histogram([operation]))),
        }
    }
}

impl QueryObserver for StatementMetrics {
    fn observe(&self, event: QueryEvent<'_>) {
        let (queries, duration) = &self.operations[operation_index(event.keyword)];
        queries.increment(1);
        duration.record(event.elapsed);
        if let Some(error) = event.error {
            DB_ERRORS.counter([error.kind().as_str()]).increment(1);
        }
    }
}

fn operation_index(keyword: &str) -> usize {
    let found = OPERATIONS.iter().position(|operation| operation.eq_ignore_ascii_case(keyword));
    found.unwrap_or(OPERATIONS.len() - 1)
}

/// The number of connections of a database.
#[derive(Clone)]
pub(crate) struct PoolMetrics {
    db: Db,
    idle: Gauge,
    used: Gauge,
}

impl PoolMetrics {
    pub(crate) fn new(db: Db) -> Self {
        let gauge = |state: &'static str| DB_POOL_CONNECTIONS.gauge([state]);
        Self { db, idle: gauge("idle"), used: gauge("used") }
    }

    /// Reads the numbers from the pool. SQLite's writing connection is not among them.
    pub(crate) fn refresh(&self) {
        let (size, idle) = self.pool();
        self.idle.set(f64::from(u32::try_from(idle).unwrap_or(u32::MAX)));
        self.used.set(f64::from(size.saturating_sub(u32::try_from(idle).unwrap_or(u32::MAX))));
    }

    fn pool(&self) -> (u32, usize) {
        #[cfg(feature = "postgres")]
        if let Some(pool) = self.db.postgres() {
            return (pool.size(), pool.num_idle());
        }
        #[cfg(feature = "sqlite")]
        if let Some(pool) = self.db.sqlite_readers() {
            return (pool.size(), pool.num_idle());
        }
        (0, 0)
    }
}
