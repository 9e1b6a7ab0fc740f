//! The processes of the benchmark: the upstream and the app, which are this program again, and other gateways.

use std::{
    env,
    process::{ExitCode, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

/// The core of the load and of the upstream, and that of the gateways.
const LOAD_CORE: &str = "0";
const GATEWAY_CORE: &str = "1";
/// Open files that a process needs.
const OPEN_FILES: u32 = 10_000;
/// Ticks a second of the times in `/proc/PID/stat`.
const TICKS_PER_SECOND: u32 = 100;
/// The time that a process has to end by itself.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// Moves this process to the core of the load, which processes that it starts inherit. Returns whether the machine has
/// two cores and the program `taskset`.
pub(crate) fn pin_load() -> bool {
    let has_cores = std::thread::available_parallelism().is_ok_and(|cores| cores.get() >= 2);
    let mut pin = std::process::Command::new("taskset");
    pin.args(["-cp", LOAD_CORE, &std::process::id().to_string()]).stdout(Stdio::null());
    has_cores && pin.status().is_ok_and(|status| status.success())
}

/// Runs this program again, with as many open files as the load needs, and returns its exit code.
pub(crate) fn measure_with_open_files() -> ExitCode {
    let mut again = std::process::Command::new("sh");
    again.args(["-c", &raise_open_files(), "sh"]).arg(env::current_exe().unwrap()).arg("measure");
    if again.status().is_ok_and(|status| status.success()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Returns a program of the shell that runs its arguments with more open files.
fn raise_open_files() -> String {
    format!(r#"ulimit -n {OPEN_FILES} 2>/dev/null || ulimit -n "$(ulimit -H -n)"; exec "$@""#)
}

/// Waits until the standard input ends, as it does when the benchmark ends.
pub(crate) async fn until_input_ends() {
    let read = || std::io::stdin().lines().map_while(Result::ok).for_each(drop);
    tokio::task::spawn_blocking(read).await.unwrap();
}

/// A process of the benchmark. Dropping it kills it.
pub(crate) struct BenchProcess {
    child: Child,
    input: ChildStdin,
    lines: Option<Lines<BufReader<ChildStdout>>>,
}

impl BenchProcess {
    /// Starts this program with other arguments.
    pub(crate) async fn start_own(arguments: &[&str], is_gateway: bool) -> Self {
        let program = env::current_exe().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", &raise_open_files(), "sh"]).args(pinned(is_gateway).await).arg(program).args(arguments);
        Self::spawn(command, true)
    }

    /// Starts another gateway: a program, its arguments and variables. `prints_address` keeps its output, to read the
    /// address.
    pub(crate) async fn start_gateway(
        program: &str,
        arguments: &[&str],
        variables: &[(&str, &str)],
        prints_address: bool,
    ) -> Self {
        let mut words: Vec<&str> = pinned(true).await;
        words.push(program);
        let (first, rest) = words.split_first().unwrap();
        let mut command = Command::new(first);
        command.args(rest).args(arguments).envs(variables.iter().copied());
        Self::spawn(command, prints_address)
    }

    fn spawn(mut command: Command, reads: bool) -> Self {
        let output = if reads { Stdio::piped() } else { Stdio::null() };
        let mut child = command.stdin(Stdio::piped()).stdout(output).kill_on_drop(true).spawn().unwrap();
        let input = child.stdin.take().unwrap();
        let lines = child.stdout.take().map(|output| BufReader::new(output).lines());
        Self { child, input, lines }
    }

    /// Returns the next line of the output.
    pub(crate) async fn line(&mut self) -> String {
        self.next_line().await.unwrap()
    }

    /// Returns the next line of the output. Returns `None` at its end.
    pub(crate) async fn next_line(&mut self) -> Option<String> {
        self.lines.as_mut()?.next_line().await.unwrap()
    }

    /// Reads the rest of the output, which nothing needs, so that the process does not wait for a reader.
    pub(crate) fn ignore_output(&mut self) {
        if let Some(mut lines) = self.lines.take() {
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        }
    }

    /// Returns whether the process has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends the process by the end of its input, or kills it.
    pub(crate) async fn stop(mut self) {
        drop(self.input);
        if tokio::time::timeout(END_TIMEOUT, self.child.wait()).await.is_err() {
            self.child.kill().await.unwrap();
        }
    }

    /// Returns the resident memory in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let status = self.read("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Returns the CPU time so far.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = self.read("stat");
        // The name of the program may contain spaces. The times are the 14th and the 15th field.
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let times = fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u32>().unwrap());
        Duration::from_secs(1) * times.sum::<u32>() / TICKS_PER_SECOND
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id().unwrap())).unwrap()
    }
}

/// Returns the words before a command that move a gateway to its core, if the machine can.
async fn pinned(is_gateway: bool) -> Vec<&'static str> {
    let words = ["taskset", "-c", GATEWAY_CORE];
    let mut probe = Command::new(words[0]);
    probe.args(&words[1..]).arg("true").stdout(Stdio::null()).stderr(Stdio::null());
    let works = is_gateway && probe.status().await.is_ok_and(|status| status.success());
    if works { words.to_vec() } else { Vec::new() }
}
