//! Finds or starts a Redis server.

use std::{
    io::{BufRead, BufReader, Read, Write},
    path::PathBuf,
};

use super::{FoundProgram, Server, address, connect, find_or_install};
use crate::{
    failure::{Context, Failure, Result},
    folder::TempFolder,
    host,
    supervise::SupervisedCommand,
};

/// The environment variable with the URL of a server to use instead of a temporary one. It is also set for the tests.
pub(crate) const URL: &str = "TEST_REDIS_URL";
/// The environment variable with the path of `redis-server`, for tests that start, stop and kill their own server.
const BINARY: &str = "TEST_REDIS_BIN";

/// Returns the server of `TEST_REDIS_URL`, or starts a temporary one.
pub(super) fn start() -> Result<Server> {
    match host::env_var(URL) {
        Some(url) => use_external(url),
        None => start_temporary(find_or_install("Redis", find, &["redis-server"])?),
    }
}

fn use_external(url: String) -> Result<Server> {
    let address = address(&url, 6379);
    connect(&address).context(format_args!("{URL} is set, but its server can't be reached"))?;
    let mut environment = vec![(URL, url.clone())];
    let binary = match find() {
        Some(path) => {
            environment.push((BINARY, path.display().to_string()));
            ""
        }
        None => "; redis-server was not found, so TEST_REDIS_BIN is not set for tests that start their own server",
    };
    Ok(Server { description: format!("at {address}, from {URL}{binary}"), url, environment, _process: None })
}

fn start_temporary(FoundProgram { path: binary, how }: FoundProgram) -> Result<Server> {
    let port = host::free_port()?;
    let mut recipe = SupervisedCommand::new(&binary, TempFolder::create("redis")?, "TERM");
    recipe.command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir", "."]);
    recipe.command.args(["--save", "", "--appendonly", "no"]);
    let process = recipe.start()?;
    let version = process.wait_for("Redis", || version(port))?;
    let url = format!("redis://127.0.0.1:{port}");
    Ok(Server {
        description: format!("{version}, {how} as {}, private on port {port}", binary.display()),
        environment: vec![(URL, url.clone()), (BINARY, binary.display().to_string())],
        url,
        _process: Some(process),
    })
}

fn find() -> Option<PathBuf> {
    let usual = ["/usr/bin", "/usr/local/bin", "/opt/homebrew/bin", "/opt/homebrew/opt/redis/bin"];
    let usual = usual.map(|folder| PathBuf::from(folder).join("redis-server"));
    host::find_program("redis-server").or_else(|| usual.into_iter().find(|path| path.is_file()))
}

/// Returns the version of a server. Fails if the server is not ready.
fn version(port: u16) -> Result<String> {
    let mut stream = connect(&format!("127.0.0.1:{port}"))?;
    stream.write_all(b"INFO server\r\n").context("sending INFO to Redis")?;
    // A bulk string: `$<length>\r\n<length bytes>\r\n`.
    let mut answer = BufReader::new(stream);
    let mut head = String::new();
    answer.read_line(&mut head).context("reading Redis's reply")?;
    let length = head.trim_end().strip_prefix('$').and_then(|length| length.parse().ok());
    let length = length.ok_or_else(|| Failure::new(format!("unexpected reply of Redis: {head}")))?;
    let mut info = String::new();
    answer.take(length).read_to_string(&mut info).context("reading Redis's reply")?;
    let version = info.lines().find_map(|line| line.strip_prefix("redis_version:"));
    version.map(str::to_owned).ok_or_else(|| Failure::new("Redis's reply has no version"))
}
