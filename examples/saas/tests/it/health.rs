//! Tests of the command `saas health`, the health check of a container.

use std::{
    net::SocketAddr,
    process::{Command, Output},
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

async fn health(address: SocketAddr, args: &'static [&'static str]) -> Output {
    let folder = std::env::temp_dir().join(format!("omnistack-health-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_saas"));
    // Without any other setting: a probe needs neither the database nor a secret.
    command.current_dir(folder).arg("health").args(args).env("APP_ENV", "production");
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
