//! [`TestDatabase`], a database for one test.

mod template;

use std::{
    path::PathBuf,
    str::FromStr as _,
    sync::atomic::{AtomicBool, Ordering},
};

use omnistack_core::{
    clock::Clock,
    config::Config,
    db::{Db, Dialect, Migrations},
};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, postgres::PgConnectOptions};
use uuid::Uuid;

/// Name of the file of a SQLite database.
const SQLITE_FILE: &str = "test.db";

/// An empty database for one test, which is created when it is first used. Dropping it deletes the database.
#[derive(Debug)]
pub struct TestDatabase {
    url: String,
    /// Whether each tenant has a database of its own.
    has_tenant_databases: bool,
    kind: DatabaseBackend,
}

#[derive(Debug)]
enum DatabaseBackend {
    Sqlite { folder: PathBuf },
    Postgres { server: Box<PgConnectOptions>, name: String, is_created: AtomicBool },
}

impl TestDatabase {
    /// Returns a SQLite database in a new temporary folder.
    #[track_caller]
    pub fn sqlite() -> Self {
        let folder = std::env::temp_dir().join(format!("omnistack-test-{}", Uuid::new_v4()));
        if let Err(error) = std::fs::create_dir_all(&folder) {
            panic!("can't create {}: {error}", folder.display());
        }
        Self {
            url: format!("sqlite:{}/{SQLITE_FILE}", folder.display()),
            has_tenant_databases: false,
            kind: DatabaseBackend::Sqlite { folder },
        }
    }

    /// Returns a database with a random name on the PostgreSQL server of `TEST_DATABASE_URL`.
    ///
    /// # Panics
    /// Panics if `TEST_DATABASE_URL` is not set or can't be read. The first use panics if its role can't create a
    /// database.
    #[track_caller]
    pub fn postgres() -> Self {
        let Some(url) = variable("TEST_DATABASE_URL") else {
            panic!(
                "this test needs PostgreSQL: run `cargo xtask test`, or set TEST_DATABASE_URL to a role with CREATEDB"
            );
        };
        let server = match PgConnectOptions::from_str(&url) {
            Ok(server) => server.disable_statement_logging(),
            Err(error) => panic!("TEST_DATABASE_URL can't be read: {error}"),
        };
        let name = format!("omnistack_test_{:012x}", Uuid::new_v4().as_u128() & 0xffff_ffff_ffff);
        let url = match (url.rfind('/'), url.find('?')) {
            (Some(slash), Some(query)) => format!("{}/{name}{}", &url[..slash], &url[query..]),
            (Some(slash), None) => format!("{}/{name}", &url[..slash]),
            (None, _) => panic!("TEST_DATABASE_URL names no database"),
        };
        let (server, is_created) = (Box::new(server), AtomicBool::new(false));
        Self { url, has_tenant_databases: false, kind: DatabaseBackend::Postgres { server, name, is_created } }
    }

    /// Gives each tenant a tenant database, by setting `TENANT_DATABASE_URL`. Dropping the test database deletes them
    /// too.
    pub fn with_tenant_databases(mut self) -> Self {
        self.has_tenant_databases = true;
        self
    }

    /// Returns the `TENANT_DATABASE_URL` of this database, whether or not tenant databases are in use.
    pub fn tenant_url(&self) -> String {
        match &self.kind {
            DatabaseBackend::Sqlite { folder } => format!("sqlite:{}/tenants/{{tenant}}.db", folder.display()),
            DatabaseBackend::Postgres { name, .. } => {
                self.url.replacen(name.as_str(), &format!("{name}_{{tenant}}"), 1)
            }
        }
    }

    /// Returns the `DATABASE_URL` of this database.
    #[track_caller]
    pub fn url(&self) -> &str {
        self.create();
        &self.url
    }

    /// Creates the database, unless it exists.
    #[track_caller]
    fn create(&self) {
        if let DatabaseBackend::Postgres { server, name, is_created } = &self.kind
            && !is_created.swap(true, Ordering::SeqCst)
        {
            let (server, sql) = (server.clone(), format!("create database {name}"));
            if let Err(error) = run_to_end(async move { execute_on_server(&server, sql).await }) {
                panic!("can't create a database on the server of TEST_DATABASE_URL: {error}");
            }
        }
    }

