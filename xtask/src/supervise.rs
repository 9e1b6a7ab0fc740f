//! Runs programs in the background that end with xtask.

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
    folder::TempFolder,
};

/// A running program with its own folder. When this is dropped, or this process is killed, the program is stopped and
/// the folder is deleted: a shell script holds the other end of a pipe and cleans up when the pipe closes.
#[derive(Debug)]
pub(crate) struct SupervisedProcess {
    shell: Child,
    folder: TempFolder,
}

/// A builder of a [`SupervisedProcess`] program.
#[derive(Debug)]
pub(crate) struct SupervisedCommand {
    /// The command, to add arguments and environment variables to.
    pub(crate) command: Command,
    folder: TempFolder,
}

impl SupervisedCommand {
    /// Creates a recipe that runs `program` in `folder` and stops it with `signal`, such as `TERM` or `INT`.
    pub(crate) fn new(program: impl AsRef<OsStr>, folder: TempFolder, signal: &str) -> Self {
        let mut command = Command::new("sh");
        command
            .args(["-c", include_str!("supervise.sh"), "supervise", signal])
            .arg(folder.path())
            .arg(program)
            .current_dir(folder.path());
        Self { command, folder }
    }

    /// Starts the program with its output in the file `log` of its folder.
    pub(crate) fn start(mut self) -> Result<SupervisedProcess> {
        let path = self.folder.path().join("log");
        let log = fs::File::create(&path).and_then(|log| Ok((log.try_clone()?, log)));
        let (out, err) = log.context(format_args!("creating {}", path.display()))?;
        self.command
            .stdin(Stdio::piped())
            .stdout(out)
            .stderr(err)
            // Ctrl-C is sent only to this process. The program then stops through the closed pipe, after this process.
            .process_group(0);
        let shell = self.command.spawn().context("starting sh")?;
        Ok(SupervisedProcess { shell, folder: self.folder })
    }
}

impl SupervisedProcess {
    /// Calls `probe` until it succeeds and returns its value. Fails, with the end of the program's output, if the
    /// program ends or 30 seconds have passed.
    pub(crate) fn wait_for<T>(&self, what: &str, mut probe: impl FnMut() -> Result<T>) -> Result<T> {
        let watch = Stopwatch::start();
        loop {
            let failure = match probe() {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let why = match self.exit_code() {
                Some(code) => format!("it exited with code {code}"),
                None if watch.elapsed() > Duration::from_secs(30) => format!("not ready within 30 s: {failure}"),
                None => {
                    clock::pause_between_probes();
                    continue;
                }
            };
            return Err(Failure::new(format!("{what} did not start: {why}\n{}", self.log_tail())));
        }
    }

    /// Returns the exit code of a program that has ended, or `None` while it runs.
    pub(crate) fn exit_code(&self) -> Option<i32> {
        fs::read_to_string(self.folder.path().join("exited")).ok()?.trim().parse().ok()
    }

    /// Returns the path of a file in the program's folder, which is deleted with the process.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns the program's resident memory in MiB. Returns `None` after its end, and where the system has no `/proc`.
    pub(crate) fn resident_memory(&self) -> Option<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.program()?)).ok()?;
        let kibibytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"))?;
        kibibytes.parse::<f64>().ok().map(|kibibytes| kibibytes / 1024.0)
    }

    /// The program's process id, while it runs.
    fn program(&self) -> Option<u32> {
        // The shell's other child is the one that waits for the pipe to close, a shell too.
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.shell.id())).ok()?;
        let name = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        children.split_whitespace().filter_map(|pid| pid.parse().ok()).find(|pid| name(pid).trim() != "sh")
    }

    /// Returns the last 40 lines of the program's output.
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

impl Drop for SupervisedProcess {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}
