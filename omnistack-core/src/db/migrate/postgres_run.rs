//! The session in which migrations run on PostgreSQL.

use std::time::Duration;

use sqlx::{
    AssertSqlSafe, Executor as _,
    migrate::{Migrate as _, MigrateError, Migration as Script},
    pool::PoolConnection,
    postgres::{PgConnection, Postgres},
};

use super::{
    run::wait_for_other,
    statement::{Cursor, Statement, statements},
};
use crate::db::{Error, postgres::PgDatabase};

/// Key of the lock that the process which migrates holds: `omnimigr` as a number.
const MIGRATION_LOCK: i64 = 0x6f6d_6e69_6d69_6772;
/// Attempts of a migration whose statements do not get their locks in time.
const ATTEMPTS_FOR_LOCKS: u32 = 10;

/// A connection that holds the lock of migrations. The lock and the settings end with the connection, so it is closed in
/// any case.
pub(super) struct Session {
    connection: PoolConnection<Postgres>,
    schema: Option<String>,
    lock_timeout: Duration,
}

impl Session {
    /// Takes the lock. Waits while another process holds it.
    pub(super) async fn begin(database: &PgDatabase) -> Result<Self, Error> {
        let mut connection = database.acquire_without_limit().await?;
        connection.close_on_drop();
        let lock_timeout = database.migration_lock_timeout();
        let settings = format!("set statement_timeout = 0; set lock_timeout = {}", lock_timeout.as_millis());
        sqlx::raw_sql(AssertSqlSafe(settings)).execute(&mut *connection).await?;
        // If this process is killed, the server notices within a second, ends what runs and releases the lock. Servers on
        // some operating systems can't, and refuse the setting.
        _ = connection.execute("set client_connection_check_interval = '1s'").await;
        for attempt in 0_u32.. {
            // Not `pg_advisory_lock`: a session that waits in a statement holds a snapshot, for which
            // `create index concurrently` of the process with the lock would wait.
            let lock = sqlx::query_as("select pg_try_advisory_lock($1)").bind(MIGRATION_LOCK);
            let (is_locked,): (bool,) = lock.fetch_one(&mut *connection).await?;
            if is_locked {
                break;
            }
            wait_for_other(attempt).await;
        }
        let schema = database.schema().map(str::to_owned);
        let mut session = Self { connection, schema, lock_timeout };
        session.create_schema().await?;
        Ok(session)
    }

    pub(super) fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// Creates the schema of `DATABASE_SCHEMA`, if it does not exist.
    async fn create_schema(&mut self) -> Result<(), Error> {
        let Some(schema) = &self.schema else { return Ok(()) };
        let find = sqlx::query_as("select cast(1 as bigint) where to_regnamespace(quote_ident($1)) is not null");
        let found: Option<(i64,)> = find.bind(schema.as_str()).fetch_optional(&mut *self.connection).await?;
        if found.is_none() {
            let create = AssertSqlSafe(format!("create schema \"{schema}\""));
            self.connection.execute(create).await.map_err(|error| {
                let advice = "; create it for the role of DATABASE_URL, or let the role create schemas in the database";
                Error::from(error).in_context(&format!("can't create the schema `{schema}` of DATABASE_SCHEMA"), advice)
            })?;
        }
        Ok(())
    }

    /// Fails if the module's tables are in `public` although `DATABASE_SCHEMA` names another schema: its migrations would
    /// run again, in the new schema, beside the old tables.
    pub(super) async fn prepare(&mut self, module: &str, table: &str) -> Result<(), Error> {
        let Some(schema) = &self.schema else { return Ok(()) };
        let moved =
            sqlx::query_as("select cast(1 as bigint) where to_regclass($1) is null and to_regclass($2) is not null");
        let moved = moved.bind(table).bind(format!("public.{}", super::table(module)));
        let moved: Option<(i64,)> = moved.fetch_optional(&mut *self.connection).await?;
        match moved {
            Some(_) => Err(Error::configuration(format!(
                "the tables of module `{module}` are in the schema `public`, and DATABASE_SCHEMA is `{schema}`: move them \
                 (see the chapter \"Migrations in production\"), or unset DATABASE_SCHEMA"
            ))),
            None => Ok(()),
        }
    }

