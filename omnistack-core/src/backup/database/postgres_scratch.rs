//! Scratch databases on PostgreSQL, into which checks restore archives.
//!
//! A process that is killed can't drop its scratch database. So each check holds an advisory lock, in the database of
//! `DATABASE_URL`, for its scratch database. The server releases the lock when the process has ended. Each check first
//! drops the scratch databases without such a lock.

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, postgres::PgConnection};

use super::quoted;
use crate::{
    backup::{Error, temporary::unique_name},
    db::{self, postgres_hosts},
};

/// The first key of the locks: `chck` as a number. The second key is the hash of the database's name.
const LOCK: i32 = 0x6368_636b;
/// Query of the prefix of the names. The prefix contains the object id of the database of `DATABASE_URL`: an advisory
/// lock is visible only within one database.
const PREFIX: &str =
    "select 'omnistack_check_' || oid::text || '_' from pg_database where datname = current_database()";
/// Statement that disables the timeout of idle sessions, so that the lock is held while the archive is restored.
/// PostgreSQL before version 14 has no such timeout.
const STAY_OPEN: &str = "select set_config(name, '0', false) from pg_settings where name = 'idle_session_timeout'";

/// An empty database for a check. If it is not removed, the next check with the same `DATABASE_URL` drops it.
#[derive(Debug)]
pub(super) struct PostgresScratch {
    server: SecretString,
    name: String,
    /// The session that holds the lock.
    owner: PgConnection,
}

impl PostgresScratch {
    /// Drops the scratch databases that killed checks left, and creates one on the server of this URL.
    pub(super) async fn create(server: &SecretString) -> Result<Self, Error> {
        let mut owner = connect(server).await?;
        let name = lock_new_name(&mut owner).await.map_err(db::Error::from)?;
        let create = sqlx::raw_sql(AssertSqlSafe(format!("create database {}", quoted(&name))));
        let created = create.execute(&mut owner).await;
        match created {
            Ok(_) => Ok(Self { server: server.clone(), name, owner }),
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42501") => {
                Err(Error::refused(format!(
                    "the role of DATABASE_URL can't create a database for the check ({error}): run the check with a \
                     DATABASE_URL whose role has CREATEDB"
                )))
            }
            Err(error) => Err(db::Error::from(error).into()),
        }
    }

    /// Returns the URL of the database.
    pub(super) fn url(&self) -> SecretString {
        with_database(self.server.expose_secret(), &self.name).into()
    }

    /// Drops the database.
    pub(super) async fn remove(self) -> Result<(), Error> {
        // The connection of the lock may have been lost while the archive was restored.
        let mut connection = connect(&self.server).await?;
        let dropped = drop_database(&mut connection, &self.name).await;
        _ = connection.close().await;
        _ = self.owner.close().await;
        Ok(dropped.map_err(db::Error::from)?)
    }
}

/// Connects to the host that accepts writes.
async fn connect(url: &SecretString) -> Result<PgConnection, Error> {
    let hosts = postgres_hosts::parse(url.expose_secret())?;
    let hosts: Vec<_> = hosts.into_iter().map(|options| options.disable_statement_logging()).collect();
    Ok(postgres_hosts::connect(&hosts).await.map_err(db::Error::from)?)
}

/// Drops the scratch databases that killed checks left. Returns the name of a new one, and locks the name.
async fn lock_new_name(owner: &mut PgConnection) -> sqlx::Result<String> {
    sqlx::query(STAY_OPEN).execute(&mut *owner).await?;
    let (prefix,): (String,) = sqlx::query_as(PREFIX).fetch_one(&mut *owner).await?;
    drop_abandoned(owner, &prefix).await?;
    let name = format!("{prefix}{}", unique_name());
    let lock = sqlx::query("select pg_advisory_lock($1, hashtext($2))").bind(LOCK).bind(name.as_str());
    lock.execute(&mut *owner).await?;
    Ok(name)
}

/// Drops the scratch databases without a lock. A database that can't be dropped does not prevent the check.
async fn drop_abandoned(connection: &mut PgConnection, prefix: &str) -> sqlx::Result<()> {
    let names = "select datname::text from pg_database
        where starts_with(datname::text, $1) and pg_has_role(datdba, 'usage')";
    let names: Vec<(String,)> = sqlx::query_as(names).bind(prefix).fetch_all(&mut *connection).await?;
    for (name,) in names {
        let lock = sqlx::query_as("select pg_try_advisory_lock($1, hashtext($2))").bind(LOCK).bind(name.as_str());
        let (is_abandoned,): (bool,) = lock.fetch_one(&mut *connection).await?;
        if !is_abandoned {
            continue;
        }
        match drop_database(connection, &name).await {
            Ok(()) => {
                tracing::info!(target: "omnistack::backup", database = name,
                    "dropped the scratch database of a killed check");
            }
            Err(error) => {
                tracing::warn!(target: "omnistack::backup", database = name, %error,
                    "can't drop the scratch database of a killed check: drop it yourself");
            }
        }
        let unlock = sqlx::query("select pg_advisory_unlock($1, hashtext($2))").bind(LOCK).bind(name.as_str());
        unlock.execute(&mut *connection).await?;
    }
    Ok(())
}

/// Drops a database. Ends its sessions, such as that of a `pg_restore` that a killed check had started.
async fn drop_database(connection: &mut PgConnection, name: &str) -> sqlx::Result<()> {
    let sql = format!("drop database if exists {} with (force)", quoted(name));
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.map(drop)
}

/// Returns the URL with another database.
fn with_database(url: &str, name: &str) -> String {
    let (place, query) = url.split_once('?').unwrap_or((url, ""));
    let start = place.find("://").map_or(0, |index| index + 3);
    let end = place[start..].find('/').map_or(place.len(), |index| start + index);
    // A parameter would override the path.
    let query: Vec<&str> = query.split('&').filter(|part| !part.is_empty() && !part.starts_with("dbname=")).collect();
    let question = if query.is_empty() { "" } else { "?" };
    format!("{}/{name}{question}{}", &place[..end], query.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_scratch_databases() {
        for (url, expected) in [
            ("postgres://app:x@db:5433/shop?sslmode=require", "postgres://app:x@db:5433/check?sslmode=require"),
            ("postgres://app@db", "postgres://app@db/check"),
            ("postgres://app@db1,db2/shop", "postgres://app@db1,db2/check"),
            ("postgres:///shop?host=/run&dbname=shop", "postgres:///check?host=/run"),
        ] {
            assert_eq!(with_database(url, "check"), expected);
        }
    }
}
