//! Options of a run of migrations.

use std::collections::BTreeSet;

use super::{Migration, Migrations};
use crate::db::Error;

/// Options of a run of migrations: how far it goes, and what it may lock.
///
/// ```
/// use omnistack_core::db::MigrateOptions;
///
/// let options = MigrateOptions::new().to("projects/0002_archive").refuse_long_locks(100_000);
/// # let _ = options;
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct MigrateOptions {
    to: Option<String>,
    /// Rows from which a table is large; `None` if all locks are allowed.
    large_table: Option<u64>,
    allowed: BTreeSet<String>,
}

impl MigrateOptions {
    /// Creates options with which all pending migrations run.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the run with this migration, `MODULE/NAME`. Those of modules that are registered before its module run, those
    /// after it do not.
    pub fn to(mut self, migration: impl Into<String>) -> Self {
        self.to = Some(migration.into());
        self
    }

    /// Refuses the run if requests of the app would wait for a migration while it reads or writes a whole table with at
    /// least this many rows.
    pub fn refuse_long_locks(mut self, large_table: u64) -> Self {
        self.large_table = Some(large_table);
        self
    }

    /// Allows the locks of a migration, `MODULE/NAME`, that would be refused.
    pub fn allow_lock(mut self, migration: impl Into<String>) -> Self {
        self.allowed.insert(migration.into());
        self
    }

    pub(super) fn large_table(&self) -> Option<u64> {
        self.large_table
    }

    pub(super) fn allows(&self, full_name: &str) -> bool {
        self.allowed.contains(full_name)
    }

    /// Returns the histories up to the last migration to run.
    pub(super) fn histories(&self, modules: &[(&'static str, Migrations)]) -> Result<Vec<History>, Error> {
        let history =
            |(module, migrations): &(&'static str, Migrations)| History { module, migrations, count: migrations.len() };
        let mut histories: Vec<_> = modules.iter().map(history).collect();
        for allowed in &self.allowed {
            find(&histories, allowed)?;
        }
        if let Some(to) = &self.to {
            let (at, index) = find(&histories, to)?;
            histories.truncate(at + 1);
            histories[at].count = index + 1;
        }
        Ok(histories)
    }
}

/// The history of a module, and how much of it a run includes.
#[derive(Clone, Copy, Debug)]
pub(super) struct History {
    pub(super) module: &'static str,
    /// All migrations of the module.
    pub(super) migrations: Migrations,
    /// Number of migrations, from the first one, that the run includes.
    pub(super) count: usize,
}

impl History {
    /// Returns the migrations that the run includes.
    pub(super) fn included(&self) -> &'static [Migration] {
        &self.migrations[..self.count]
    }
}

/// Returns the place of a migration: that of its history, and its own in it.
pub(super) fn find(histories: &[History], full_name: &str) -> Result<(usize, usize), Error> {
    let place = histories.iter().enumerate().find_map(|(at, history)| {
        let name = full_name.strip_prefix(history.module)?.strip_prefix('/')?;
        Some((at, history.migrations.iter().position(|migration| migration.name == name)?))
    });
    place.ok_or_else(|| {
        Error::configuration(format!(
            "there is no migration `{full_name}`: write MODULE/NAME, both as `migrate --list` prints them"
        ))
    })
}
