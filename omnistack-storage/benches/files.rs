//! The cost of an upload through the app compared with a plain copy, and of signed URLs: `cargo xtask bench
//! files`.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a program for the terminal, run by hand")]
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock and the environment")]

use std::{
    fs,
    hint::black_box,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use omnistack_core::{
    ShutdownToken,
    app::{App, DevIdentity, Server, ServerSettings},
    clock::Clock,
    config::Config,
    crypto::KeyRing,
    http::client::ClientSettings,
};
use omnistack_storage::{Files, Local, ObjectKey, PresignRequest, S3Builder, Storage, UrlSigner};

/// The size of an upload in bytes; small without optimisations, where the run only checks that the benchmark
/// works.
const SIZE: usize = if cfg!(debug_assertions) { 32 << 20 } else { 1 << 30 };
const LINKS: u32 = if cfg!(debug_assertions) { 100 } else { 10_000 };
const RUNS: usize = 3;
const CHUNK: usize = 256 << 10;
const TOKEN: &str = "bench-token-bench-token-bench-token";

fn main() {
    if let Some(folder) = std::env::args().skip_while(|argument| argument != "serve-files").nth(1) {
        return serve(Path::new(&folder));
    }
    let folder = Folder(std::env::temp_dir().join(format!("omnistack-bench-files-{}", std::process::id())));
    fs::create_dir_all(&folder.0).unwrap();
    println!("<!-- begin files -->");
    uploads(&folder.0);
    links();
    println!("<!-- end files -->");
}

/// A directory that is deleted when it is dropped.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

/// Returns a chunk of bytes that are not all the same.
fn piece() -> Vec<u8> {
    (0..CHUNK).map(|at| u8::try_from(at * 31 % 251).unwrap()).collect()
}

fn uploads(folder: &Path) {
    let source = folder.join("source");
    let (mut file, piece) = (fs::File::create(&source).unwrap(), piece());
    (0..SIZE / CHUNK).for_each(|_| file.write_all(&piece).unwrap());
    file.sync_all().unwrap();
    drop(file);
    let server = AppProcess::start(&folder.join("files"));
    // The first upload also pays for what is initialised once.
    server.upload(&piece, 1);
    let idle = server.memory("VmRSS");
    let (mut copied, mut uploaded, mut peak) = (Duration::MAX, Duration::MAX, 0);
    for _ in 0..RUNS {
        copied = copied.min(copy(&source, &folder.join("copy")));
        server.reset_peak();
        uploaded = uploaded.min(server.upload(&piece, SIZE / CHUNK));
        peak = peak.max(server.memory("VmHWM"));
        // Each run starts with the same amount of data on the disk.
        fs::remove_dir_all(folder.join("files/objects")).unwrap();
    }
    let rate = |time: Duration| SIZE as f64 / 1e6 / time.as_secs_f64();
    println!("\n### An upload of {} MiB through the app to `local`\n", SIZE >> 20);
    println!(
        "The best of {RUNS} runs, alternating on the same disk. The copy reads a file from the page cache, writes {} KiB at a \
         time and syncs it. The upload arrives over HTTP from another process, is hashed, synced and recorded in the database. \
         The targets are 70 % and 40 MiB.\n",
        CHUNK >> 10
    );
    println!("| operation | MB/s | share of the copy | memory above idle |\n|---|---:|---:|---:|");
    println!("| a plain copy | {:.0} | 100 % | |", rate(copied));
    let share = 100.0 * copied.as_secs_f64() / uploaded.as_secs_f64();
    let over = peak.saturating_sub(idle) as f64 / 1024.0;
    println!("| `POST /api/v1/app/files` | {:.0} | {share:.0} % | {over:.1} MiB |", rate(uploaded));
}

fn copy(from: &Path, to: &Path) -> Duration {
    let before = Instant::now();
    let (mut source, mut target) = (fs::File::open(from).unwrap(), fs::File::create(to).unwrap());
    let mut buffer = vec![0; CHUNK];
    loop {
        match source.read(&mut buffer).unwrap() {
            0 => break,
            read => target.write_all(&buffer[..read]).unwrap(),
        }
    }
    target.sync_all().unwrap();
    let took = before.elapsed();
    fs::remove_file(to).unwrap();
    took
}

/// The app in a separate process, so that its memory is measured separately.
struct AppProcess {
    child: Child,
    address: SocketAddr,
}

impl AppProcess {
    fn start(folder: &Path) -> Self {
        let program = std::env::current_exe().unwrap();
        let mut child = Command::new(program).arg("serve-files").arg(folder).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, address: line.trim().parse().unwrap() }
    }

    fn upload(&self, piece: &[u8], times: usize) -> Duration {
        let before = Instant::now();
        let mut stream = TcpStream::connect(self.address).unwrap();
        let head = format!(
            "POST /api/v1/app/files?name=bench HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\n\
             content-type: application/octet-stream\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            piece.len() * times
        );
        stream.write_all(head.as_bytes()).unwrap();
        (0..times).for_each(|_| stream.write_all(piece).unwrap());
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
        before.elapsed()
    }

    /// Returns a memory counter of the kernel in KiB, or 0 if it is not available.
    fn memory(&self, what: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':'));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    }

    fn reset_peak(&self) {
        _ = fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5");
    }
}

