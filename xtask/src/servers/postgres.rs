//! Finds or starts a PostgreSQL server.

use std::{
    fs,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
};

use super::{FoundProgram, Server, address, connect, find_or_install, folder_of};
use crate::{
    command,
    failure::{Context, Failure, Result},
    folder::TempFolder,
    host::{self, User},
    supervise::SupervisedCommand,
};

/// The environment variable with the URL of a server to use instead of a temporary one. It is also set for the tests.
pub(crate) const URL: &str = "TEST_DATABASE_URL";
/// The environment variable with the folder of `initdb` and `postgres`, for tests that start, stop and kill their own
/// server.
const BINARIES: &str = "TEST_POSTGRES_BIN";
/// The environment variable with the user such a test runs PostgreSQL as, because PostgreSQL refuses to run as root.
/// Empty if this process is not root.
const USER: &str = "TEST_POSTGRES_USER";

/// Settings that make a server fast but may lose data in a crash. Autovacuum would look into each database, and delay the
/// copies of a template that it looks into.
const NON_DURABLE_SETTINGS: [&str; 6] = [
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "wal_level=minimal",
    "max_wal_senders=0",
    "autovacuum=off",
];
/// Settings that make a new server behave as one that has run for a while: it has segments of the write-ahead log to use
/// again. A new segment is 16 MiB of zeros, and each commit waits while they are written.
const DURABLE_SETTINGS: [&str; 2] = ["wal_init_zero=off", "max_wal_size=8GB"];
const COMMON_SETTINGS: [&str; 2] = ["max_connections=200", "unix_socket_directories="];

/// Returns the server of `TEST_DATABASE_URL`, or starts a temporary one. With `durable`, a temporary server waits for
/// the disk at each commit, as in production.
pub(super) fn start(durable: bool) -> Result<Server> {
    match host::env_var(URL) {
        Some(url) => use_external(url),
        None => start_temporary(find_or_install("PostgreSQL", find, &["postgresql"])?, durable, None),
    }
}

/// Starts a temporary server of the programs in a folder, with the extension pgvector in each new database. Fails if
/// the extension is not there.
pub(super) fn start_with_pgvector(bin: &Path, durable: bool) -> Result<Server> {
    let found = FoundProgram { path: bin.join("initdb"), how: "a package" };
    start_temporary(found, durable, Some("vector"))
}

fn use_external(url: String) -> Result<Server> {
    let address = address(&url, 5432);
    connect(&address).context(format_args!("{URL} is set, but its server can't be reached"))?;
    let mut environment = vec![(URL, url.clone())];
    let binaries = match find() {
        Some(initdb) => {
            let user = unprivileged_user()?;
            environment.push((BINARIES, folder_of(&initdb).display().to_string()));
            environment.push((USER, user.map_or("", |(name, _)| name).to_owned()));
            ""
        }
        None => "; initdb was not found, so TEST_POSTGRES_BIN is not set for tests that start their own server",
    };
    Ok(Server { description: format!("at {address}, from {URL}{binaries}"), url, environment, _process: None })
}

