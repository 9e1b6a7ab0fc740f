//! URLs of tenant databases, and their creation and removal.

use std::path::PathBuf;

use secrecy::{ExposeSecret as _, SecretString};

use super::{TenantDatabaseSettings, unavailable};
use crate::{
    db::{DbSettings, Dialect, Error},
    id::TenantId,
};

/// Placeholder for the tenant's id, 32 hex digits.
const TENANT: &str = "{tenant}";

/// Most bytes of the name of a PostgreSQL database.
const MAX_DATABASE_NAME_BYTES: usize = 63;

pub(crate) struct Provisioner {
    url: SecretString,
    /// URL for creating and removing databases. SQLite databases are files and need none.
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "SQLite databases are files"))]
    admin: SecretString,
    dialect: Dialect,
}

impl Provisioner {
    /// Creates the provisioner. Returns `None` if tenants share one database.
    pub(crate) fn new(
        dialect: Dialect,
        own: &DbSettings,
        settings: &TenantDatabaseSettings,
    ) -> Result<Option<Self>, Error> {
        let Some(url) = settings.url.clone() else { return Ok(None) };
        let text = url.expose_secret();
        let same = match dialect {
            Dialect::Postgres => text.starts_with("postgres://") || text.starts_with("postgresql://"),
            Dialect::Sqlite => text.starts_with("sqlite:"),
        };
        if !same {
            return Err(Error::configuration("TENANT_DATABASE_URL and DATABASE_URL must be of the same kind"));
        }
        let database =
            text.split('?').next().and_then(|text| text.rsplit_once(['/', ':'])).map_or("", |(_, name)| name);
        if !database.contains(TENANT) || text.contains("mode=memory") {
            return Err(Error::configuration(
                "the name of the database in TENANT_DATABASE_URL must have `{tenant}`: postgres://…/app_{tenant} or \
                 sqlite:data/tenants/{tenant}.db",
            ));
        }
        // PostgreSQL truncates longer names, so that two databases would have the same name.
        let name = database.replace(TENANT, &"0".repeat(32));
        if dialect == Dialect::Postgres && name.len() > MAX_DATABASE_NAME_BYTES {
            let text = format!(
                "the name in TENANT_DATABASE_URL has {} bytes with a tenant's id; at most \
                 {MAX_DATABASE_NAME_BYTES} are allowed",
                name.len()
            );
            return Err(Error::configuration(text));
        }
        let admin = settings.admin_url.clone().unwrap_or_else(|| own.url.clone());
        Ok(Some(Self { url, admin, dialect }))
    }

    /// Returns the URL of a tenant's database.
    pub(crate) fn url(&self, tenant: TenantId) -> SecretString {
        self.url.expose_secret().replace(TENANT, &tenant.uuid().simple().to_string()).into()
    }

    pub(crate) fn display_url(&self) -> String {
        crate::db::settings::without_password(self.url.expose_secret())
    }

    /// Creates an empty database. Uses an existing one, which an interrupted attempt may have left.
    pub(crate) async fn create(&self, tenant: TenantId) -> Result<(), Error> {
        match self.dialect {
            #[cfg(feature = "postgres")]
            Dialect::Postgres => postgres::create(&self.url(tenant), &self.admin).await,
            Dialect::Sqlite => {
                let file = self.file(tenant);
                let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
                tokio::fs::create_dir_all(folder).await.map_err(|error| {
                    Error::configuration(format!(
                        "can't create the folder {} of TENANT_DATABASE_URL: {error}",
                        folder.display()
                    ))
                })
            }
            #[cfg(not(feature = "postgres"))]
            Dialect::Postgres => Ok(()),
        }
    }

    /// Fails if the SQLite file does not exist: opening it would create an empty one.
    pub(crate) fn exists(&self, tenant: TenantId) -> Result<(), Error> {
        match self.dialect {
            Dialect::Sqlite if !self.file(tenant).is_file() => {
                let text = format!("is missing ({}); restore it from a backup", self.file(tenant).display());
                Err(unavailable(tenant, &text))
            }
            _ => Ok(()),
        }
    }