    /// Runs a migration and records it.
    pub(super) async fn apply(&mut self, table: &str, script: &Script) -> Result<(), MigrateError> {
        if script.no_tx {
            return self.apply_outside_transaction(table, script).await;
        }
        for attempt in 1_u32.. {
            // Statements see and change the rows of all tenants. After an error, the connection is closed, or this runs again.
            self.connection.execute("set omnistack.tenant = '*'").await?;
            let applied = self.connection.apply(table, script).await;
            match applied {
                Err(MigrateError::ExecuteMigration(error, _))
                    if attempt < ATTEMPTS_FOR_LOCKS && is_lock_timeout(&error) =>
                {
                    tracing::warn!(target: "omnistack::db", migration = %script.description, attempt,
                        "a table is locked by other transactions; lets them go first and tries again");
                    tokio::time::sleep(self.lock_timeout).await;
                }
                applied => {
                    applied?;
                    self.connection.execute("reset omnistack.tenant").await?;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Runs a migration statement by statement. A run that was interrupted is repeated from its first statement.
    async fn apply_outside_transaction(&mut self, table: &str, script: &Script) -> Result<(), MigrateError> {
        // An index is built for as long as it takes, and waits for transactions that are older.
        self.connection.execute("set lock_timeout = 0; set omnistack.tenant = '*'").await?;
        let failed = |error| MigrateError::ExecuteMigration(error, script.version);
        for statement in statements(script.sql.as_str()) {
            if let Some((index, on)) = index_built_concurrently(&statement)
                && self.is_built(&index, &on).await.map_err(failed)?
            {
                continue;
            }
            self.connection.execute(AssertSqlSafe(statement.text.to_owned())).await.map_err(failed)?;
        }
        self.connection.skip(table, script).await?;
        let restore =
            AssertSqlSafe(format!("set lock_timeout = {}; reset omnistack.tenant", self.lock_timeout.as_millis()));
        self.connection.execute(restore).await?;
        Ok(())
    }

    /// Returns whether an earlier run has built an index. Removes one that it left unfinished. An index of this name on
    /// another table, such as one in `public` beside that of `DATABASE_SCHEMA`, is none of them.
    async fn is_built(&mut self, index: &str, table: &str) -> sqlx::Result<bool> {
        let sql = "select indisvalid from pg_index where indexrelid = to_regclass($1) and indrelid = to_regclass($2)";
        let find = sqlx::query_as(sql).bind(index).bind(table);
        let found: Option<(bool,)> = find.fetch_optional(&mut *self.connection).await?;
        match found {
            Some((true,)) => Ok(true),
            Some((false,)) => {
                tracing::warn!(target: "omnistack::db", index, "an earlier run left the index unfinished; builds it again");
                let remove = AssertSqlSafe(format!("drop index concurrently if exists {index}"));
                self.connection.execute(remove).await?;
                Ok(false)
            }
            None => Ok(false),
        }
    }

    /// Releases the lock and closes the connection.
    pub(super) async fn end(self) {
        // The server releases the lock also if this fails.
        _ = self.connection.close().await;
    }
}

fn is_lock_timeout(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.code().as_deref() == Some("55P03"))
}

/// Returns the name of the index that a statement builds concurrently, if it has one, and the name of its table.
fn index_built_concurrently(statement: &Statement<'_>) -> Option<(String, String)> {
    let mut at = Cursor::new(&statement.tokens);
    at.skip(&["create"]).then_some(())?;
    at.skip_any(&["unique"]);
    at.skip(&["index", "concurrently"]).then_some(())?;
    at.skip(&["if", "not", "exists"]);
    let index = if at.rest().first().is_some_and(|token| token.is("on")) { return None } else { at.name()? };
    at.skip(&["on"]).then_some(())?;
    at.skip_any(&["only"]);
    Some((index, at.name()?))
}
