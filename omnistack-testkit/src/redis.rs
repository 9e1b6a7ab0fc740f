//! [`TestRedis`], a Redis server for one test.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use omnistack_core::{clock::Clock, redis::Redis};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

use crate::{database::variable, random::random_uuid};

/// The longest duration of a start, and the longest wait for a command in [`CommandMonitor::until`].
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// A Redis server for one test, on a free port of 127.0.0.1, without persistence. Dropping it kills the server.
///
/// ```no_run
/// # use omnistack_testkit::TestRedis;
/// # async fn test() {
/// let mut server = TestRedis::start().await;
/// let cache = server.redis().cache();
/// server.kill(); // as in a crash
/// server.restart().await; // empty, on the same port
/// server.freeze(); // it accepts connections and sends no replies
/// server.unfreeze();
/// # }
/// ```
#[derive(Debug)]
pub struct TestRedis {
    folder: PathBuf,
    port: u16,
    process: Option<Child>,
}

impl TestRedis {
    /// Starts the program at the path `TEST_REDIS_BIN`.
    ///
    /// # Panics
    /// Panics if `TEST_REDIS_BIN` is not set or the server doesn't start within 20 seconds.
    pub async fn start() -> Self {
        let folder = std::env::temp_dir().join(format!("omnistack-redis-{}", random_uuid()));
        if let Err(error) = std::fs::create_dir_all(&folder) {
            panic!("can't create {}: {error}", folder.display());
        }
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let port = match free {
            Ok(address) => address.port(),
            Err(error) => panic!("no free port on 127.0.0.1: {error}"),
        };
        let mut server = Self { folder, port, process: None };
        server.restart().await;
        server
    }

    /// Returns the `REDIS_URL` of the server.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Creates a connection, as one replica of an app has it, with the key prefix `test` and a command timeout of 500
    /// ms.
    pub fn redis(&self) -> Redis {
        self.redis_with("test", Duration::from_millis(500))
    }

    /// Creates a connection with a key prefix and a command timeout.
    pub fn redis_with(&self, prefix: &str, command_timeout: Duration) -> Redis {
        match Redis::new(&self.url(), prefix, command_timeout, Clock::system()) {
            Ok(redis) => redis,
            Err(error) => panic!("{error}"),
        }
    }

    /// Kills the server, as in a crash. All data is lost.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            _ = process.kill();
            _ = process.wait();
        }
    }

    /// Starts the server again on the same port, without data, and waits until it replies.
    ///
    /// # Panics
    /// Panics if `TEST_REDIS_BIN` is not set or the server doesn't reply within 20 seconds.
    pub async fn restart(&mut self) {
        let Some(program) = variable("TEST_REDIS_BIN") else {
            panic!("this test starts Redis: run `cargo xtask test`, or set TEST_REDIS_BIN to the path of redis-server");
        };
        let mut command = Command::new(&program);
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.current_dir(&self.folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.process = match command.spawn() {
            Ok(process) => Some(process),
            Err(error) => panic!("can't start {program}: {error}"),
        };
        let answering = async {
            while !matches!(self.command("PING"), Ok(answer) if answer.starts_with("+PONG")) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let answered = tokio::time::timeout(START_TIMEOUT, answering).await;
        assert!(answered.is_ok(), "{program} did not respond within {START_TIMEOUT:?}");
    }

    /// Replaces the data by that of another server, by replication, and becomes a primary again. Connections stay open.
    /// A server that gets an older copy of its own data is like a replica that was promoted before it had all of it.
    ///
    /// # Panics
    /// Panics if one of the servers is not running, or if the replication takes longer than 20 seconds.
    pub async fn copy_from(&self, other: &Self) {
        other.set("CONFIG SET repl-diskless-sync-delay 0");
        self.set(&format!("REPLICAOF 127.0.0.1 {}", other.port));
        let copied = async {
            while !self.command("INFO replication").is_ok_and(|info| info.contains("master_link_status:up")) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let in_time = tokio::time::timeout(START_TIMEOUT, copied).await;
        assert!(in_time.is_ok(), "the Redis server did not copy the data within {START_TIMEOUT:?}");
        self.set("REPLICAOF NO ONE");
    }

    /// Suspends the server's process (`SIGSTOP`): connections stay open and no command gets a reply.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Resumes the server's process (`SIGCONT`).
    pub fn unfreeze(&self) {
        self.signal("CONT");
    }

    /// Sends one command on a new connection and returns the raw reply, such as `+PONG`, `:1` or `$3\r\nabc`. Use it
    /// to inspect the server without the client under test. Blocks the thread for at most a few seconds.
    ///
    /// # Errors
    /// Fails if the server is not running or is frozen.
    pub fn command(&self, line: &str) -> std::io::Result<String> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(format!("{line}\r\nQUIT\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        // The last line answers `QUIT`.
        let answer = answer.strip_suffix("+OK\r\n").unwrap_or(&answer);
        Ok(answer.trim_end().to_owned())
    }

    /// Starts monitoring (`MONITOR`) the commands that the server runs, including those of scripts. Use it to wait
    /// for commands that the code under test sends in the background.
    ///
    /// # Panics
    /// Panics if the server is not running.
    pub async fn monitor(&self) -> CommandMonitor {
        let open = async {
            let mut stream = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await?;
            stream.write_all(b"MONITOR\r\n").await?;
            let mut monitor = CommandMonitor(BufReader::new(stream));
            monitor.line().await.map(|_| monitor)
        };
        match open.await {
            Ok(monitor) => monitor,
            Err(error) => panic!("can't monitor the Redis server: {error}"),
        }
    }

    /// Runs a command that replies `OK`.
    fn set(&self, line: &str) {
        let reply = self.command(line);
        assert!(matches!(reply.as_deref(), Ok("+OK")), "`{line}`: {reply:?}");
    }

    fn signal(&self, name: &str) {
        let Some(process) = &self.process else { panic!("the Redis server is not running") };
        let sent = Command::new("kill").args([&format!("-{name}"), &process.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -{name} failed");
    }
}

/// The stream of commands that a [`TestRedis`] runs, from [`TestRedis::monitor`].
#[derive(Debug)]
pub struct CommandMonitor(BufReader<tokio::net::TcpStream>);

impl CommandMonitor {
    /// Waits for a command whose line matches `like`, and returns that line, for example
    /// `1733.2 [0 lua] "PEXPIRE" "test:f:key" "90"`.
    ///
    /// # Panics
    /// Panics if there is no such command within 20 seconds, or if the connection is lost.
    pub async fn wait_for(&mut self, like: impl Fn(&str) -> bool) -> String {
        let heard = async {
            loop {
                match self.line().await {
                    Ok(line) if like(&line) => return line,
                    Ok(_) => {}
                    Err(error) => panic!("the connection to the Redis server is lost: {error}"),
                }
            }
        };
        let Ok(line) = tokio::time::timeout(START_TIMEOUT, heard).await else {
            panic!("no such command was run within {START_TIMEOUT:?}")
        };
        line
    }

    async fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        match self.0.read_line(&mut line).await? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line),
        }
    }
}

impl Drop for TestRedis {
    fn drop(&mut self) {
        self.kill();
        _ = std::fs::remove_dir_all(&self.folder);
    }
}
