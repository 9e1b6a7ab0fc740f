//! A replica of a version of the app, in a process of its own.

#![cfg(test)]

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::Stdio,
    sync::Arc,
};

use omnistack::{
    ShutdownToken,
    app::{App, Server},
    clock::Clock,
    config::Config,
    id::Id,
};
use omnistack_testkit::TestDatabase;
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    process::{Child, ChildStdin, Command},
    signal::unix::{SignalKind, signal},
    sync::{Notify, mpsc},
};

use super::{
    expect_soon,
    orders::{Orders, Release},
};

/// The variables by which a child gets its version, its task and its settings, as a JSON object.
const RELEASE: &str = "ROLLOUT_RELEASE";
const TASK: &str = "ROLLOUT_TASK";
const SETTINGS: &str = "ROLLOUT_SETTINGS";
/// The text that a replica prints before its address.
const LISTENING: &str = "listening on ";
/// The line that a replica prints after SIGTERM, when its workers claim no more jobs.
pub(super) const STOPPING: &str = "the replica stops";
/// The secret of the webhooks.
pub(super) const WEBHOOK_SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
/// The address of the app for its clients.
pub(super) const PUBLIC_URL: &str = "http://app.example";

/// A database with a folder of files, for all replicas of a test.
pub(super) struct Place {
    settings: BTreeMap<&'static str, String>,
    files: PathBuf,
    _database: TestDatabase,
}

impl Place {
    pub(super) fn new(database: TestDatabase) -> Self {
        let files = std::env::temp_dir().join(format!("omnistack-rollout-{}", Id::<Self>::new(Clock::system().now())));
        std::fs::create_dir_all(&files).unwrap();
        let settings = [
            ("APP_ENV", "test"),
            ("AUTH_VERIFIED_EMAIL", "false"),
            ("DATABASE_MAX_CONNECTIONS", "5"),
            ("DATABASE_SYNCHRONOUS", "off"),
            ("DATABASE_URL", database.url()),
            ("HTTP_RATE_LIMIT", "off"),
            // On SQLite, other processes can't notify a worker.
            ("JOBS_POLL", "20ms"),
            ("PUBLIC_URL", PUBLIC_URL),
            ("STORAGE_DIRECTORY", files.to_str().unwrap()),
            ("WEBHOOKS_STANDARD_SECRETS", WEBHOOK_SECRET),
        ];
        let settings = settings.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
        Self { settings, files, _database: database }
    }

    /// Builds a version of the app in this process. It does no work.
    pub(super) fn app(&self, release: Release) -> App {
        build(release, Arc::default(), self.settings.iter().map(|(name, value)| ((*name).to_owned(), value.clone())))
    }

    /// Runs the migrations of a version, as a step of a deployment does.
    pub(super) async fn migrate(&self, release: Release) {
        let mut child = self.command(release, "migrate").spawn().unwrap();
        let ended = expect_soon("the end of the migrations", child.wait()).await.unwrap();
        assert!(ended.success(), "{ended}");
    }

    /// Returns the command that serves by the program of the example, on a free port.
    pub(super) fn program(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_saas"));
        command.current_dir(&self.files).kill_on_drop(true);
        command.envs(&self.settings).envs([("HOST", "127.0.0.1"), ("PORT", "0"), ("LOG_LEVEL", "error")]);
        command
    }

    fn command(&self, release: Release, task: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "rollout::replica::child", "--ignored", "--nocapture"]);
        command.env(RELEASE, release.name()).env(TASK, task).env(SETTINGS, json!(self.settings).to_string());
        command.current_dir(&self.files).kill_on_drop(true);
        command
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.files);
    }
}

fn build(release: Release, gate: Arc<Notify>, settings: impl Iterator<Item = (String, String)>) -> App {
    let config = saas::with_defaults(Config::from_pairs(settings));
    saas::app(App::builder(config)).with(Orders { release, gate }).build().unwrap()
}

