//! Runs migrations: one process at a time, each migration once, and each completely.

use std::time::Duration;

use sqlx::migrate::{AppliedMigration, Migrate, MigrateError, Migration as Script};

use super::{options::History, scripts};
use crate::db::{Db, Error, ErrorKind, pools::Pools};

/// Pause between two attempts to take the lock that another process holds.
const LOCK_POLL: Duration = Duration::from_millis(100);
/// Attempts after which the log says again that another process holds the lock.
const ATTEMPTS_BETWEEN_LOG_LINES: u32 = 100;

/// The module and the name of a migration that has run.
pub(super) type Ran = (&'static str, &'static str);

impl Db {
    /// Runs the missing migrations of these histories. Waits while another process does.
    pub(super) async fn run_migrations(&self, histories: &[History]) -> Result<Vec<Ran>, Error> {
        let mut ran = Vec::new();
        match &self.pools {
            #[cfg(feature = "postgres")]
            Pools::Postgres(database) => {
                let mut session = super::postgres_run::Session::begin(database).await?;
                for history in histories {
                    let table = self.history_table(history.module);
                    let scripts = scripts(history, self.dialect());
                    session.prepare(history.module, &table).await?;
                    let missing = missing(session.connection(), history, &table, &scripts).await?;
                    for script in missing {
                        ran.push((history.module, log_start(history, script)));
                        session.apply(&table, script).await.map_err(|error| failed(history, script, error))?;
                    }
                }
                session.end().await;
            }
            #[cfg(feature = "sqlite")]
            Pools::Sqlite(database) => {
                for history in histories {
                    let table = self.history_table(history.module);
                    let scripts = scripts(history, self.dialect());
                    // Each in a transaction of its own, so that what is done stays done if the process ends.
                    loop {
                        let mut tx = begin_on_sqlite(database).await?;
                        let all = missing(&mut *tx, history, &table, &scripts).await?;
                        if let Some(script) = all.first() {
                            ran.push((history.module, log_start(history, script)));
                            super::sqlite_run::apply(&mut tx, &table, script)
                                .await
                                .map_err(|error| failed(history, script, error))?;
                        }
                        tx.commit().await?;
                        if all.len() < 2 {
                            break;
                        }
                    }
                }
            }
        }
        if !ran.is_empty() {
            tracing::info!(target: "omnistack::db", count = ran.len(), "ran migrations");
        }
        Ok(ran)
    }
}

/// Returns the migrations of a history that have not run, in order. Creates the table of the history.
async fn missing<'s, C: Migrate>(
    connection: &mut C,
    history: &History,
    table: &str,
    scripts: &'s [Script],
) -> Result<Vec<&'s Script>, Error> {
    let refused = |error| in_module(history.module, error);
    connection.ensure_migrations_table(table).await.map_err(refused)?;
    let applied = connection.list_applied_migrations(table).await.map_err(refused)?;
    check(history.module, scripts, &applied)?;
    let is_missing = |script: &&Script| applied.iter().all(|applied| applied.version != script.version);
    Ok(scripts.iter().take(history.count).filter(is_missing).collect())
}

/// Fails if the database has another migration than this build, or one that it lacks.
pub(super) fn check(module: &str, scripts: &[Script], applied: &[AppliedMigration]) -> Result<(), Error> {
    for known in applied {
        let wrong = match scripts.iter().find(|script| script.version == known.version) {
            None => MigrateError::VersionMissing(known.version),
            Some(script) if script.checksum != known.checksum => MigrateError::VersionMismatch(known.version),
            Some(_) => continue,
        };
        return Err(in_module(module, wrong));
    }
    Ok(())
}

/// Logs that a migration starts, and returns its name.
fn log_start(history: &History, script: &Script) -> &'static str {
    let name = name_of(history, script);
    tracing::info!(target: "omnistack::db", module = history.module, migration = name, "runs a migration");
    name
}

fn name_of(history: &History, script: &Script) -> &'static str {
    let own = history.migrations.iter().find(|migration| super::version(migration.name) == script.version);
    own.map_or("", |migration| migration.name)
}

/// Returns the error of a migration that failed, with the names of the migration and its module, and the line of the
/// file if the database says it.
fn failed(history: &History, script: &Script, error: MigrateError) -> Error {
    let error = match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error,
        other => return in_module(history.module, other),
    };
    let mut text = format!("migration `{}/{}` failed", history.module, name_of(history, script));
    // Outside a transaction, the database counts the lines of a single statement.
    if let Some(line) = line_of(&error, script).filter(|_| !script.no_tx) {
        text = format!("{text} at line {line}");
    }
    let advice = match &error {
        sqlx::Error::Database(database) if exists_already(database.as_ref()) => {
            "; there is something of this name already: rename it, or give the tables of this app a schema of their own \
             with DATABASE_SCHEMA"
        }
        sqlx::Error::Database(database) if database.code().as_deref() == Some("55P03") => {
            "; another transaction holds a lock on its table: end it, or run `migrate` again at a quiet time"
        }
        _ => "",
    };
    Error::from(error).in_context(&text, advice)
}

/// Returns the line of a script at which PostgreSQL found an error.
fn line_of(error: &sqlx::Error, script: &Script) -> Option<usize> {
    #[cfg(feature = "postgres")]
    if let sqlx::Error::Database(error) = error
        && let Some(error) = error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>()
        && let Some(sqlx::postgres::PgErrorPosition::Original(position)) = error.position()
    {
        // Counted in characters from 1.
        let before = script.sql.as_str().chars().take(position.saturating_sub(1));
        return Some(before.filter(|letter| *letter == '\n').count() + 1);
    }
    #[cfg(not(feature = "postgres"))]
    let _ = (error, script);
    None
}

fn exists_already(error: &dyn sqlx::error::DatabaseError) -> bool {
    // PostgreSQL: schema, table, object, function.
    matches!(error.code().as_deref(), Some("42P06" | "42P07" | "42710" | "42723"))
        || error.message().contains(" already exists")
}

/// Returns the error of a history.
fn in_module(module: &str, error: MigrateError) -> Error {
    match error {
        MigrateError::Execute(error) => Error::from(error).in_context(&format!("the history of module `{module}`"), ""),
        MigrateError::VersionMismatch(version) => Error::configuration(format!(
            "migration {version} of module `{module}` was changed after it ran here; restore it and add a new migration"
        )),
        MigrateError::VersionMissing(version) => Error::configuration(format!(
            "this database has migration {version} of module `{module}`, which this build lacks: it is older than the \
             database; deploy a newer build"
        )),
        other => Error::new(ErrorKind::Other, Box::new(other)),
    }
}

/// Begins a transaction that writes. Waits while another process writes, for as long as it takes.
#[cfg(feature = "sqlite")]
async fn begin_on_sqlite(
    database: &crate::db::sqlite::SqliteDatabase,
) -> Result<sqlx::Transaction<'static, sqlx::Sqlite>, Error> {
    for attempt in 0_u32.. {
        match database.begin(true).await.map_err(Error::from) {
            Err(error) if error.kind() == ErrorKind::Conflict => wait_for_other(attempt).await,
            begun => return begun,
        }
    }
    Err(Error::new(ErrorKind::Unavailable, "another process did not finish its migrations".into()))
}

/// Waits a moment for the process that migrates, and says so in the log now and then.
pub(super) async fn wait_for_other(attempt: u32) {
    if attempt.is_multiple_of(ATTEMPTS_BETWEEN_LOG_LINES) {
        tracing::info!(target: "omnistack::db", "waits for another process that runs migrations");
    }
    tokio::time::sleep(LOCK_POLL).await;
}
