//! A database on a PostgreSQL server.

use std::{
    str::FromStr as _,
    sync::atomic::{AtomicBool, Ordering},
};

use omnistack_core::db::Migrations;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, postgres::PgConnectOptions};

use super::{TestDatabase, template, variable};
use crate::random::random_uuid;

/// Error code of PostgreSQL for a database that does not exist.
const NO_SUCH_DATABASE: &str = "3D000";
/// First version of PostgreSQL that can copy the files of a template. Without, it logs each page.
const VERSION_WITH_FILE_COPY: i32 = 150_000;

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
        let (server, sql) = (self.server.clone(), format!("create database {}", self.name));
        if let Err(error) = run_to_end(async move { execute_on_server(&server, sql).await }) {
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
        _ = run_to_end(async move {
            if has_tenant_databases {
                drop_tenants(&server, &name).await?;
            }
            execute_on_server(&server, format!("drop database {name} with (force)")).await
        });
    }
}

/// Creates a database as a copy of the template of these migrations. Returns `false` if that failed.
async fn copy_template(server: &PgConnectOptions, name: &str, migrations: &[(&'static str, Migrations)]) -> bool {
    let template = format!("omnistack_template_{}", template::digest(migrations));
    match create_from(server, name, &template).await {
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
            create_from(server, name, &template).await.is_ok()
        }
        Err(_) => false,
    }
}

async fn create_from(server: &PgConnectOptions, name: &str, template: &str) -> sqlx::Result<()> {
    let mut connection = server.connect().await?;
    let version = "select current_setting('server_version_num')::integer";
    let version: i32 = sqlx::query_scalar(version).fetch_one(&mut connection).await?;
    connection.close().await?;
    let strategy = if version >= VERSION_WITH_FILE_COPY { " strategy file_copy" } else { "" };
    execute_on_server(server, format!("create database {name} template {template}{strategy}")).await
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

async fn drop_tenants(server: &PgConnectOptions, name: &str) -> sqlx::Result<()> {
    let mut connection = server.connect().await?;
    let select = sqlx::query_scalar("select datname::text from pg_database where starts_with(datname, $1)");
    let tenants: Vec<String> = select.bind(format!("{name}_")).fetch_all(&mut connection).await?;
    for tenant in tenants {
        connection.execute(AssertSqlSafe(format!("drop database if exists \"{tenant}\" with (force)"))).await?;
    }
    connection.close().await
}

async fn execute_on_server(server: &PgConnectOptions, sql: String) -> sqlx::Result<()> {
    let mut connection = server.connect().await?;
    connection.execute(AssertSqlSafe(sql)).await?;
    connection.close().await
}
