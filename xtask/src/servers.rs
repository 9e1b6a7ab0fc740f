//! The PostgreSQL and Redis servers of the tests: the user's own, or temporary ones that run as long as the command.

mod postgres;
mod redis;

use std::{
    net::{TcpStream, ToSocketAddrs},
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    apt,
    failure::{Context, Failure, Result},
    report::Report,
    supervise::SupervisedProcess,
};

pub(crate) use self::{postgres::URL as POSTGRES_URL, redis::URL as REDIS_URL};

/// A running server and the environment variables that tests find it by.
#[derive(Debug)]
pub(crate) struct Server {
    /// The URL with credentials.
    pub(crate) url: String,
    /// The version and origin, for the report.
    description: String,
    environment: Vec<(&'static str, String)>,
    /// The process of a temporary server, which is stopped when this is dropped. `None` for the user's own server.
    _process: Option<SupervisedProcess>,
}

/// The servers that the tests need.
#[derive(Debug)]
pub(crate) struct Servers {
    /// A server with a database `omnistack`, whose owner can create databases.
    pub(crate) postgres: Server,
    /// A Redis server without data.
    pub(crate) redis: Server,
}

impl Servers {
    /// Finds or installs the servers, starts them and waits until they accept connections. `durable` makes PostgreSQL
    /// wait for the disk at each commit. Fails if a server can't be found, installed or started.
    pub(crate) fn start(report: &mut Report, durable: bool) -> Result<Self> {
        let mut step = |name, start: &dyn Fn() -> Result<Server>| {
            report.step_with_note(name, || {
                let server = start()?;
                let about = server.description.clone();
                Ok((server, about))
            })
        };
        let servers =
            Self { postgres: step("PostgreSQL", &|| postgres::start(durable))?, redis: step("Redis", &redis::start)? };
        report.note("SQLite", "ok", "bundled with sqlx");
        Ok(servers)
    }

    /// Starts the servers as [`start`](Self::start) does, with the PostgreSQL server whose programs are in a folder,
    /// and whose databases have pgvector.
    pub(crate) fn start_with_pgvector(report: &mut Report, programs: &Path, durable: bool) -> Result<Self> {
        let started = |server: Server| {
            let about = server.description.clone();
            (server, about)
        };
        let postgres = report.step_with_note("PostgreSQL with pgvector", || {
            postgres::start_with_pgvector(programs, durable).map(started)
        })?;
        Ok(Self { postgres, redis: report.step_with_note("Redis", || redis::start().map(started))? })
    }

    /// Sets the environment variables that tests find the servers by.
    pub(crate) fn set_environment(&self, command: &mut Command) {
        for server in [&self.postgres, &self.redis] {
            command.envs(server.environment.iter().map(|(name, value)| (name, value)));
        }
    }
}

/// The path of a program and how it was found.
#[derive(Debug)]
struct FoundProgram {
    path: PathBuf,
    how: &'static str,
}

/// Finds a program with `look`. If there is none, installs `packages` and tries again. Fails if the program is still
/// missing.
fn find_or_install(what: &str, look: fn() -> Option<PathBuf>, packages: &[&str]) -> Result<FoundProgram> {
    if let Some(path) = look() {
        return Ok(FoundProgram { path, how: "found" });
    }
    eprintln!("{what} is not installed.");
    if apt::install(packages)?
        && let Some(path) = look()
    {
        return Ok(FoundProgram { path, how: "installed" });
    }
    Err(Failure::new(format!(
        "{what} was not found and can't be installed automatically. Install it with the system's packages (on \
         Debian and Ubuntu: `apt-get install {}`), or run servers in containers and set their URLs:\n\n    \
         docker compose -f deploy/compose.yaml up -d postgres redis\n    \
         export {POSTGRES_URL}=postgres://omnistack:omnistack@127.0.0.1:5432/omnistack\n    \
         export {REDIS_URL}=redis://127.0.0.1:6379\n\n\
         These must be servers for tests only.",
        packages.join(" ")
    )))
}

/// Returns the `host:port` of a URL, without credentials and path.
fn address(url: &str, default_port: u16) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or(rest);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    // The colons of an IPv6 address are within brackets.
    if host.rsplit(']').next().is_some_and(|tail| tail.contains(':')) {
        host.to_owned()
    } else {
        format!("{host}:{default_port}")
    }
}

/// Opens a TCP connection with timeouts of 5 seconds. Fails if nothing accepts connections at the address.
fn connect(address: &str) -> Result<TcpStream> {
    let mut addresses = address.to_socket_addrs().context(format_args!("looking up {address}"))?;
    let first = addresses.next().ok_or_else(|| Failure::new(format!("{address} has no address")))?;
    let timeout = std::time::Duration::from_secs(5);
    let stream = TcpStream::connect_timeout(&first, timeout).context(format_args!("connecting to {address}"))?;
    let limited = stream.set_read_timeout(Some(timeout)).and_then(|()| stream.set_write_timeout(Some(timeout)));
    limited.context("setting timeouts")?;
    Ok(stream)
}

fn folder_of(program: &Path) -> &Path {
    program.parent().unwrap_or(program)
}

#[cfg(test)]
mod tests;
