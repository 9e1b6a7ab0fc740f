//! The locks that a statement takes, judged by its text. In doubt, a statement is taken for one that locks more.

use super::statement::{SqlToken, Statement};
use crate::db::Dialect;

/// The lock that a statement of a migration takes, and holds until its transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TableLockMode {
    /// `ROW EXCLUSIVE`: the rows that the statement changes.
    Rows,
    /// `SHARE UPDATE EXCLUSIVE`: other migrations and `vacuum` wait; reads and writes go on.
    ShareUpdateExclusive,
    /// `SHARE`: writes wait, reads go on.
    Share,
    /// `SHARE ROW EXCLUSIVE`: writes wait, reads go on.
    ShareRowExclusive,
    /// `ACCESS EXCLUSIVE`: reads and writes wait.
    AccessExclusive,
    /// The lock of the whole database on SQLite: writes to all tables wait, reads go on.
    Database,
}

impl TableLockMode {
    /// Returns the name of the lock in the database's manual.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rows => "ROW EXCLUSIVE",
            Self::ShareUpdateExclusive => "SHARE UPDATE EXCLUSIVE",
            Self::Share => "SHARE",
            Self::ShareRowExclusive => "SHARE ROW EXCLUSIVE",
            Self::AccessExclusive => "ACCESS EXCLUSIVE",
            Self::Database => "the database's write lock",
        }
    }

    /// Returns what waits for the lock, as the end of a sentence.
    pub const fn effect(self) -> &'static str {
        match self {
            Self::Rows => "changes of the same rows wait",
            Self::ShareUpdateExclusive => "reads and writes go on",
            Self::Share | Self::ShareRowExclusive => "writes wait",
            Self::AccessExclusive => "reads and writes wait",
            Self::Database => "writes to all tables wait",
        }
    }

    /// Returns whether requests of the app can wait for the lock, whichever rows of the table they need.
    pub(super) const fn blocks_table(self) -> bool {
        matches!(self, Self::Share | Self::ShareRowExclusive | Self::AccessExclusive)
    }

    /// Returns whether requests of the app can wait for the lock.
    pub const fn blocks(self) -> bool {
        !matches!(self, Self::ShareUpdateExclusive)
    }
}

/// The table that a statement locks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LockTarget {
    Table(String),
    /// The table of this index.
    TableOfIndex(String),
    /// Which table is not clear from the text, so it may be the largest.
    Any,
}

/// A lock by the text of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StatementLock {
    pub(super) target: LockTarget,
    pub(super) mode: TableLockMode,
    /// Whether the lock is held while the whole table is read or written, and not for a moment.
    pub(super) scans: bool,
}

impl StatementLock {
    pub(super) fn moment(table: impl Into<String>, mode: TableLockMode) -> Self {
        Self { target: LockTarget::Table(table.into()), mode, scans: false }
    }

    pub(super) fn scan(table: impl Into<String>, mode: TableLockMode) -> Self {
        Self { target: LockTarget::Table(table.into()), mode, scans: true }
    }

    pub(super) fn any(mode: TableLockMode) -> Self {
        Self { target: LockTarget::Any, mode, scans: true }
    }
}

/// Returns the locks of a statement. A table that the statement creates is not among them.
pub(super) fn locks(statement: &Statement<'_>, dialect: Dialect) -> Vec<StatementLock> {
    match dialect {
        Dialect::Postgres => super::postgres_locks::locks(&statement.tokens),
        Dialect::Sqlite => super::sqlite_locks::locks(&statement.tokens),
    }
}

/// Returns the table names in a list such as `a, b cascade`.
pub(super) fn names(tokens: &[SqlToken<'_>]) -> Vec<String> {
    let parts = super::statement::at_commas(tokens).into_iter();
    parts
        .filter_map(|part| {
            let mut name = super::statement::Cursor::new(part);
            name.skip_any(&["only"]);
            name.name()
        })
        .collect()
}
