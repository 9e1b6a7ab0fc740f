//! How fast the release binary answers after it was started, and how much memory it holds at rest.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::least;

const RUNS: usize = 5;

pub(crate) fn run() {
    let folder = std::env::temp_dir().join(format!("omnistack-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    // The first start makes the database; those that count find it.
    let mut runs: Vec<_> = (0..=RUNS).map(|_| start(&folder)).collect();
    std::fs::remove_dir_all(&folder).unwrap();
    runs.remove(0);
    let first = least(runs.iter().map(|run| run.0.as_secs_f64() * 1e3));
    let memory = least(runs.iter().map(|run| run.1));
    println!("\n### Start and memory\n");
    println!(
        "The release binary on an existing SQLite database, least of {RUNS} starts. The targets are 100 ms and 30 MiB.\n"
    );
    println!("| what | |\n|---|---:|");
    println!("| first answer after the start | {first:.0} ms |");
    println!("| resident memory at rest | {memory:.1} MiB |");
}

#[expect(clippy::disallowed_methods, reason = "a benchmark asks the machine")]
fn start(folder: &std::path::Path) -> (Duration, f64) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let began = Instant::now();
    let child = Command::new(env!("CARGO_BIN_EXE_saas"))
        .current_dir(folder)
        .env("PORT", port.to_string())
        .stdout(Stdio::null())
        .spawn();
    let mut child = Killed(child.unwrap());
    let first = loop {
        if answers(port) {
            break began.elapsed();
        }
        assert!(began.elapsed() < Duration::from_secs(10), "the app did not answer within 10 s");
    };
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.0.id())).unwrap_or_default();
    let resident =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    child.0.kill().unwrap();
    child.0.wait().unwrap();
    (first, resident.unwrap_or(f64::NAN) / 1024.0)
}

fn answers(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else {
        return false;
    };
    let mut answer = [0; 12];
    stream.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").is_ok()
        && stream.read_exact(&mut answer).is_ok()
        && answer == *b"HTTP/1.1 200"
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        _ = self.0.kill();
    }
}
