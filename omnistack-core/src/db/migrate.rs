//! Schema changes, one history a module.

use std::borrow::Cow;

use sqlx::{
    SqlSafeStr as _,
    migrate::{Migrate, MigrateError, MigrationType, Migrator},
};

use super::{Db, Dialect, Error, ErrorKind, driver::Pools};

/// One schema change in both dialects. Made by [`migrations!`](crate::migrations).
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// File name without its extension: a number and what it does, `0001_projects`.
    pub name: &'static str,
    /// For PostgreSQL.
    pub postgres: &'static str,
    /// For SQLite.
    pub sqlite: &'static str,
}

/// The schema changes of one module, in order. Each module has a history of its own (`_migrations_billing`), so modules
/// evolve alone.
pub type Migrations = &'static [Migration];

/// Names the migrations of a module; the files are `migrations/postgres/NAME.sql` and `migrations/sqlite/NAME.sql`
/// beside its `Cargo.toml`. A migration that has been released is never edited: its checksum is stored.
///
/// ```ignore
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

/// Whether a migration has run.
#[derive(Clone, Debug)]
pub struct MigrationState {
    /// The module it belongs to.
    pub module: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Whether this database has it.
    pub applied: bool,
}

impl Db {
    /// Runs what is missing of a module's migrations and returns the names of those that ran. Several processes may
    /// call it at once on PostgreSQL: an advisory lock lets one through at a time.
    pub async fn migrate(&self, module: &'static str, migrations: Migrations) -> Result<Vec<&'static str>, Error> {
        let missing = self.migration_states(module, migrations).await?;
        let missing: Vec<_> = missing.into_iter().filter(|state| !state.applied).map(|state| state.name).collect();
        if missing.is_empty() {
            return Ok(missing);
        }
        let migrator = migrator(module, migrations, self.dialect());
        let ran = match &self.pools {
            #[cfg(feature = "postgres")]
            Pools::Postgres(pool) => migrator.run(pool).await,
            #[cfg(feature = "sqlite")]
            Pools::Sqlite { write, .. } => migrator.run(write).await,
        };
        ran.map_err(|error| in_module(module, error))?;
        Ok(missing)
    }

    /// Which of a module's migrations this database has.
    pub async fn migration_states(
        &self,
        module: &'static str,
        migrations: Migrations,
    ) -> Result<Vec<MigrationState>, Error> {
        let table = table(module);
        let applied = match &self.pools {
            #[cfg(feature = "postgres")]
            Pools::Postgres(pool) => applied(&mut *pool.acquire().await?, &table).await,
            #[cfg(feature = "sqlite")]
            Pools::Sqlite { write, .. } => applied(&mut *write.acquire().await?, &table).await,
        };
        let applied = applied.map_err(|error| in_module(module, error))?;
        let state = |migration: &Migration| MigrationState {
            module,
            name: migration.name,
            applied: applied.contains(&version(migration.name)),
        };
        Ok(migrations.iter().map(state).collect())
    }
}

async fn applied(connection: &mut impl Migrate, table: &str) -> Result<Vec<i64>, MigrateError> {
    connection.ensure_migrations_table(table).await?;
    Ok(connection.list_applied_migrations(table).await?.into_iter().map(|migration| migration.version).collect())
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
    format!("_migrations_{}", module.replace('-', "_"))
}

/// The number a name begins with; [`Registry::migrations`](crate::app::Registry::migrations) refuses a name without.
pub(crate) fn version(name: &str) -> i64 {
    name.split('_').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn in_module(module: &str, error: MigrateError) -> Error {
    match error {
        MigrateError::Execute(error) => error.into(),
        MigrateError::VersionMismatch(version) => Error::configuration(format!(
            "migration {version} of module `{module}` was changed after it ran here; restore its text and add a new migration"
        )),
        MigrateError::VersionMissing(version) => Error::configuration(format!(
            "this database has migration {version} of module `{module}`, which this build does not: it is older than the \
             database"
        )),
        MigrateError::Dirty(version) => Error::configuration(format!(
            "migration {version} of module `{module}` stopped halfway; repair the schema, then delete its row from `{}`",
            table(module)
        )),
        other => Error::new(ErrorKind::Other, Box::new(other)),
    }
}
