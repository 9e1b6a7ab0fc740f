//! A database for one test.

use std::{path::PathBuf, str::FromStr as _};

use omnistack_core::{
    clock::Clock,
    config::Config,
    db::{Db, Dialect},
};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, postgres::PgConnectOptions};
use uuid::Uuid;

/// A fresh, empty database that is removed with the test.
#[derive(Debug)]
pub struct TestDatabase {
    url: String,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Sqlite { folder: PathBuf },
    Postgres { server: Box<PgConnectOptions>, name: String },
}

impl TestDatabase {
    /// A SQLite file in a folder of its own.
    #[track_caller]
    pub fn sqlite() -> Self {
        let folder = std::env::temp_dir().join(format!("omnistack-test-{}", Uuid::new_v4()));
        if let Err(error) = std::fs::create_dir_all(&folder) {
            panic!("can't make {}: {error}", folder.display());
        }
        Self { url: format!("sqlite:{}/test.db", folder.display()), kind: Kind::Sqlite { folder } }
    }

    /// A database on the server of `TEST_DATABASE_URL`.
    ///
    /// # Panics
    /// Without that variable, or when its role can't create a database.
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
        let name = format!("omnistack_test_{}", Uuid::new_v4().simple());
        if let Err(error) = on_server(&server, format!("create database {name}")).await {
            panic!("can't create a database on the server of TEST_DATABASE_URL: {error}");
        }
        let url = match (url.rfind('/'), url.find('?')) {
            (Some(slash), Some(query)) => format!("{}/{name}{}", &url[..slash], &url[query..]),
            (Some(slash), None) => format!("{}/{name}", &url[..slash]),
            (None, _) => panic!("TEST_DATABASE_URL names no database"),
        };
        Self { url, kind: Kind::Postgres { server: Box::new(server), name } }
    }

    /// Its `DATABASE_URL`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Which SQL it speaks.
    pub fn dialect(&self) -> Dialect {
        match self.kind {
            Kind::Sqlite { .. } => Dialect::Sqlite,
            Kind::Postgres { .. } => Dialect::Postgres,
        }
    }

    /// The settings of an app on it. Its role is no superuser, so that row-level security holds.
    pub fn config(&self) -> Config {
        Config::from_pairs([
            ("APP_ENV", "test"),
            ("DATABASE_URL", self.url()),
            // Nobody cuts the power of a test.
            ("DATABASE_SYNCHRONOUS", "off"),
            ("HTTP_RATE_LIMIT", "off"),
        ])
    }

    /// A handle on it.
    #[track_caller]
    pub fn open(&self) -> Db {
        let settings = match self.config().section() {
            Ok(settings) => settings,
            Err(problems) => panic!("{problems:?}"),
        };
        match Db::open(&settings, Clock::system()) {
            Ok(db) => db,
            Err(error) => panic!("can't open {}: {error}", self.url),
        }
    }
}

/// Waits for nothing of the test's own runtime, which may be gone.
impl Drop for TestDatabase {
    fn drop(&mut self) {
        match &self.kind {
            Kind::Sqlite { folder } => _ = std::fs::remove_dir_all(folder),
            Kind::Postgres { server, name } => {
                let (server, name) = (server.clone(), name.clone());
                let dropped = std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                    runtime.map(|runtime| {
                        runtime.block_on(on_server(&server, format!("drop database {name} with (force)")))
                    })
                });
                _ = dropped.join();
            }
        }
    }
}

async fn on_server(server: &PgConnectOptions, sql: String) -> sqlx::Result<()> {
    let mut connection = server.connect().await?;
    connection.execute(AssertSqlSafe(sql)).await?;
    connection.close().await
}

#[expect(clippy::disallowed_methods, reason = "tests are told where the servers are by the environment")]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
