//! Settings of the database.

use std::{path::PathBuf, time::Duration};

use secrecy::ExposeSecret;

use super::Dialect;
use crate::config::SettingValue;

/// The beginning of the text in place of the URL of a database that the program has passed to the app.
const PASSED_BY_PROGRAM: &str = "passed by the program";
/// Most bytes of the name of a schema of PostgreSQL.
const MAX_SCHEMA_NAME_BYTES: usize = 63;

crate::settings! {
    /// Database.
    pub struct DbSettings {
        /// `postgres://user:password@host/name` or `sqlite:path/to/file.db`. A SQLite file that does not exist is
        /// created.
        pub url: secrecy::SecretString = "DATABASE_URL", default "sqlite:data/omnistack.db";
        /// Most connections: all connections to PostgreSQL, or the readers of SQLite besides its one writer.
        pub max_connections: u32 = "DATABASE_MAX_CONNECTIONS", default "10", range "1"..="10000";
        /// Time that a request waits for a free connection before it fails with 503.
        pub acquire_timeout: Duration = "DATABASE_ACQUIRE_TIMEOUT", default "5s", range "1ms"..="10m";
        /// PostgreSQL ends a statement that runs longer, and the app waits two more seconds for the response;
        /// keep it below `HTTP_TIMEOUT`. SQLite: how long a write waits for the lock of another process.
        pub statement_timeout: Duration = "DATABASE_STATEMENT_TIMEOUT", default "25s", range "1ms"..="1d";
        /// PostgreSQL: schema in which migrations create tables, if it is not `public`. Names without a schema are looked
        /// for in it and then in `public`.
        pub schema: Option<SchemaName> = "DATABASE_SCHEMA";
        /// PostgreSQL: URL of a standby, from which mounts that choose it read their lists
        /// (`Mount::reads_from_replica`).
        pub replica_url: Option<secrecy::SecretString> = "DATABASE_REPLICA_URL";
        /// Age of the rows of the standby beyond which lists are read from `DATABASE_URL`.
        pub replica_max_lag: Duration = "DATABASE_REPLICA_MAX_LAG", default "10s", range "1ms"..="1h";
        /// PostgreSQL: time after a start or an outage in which the connections that are used at once grow from one tenth
        /// to all, so that the caches of a new server can fill. `0s` turns it off.
        pub slow_start: Duration = "DATABASE_SLOW_START", default "0s", range "0s"..="10m";
        /// PostgreSQL: time that a statement of a migration waits for a lock, while requests queue behind it. Then the
        /// migration is rolled back, and tried again after the same time, ten times.
        pub migration_lock_timeout: Duration = "DATABASE_MIGRATION_LOCK_TIMEOUT", default "5s", range "1ms"..="10m";
        /// Rows from which a table is large: `migrate` refuses migrations that lock it while they read or write all of it.
        pub large_table: u64 = "DATABASE_LARGE_TABLE", default "100000", range "1"..="1000000000000";
        /// SQLite: percent of the disk's space and of its inodes that must be free. Below it, `/health/ready` is degraded
        /// and `doctor` fails.
        pub min_free_disk: u32 = "DATABASE_MIN_FREE_DISK", default "5", range "0"..="100";
        /// Statements that take longer are logged as warnings.
        pub slow_query: Duration = "DATABASE_SLOW_QUERY", default "250ms", range "0s"..="1d";
        /// SQLite: `full` loses no commit in a power failure; `normal` is faster and may lose the last commits;
        /// `off` is for temporary data.
        pub synchronous: String = "DATABASE_SYNCHRONOUS", default "full";
    }
}

/// The defaults of the settings.
impl Default for DbSettings {
    fn default() -> Self {
        Self {
            url: "sqlite:data/omnistack.db".to_owned().into(),
            max_connections: 10,
            acquire_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(25),
            schema: None,
            replica_url: None,
            replica_max_lag: Duration::from_secs(10),
            slow_start: Duration::ZERO,
            migration_lock_timeout: Duration::from_secs(5),
            large_table: 100_000,
            min_free_disk: 5,
            slow_query: Duration::from_millis(250),
            synchronous: "full".into(),
        }
    }
}

/// The name of a schema of PostgreSQL, which needs no quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaName(String);

impl SchemaName {
    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl SettingValue for SchemaName {
    const EXPECTED: &'static str = "name of small letters, digits and `_`";

    fn parse(text: &str) -> Result<Self, String> {
        let is_letter = |letter: char| letter.is_ascii_lowercase() || letter == '_';
        let is_name = text.starts_with(is_letter)
            && text.chars().all(|letter| is_letter(letter) || letter.is_ascii_digit())
            && text.len() <= MAX_SCHEMA_NAME_BYTES
            && !text.starts_with("pg_");
        match text {
            "public" => Err("`public` is the schema without the setting: unset it".into()),
            _ if is_name => Ok(Self(text.to_owned())),
            _ => Err(format!(
                "`{text}` can't name a schema: use up to {MAX_SCHEMA_NAME_BYTES} small letters, digits and `_`, and \
                 begin neither with a digit nor with `pg_`"
            )),
        }
    }
}

impl DbSettings {
    /// Returns the folder of the SQLite file, or `None` for other databases and a database in memory.
    pub fn sqlite_folder(&self) -> Option<PathBuf> {
        let path = self.url.expose_secret().strip_prefix("sqlite:")?;
        let path = path.trim_start_matches("//").split('?').next().unwrap_or_default();
        if path == ":memory:" {
            return None;
        }
        PathBuf::from(path).parent().map(
            |folder| {
                if folder.as_os_str().is_empty() { ".".into() } else { folder.into() }
            },
        )
    }

    /// Replaces the URL by a text that says that the program has passed the database to the app.
    pub(crate) fn passed_by_program(self, dialect: Dialect) -> Self {
        Self { url: format!("{PASSED_BY_PROGRAM} ({dialect:?})").into(), ..self }
    }

    /// Returns whether the program has passed the database to the app, so that the URL is not known.
    #[cfg(feature = "backup")]
    pub(crate) fn is_passed_by_program(&self) -> bool {
        self.url.expose_secret().starts_with(PASSED_BY_PROGRAM)
    }

    /// Returns the URL without its password.
    pub fn display_url(&self) -> String {
        without_password(self.url.expose_secret())
    }
}

/// Returns a URL without its password.
pub(super) fn without_password(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme < at => {
            let user = url[scheme + 3..at].split(':').next().unwrap_or_default();
            format!("{}{user}:…{}", &url[..scheme + 3], &url[at..])
        }
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_defaults_are_those_of_the_reference() {
        let read: DbSettings = Config::from_pairs([("APP_ENV", "test")]).read_settings().unwrap();
        assert_eq!(format!("{read:?}"), format!("{:?}", DbSettings::default()));
        assert_eq!(read.url.expose_secret(), DbSettings::default().url.expose_secret());
    }
}
