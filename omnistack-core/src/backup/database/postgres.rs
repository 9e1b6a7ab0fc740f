//! PostgreSQL: `pg_dump` and `pg_restore` copy a database, under row-level security.
//!
//! The tables of tenants have row-level security that also applies to their owner. `pg_dump` therefore runs with
//! `--enable-row-security` and with the setting that makes all rows visible. While tables are filled, their row-level
//! security is not enabled yet.

use std::{
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::{
    fs::File,
    io::{self, AsyncWriteExt as _, BufReader},
    process::Command,
};

use super::{inventory, postgres_tools::PostgresTool, server_major};
use crate::{
    backup::{BackupSettings, Error, manifest::Inventory},
    db::Db,
};

/// Bytes of a program's output that are written to a file at once.
const COPY_BYTES: usize = 256 * 1024;

/// The setting that makes the rows of all tenants visible.
const ALL_TENANTS: &str = "-c omnistack.tenant=*";

/// Copies one state of the database into a file, and returns what is in it.
pub(super) async fn copy(
    db: &Db,
    url: &SecretString,
    into: &Path,
    settings: &BackupSettings,
) -> Result<Inventory, Error> {
    let major = server_major(db).await?.unwrap_or_default();
    let tool = PostgresTool::find("pg_dump", major, settings.postgres_bin.as_deref()).await?;
    // The rows of all tenants belong to a backup. The transaction keeps the state that `pg_dump` copies, and that is
    // counted here.
    let mut tx = db.all_tenants().begin_read().await?;
    tx.query("set transaction isolation level repeatable read").execute().await?;
    tx.set_statement_timeout(Duration::ZERO).await?;
    tx.query("set local idle_in_transaction_session_timeout = 0").execute().await?;
    let (snapshot,): (String,) = tx.query("select pg_export_snapshot()").fetch_one().await?;
    let mut command = tool.command();
    connect(&mut command, url);
    command.args(["--format=custom", "--enable-row-security", "--no-password"]);
    command.arg(format!("--snapshot={snapshot}"));
    run_into(command, "pg_dump", into).await?;
    let found = inventory(&mut tx).await?;
    tx.commit().await?;
    Ok(found)
}

/// Fills an empty database of a server of this major version from a file, in one transaction.
pub(super) async fn fill(url: &SecretString, major: u32, from: &Path, settings: &BackupSettings) -> Result<(), Error> {
    let tool = PostgresTool::find("pg_restore", major, settings.postgres_bin.as_deref()).await?;
    let mut command = tool.command();
    connect(&mut command, url);
    command.args([
        "--no-owner",
        "--no-acl",
        "--no-comments",
        "--no-password",
        "--exit-on-error",
        "--single-transaction",
    ]);
    command.arg(from);
    run(command, "pg_restore").await
}

/// Runs a program to its end. Fails with what it wrote to standard error.
async fn run(mut command: Command, name: &str) -> Result<(), Error> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let output = command.output().await.map_err(|error| Error::failed(format!("{name} can't be started"), error))?;
    check(&output, name)
}

/// Runs a program to its end, and writes its output to a file. If this process is killed, the next output ends the program,
/// which would otherwise go on and keep its locks on the server.
async fn run_into(mut command: Command, name: &str, into: &Path) -> Result<(), Error> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| Error::failed(format!("{name} can't be started"), error))?;
    let stdout = child.stdout.take();
    let copy = async {
        let mut file = File::create(into).await?;
        if let Some(stdout) = stdout {
            io::copy_buf(&mut BufReader::with_capacity(COPY_BYTES, stdout), &mut file).await?;
        }
        file.flush().await
    };
    let (copied, output) = tokio::join!(copy, child.wait_with_output());
    copied.map_err(|error| Error::failed(format!("{} can't be written", into.display()), error))?;
    check(&output.map_err(|error| Error::failed(format!("{name} failed"), error))?, name)
}

/// Fails with what a program wrote to standard error, unless it succeeded.
fn check(output: &Output, name: &str) -> Result<(), Error> {
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::failed(format!("{name} failed"), said.trim().to_owned()))
}

