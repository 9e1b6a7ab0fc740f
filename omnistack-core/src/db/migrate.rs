//! Migrations; each module has its own history.

use std::borrow::Cow;

use sqlx::{
    AssertSqlSafe, SqlSafeStr as _,
    migrate::{MigrateError, MigrationType, Migrator},
};

use super::{Db, Dialect, Error, ErrorKind, Sql, pools::Pools};

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
    /// Runs the missing migrations of a module and returns their names. Several processes may call it at once: a
    /// lock makes them run one after the other.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] if a migration was changed after it ran, or if this build is older than the
    /// database; the error of a migration that failed.
    pub async fn migrate(&self, module: &'static str, migrations: Migrations) -> Result<Vec<&'static str>, Error> {
        let applied = self.history(module).await?;
        let migrator = migrator(module, migrations, self.dialect());
        for (version, checksum) in &applied {
            let wrong = match migrator.iter().find(|migration| migration.version == *version) {
                None => MigrateError::VersionMissing(*version),
                Some(migration) if *migration.checksum != **checksum => MigrateError::VersionMismatch(*version),
                Some(_) => continue,
            };
            return Err(in_module(module, wrong));
        }
        let known = |name| applied.iter().any(|(known, _)| *known == version(name));
        let missing: Vec<_> = migrations.iter().map(|migration| migration.name).filter(|name| !known(name)).collect();
        if missing.is_empty() {
            return Ok(missing);
        }
        let ran = match &self.pools {
            #[cfg(feature = "postgres")]
            Pools::Postgres(database) => {
                let mut connection = database.pool().acquire().await?;
                // The lock and the setting end with the connection in any case.
                connection.close_on_drop();
                sqlx::query("set statement_timeout = 0").execute(&mut *connection).await?;
                migrator.run(&mut *connection).await
            }
            #[cfg(feature = "sqlite")]
            Pools::Sqlite(database) => {
                let mut tx = database.begin(true).await?;
                match migrator.run(&mut *tx).await {
                    Ok(()) => tx.commit().await.map_err(MigrateError::Execute),
                    failed => failed,
                }
            }
        };
        ran.map_err(|error| in_module(module, error))?;
        Ok(missing)
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
            applied: applied.iter().any(|(known, _)| *known == version(migration.name)),
        };
        Ok(migrations.iter().map(state).collect())
    }

    /// Returns version and checksum of all migrations that have run. Only reads.
    async fn history(&self, module: &str) -> Result<Vec<(i64, Vec<u8>)>, Error> {
        let table = table(module);
        let exists = Sql {
            postgres: "select cast(1 as bigint) where to_regclass($1) is not null",
            sqlite: "select 1 from sqlite_master where type = 'table' and name = $1",
        };
        if self.query(exists).bind(table.as_str()).fetch_optional::<(i64,)>().await?.is_none() {
            return Ok(Vec::new());
        }
        self.query(AssertSqlSafe(format!("select version, checksum from {table}"))).fetch_all().await
    }
}

fn migrator(module: &str, migrations: Migrations, dialect: Dialect) -> Migrator {
    let migrations = migrations.iter().map(|migration| {
        let sql = match dialect {
            Dialect::Postgres => migration.postgres,
            Dialect::Sqlite => migration.sqlite,
        };
        let name = Cow::Borrowed(migration.name);
        sqlx::migrate::Migration::new(version(migration.name), name, MigrationType::Simple, sql.into_sql_str(), false)
    });
    let mut migrator = Migrator::with_migrations(migrations.collect());
    migrator.dangerous_set_table_name(table(module));
    migrator
}

fn table(module: &str) -> String {
    format!("omni_migrations_{}", module.replace('-', "_"))
}

/// Returns the number a name starts with. [`Registry::migrations`](crate::module::Registry::migrations) refuses a
/// name without a number.
pub(crate) fn version(name: &str) -> i64 {
    name.split('_').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn in_module(module: &str, error: MigrateError) -> Error {
    match error {
        MigrateError::Execute(error) => error.into(),
        MigrateError::VersionMismatch(version) => Error::configuration(format!(
            "migration {version} of module `{module}` was changed after it ran here; restore it and add a new migration"
        )),
        MigrateError::VersionMissing(version) => Error::configuration(format!(
            "this database has migration {version} of module `{module}`, which this build lacks: it is older than the \
             database; deploy a newer build"
        )),
        MigrateError::Dirty(version) => Error::configuration(format!(
            "migration {version} of module `{module}` stopped halfway; repair the schema and delete its row from `{}`",
            table(module)
        )),
        other => Error::new(ErrorKind::Other, Box::new(other)),
    }
}