    /// Removes the database if it exists.
    pub(crate) async fn drop(&self, tenant: TenantId) -> Result<(), Error> {
        match self.dialect {
            #[cfg(feature = "postgres")]
            Dialect::Postgres => postgres::drop(&self.url(tenant), &self.admin).await,
            #[cfg(not(feature = "postgres"))]
            Dialect::Postgres => Ok(()),
            Dialect::Sqlite => {
                let file = self.file(tenant);
                // The main file is removed last: while it exists, there is something to remove.
                for end in ["-wal", "-shm", "-journal", ""] {
                    let mut name = file.clone().into_os_string();
                    name.push(end);
                    match tokio::fs::remove_file(PathBuf::from(name)).await {
                        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                            return Err(unavailable(tenant, &format!("could not be removed: {error}")));
                        }
                        _ => {}
                    }
                }
                Ok(())
            }
        }
    }

    fn file(&self, tenant: TenantId) -> PathBuf {
        let url = self.url(tenant);
        let path = url.expose_secret().strip_prefix("sqlite:").unwrap_or_default();
        path.trim_start_matches("//").split('?').next().unwrap_or_default().into()
    }
}

#[cfg(feature = "postgres")]
mod postgres {
    use std::time::Duration;

    use secrecy::{ExposeSecret as _, SecretString};
    use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, postgres::PgConnectOptions};

    use crate::db::{Error, postgres_hosts};

    const ADMIN_TIMEOUT: Duration = Duration::from_secs(60);

    pub(crate) async fn create(url: &SecretString, admin: &SecretString) -> Result<(), Error> {
        let hosts = hosts(url)?;
        let wanted = &hosts[0];
        let name = wanted.get_database().unwrap_or_default().to_owned();
        // The database may have been created by an administrator or by another process a moment ago.
        if let Ok(Ok(connection)) = tokio::time::timeout(ADMIN_TIMEOUT, postgres_hosts::connect(&hosts)).await {
            return Ok(connection.close().await?);
        }
        let sql = format!("create database {} owner {}", quoted(&name), quoted(wanted.get_username()));
        match run(admin, sql).await {
            Err(sqlx::Error::Database(error))
                if ["42P04", "23505"].contains(&error.code().as_deref().unwrap_or("")) =>
            {
                Ok(())
            }
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42501") => {
                Err(Error::configuration(format!(
                    "the database {name} can't be created ({error}); create it with the owner {}, or set \
                     TENANT_DATABASE_ADMIN_URL to a role with CREATEDB that may act as the owner",
                    wanted.get_username()
                )))
            }
            made => Ok(made?),
        }
    }

    pub(crate) async fn drop(url: &SecretString, admin: &SecretString) -> Result<(), Error> {
        let name = quoted(hosts(url)?[0].get_database().unwrap_or_default());
        Ok(run(admin, format!("drop database if exists {name} with (force)")).await?)
    }

    /// Returns the options of the hosts of a URL, of which there is at least one.
    fn hosts(url: &SecretString) -> Result<Vec<PgConnectOptions>, Error> {
        let hosts = postgres_hosts::parse(url.expose_secret())?;
        Ok(hosts.into_iter().map(|options| options.disable_statement_logging()).collect())
    }

    async fn run(admin: &SecretString, sql: String) -> sqlx::Result<()> {
        let hosts = hosts(admin).map_err(|error| sqlx::Error::Configuration(Box::new(error)))?;
        let work = async {
            let mut connection = postgres_hosts::connect(&hosts).await?;
            connection.execute(AssertSqlSafe(sql)).await?;
            connection.close().await
        };
        tokio::time::timeout(ADMIN_TIMEOUT, work).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
    }

    fn quoted(name: &str) -> String {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}
