//! The client programs of PostgreSQL: `pg_dump` and `pg_restore` of the server's major version.
//!
//! An older `pg_dump` refuses the server. A newer one writes archives that the server's own `pg_restore` can't read, and
//! a newer `pg_restore` may send settings that the server does not know. So the major version must be the same.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::backup::Error;

/// A client program of the version that was asked for.
#[derive(Debug)]
pub(super) struct PostgresTool {
    path: PathBuf,
}

impl PostgresTool {
    /// Finds a program of this major version: in `folder` if it is given, else where systems install it and in `PATH`.
    ///
    /// # Errors
    /// [`Error::Refused`] if there is none. The message says which were found, and what to install.
    pub(super) async fn find(program: &str, major: u32, folder: Option<&Path>) -> Result<Self, Error> {
        let mut found = Vec::new();
        let candidates = match folder {
            Some(folder) => vec![folder.join(program)],
            None => candidates(program, major),
        };
        for path in candidates {
            match version(&path).await {
                Some(version) if version == major => return Ok(Self { path }),
                Some(version) => found.push(format!("{} has version {version}", path.display())),
                None => {}
            }
        }
        let found = match (found.is_empty(), folder) {
            (false, _) => found.join(", "),
            (true, Some(folder)) => format!("{} has none", folder.display()),
            (true, None) => "none was found".into(),
        };
        Err(Error::refused(format!(
            "the server is PostgreSQL {major}, which needs {program} of version {major}; {found}. Install it (Debian and \
             Ubuntu: postgresql-client-{major}; Alpine: postgresql{major}-client; macOS: postgresql@{major}), or set \
             BACKUP_POSTGRES_BIN to its directory"
        )))
    }

    /// Creates a command that runs the program.
    pub(super) fn command(&self) -> Command {
        Command::new(&self.path)
    }
}

/// Returns the paths at which systems install a program, and last its name, which is searched in `PATH`.
fn candidates(program: &str, major: u32) -> Vec<PathBuf> {
    let folders = [
        format!("/usr/lib/postgresql/{major}/bin"),
        format!("/usr/pgsql-{major}/bin"),
        format!("/usr/libexec/postgresql{major}"),
        format!("/usr/lib/postgresql{major}/bin"),
        format!("/opt/homebrew/opt/postgresql@{major}/bin"),
        format!("/usr/local/opt/postgresql@{major}/bin"),
        format!("/Applications/Postgres.app/Contents/Versions/{major}/bin"),
    ];
    folders.into_iter().map(|folder| Path::new(&folder).join(program)).chain([PathBuf::from(program)]).collect()
}

/// Returns the major version that a program states, or `None` if it can't be run.
async fn version(path: &Path) -> Option<u32> {
    let output = Command::new(path).arg("--version").kill_on_drop(true).output().await.ok()?;
    parse_version(&String::from_utf8_lossy(&output.stdout))
}

/// Parses a line such as `pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`.
fn parse_version(text: &str) -> Option<u32> {
    let number = text.split_once("(PostgreSQL)")?.1.trim_start();
    number.split(|character: char| !character.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        for (text, version) in [
            ("pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n", Some(15)),
            ("pg_restore (PostgreSQL) 18beta1", Some(18)),
            ("mysqldump 8", None),
        ] {
            assert_eq!(parse_version(text), version, "{text}");
        }
    }

    #[tokio::test]
    async fn a_missing_program_is_named_with_the_fix() {
        let folder = std::env::temp_dir().join("omnistack-no-postgres");
        let error = PostgresTool::find("pg_dump", 15, Some(&folder)).await.unwrap_err().to_string();
        for text in ["PostgreSQL 15", "postgresql-client-15", "BACKUP_POSTGRES_BIN"] {
            assert!(error.contains(text), "{error}");
        }
    }
}
