//! Tests of the command `saas health`, the health check of a container, and of the health of a worker.

use std::{
    io::{BufRead as _, BufReader},
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Output, Stdio},
};

use omnistack::{
    ShutdownToken,
    app::Server,
    module::{Module, Registry},
};
use omnistack_testkit::{TestApp, TestDatabase};

/// A module whose check fails.
struct Broken;

impl Module for Broken {
    fn name(&self) -> &'static str {
        "broken"
    }

    fn register(&self, registry: &mut Registry) {
        registry.health("broken", |_| Ok(|| async { Err("out of order".into()) }));
    }
}

/// Asks the app at an address, as a container does: with the settings of the server, and no others.
async fn health(address: SocketAddr, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_saas"));
    command.current_dir(std::env::temp_dir()).arg("health").args(args).env("APP_ENV", "production");
    command.env("HOST", "0.0.0.0").env("PORT", address.port().to_string());
    tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap()
}

fn error(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn a_container_asks_the_app_for_its_health() {
    let app = TestApp::start(TestDatabase::sqlite(), saas::app).await;
    let server = Server::bind(([127, 0, 0, 1], 0).into(), app.app().server_settings()).await.unwrap();
    let address = server.local_addr().unwrap();
    let shutdown = ShutdownToken::new();
    let asking = async {
        let ready = health(address, &[]).await;
        assert!(ready.status.success(), "{ready:?}");
        assert_eq!(String::from_utf8_lossy(&ready.stdout), format!("200 {address}/health/ready\n"));
        assert!(health(address, &["--path", "/health"]).await.status.success());
        let missing = error(&health(address, &["--path", "/no-such-route"]).await);
        assert!(missing.contains("responds with 404"), "{missing}");
        shutdown.cancel();
    };
    tokio::join!(app.app().serve(server, shutdown.clone()), asking);
    let gone = error(&health(address, &[]).await);
    assert!(gone.contains(&format!("no response from {address}")), "{gone}");
}

#[tokio::test]
async fn a_failing_check_is_named() {
    let app = TestApp::start(TestDatabase::sqlite(), |app| saas::app(app).with(Broken)).await;
    let server = Server::bind(([127, 0, 0, 1], 0).into(), app.app().server_settings()).await.unwrap();
    let address = server.local_addr().unwrap();
    let shutdown = ShutdownToken::new();
    let asking = async {
        let failing = error(&health(address, &[]).await);
        assert!(failing.contains("responds with 503") && failing.contains("broken"), "{failing}");
        assert!(health(address, &["--path", "/health"]).await.status.success(), "the process runs");
        shutdown.cancel();
    };
    tokio::join!(app.app().serve(server, shutdown.clone()), asking);
}

/// A worker that ends with the test.
struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

#[test]
fn a_worker_that_creates_the_first_operator_prints_the_password() {
    let folder = std::env::temp_dir().join(format!("omnistack-first-worker-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_saas"));
    command.current_dir(&folder).arg("worker").env_clear().env("LOG_LEVEL", "error").stdout(Stdio::piped());
    let mut worker = Worker(command.spawn().unwrap());
    let mut lines = BufReader::new(worker.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("sign in as    owner@example.com, password ")));
    drop(worker);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn a_worker_answers_for_its_health() {
    let database = TestDatabase::sqlite();
    let folder = std::env::temp_dir().join(format!("omnistack-worker-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_saas"));
    command.current_dir(&folder).arg("worker").env("WORKER_HEALTH_ADDRESS", address.to_string());
    command.env("DATABASE_URL", database.url()).env("APP_ENV", "test").env("LOG_LEVEL", "error");
    let mut worker = Worker(command.stdout(Stdio::piped()).spawn().unwrap());
    let output = worker.0.stdout.take().unwrap();
    let started = tokio::task::spawn_blocking(move || BufReader::new(output).lines().next());
    let line = started.await.unwrap().unwrap().unwrap();
    assert!(line.contains("runs background work"), "{line}");
    let text = address.to_string();
    for path in ["/health", "/health/ready"] {
        let asked = health(address, &["--address", &text, "--path", path]).await;
        assert!(asked.status.success(), "{path}: {asked:?}");
    }
    let other = error(&health(address, &["--path", "/openapi.json"]).await);
    assert!(other.contains("responds with 404"), "{other}");
    std::fs::remove_dir_all(&folder).unwrap();
}