impl Drop for AppProcess {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Runs the app in the child process until it is killed.
fn serve(folder: &Path) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let settings = [
            ("DATABASE_URL", "sqlite::memory:"),
            ("DEV_TOKEN", TOKEN),
            ("STORAGE_DIRECTORY", folder.to_str().unwrap()),
            ("FILES_MAX_SIZE", "2GiB"),
        ];
        let app = App::builder(Config::from_pairs(settings)).with(DevIdentity::default()).with(Files::from_env());
        let app = app.build().unwrap();
        app.migrate().await.unwrap();
        app.start().await.unwrap();
        let settings = ServerSettings { header_timeout: Duration::from_secs(75), grace: Duration::from_secs(1) };
        let server = Server::bind(SocketAddr::from(([127, 0, 0, 1], 0)), settings).await.unwrap();
        println!("{}", server.local_addr().unwrap());
        server.run(app.service(), ShutdownToken::new()).await;
    });
}

fn links() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let key: ObjectKey =
        "files/01900000-0000-7000-8000-000000000000/01900000-0000-7000-8000-000000000001".parse().unwrap();
    let ring: KeyRing = KeyRing::new_key("bench").parse().unwrap();
    let ours = UrlSigner::new(ring, Clock::system(), "https://app.example.com");
    let bucket = S3Builder::new("files", "us-east-1").credentials("id", "secret");
    let s3 = bucket.build(ClientSettings::default().client().unwrap(), Clock::system()).unwrap();
    println!("\n### A signed URL\n\nThe fastest of {RUNS} runs of {LINKS}. The target is 50 µs.\n");
    println!("| provider | µs for reading | µs for storing |\n|---|---:|---:|");
    let made =
        [("`local`, signed by the app", Storage::new(Local::new("none").url_signer(ours))), ("`s3`", Storage::new(s3))];
    for (what, storage) in made {
        let minute = Duration::from_secs(60);
        let requests = [
            PresignRequest::get(key.clone(), minute).content_disposition("attachment; filename=\"report.pdf\""),
            PresignRequest::put(key.clone(), minute).content_type("application/pdf").size(1_000_000),
        ];
        let [get, put] = requests.map(|request| {
            let run = || {
                let before = Instant::now();
                for _ in 0..LINKS {
                    black_box(runtime.block_on(storage.presign(black_box(&request))).unwrap());
                }
                before.elapsed().as_secs_f64() * 1e6 / f64::from(LINKS)
            };
            (0..RUNS).map(|_| run()).fold(f64::INFINITY, f64::min)
        });
        println!("| {what} | {get:.1} | {put:.1} |");
    }
}
