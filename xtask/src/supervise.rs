//! Programs that run beside a command and never outlive it.

use std::{
    ffi::OsStr,
    fs,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{
    clock::{self, Stopwatch},
    failure::{Context, Failure, Result},
    folder::Temporary,
};

/// A running program with a folder of its own. Both go when this is dropped, and also when this process is killed:
/// a small shell script holds the other end of a pipe and cleans up when it closes.
#[derive(Debug)]
pub(crate) struct Supervised {
    shell: Child,
    folder: Temporary,
}

/// How to start a [`Supervised`] program.
#[derive(Debug)]
pub(crate) struct Recipe {
    /// Takes the program's arguments and environment.
    pub(crate) command: Command,
    folder: Temporary,
}

impl Recipe {
    /// Runs `program` in `folder`; `signal` (`TERM`, `INT`) is what asks it to stop.
    pub(crate) fn new(program: impl AsRef<OsStr>, folder: Temporary, signal: &str) -> Self {
        let mut command = Command::new("sh");
        command
            .args(["-c", include_str!("supervise.sh"), "supervise", signal])
            .arg(folder.path())
            .arg(program)
            .current_dir(folder.path());
        Self { command, folder }
    }

    /// Starts it, with its output in a file.
    pub(crate) fn start(mut self) -> Result<Supervised> {
        let path = self.folder.path().join("log");
        let log = fs::File::create(&path).and_then(|log| Ok((log.try_clone()?, log)));
        let (out, err) = log.context(format_args!("creating {}", path.display()))?;
        self.command
            .stdin(Stdio::piped())
            .stdout(out)
            .stderr(err)
            // Ctrl-C reaches this process, and through the closed pipe the program: in order, not both at once.
            .process_group(0);
        let shell = self.command.spawn().context("starting sh")?;
        Ok(Supervised { shell, folder: self.folder })
    }
}

impl Supervised {
    /// Asks `probe` until it answers something. Fails, with the end of the program's output, when the program ends or
    /// half a minute has passed.
    pub(crate) fn wait_for<T>(&self, what: &str, mut probe: impl FnMut() -> Result<T>) -> Result<T> {
        let watch = Stopwatch::start();
        loop {
            let failure = match probe() {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let why = match fs::read_to_string(self.folder.path().join("exited")) {
                Ok(code) => format!("it ended with exit code {}", code.trim()),
                Err(_) if watch.elapsed() > Duration::from_secs(30) => format!("no answer in 30 s: {failure}"),
                Err(_) => {
                    clock::pause();
                    continue;
                }
            };
            return Err(Failure::new(format!("{what} did not start: {why}\n{}", self.log_tail())));
        }
    }

    /// The program's process id, while it runs.
    pub(crate) fn program(&self) -> Option<u32> {
        // The shell's other child is the one that waits for the pipe to close, a shell too.
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.shell.id())).ok()?;
        let name = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        children.split_whitespace().filter_map(|pid| pid.parse().ok()).find(|pid| name(pid).trim() != "sh")
    }

    /// The last lines the program printed.
    pub(crate) fn log_tail(&self) -> String {
        let log = fs::read(self.log()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}
