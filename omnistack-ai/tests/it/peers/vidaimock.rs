//! The crate vidaimock as a provider, a process.

use std::{path::PathBuf, process::Stdio, time::Duration};

use omnistack_ai::{ChatRequest, LlmErrorKind, Message, StopKind};
use tokio::process::{Child, Command};
use uuid::Uuid;

use super::{answer, each_format, setting};

/// A server. It is stopped, and its folder is deleted, when this is dropped.
struct Vidaimock {
    url: String,
    folder: PathBuf,
    _process: Child,
}

impl Vidaimock {
    /// Starts a server with the settings of its chaos, such as `drop_pct = 100.0`.
    async fn start(chaos: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("omnistack-vidaimock-{}", Uuid::new_v4()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("mock-server.toml"), format!("[chaos]\nenabled = true\n{chaos}\n")).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new(setting("TEST_PEERS_VIDAIMOCK"))
            .args(["--host", "127.0.0.1", "--port", &port.to_string(), "--workers", "1"])
            .current_dir(&folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        listening(port).await;
        Self { url: format!("http://127.0.0.1:{port}"), folder, _process: process }
    }
}

impl Drop for Vidaimock {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Waits until a server accepts connections.
async fn listening(port: u16) {
    let begun = tokio::time::Instant::now();
    while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(60), "no server listens on {port}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn request() -> ChatRequest {
    ChatRequest::new("scripted-model", [Message::user("Say hello.")]).max_output_tokens(100)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn its_answers_are_read() {
    let mock = Vidaimock::start("").await;
    for (name, provider) in each_format(&mock.url) {
        for streams in [false, true] {
            let answered = answer(&provider, &request(), streams).await.unwrap();
            assert!(!answered.text().is_empty(), "{name}, streams: {streams}: {answered:?}");
            assert_eq!(answered.stop.unified, StopKind::Stop, "{name}, streams: {streams}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn each_chaos_is_an_error() {
    for (chaos, kinds) in [
        ("drop_pct = 100.0", &[LlmErrorKind::Failed][..]),
        ("malformed_pct = 100.0", &[LlmErrorKind::Protocol, LlmErrorKind::Interrupted][..]),
    ] {
        let mock = Vidaimock::start(chaos).await;
        for (name, provider) in each_format(&mock.url) {
            for streams in [false, true] {
                let error = answer(&provider, &request(), streams).await.unwrap_err();
                assert!(kinds.contains(&error.kind), "{chaos} {name}, streams: {streams}: {error:?}");
            }
        }
    }
    let mock = Vidaimock::start("disconnect_pct = 100.0").await;
    for (name, provider) in each_format(&mock.url) {
        let error = answer(&provider, &request(), true).await.unwrap_err();
        assert_eq!(error.kind, LlmErrorKind::Interrupted, "{name}: {error:?}");
    }
}
