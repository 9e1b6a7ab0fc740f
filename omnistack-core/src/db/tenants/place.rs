//! Where tenants' databases are, and how one is made and removed.

use std::path::PathBuf;

use secrecy::{ExposeSecret as _, SecretString};

use super::{TenantDatabaseSettings, unavailable};
use crate::{
    db::{DbSettings, Dialect, Error},
    identity::TenantId,
};

/// Stands for the tenant's id, 32 hex digits.
const TENANT: &str = "{tenant}";

/// Bytes of a database's name in PostgreSQL.
const LONGEST_NAME: usize = 63;

pub(super) struct Place {
    url: SecretString,
    /// Of who makes and removes databases. In SQLite they are files.
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "a database that is a file needs nobody"))]
    admin: SecretString,
    dialect: Dialect,
}

impl Place {
    /// None where tenants share one database.
    pub(super) fn new(
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
            return Err(Error::configuration("TENANT_DATABASE_URL and DATABASE_URL are of one kind"));
        }
        let database =
            text.split('?').next().and_then(|text| text.rsplit_once(['/', ':'])).map_or("", |(_, name)| name);
        if !database.contains(TENANT) || text.contains("mode=memory") {
            return Err(Error::configuration(
                "the database TENANT_DATABASE_URL names has `{tenant}` in its name: postgres://…/app_{tenant} or \
                 sqlite:data/tenants/{tenant}.db",
            ));
        }
        // PostgreSQL cuts longer names short, so that two would be one.
        let name = database.replace(TENANT, &"0".repeat(32));
        if dialect == Dialect::Postgres && name.len() > LONGEST_NAME {
            let text = format!(
                "the name in TENANT_DATABASE_URL has {} bytes with an id; PostgreSQL has {LONGEST_NAME}",
                name.len()
            );
            return Err(Error::configuration(text));
        }
        let admin = settings.admin_url.clone().unwrap_or_else(|| own.url.clone());
        Ok(Some(Self { url, admin, dialect }))
    }

    /// A tenant's.
    pub(super) fn url(&self, tenant: TenantId) -> SecretString {
        self.url.expose_secret().replace(TENANT, &tenant.uuid().simple().to_string()).into()
    }

    pub(super) fn display_url(&self) -> String {
        crate::db::settings::without_password(self.url.expose_secret())
    }

    /// Makes an empty one; one that is there already, of somebody who came to no end with it, will do.
    pub(super) async fn create(&self, tenant: TenantId) -> Result<(), Error> {
        match self.dialect {
            #[cfg(feature = "postgres")]
            Dialect::Postgres => postgres::create(&self.url(tenant), &self.admin).await,
            Dialect::Sqlite => {
                let file = self.file(tenant);
                let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
                tokio::fs::create_dir_all(folder).await.map_err(|error| {
                    Error::configuration(format!(
                        "can't make the folder {} of TENANT_DATABASE_URL: {error}",
                        folder.display()
                    ))
                })
            }
            #[cfg(not(feature = "postgres"))]
            Dialect::Postgres => Ok(()),
        }
    }

    /// Refuses a SQLite file that is not there: opening it would make an empty one.
    pub(super) fn exists(&self, tenant: TenantId) -> Result<(), Error> {
        match self.dialect {
            Dialect::Sqlite if !self.file(tenant).is_file() => {
                let text = format!("is missing ({}); restore it from a backup", self.file(tenant).display());
                Err(unavailable(tenant, &text))
            }
            _ => Ok(()),
        }
    }

    /// Removes it, if it is there.
    pub(super) async fn drop(&self, tenant: TenantId) -> Result<(), Error> {
        match self.dialect {
            #[cfg(feature = "postgres")]
            Dialect::Postgres => postgres::drop(&self.url(tenant), &self.admin).await,
            #[cfg(not(feature = "postgres"))]
            Dialect::Postgres => Ok(()),
            Dialect::Sqlite => {
                let file = self.file(tenant);
                // The file last: as long as it is there, there is something to remove.
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
    use sqlx::{
        AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _,
        postgres::{PgConnectOptions, PgConnection},
    };

    use crate::db::Error;

    const WITHIN: Duration = Duration::from_secs(60);

    pub(super) async fn create(url: &SecretString, admin: &SecretString) -> Result<(), Error> {
        let wanted: PgConnectOptions = url.expose_secret().parse().map_err(Error::unreadable_url)?;
        let name = wanted.get_database().unwrap_or_default().to_owned();
        // One an administrator has made, or that was made a moment ago.
        let connecting = wanted.clone().disable_statement_logging();
        if let Ok(Ok(connection)) = tokio::time::timeout(WITHIN, connecting.connect()).await {
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
                    "the database {name} can't be made ({error}); make it yourself with the owner {}, or set \
                     TENANT_DATABASE_ADMIN_URL to a role with CREATEDB that may act as that one",
                    wanted.get_username()
                )))
            }
            made => Ok(made?),
        }
    }

    pub(super) async fn drop(url: &SecretString, admin: &SecretString) -> Result<(), Error> {
        let wanted: PgConnectOptions = url.expose_secret().parse().map_err(Error::unreadable_url)?;
        let name = quoted(wanted.get_database().unwrap_or_default());
        Ok(run(admin, format!("drop database if exists {name} with (force)")).await?)
    }

    async fn run(admin: &SecretString, sql: String) -> sqlx::Result<()> {
        let options: PgConnectOptions = admin.expose_secret().parse()?;
        let work = async {
            let mut connection: PgConnection = options.disable_statement_logging().connect().await?;
            connection.execute(AssertSqlSafe(sql)).await?;
            connection.close().await
        };
        tokio::time::timeout(WITHIN, work).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
    }

    fn quoted(name: &str) -> String {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}
