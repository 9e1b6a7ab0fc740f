//! Measures the time from the start of the program to the first response, and the memory of the idle program.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::smallest;

const RUNS: usize = 5;

pub(crate) fn run() {
    println!("\n### Start and memory\n");
    println!(
        "The program on an existing SQLite database, least of {RUNS} starts, by build profile. Anonymous memory is private to the \
         process; mapped pages belong to the program file, which the system may drop and read again. The targets are 100 ms and 10 MiB \
         of anonymous memory.\n"
    );
    println!(
        "| profile | program | first response | anonymous memory when idle | mapped pages |\n|---|---:|---:|---:|---:|"
    );
    row("release", Path::new(env!("CARGO_BIN_EXE_saas")));
    if let Some(program) = dist() {
        row("dist", &program);
    } else {
        println!("\nWithout the profile `dist`, which `cargo xtask bench http` builds.");
    }
}

/// Returns the path of the program that `cargo xtask bench` built with the profile `dist`.
#[expect(clippy::disallowed_methods, reason = "`cargo xtask bench` passes the path in the environment")]
fn dist() -> Option<PathBuf> {
    std::env::var_os("DIST_PROGRAM").map(PathBuf::from)
}

fn row(profile: &str, program: &Path) {
    let folder = std::env::temp_dir().join(format!("omnistack-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    // The first start creates the database and is not measured.
    start(program, &folder);
    let runs: Vec<_> = (0..RUNS).map(|_| start(program, &folder)).collect();
    std::fs::remove_dir_all(&folder).unwrap();
    let first = smallest(runs.iter().map(|run| run.first_answer.as_secs_f64() * 1e3));
    let anonymous = smallest(runs.iter().map(|run| run.anonymous));
    let mapped = smallest(runs.iter().map(|run| run.mapped));
    let size = std::fs::metadata(program).unwrap().len() as f64 / f64::from(1 << 20);
    println!("| `{profile}` | {size:.0} MiB | {first:.0} ms | {anonymous:.1} MiB | {mapped:.1} MiB |");
}

/// The measurements of a start. Memory is in MiB.
struct Start {
    first_answer: Duration,
    anonymous: f64,
    mapped: f64,
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the machine's clock")]
fn start(program: &Path, folder: &Path) -> Start {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let began = Instant::now();
    let child = Command::new(program).current_dir(folder).env("PORT", port.to_string()).stdout(Stdio::null()).spawn();
    let mut child = KillOnDrop(child.unwrap());
    let first_answer = loop {
        if is_healthy(port) {
            break began.elapsed();
        }
        assert!(began.elapsed() < Duration::from_secs(10), "the app did not respond within 10 s");
    };
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.0.id())).unwrap_or_default();
    let mebibytes = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
        kibibytes.unwrap_or(f64::NAN) / 1024.0
    };
    let start = Start { first_answer, anonymous: mebibytes("RssAnon"), mapped: mebibytes("RssFile") };
    child.0.kill().unwrap();
    child.0.wait().unwrap();
    start
}

fn is_healthy(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else {
        return false;
    };
    let mut answer = [0; 12];
    stream.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").is_ok()
        && stream.read_exact(&mut answer).is_ok()
        && answer == *b"HTTP/1.1 200"
}

struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        _ = self.0.kill();
    }
}
