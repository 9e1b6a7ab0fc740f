//! A database on a PostgreSQL server.

use std::{
    str::FromStr as _,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use omnistack_core::db::Migrations;
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, PgConnection, postgres::PgConnectOptions,
};

use super::{TestDatabase, template, variable};
use crate::random::random_uuid;

/// Error code of PostgreSQL for a database that does not exist.
const NO_SUCH_DATABASE: &str = "3D000";
/// First version of PostgreSQL that can copy the files of a template. Without, it logs each page.
const VERSION_WITH_FILE_COPY: u32 = 150_000;
/// The number of times that sessions are looked for, a millisecond apart, before a database is dropped.
const MAX_SESSION_CHECKS: usize = 100;

/// A database with a random name, which is created when it is first used.
#[derive(Debug)]
pub(super) struct PostgresDatabase {
    server: Box<PgConnectOptions>,
    pub(super) name: String,
    is_created: AtomicBool,
}

impl PostgresDatabase {
    /// Returns a database on the server of `TEST_DATABASE_URL`, and its URL.
    #[track_caller]
    pub(super) fn on_test_server() -> (Self, String) {
        let Some(url) = variable("TEST_DATABASE_URL") else {
            panic!(
                "this test needs PostgreSQL: run `cargo xtask test`, or set TEST_DATABASE_URL to a role with CREATEDB"
            );
        };
        let server = match PgConnectOptions::from_str(&url) {
            Ok(server) => server.disable_statement_logging(),
            Err(error) => panic!("TEST_DATABASE_URL can't be read: {error}"),
        };
        let name = format!("omnistack_test_{:012x}", random_uuid().as_u128() & 0xffff_ffff_ffff);
        let url = match (url.rfind('/'), url.find('?')) {
            (Some(slash), Some(query)) => format!("{}/{name}{}", &url[..slash], &url[query..]),
            (Some(slash), None) => format!("{}/{name}", &url[..slash]),
            (None, _) => panic!("TEST_DATABASE_URL names no database"),
        };
        (Self { server: Box::new(server), name, is_created: AtomicBool::new(false) }, url)
    }

    /// Creates the database, unless it exists.
    #[track_caller]
    pub(super) fn create(&self) {
        if self.is_created.swap(true, Ordering::SeqCst) {
            return;
        }
        let (server, name) = (self.server.clone(), self.name.clone());
        if let Err(error) = run_to_end(async move { create_database(&server, &name, None).await }) {
            panic!("can't create a database on the server of TEST_DATABASE_URL: {error}");
        }
    }

