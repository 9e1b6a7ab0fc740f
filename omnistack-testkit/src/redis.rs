//! A Redis for one test.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use omnistack_core::{clock::Clock, redis::Redis};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use uuid::Uuid;

use crate::database::variable;

/// How long it may take to start.
const START: Duration = Duration::from_secs(20);

/// A Redis server of a test's own, on a free port of this machine, that keeps nothing on disk. Dropped, it is killed.
///
/// ```no_run
/// # use omnistack_testkit::TestRedis;
/// # async fn test() {
/// let mut server = TestRedis::start().await;
/// let cache = server.redis().cache();
/// server.kill(); // as a crash does
/// server.resume().await; // empty, on the same port
/// server.freeze(); // it takes connections and answers nothing
/// server.thaw();
/// # }
/// ```
#[derive(Debug)]
pub struct TestRedis {
    folder: PathBuf,
    port: u16,
    process: Option<Child>,
}

impl TestRedis {
    /// Starts the program of `TEST_REDIS_BIN`.
    ///
    /// # Panics
    /// Without that variable, or when it doesn't start.
    pub async fn start() -> Self {
        let folder = std::env::temp_dir().join(format!("omnistack-redis-{}", Uuid::new_v4()));
        if let Err(error) = std::fs::create_dir_all(&folder) {
            panic!("can't make {}: {error}", folder.display());
        }
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let port = match free {
            Ok(address) => address.port(),
            Err(error) => panic!("a Redis needs a free port on 127.0.0.1: {error}"),
        };
        let mut server = Self { folder, port, process: None };
        server.resume().await;
        server
    }

    /// Its `REDIS_URL`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// A connection as one replica has it. Its commands may take 500 ms.
    pub fn redis(&self) -> Redis {
        self.redis_with("test", Duration::from_millis(500))
    }

    /// A connection with a prefix and a time for commands.
    pub fn redis_with(&self, prefix: &str, command_timeout: Duration) -> Redis {
        match Redis::new(&self.url(), prefix, command_timeout, Clock::system()) {
            Ok(redis) => redis,
            Err(error) => panic!("{error}"),
        }
    }

    /// Kills it, as a crash does. What it held is lost.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            _ = process.kill();
            _ = process.wait();
        }
    }

    /// Starts it again on the same port, empty, and waits until it answers.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn resume(&mut self) {
        let Some(program) = variable("TEST_REDIS_BIN") else {
            panic!(
                "this test starts a Redis: run `cargo xtask test`, or set TEST_REDIS_BIN to the path of redis-server"
            );
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
        let answered = tokio::time::timeout(START, answering).await;
        assert!(answered.is_ok(), "{program} did not answer in {START:?}");
    }

    /// Stops it in its tracks: connections stay open and nothing is answered.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    /// Sends one command on a connection of its own and returns the answer as it came: `+PONG`, `:1`, `$3\r\nabc`. To look at
    /// what a test has done, past the client under test. Blocks for a moment.
    ///
    /// # Errors
    /// It is not running, or frozen.
    pub fn command(&self, line: &str) -> std::io::Result<String> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(format!("{line}\r\nQUIT\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.trim_end_matches("+OK\r\n").trim_end().to_owned())
    }

    /// Hears every command it carries out from now on, those of scripts too: to wait for what the code under test does by
    /// itself.
    ///
    /// # Panics
    /// When it is not running.
    pub async fn monitor(&self) -> Monitor {
        let open = async {
            let mut stream = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await?;
            stream.write_all(b"MONITOR\r\n").await?;
            let mut monitor = Monitor(BufReader::new(stream));
            monitor.line().await.map(|_| monitor)
        };
        match open.await {
            Ok(monitor) => monitor,
            Err(error) => panic!("the Redis can't be listened to: {error}"),
        }
    }

    fn signal(&self, name: &str) {
        let Some(process) = &self.process else { panic!("it was killed") };
        let sent = Command::new("kill").args([&format!("-{name}"), &process.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -{name} failed");
    }
}

/// What a [`TestRedis`] carries out. Made by [`TestRedis::monitor`].
#[derive(Debug)]
pub struct Monitor(BufReader<tokio::net::TcpStream>);

impl Monitor {
    /// Waits for a command that is like this, and returns it: `1733.2 [0 lua] "PEXPIRE" "test:f:key" "90"`.
    ///
    /// # Panics
    /// When none comes for 20 seconds.
    pub async fn until(&mut self, like: impl Fn(&str) -> bool) -> String {
        let heard = async {
            loop {
                match self.line().await {
                    Ok(line) if like(&line) => return line,
                    Ok(_) => {}
                    Err(error) => panic!("the Redis is heard no more: {error}"),
                }
            }
        };
        let Ok(line) = tokio::time::timeout(START, heard).await else { panic!("no such command came in {START:?}") };
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
