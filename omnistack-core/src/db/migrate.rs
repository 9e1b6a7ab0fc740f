//! Migrations; each module has its own history.
//!
//! `statement.rs` splits a migration into its statements, `locks.rs` with `postgres_locks.rs` and `sqlite_locks.rs` says
//! what each locks, `rollback.rs` how to undo it, and `plan.rs` puts this together. `run.rs` runs migrations, with
//! `postgres_run.rs` and `sqlite_run.rs`.

mod locks;
mod options;
mod plan;
mod postgres_locks;
#[cfg(feature = "postgres")]
mod postgres_run;
mod rollback;
mod run;
mod sqlite_locks;
#[cfg(feature = "sqlite")]
mod sqlite_run;
mod statement;

pub use locks::TableLockMode;
pub use options::MigrateOptions;
pub use plan::{PlannedMigration, PlannedStatement, TableLock};
pub use rollback::RollbackGuide;

use std::borrow::Cow;

use sqlx::{
    AssertSqlSafe, SqlSafeStr as _,
    migrate::{AppliedMigration, Migration as Script, MigrationType},
};

use super::{Db, Dialect, Error, Sql};
use options::History;

/// Start of a PostgreSQL migration that runs outside a transaction, statement by statement, for
/// `create index concurrently`.
const OUTSIDE_TRANSACTION: &str = "-- no-transaction";

/// One schema change in both dialects. Created by [`migrations!`](crate::migrations).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migration {
    /// File name without its extension: a number and a description, as in `0001_projects`.
    pub name: &'static str,
    /// SQL for PostgreSQL.
    pub postgres: &'static str,
    /// SQL for SQLite.
    pub sqlite: &'static str,
}

/// The migrations of one module, in order. Each module has its own history table (`omni_migrations_billing`), so that
/// modules evolve independently.
pub type Migrations = &'static [Migration];

/// Lists the migrations of a module. The files are `migrations/postgres/NAME.sql` and
/// `migrations/sqlite/NAME.sql` next to its `Cargo.toml`. Never edit a migration after its release: its checksum
/// is stored.
///
/// ```text
/// registry.migrations(omnistack_core::migrations!["0001_projects", "0002_archive"]);
/// ```
#[macro_export]
macro_rules! migrations {
    ($($name:literal),+ $(,)?) => {
        &[$($crate::db::Migration {
            name: $name,
            postgres: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/postgres/", $name, ".sql")),
            sqlite: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/sqlite/", $name, ".sql")),
        }),+]
    };
}

/// The state of a migration in a database.
#[derive(Clone, Debug)]
pub struct MigrationState {
    /// The module it belongs to.
    pub module: &'static str,
    /// Name of the migration.
    pub name: &'static str,
    /// Whether the migration has run in this database.
    pub applied: bool,
}