    /// Creates the database as a copy of the template of these migrations, or empty if that fails.
    pub(super) async fn create_migrated(&self, migrations: &[(&'static str, Migrations)]) {
        if !self.is_created.load(Ordering::SeqCst) && copy_template(&self.server, &self.name, migrations).await {
            self.is_created.store(true, Ordering::SeqCst);
        }
        self.create();
    }

    /// Gives up the database without deleting it. Returns its name on the server.
    pub(super) fn leave(&self) -> String {
        self.is_created.store(false, Ordering::SeqCst);
        self.name.clone()
    }

    /// Drops the database, and with it the databases of tenants.
    pub(super) fn delete(&self, has_tenant_databases: bool) {
        if !self.is_created.load(Ordering::SeqCst) {
            return;
        }
        let (server, name) = (self.server.clone(), self.name.clone());
        _ = run_to_end(async move { drop_databases(&server, name, has_tenant_databases).await });
    }
}

/// Creates a database as a copy of the template of these migrations. Returns `false` if that failed.
async fn copy_template(server: &PgConnectOptions, name: &str, migrations: &[(&'static str, Migrations)]) -> bool {
    let template = format!("omnistack_template_{}", template::digest(migrations));
    match create_database(server, name, Some(&template)).await {
        Ok(()) => true,
        Err(error) if code(&error).as_deref() == Some(NO_SUCH_DATABASE) => {
            let database = TestDatabase::postgres();
            let db = database.open_db();
            let is_migrated = template::migrate(&db, migrations).await;
            db.close().await;
            if !is_migrated {
                return false;
            }
            let Some(migrated) = database.leave() else { return false };
            // Another process may have created the template meanwhile.
            let rename = format!("alter database {migrated} rename to {template}");
            if execute_on_server(server, rename).await.is_err() {
                _ = execute_on_server(server, format!("drop database {migrated}")).await;
            }
            create_database(server, name, Some(&template)).await.is_ok()
        }
        Err(_) => false,
    }
}

/// Creates a database as a copy of a template, or of the server's default template.
async fn create_database(server: &PgConnectOptions, name: &str, template: Option<&str>) -> sqlx::Result<()> {
    let mut connection = server.connect().await?;
    let template = template.map(|template| format!(" template {template}")).unwrap_or_default();
    let copies_files = connection.server_version_num().is_some_and(|version| version >= VERSION_WITH_FILE_COPY);
    let strategy = if copies_files { " strategy file_copy" } else { "" };
    connection.execute(AssertSqlSafe(format!("create database {name}{template}{strategy}"))).await?;
    connection.close().await
}

fn code(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

/// Runs a future on a thread with its own runtime, since the test's runtime may have ended, and waits for it.
fn run_to_end(task: impl Future<Output = sqlx::Result<()>> + Send + 'static) -> sqlx::Result<()> {
    let thread = std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(sqlx::Error::Io)?.block_on(task)
    });
    thread.join().unwrap_or(Err(sqlx::Error::WorkerCrashed))
}

/// Drops a database, and before it those of its tenants. One that can't be dropped does not keep the others.
async fn drop_databases(server: &PgConnectOptions, name: String, has_tenant_databases: bool) -> sqlx::Result<()> {
    let mut connection = server.connect().await?;
    let mut names: Vec<String> = Vec::new();
    if has_tenant_databases {
        let select = sqlx::query_scalar("select datname::text from pg_database where starts_with(datname, $1)");
        names = select.bind(format!("{name}_")).fetch_all(&mut connection).await?;
    }
    names.push(name);
    for name in names {
        _ = end_sessions(&mut connection, &name).await;
        _ = connection.execute(AssertSqlSafe(format!("drop database if exists \"{name}\" with (force)"))).await;
    }
    connection.close().await
}

/// Ends the sessions of a database. `drop database … with (force)` ends them too, but then looks only after a tenth of
/// a second whether they have ended.
async fn end_sessions(connection: &mut PgConnection, name: &str) -> sqlx::Result<()> {
    let terminate = "select count(pg_terminate_backend(pid)) from pg_stat_activity
        where datname::text = $1 and usename = current_user";
    for _ in 0..MAX_SESSION_CHECKS {
        let open: i64 = sqlx::query_scalar(terminate).bind(name.to_owned()).fetch_one(&mut *connection).await?;
        if open == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

async fn execute_on_server(server: &PgConnectOptions, sql: String) -> sqlx::Result<()> {
    let mut connection = server.connect().await?;
    connection.execute(AssertSqlSafe(sql)).await?;
    connection.close().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_database_that_can_not_be_dropped_keeps_no_other() {
        let (database, _) = PostgresDatabase::on_test_server();
        let (server, name) = (database.server.clone(), database.name.clone());
        database.create();
        // PostgreSQL drops no template.
        for (tenant, option) in [("a", " is_template true"), ("b", "")] {
            execute_on_server(&server, format!("create database {name}_{tenant}{option}")).await.unwrap();
        }
        database.delete(true);
        let mut connection = server.connect().await.unwrap();
        let select = sqlx::query_scalar("select datname::text from pg_database where starts_with(datname, $1)");
        let left: Vec<String> = select.bind(name.clone()).fetch_all(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        assert_eq!(left, [format!("{name}_a")]);
        execute_on_server(&server, format!("alter database {name}_a is_template false")).await.unwrap();
        execute_on_server(&server, format!("drop database {name}_a")).await.unwrap();
    }
}
