//! [`TestDatabase`], a database for one test.

#[cfg(feature = "postgres")]
mod postgres;
mod template;

use std::path::PathBuf;

use omnistack_core::{
    clock::Clock,
    config::Config,
    db::{Db, Dialect, Migrations},
};

use crate::random::random_uuid;
#[cfg(feature = "postgres")]
use postgres::PostgresDatabase;

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
    Sqlite {
        folder: PathBuf,
    },
    #[cfg(feature = "postgres")]
    Postgres(PostgresDatabase),
}

impl TestDatabase {
    /// Returns a SQLite database in a new temporary folder.
    #[track_caller]
    pub fn sqlite() -> Self {
        let folder = std::env::temp_dir().join(format!("omnistack-test-{}", random_uuid()));
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
    #[cfg(feature = "postgres")]
    #[track_caller]
    pub fn postgres() -> Self {
        let (database, url) = PostgresDatabase::on_test_server();
        Self { url, has_tenant_databases: false, kind: DatabaseBackend::Postgres(database) }
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
            #[cfg(feature = "postgres")]
            DatabaseBackend::Postgres(PostgresDatabase { name, .. }) => {
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
        match &self.kind {
            DatabaseBackend::Sqlite { .. } => {}
            #[cfg(feature = "postgres")]
            DatabaseBackend::Postgres(database) => database.create(),
        }
    }

    /// Creates the database with the tables of these migrations, as a copy of a template. Does nothing if the database
    /// exists, or if a migration fails: the caller runs the migrations in any case.
    pub(crate) async fn create_migrated(&self, migrations: &[(&'static str, Migrations)]) {
        match &self.kind {
            DatabaseBackend::Sqlite { folder } => template::copy_sqlite(&folder.join(SQLITE_FILE), migrations).await,
            #[cfg(feature = "postgres")]
            DatabaseBackend::Postgres(database) => database.create_migrated(migrations).await,
        }
    }

    /// Gives up the database without deleting it. Returns its name on the server, or `None` if it has no server.
    #[cfg(feature = "postgres")]
    fn leave(self) -> Option<String> {
        match &self.kind {
            DatabaseBackend::Sqlite { .. } => None,
            DatabaseBackend::Postgres(database) => Some(database.leave()),
        }
    }

    /// Returns the SQL dialect of this database.
    pub fn dialect(&self) -> Dialect {
        match self.kind {
            DatabaseBackend::Sqlite { .. } => Dialect::Sqlite,
            #[cfg(feature = "postgres")]
            DatabaseBackend::Postgres(_) => Dialect::Postgres,
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
        let config = test_settings(&self.url);
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

impl Drop for TestDatabase {
    fn drop(&mut self) {
        match &self.kind {
            DatabaseBackend::Sqlite { folder } => _ = std::fs::remove_dir_all(folder),
            #[cfg(feature = "postgres")]
            DatabaseBackend::Postgres(database) => database.delete(self.has_tenant_databases),
        }
    }
}

/// Returns the settings of a test app on the database with this URL.
pub(crate) fn test_settings(url: &str) -> Config {
    Config::from_pairs([
        ("APP_ENV", "test"),
        ("DATABASE_URL", url),
        // A test needs no durability after a power failure.
        ("DATABASE_SYNCHRONOUS", "off"),
        ("HTTP_RATE_LIMIT", "off"),
    ])
}

#[cfg(any(unix, feature = "postgres", feature = "redis"))]
#[expect(clippy::disallowed_methods, reason = "tests find their servers by environment variables")]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