impl Db {
    /// Runs the missing migrations of a module and returns the names of those that ran. Several processes may call it at
    /// once: a lock makes them run one after the other.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`](super::ErrorKind::Configuration) if a migration was changed after it ran, or if this
    /// build is older than the database; the error of a migration that failed, with its name and that of the module.
    pub async fn migrate(&self, module: &'static str, migrations: Migrations) -> Result<Vec<&'static str>, Error> {
        let ran = self.migrate_all(&[(module, migrations)], &MigrateOptions::new()).await?;
        Ok(ran.into_iter().map(|(_, name)| name).collect())
    }

    /// Runs the missing migrations of several modules, as the options say, and returns those that ran, as
    /// `(module, name)`. The process that runs them holds a lock until it has run all. Other processes wait, and then
    /// find nothing to do.
    ///
    /// # Errors
    /// Those of [`migrate`](Self::migrate); [`ErrorKind::Configuration`](super::ErrorKind::Configuration) if the options
    /// name a migration that does not exist or refuse a lock.
    pub async fn migrate_all(
        &self,
        modules: &[(&'static str, Migrations)],
        options: &MigrateOptions,
    ) -> Result<Vec<(&'static str, &'static str)>, Error> {
        let histories = options.histories(modules)?;
        let mut missing = Vec::new();
        for history in &histories {
            let of_module = self.missing(history).await?;
            missing.extend(of_module.into_iter().map(|migration| (history.module, migration)));
        }
        if missing.is_empty() {
            return Ok(Vec::new());
        }
        if let Some(large_table) = options.large_table() {
            self.refuse_long_locks(&missing, large_table, options).await?;
        }
        self.run_migrations(&histories).await
    }

    /// Returns what [`migrate_all`](Self::migrate_all) would do with the same options, in order. Only reads.
    ///
    /// # Errors
    /// Those of [`migrate_all`](Self::migrate_all), except those of running a migration; no lock is refused.
    pub async fn plan_migrations(
        &self,
        modules: &[(&'static str, Migrations)],
        options: &MigrateOptions,
    ) -> Result<Vec<PlannedMigration>, Error> {
        let mut planned = Vec::new();
        for history in options.histories(modules)? {
            for migration in self.missing(&history).await? {
                planned.push(self.plan_migration(history.module, migration).await?);
            }
        }
        Ok(planned)
    }

    /// Returns the plan of one migration, `MODULE/NAME`, whether or not it has run. Only reads.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`](super::ErrorKind::Configuration) if there is no such migration; the errors of the
    /// database.
    pub async fn explain_migration(
        &self,
        modules: &[(&'static str, Migrations)],
        full_name: &str,
    ) -> Result<PlannedMigration, Error> {
        let histories = MigrateOptions::new().histories(modules)?;
        let (at, index) = options::find(&histories, full_name)?;
        self.plan_migration(histories[at].module, &histories[at].migrations[index]).await
    }

    /// Returns which of a module's migrations have run in this database.
    ///
    /// # Errors
    /// The errors of the database.
    pub async fn migration_states(
        &self,
        module: &'static str,
        migrations: Migrations,
    ) -> Result<Vec<MigrationState>, Error> {
        let applied = self.history(module).await?;
        let state = |migration: &Migration| MigrationState {
            module,
            name: migration.name,
            applied: applied.iter().any(|applied| applied.version == version(migration.name)),
        };
        Ok(migrations.iter().map(state).collect())
    }

    /// Returns the migrations of a history that have not run, of those that the run includes. Only reads.
    async fn missing(&self, history: &History) -> Result<Vec<&'static Migration>, Error> {
        let applied = self.history(history.module).await?;
        run::check(history.module, &scripts(history, self.dialect()), &applied)?;
        let is_missing =
            |migration: &&Migration| applied.iter().all(|applied| applied.version != version(migration.name));
        Ok(history.included().iter().filter(is_missing).collect())
    }

    async fn refuse_long_locks(
        &self,
        missing: &[(&'static str, &'static Migration)],
        large_table: u64,
        options: &MigrateOptions,
    ) -> Result<(), Error> {
        let mut refused = Vec::new();
        for &(module, migration) in missing {
            let planned = self.plan_migration(module, migration).await?;
            if !options.allows(&planned.full_name()) {
                let locks = planned.long_locks(large_table);
                refused.extend(locks.map(|(statement, lock)| plan::refusal(&planned, statement, lock)));
            }
        }
        if refused.is_empty() {
            return Ok(());
        }
        Err(Error::configuration(format!(
            "nothing was migrated, because requests would wait for these locks of large tables:\n  {}\nrewrite the \
             migration (see the chapter \"Migrations in production\"), or run it at a quiet time with `migrate \
             --allow-lock MODULE/NAME`",
            refused.join("\n  ")
        )))
    }

    /// Returns all migrations of a module that have run. Only reads.
    async fn history(&self, module: &str) -> Result<Vec<AppliedMigration>, Error> {
        let table = self.history_table(module);
        let exists = Sql {
            postgres: "select cast(1 as bigint) where to_regclass($1) is not null",
            sqlite: "select 1 from sqlite_master where type = 'table' and name = $1",
        };
        if self.query(exists).bind(table.as_str()).fetch_optional::<(i64,)>().await?.is_none() {
            return Ok(Vec::new());
        }
        let rows = self.query(AssertSqlSafe(format!("select version, checksum from {table}")));
        let rows: Vec<(i64, Vec<u8>)> = rows.fetch_all().await?;
        let applied =
            rows.into_iter().map(|(version, checksum)| AppliedMigration { version, checksum: checksum.into() });
        Ok(applied.collect())
    }

    /// Returns the name of the table of a history, with the schema of `DATABASE_SCHEMA`.
    fn history_table(&self, module: &str) -> String {
        match self.schema() {
            Some(schema) => format!("\"{schema}\".{}", table(module)),
            None => table(module),
        }
    }
}

/// Returns the migrations of a history as the driver runs them.
fn scripts(history: &History, dialect: Dialect) -> Vec<Script> {
    let script = |migration: &Migration| {
        let sql = match dialect {
            Dialect::Postgres => migration.postgres,
            Dialect::Sqlite => migration.sqlite,
        };
        let is_outside = is_outside_transaction(sql, dialect);
        let name = Cow::Borrowed(migration.name);
        Script::new(version(migration.name), name, MigrationType::Simple, sql.into_sql_str(), is_outside)
    };
    history.migrations.iter().map(script).collect()
}

/// Returns whether a migration runs outside a transaction. On SQLite all run in one.
fn is_outside_transaction(sql: &str, dialect: Dialect) -> bool {
    dialect == Dialect::Postgres && sql.starts_with(OUTSIDE_TRANSACTION)
}

fn table(module: &str) -> String {
    format!("omni_migrations_{}", module.replace('-', "_"))
}

/// Returns the number a name starts with. [`Registry::migrations`](crate::module::Registry::migrations) refuses a
/// name without a number.
pub(crate) fn version(name: &str) -> i64 {
    name.split('_').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}