    /// Creates the database with the tables of these migrations, as a copy of a template. Does nothing if the database
    /// exists, or if a migration fails: the caller runs the migrations in any case.
    pub(crate) async fn create_migrated(&self, migrations: &[(&'static str, Migrations)]) {
        match &self.kind {
            DatabaseBackend::Sqlite { folder } => template::copy_sqlite(&folder.join(SQLITE_FILE), migrations).await,
            DatabaseBackend::Postgres { server, name, is_created } => {
                if !is_created.load(Ordering::SeqCst) && template::copy_postgres(server, name, migrations).await {
                    is_created.store(true, Ordering::SeqCst);
                }
                self.create();
            }
        }
    }

    /// Gives up the database without deleting it. Returns its name on the server.
    fn leave(self) -> Option<String> {
        match &self.kind {
            DatabaseBackend::Sqlite { .. } => None,
            DatabaseBackend::Postgres { name, is_created, .. } => {
                is_created.store(false, Ordering::SeqCst);
                Some(name.clone())
            }
        }
    }

    /// Returns the SQL dialect of this database.
    pub fn dialect(&self) -> Dialect {
        match self.kind {
            DatabaseBackend::Sqlite { .. } => Dialect::Sqlite,
            DatabaseBackend::Postgres { .. } => Dialect::Postgres,
        }
    }

    /// Returns the settings of an app on this database. The rate limit of requests is off. On PostgreSQL, the role of
    /// `TEST_DATABASE_URL` must not be a superuser, so that row-level security applies.
    #[track_caller]
    pub fn config(&self) -> Config {
        self.create();
        self.config_before_creation()
    }

    /// Returns the settings like [`config`](Self::config), and does not create the database.
    pub(crate) fn config_before_creation(&self) -> Config {
        let config = Config::from_pairs([
            ("APP_ENV", "test"),
            ("DATABASE_URL", self.url.as_str()),
            // A test needs no durability after a power failure.
            ("DATABASE_SYNCHRONOUS", "off"),
            ("HTTP_RATE_LIMIT", "off"),
        ]);
        if self.has_tenant_databases { config.with("TENANT_DATABASE_URL", self.tenant_url()) } else { config }
    }

    /// Opens a new database handle with its own pools, on the system clock.
    #[track_caller]
    pub fn open_db(&self) -> Db {
        let settings = match self.config().read_settings() {
            Ok(settings) => settings,
            Err(problems) => panic!("{problems:?}"),
        };
        match Db::open(&settings, Clock::system()) {
            Ok(db) => db,
            Err(error) => panic!("can't open {}: {error}", self.url),
        }
    }
}

/// Drops the databases from a thread with its own runtime, since the test's runtime may have ended.
impl Drop for TestDatabase {
    fn drop(&mut self) {
        match &self.kind {
            DatabaseBackend::Sqlite { folder } => _ = std::fs::remove_dir_all(folder),
            DatabaseBackend::Postgres { server, name, is_created } => {
                if !is_created.load(Ordering::SeqCst) {
                    return;
                }
                let (server, name, tenants) = (server.clone(), name.clone(), self.has_tenant_databases);
                _ = run_to_end(async move {
                    if tenants {
                        drop_tenants(&server, &name).await?;
                    }
                    execute_on_server(&server, format!("drop database {name} with (force)")).await
                });
            }
        }
    }
}

/// Runs a future on a thread with its own runtime, and waits for it.
fn run_to_end(task: impl Future<Output = sqlx::Result<()>> + Send + 'static) -> sqlx::Result<()> {
    let thread = std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(sqlx::Error::Io)?.block_on(task)
    });
    thread.join().unwrap_or(Err(sqlx::Error::WorkerCrashed))
}

async fn drop_tenants(server: &PgConnectOptions, name: &str) -> sqlx::Result<()> {
    let mut connection = server.connect().await?;
    let theirs = sqlx::query_scalar("select datname::text from pg_database where starts_with(datname, $1)");
    let theirs: Vec<String> = theirs.bind(format!("{name}_")).fetch_all(&mut connection).await?;
    for theirs in theirs {
        connection.execute(AssertSqlSafe(format!("drop database if exists \"{theirs}\" with (force)"))).await?;
    }
    connection.close().await
}

async fn execute_on_server(server: &PgConnectOptions, sql: String) -> sqlx::Result<()> {
    let mut connection = server.connect().await?;
    connection.execute(AssertSqlSafe(sql)).await?;
    connection.close().await
}

#[expect(clippy::disallowed_methods, reason = "tests find their servers by environment variables")]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
