//! Settings of the database.

use std::{path::PathBuf, time::Duration};

use secrecy::ExposeSecret;

use super::Dialect;

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
            slow_query: Duration::from_millis(250),
            synchronous: "full".into(),
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
        Self { url: format!("passed by the program ({dialect:?})").into(), ..self }
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