/// Sets the database of a program. The password is not in its arguments, which every user of the machine can read.
fn connect(command: &mut Command, url: &SecretString) {
    let LibpqUrl { url, password } = LibpqUrl::new(url.expose_secret());
    command.arg("--dbname").arg(url);
    if let Some(password) = password {
        command.env("PGPASSWORD", password);
    }
}

/// A URL as `libpq` reads it, without its password.
struct LibpqUrl {
    url: String,
    password: Option<String>,
}

impl LibpqUrl {
    /// Converts a URL as sqlx reads it: its names of parameters differ, and it has some that `libpq` refuses.
    fn new(url: &str) -> Self {
        let (scheme, rest) = url.split_once("://").unwrap_or(("postgres", url));
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let authority = &place[..place.find('/').unwrap_or(place.len())];
        let (user, host) = authority.rsplit_once('@').map_or(("", place), |(user, _)| (user, &place[user.len() + 1..]));
        let (user, password) = user.split_once(':').map_or((user, None), |(user, password)| (user, Some(password)));
        let mut password = password.map(|text| percent_decode_str(text).decode_utf8_lossy().into_owned());
        let mut options = String::new();
        let mut query: Vec<(&str, String)> = form_urlencoded::parse(query.as_bytes())
            .filter_map(|(name, value)| {
                if let Some(setting) = name.strip_prefix("options[").and_then(|name| name.strip_suffix(']')) {
                    options.extend(["-c ", setting, "=", &*value, " "]);
                    return None;
                }
                match name.as_ref() {
                    "password" => password = Some(value.into_owned()),
                    "options" => options.extend([&*value, " "]),
                    name => return Some((libpq_parameter(name)?, value.into_owned())),
                }
                None
            })
            .collect();
        query.push(("options", options + ALL_TENANTS));
        let has_several_hosts = host.split('/').next().is_some_and(|hosts| hosts.contains(','));
        if has_several_hosts && query.iter().all(|(name, _)| *name != "target_session_attrs") {
            // As the app does. Otherwise `libpq` uses the first host that responds, which may be a standby.
            query.push(("target_session_attrs", "read-write".into()));
        }
        let query: Vec<String> = query
            .into_iter()
            .map(|(name, value)| format!("{name}={}", utf8_percent_encode(&value, NON_ALPHANUMERIC)))
            .collect();
        let at = if user.is_empty() { "" } else { "@" };
        Self { url: format!("{scheme}://{user}{at}{host}?{}", query.join("&")), password }
    }
}

/// Returns the name of a parameter for `libpq`, or `None` for one that only sqlx has.
fn libpq_parameter(name: &str) -> Option<&'static str> {
    Some(match name {
        "host" => "host",
        "hostaddr" => "hostaddr",
        "port" => "port",
        "dbname" => "dbname",
        "user" => "user",
        "sslmode" | "ssl-mode" => "sslmode",
        "sslrootcert" | "ssl-root-cert" | "ssl-ca" => "sslrootcert",
        "sslcert" | "ssl-cert" => "sslcert",
        "sslkey" | "ssl-key" => "sslkey",
        "application_name" => "application_name",
        "target_session_attrs" => "target_session_attrs",
        "connect_timeout" => "connect_timeout",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_for_libpq() {
        for (url, expected, password) in [
            (
                "postgres://app:p%40ss@db.example:5433/shop?sslmode=require&statement-cache-capacity=10",
                "postgres://app@db.example:5433/shop?sslmode=require&options=%2Dc%20omnistack%2Etenant%3D%2A",
                Some("p@ss"),
            ),
            (
                "postgres:///shop?host=/run/postgresql&password=x&options[search_path]=app",
                "postgres:///shop?host=%2Frun%2Fpostgresql&options=%2Dc%20search%5Fpath%3Dapp%20%2Dc%20omnistack%2Etenant%3D%2A",
                Some("x"),
            ),
            ("postgresql://db/shop", "postgresql://db/shop?options=%2Dc%20omnistack%2Etenant%3D%2A", None),
            (
                "postgres://app:x@db1,db2:6432/shop",
                "postgres://app@db1,db2:6432/shop?options=%2Dc%20omnistack%2Etenant%3D%2A&target_session_attrs=read%2Dwrite",
                Some("x"),
            ),
        ] {
            let converted = LibpqUrl::new(url);
            assert_eq!((converted.url.as_str(), converted.password.as_deref()), (expected, password));
        }
    }
}