fn variable(name: &str) -> Option<String> {
    Config::from_env().get(name).map(|(value, _)| value.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a child process of other tests"]
async fn child() {
    let (Some(release), Some(task), Some(settings)) = (variable(RELEASE), variable(TASK), variable(SETTINGS)) else {
        return;
    };
    let settings: BTreeMap<String, String> = serde_json::from_str(&settings).unwrap();
    let gate = Arc::new(Notify::new());
    let app = build(Release::named(&release), Arc::clone(&gate), settings.into_iter());
    if task == "migrate" {
        app.migrate().await.unwrap();
    } else {
        serve(&app, gate).await;
    }
}

/// Serves until SIGTERM, as `serve` does in production. Each line of the standard input releases a slow order.
async fn serve(app: &App, gate: Arc<Notify>) {
    assert!(app.migration_states().await.unwrap().iter().all(|state| state.applied));
    app.start().await.unwrap();
    let server = Server::bind((Ipv4Addr::LOCALHOST, 0).into(), app.server_settings()).await.unwrap();
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    std::thread::spawn(move || {
        for _ in std::io::stdin().lines().map_while(Result::ok) {
            gate.notify_one();
        }
    });
    println!("{LISTENING}{}", server.local_addr().unwrap());
    let shutdown = ShutdownToken::new();
    let terminated = async {
        terminate.recv().await;
        shutdown.cancel();
        println!("{STOPPING}");
    };
    let (cut, ()) = tokio::join!(app.serve(server, shutdown.clone()), terminated);
    assert_eq!(cut, 0, "no request was cut off");
}

/// A replica. Dropping it kills it.
pub(super) struct Replica {
    pub(super) address: SocketAddr,
    process: Child,
    stdin: ChildStdin,
    lines: mpsc::UnboundedReceiver<String>,
}

impl Replica {
    pub(super) async fn start(place: &Place, release: Release) -> Self {
        let mut command = place.command(release, "serve");
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = process.stdin.take().unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap()).lines();
        let (sender, lines) = mpsc::unbounded_channel();
        // Reads all of it, so that the pipe does not fill up.
        tokio::spawn(async move {
            while let Ok(Some(line)) = output.next_line().await {
                _ = sender.send(line);
            }
        });
        let address = (Ipv4Addr::UNSPECIFIED, 0).into();
        let mut replica = Self { address, process, stdin, lines };
        replica.address = replica.wait_for(LISTENING).await.parse().unwrap();
        replica
    }

    /// Waits for a line with this text, and returns what follows the text.
    pub(super) async fn wait_for(&mut self, text: &str) -> String {
        let heard = async {
            while let Some(line) = self.lines.recv().await {
                if let Some((_, rest)) = line.split_once(text) {
                    return rest.trim().to_owned();
                }
            }
            panic!("the replica ended without `{text}`")
        };
        expect_soon(text, heard).await
    }

    /// Releases a slow order.
    pub(super) async fn release(&mut self) {
        self.stdin.write_all(b"release\n").await.unwrap();
        self.stdin.flush().await.unwrap();
    }

    /// Sends SIGTERM.
    pub(super) fn terminate(&self) {
        terminate(&self.process);
    }

    /// Waits until the process has ended well.
    pub(super) async fn wait_for_end(mut self) {
        wait_for_end(&mut self.process).await;
    }
}

/// Sends SIGTERM.
pub(super) fn terminate(process: &Child) {
    let id = process.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
}

/// Waits until a process has ended well.
pub(super) async fn wait_for_end(process: &mut Child) {
    let ended = expect_soon("the end of a process", process.wait()).await.unwrap();
    assert!(ended.success(), "{ended}");
}

/// Waits until no process accepts connections at an address.
pub(super) async fn wait_until_closed(address: SocketAddr) {
    let closed = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    expect_soon("the end of the listener", closed).await;
}