/// Starts a temporary server. New databases have `extension`.
fn start_temporary(
    FoundProgram { path: initdb, how }: FoundProgram,
    durable: bool,
    extension: Option<&str>,
) -> Result<Server> {
    let user = unprivileged_user()?;
    let folder = if durable { TempFolder::create("postgres")? } else { TempFolder::in_memory("postgres")? };
    if let Some((_, user)) = user {
        let owned = chown(folder.path(), Some(user.uid), Some(user.gid));
        owned.context(format_args!("changing the owner of {} to PostgreSQL's user", folder.path().display()))?;
    }
    // The servers of packages of Python are in a folder that only root may be able to read.
    let initdb = match (extension, user) {
        (Some(_), Some(_)) => copy_package(&initdb, folder.path())?,
        _ => initdb,
    };
    let bin = folder_of(&initdb);
    let become_user = |command: &mut Command| {
        if let Some((_, user)) = user {
            command.uid(user.uid).gid(user.gid);
        }
    };

    let admin_password = host::random_hex()?;
    let password_file = folder.path().join("password");
    fs::write(&password_file, &admin_password).context("writing the password file")?;
    if let Some((_, user)) = user {
        chown(&password_file, Some(user.uid), Some(user.gid)).context("changing the owner of the password file")?;
    }
    let data = folder.path().join("data");
    let mut create = Command::new(&initdb);
    // With SCRAM, each sign-in hashes 4,096 times, which is a fifth of the time of a test.
    create
        .args(["--username=admin", "--auth=md5", "--encoding=UTF8", "--no-sync"])
        .arg(if cfg!(target_os = "macos") { "--locale=en_US.UTF-8" } else { "--locale=C.UTF-8" })
        .arg("--pwfile")
        .arg(&password_file)
        .arg("--pgdata")
        .arg(&data)
        .current_dir(folder.path());
    become_user(&mut create);
    command::output_of(&mut create)?;

    let port = host::free_port()?;
    // INT is PostgreSQL's fast shutdown, which doesn't wait for clients to disconnect.
    let mut recipe = SupervisedCommand::new(bin.join("postgres"), folder, "INT");
    recipe.command.arg("-D").arg(&data).args(["-h", "127.0.0.1", "-p", &port.to_string()]);
    let durability = if durable { &DURABLE_SETTINGS[..] } else { &NON_DURABLE_SETTINGS };
    recipe.command.args(COMMON_SETTINGS.iter().chain(durability).flat_map(|setting| ["-c", setting]));
    become_user(&mut recipe.command);
    let process = recipe.start()?;

    let admin_of = |database: &str, sql: &str| psql(bin, port, &admin_password, database, sql);
    let admin = |sql: &str| admin_of("postgres", sql);
    let version = process.wait_for("PostgreSQL", || admin("show server_version"))?;
    let password = host::random_hex()?;
    admin(&format!("create role omnistack login createdb nosuperuser password '{password}'"))?;
    if let Some(extension) = extension {
        // New databases are copies of this one. Only a superuser may create the extension.
        admin_of("template1", &format!("create extension {extension}"))?;
    }
    admin("create database omnistack owner omnistack")?;

    let version = version.split_whitespace().next().unwrap_or_default();
    let url = format!("postgres://omnistack:{password}@127.0.0.1:{port}/omnistack");
    Ok(Server {
        description: format!("{version}, {how} in {}, private on port {port}", bin.display()),
        environment: vec![
            (URL, url.clone()),
            (BINARIES, bin.display().to_string()),
            (USER, user.map_or("", |(name, _)| name).to_owned()),
        ],
        url,
        _process: Some(process),
    })
}

/// Copies the package of Python that contains an `initdb` into a folder, with the libraries beside it. Returns the `initdb`
/// of the copy.
fn copy_package(initdb: &Path, folder: &Path) -> Result<PathBuf> {
    let package = initdb.ancestors().nth(3).unwrap_or(initdb);
    let libraries = package.with_extension("libs");
    let copied: Vec<_> = [package, &libraries].into_iter().filter(|path| path.is_dir()).collect();
    command::output_of(Command::new("cp").arg("-R").args(copied).arg(folder))?;
    let path = initdb.strip_prefix(package.parent().unwrap_or(package)).context("finding initdb in its package")?;
    Ok(folder.join(path))
}

/// Returns the user to run PostgreSQL as, or `None` if this process is not root. Fails if there is no suitable user.
fn unprivileged_user() -> Result<Option<(&'static str, User)>> {
    if !host::is_root() {
        return Ok(None);
    }
    let user = ["postgres", "nobody"].into_iter().find_map(|name| Some((name, User::named(name)?)));
    user.map(Some).ok_or_else(|| {
        Failure::new("PostgreSQL refuses to run as root, and there is no user `postgres` or `nobody`: create one")
    })
}

/// Returns the path of an `initdb` with `postgres` and `psql` in the same folder, from the PATH or from the folders
/// in which packages install servers.
fn find() -> Option<PathBuf> {
    let on_path = host::find_program("initdb").and_then(|path| fs::canonicalize(path).ok());
    let packaged = [
        ("/usr/lib/postgresql", ""),
        ("/usr", "pgsql-"),
        ("/opt/homebrew/opt", "postgresql"),
        ("/usr/local/opt", "postgresql"),
    ];
    let packaged = packaged.into_iter().flat_map(|(parent, prefix)| host::versioned_folders(parent, prefix));
    on_path
        .into_iter()
        .chain(packaged.map(|folder| folder.join("bin/initdb")))
        .find(|initdb| ["initdb", "postgres", "psql"].iter().all(|name| folder_of(initdb).join(name).is_file()))
}

fn psql(bin: &Path, port: u16, password: &str, database: &str, sql: &str) -> Result<String> {
    let answer = command::output_of(
        Command::new(bin.join("psql"))
            .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"])
            .args(["--host=127.0.0.1", "--username=admin", "--command", sql])
            .args([format!("--port={port}"), format!("--dbname={database}")])
            .env("PGPASSWORD", password)
            .env("PGCONNECT_TIMEOUT", "5"),
    )?;
    Ok(answer.trim().to_owned())
}
