//! The processes of the benchmark: servers and clients, which are this program again, and other servers.

use std::{
    env,
    net::SocketAddr,
    process::Stdio,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use omnistack_testkit::TestDatabase;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::mpsc,
};

use crate::clients::ClientLoad;

/// The text that a server prints before its address.
pub(crate) const LISTENING: &str = "listening on ";
/// The line that asks a server for the number of its queries.
pub(crate) const QUERIES: &str = "?";
/// Open files that a process needs.
const OPEN_FILES: u32 = 40_000;
/// Ticks a second of the times in `/proc/PID/stat`.
const TICKS_PER_SECOND: u32 = 100;

/// Returns the time of the machine in microseconds, which all processes share.
pub(crate) fn micros() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

/// Returns the lines of the standard input.
pub(crate) fn lines_of_input() -> mpsc::UnboundedReceiver<String> {
    let (sender, lines) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// A process of the benchmark. Dropping it kills it.
pub(crate) struct BenchProcess {
    child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl BenchProcess {
    /// Starts a program that may open many files.
    fn start(program: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let raise = format!(r#"ulimit -n {OPEN_FILES} 2>/dev/null || ulimit -n "$(ulimit -H -n)"; exec "$@""#);
        let mut command = Command::new("sh");
        command.args(["-c", &raise, "sh", program]).args(arguments).envs(variables.iter().copied());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let input = child.stdin.take().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, input, lines }
    }

    /// Sends a line.
    pub(crate) async fn tell(&mut self, line: &str) {
        self.input.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    /// Sends a line and returns the answer.
    pub(crate) async fn ask(&mut self, line: &str) -> Value {
        self.tell(line).await;
        self.answer().await
    }

    /// Returns the next answer.
    pub(crate) async fn answer(&mut self) -> Value {
        serde_json::from_str(&self.line().await).unwrap()
    }

    async fn line(&mut self) -> String {
        self.lines.next_line().await.unwrap().expect("a process of the benchmark has ended")
    }

    /// Returns the resident memory in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let status = self.read("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Returns the CPU time so far.
    pub(crate) fn cpu(&self) -> CpuTime {
        let stat = self.read("stat");
        // The name of the program may contain spaces. The times are the 14th and the 15th field.
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let mut times = fields.split_whitespace().skip(11);
        let mut next = || Duration::from_secs(1) * times.next().unwrap().parse::<u32>().unwrap() / TICKS_PER_SECOND;
        CpuTime { program: next(), kernel: next() }
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id().unwrap())).unwrap()
    }
}

/// CPU time of a process.
#[derive(Clone, Copy, Default)]
pub(crate) struct CpuTime {
    pub(crate) program: Duration,
    /// Time in calls of the operating system, such as those that send.
    pub(crate) kernel: Duration,
}

impl CpuTime {
    /// Returns the part of each of `count` things since an earlier time.
    pub(crate) fn since(self, before: Self, count: u32) -> Self {
        Self {
            program: self.program.saturating_sub(before.program) / count,
            kernel: self.kernel.saturating_sub(before.kernel) / count,
        }
    }
}

/// A kind of server.
#[derive(Clone, Copy)]
pub(crate) enum ServerKind<'a> {
    /// This app, with the URL of Redis if it has one.
    OmniStack(Option<&'a str>),
    /// npm's ws: its script, and the URL of Redis.
    Ws { script: &'a str, redis: &'a str },
}

/// A server with its address.
pub(crate) struct BenchServer {
    pub(crate) process: BenchProcess,
    pub(crate) address: SocketAddr,
    _database: TestDatabase,
}

impl BenchServer {
    /// Starts a server, and waits until it listens.
    pub(crate) async fn start(kind: ServerKind<'_>) -> Self {
        let database = TestDatabase::sqlite();
        let mut process = match kind {
            ServerKind::OmniStack(redis) => {
                let arguments: Vec<&str> = ["server", database.url()].into_iter().chain(redis).collect();
                BenchProcess::start(&this_program(), &arguments, &[])
            }
            ServerKind::Ws { script, redis } => BenchProcess::start("node", &[script], &[("REDIS_URL", redis)]),
        };
        let line = process.line().await;
        let address = line.strip_prefix(LISTENING).unwrap().parse().unwrap();
        Self { process, address, _database: database }
    }
}

/// Starts a process with clients, and does not wait until they are connected.
pub(crate) fn start_clients(load: &ClientLoad) -> BenchProcess {
    let [address, source, count] = [load.address.to_string(), load.source.to_string(), load.count.to_string()];
    BenchProcess::start(&this_program(), &["clients", &address, &source, &count, &load.channel], &[])
}

fn this_program() -> String {
    env::current_exe().unwrap().to_str().unwrap().to_owned()
}
