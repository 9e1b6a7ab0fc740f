//! [`TestDatabase`], a database for one test.

use std::{path::PathBuf, str::FromStr as _};

use omnistack_core::{
    clock::Clock,
    config::Config,
    db::{Db, Dialect},
};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, postgres::PgConnectOptions};
use uuid::Uuid;

/// An empty database for one test. Dropping it deletes the database.
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
    Postgres { server: Box<PgConnectOptions>, name: String },
}

impl TestDatabase {
    /// Creates a SQLite database in a new temporary folder.
    #[track_caller]
    pub fn sqlite() -> Self {
        let folder = std::env::temp_dir().join(format!("omnistack-test-{}", Uuid::new_v4()));
        if let Err(error) = std::fs::create_dir_all(&folder) {
            panic!("can't create {}: {error}", folder.display());
        }
        Self {
            url: format!("sqlite:{}/test.db", folder.display()),
            has_tenant_databases: false,
            kind: DatabaseBackend::Sqlite { folder },
        }
    }

    /// Creates a database with a random name on the PostgreSQL server of `TEST_DATABASE_URL`.
    ///
    /// # Panics
    /// Panics if `TEST_DATABASE_URL` is not set or can't be read, or if its role can't create a database.
    pub async fn postgres() -> Self {
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
        if let Err(error) = execute_on_server(&server, format!("create database {name}")).await {
            panic!("can't create a database on the server of TEST_DATABASE_URL: {error}");
        }
        let url = match (url.rfind('/'), url.find('?')) {
            (Some(slash), Some(query)) => format!("{}/{name}{}", &url[..slash], &url[query..]),
            (Some(slash), None) => format!("{}/{name}", &url[..slash]),
            (None, _) => panic!("TEST_DATABASE_URL names no database"),
        };
        Self { url, has_tenant_databases: false, kind: DatabaseBackend::Postgres { server: Box::new(server), name } }
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
    pub fn url(&self) -> &str {
        &self.url
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
    pub fn config(&self) -> Config {
        let config = Config::from_pairs([
            ("APP_ENV", "test"),
            ("DATABASE_URL", self.url()),
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
            DatabaseBackend::Postgres { server, name } => {
                let (server, name, tenants) = (server.clone(), name.clone(), self.has_tenant_databases);
                let dropped = std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                    runtime.map(|runtime| {
                        runtime.block_on(async {
                            if tenants {
                                drop_tenants(&server, &name).await?;
                            }
                            execute_on_server(&server, format!("drop database {name} with (force)")).await
                        })
                    })
                });
                _ = dropped.join();
            }
        }
    }
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
