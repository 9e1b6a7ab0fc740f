//! Settings of the database.

use std::{path::PathBuf, time::Duration};

use secrecy::ExposeSecret;

crate::section! {
    /// Database.
    pub struct DbSettings {
        /// `postgres://user:password@host/name` or `sqlite:path/to/file.db`. A SQLite file is made when it is not there.
        pub url: secrecy::SecretString = "DATABASE_URL", default "sqlite:data/omnistack.db";
        /// Connections at most: all of PostgreSQL's, or the readers of SQLite beside its one writer.
        pub max_connections: u32 = "DATABASE_MAX_CONNECTIONS", default "10";
        /// How long a request waits for a free connection before it is answered 503.
        pub acquire_timeout: Duration = "DATABASE_ACQUIRE_TIMEOUT", default "5s";
        /// PostgreSQL ends a statement that runs longer, and its answer is waited for two seconds more; keep it below
        /// `HTTP_TIMEOUT`. SQLite: how long a write waits for another process's lock.
        pub statement_timeout: Duration = "DATABASE_STATEMENT_TIMEOUT", default "25s";
        /// Statements that take longer are logged as warnings.
        pub slow_query: Duration = "DATABASE_SLOW_QUERY", default "250ms";
        /// SQLite: `full` survives a power cut without losing a commit; `normal` is faster and may lose the last ones,
        /// `off` is for throwaway data.
        pub synchronous: String = "DATABASE_SYNCHRONOUS", default "full";
    }
}

impl DbSettings {
    /// The folder a SQLite file lives in; `None` for other databases and for memory.
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

    /// The URL without its password.
    pub fn display_url(&self) -> String {
        without_password(self.url.expose_secret())
    }
}

/// A URL without its password.
pub(super) fn without_password(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme < at => {
            let user = url[scheme + 3..at].split(':').next().unwrap_or_default();
            format!("{}{user}:…{}", &url[..scheme + 3], &url[at..])
        }
        _ => url.to_owned(),
    }
}
