//! A test against maildev, an independent mail server with an API for received mails. `cargo xtask test --peers` runs
//! it: it needs `TEST_PEERS_MAILDEV`, the path of maildev's program, and Node.

use std::{net::TcpListener, process::Stdio, time::Duration};

use omnistack_core::{clock::Clock, email::EmailProvider as _};
use omnistack_messaging::email::Smtp;
use omnistack_testkit::email::full_email;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

struct Maildev {
    smtp: u16,
    api: String,
    client: reqwest::Client,
    _process: Child,
}

/// Returns a port that is free at this moment.
fn port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Maildev {
    #[expect(clippy::disallowed_methods, reason = "a setting and a client of the test, not of the app")]
    async fn start() -> Self {
        let program = std::env::var("TEST_PEERS_MAILDEV");
        let program = program.unwrap_or_else(|_| panic!("set TEST_PEERS_MAILDEV, as `cargo xtask test --peers` does"));
        let (smtp, web) = (port(), port());
        let mut process = Command::new("node")
            .arg(program)
            .args(["--ip", "127.0.0.1", "--smtp", &smtp.to_string()])
            .args(["--web-ip", "127.0.0.1", "--web", &web.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let ready = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if line.contains("Ctrl+C") {
                    return;
                }
            }
            panic!("maildev has ended");
        };
        tokio::time::timeout(Duration::from_secs(60), ready).await.unwrap();
        // maildev keeps writing, so its output must be read.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self {
            smtp,
            api: format!("http://127.0.0.1:{web}/api/email"),
            client: reqwest::Client::new(),
            _process: process,
        }
    }

    async fn get(&self, path: &str) -> reqwest::Response {
        let answer = self.client.get(format!("{}{path}", self.api)).send().await.unwrap();
        answer.error_for_status().unwrap()
    }

    /// Returns the only mail, once maildev has parsed it.
    async fn received(&self) -> Value {
        let ask = async {
            loop {
                let mails: Value = serde_json::from_slice(&self.get("").await.bytes().await.unwrap()).unwrap();
                if let Some(mail) = mails.as_array().unwrap().first() {
                    return mail.clone();
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), ask).await.unwrap()
    }
}

#[tokio::test]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn shows_what_was_meant() {
    let maildev = Maildev::start().await;
    let smtp = Smtp::new(&format!("smtp://127.0.0.1:{}?tls=none", maildev.smtp), Clock::system()).unwrap();
    let email = full_email();
    smtp.send(&email).await.unwrap();
    let received = maildev.received().await;
    let lines = |text: &Value| text.as_str().unwrap().replace("\r\n", "\n").trim_end_matches('\n').to_owned();
    assert_eq!(received["subject"], email.subject);
    assert_eq!(lines(&received["text"]), email.text.unwrap());
    // maildev shows the image at its place in the HTML.
    let html = lines(&received["html"]);
    assert!(html.starts_with("<p>Hello</p><img src=\"") && !html.contains("cid:"), "{html}");
    let to: Vec<_> = received["envelope"]["to"].as_array().unwrap().iter().map(|to| &to["address"]).collect();
    assert_eq!(to, ["ada@example.com", "chloe@example.com", "charles@example.com", "secret@example.com"]);
    let (id, files) = (received["id"].as_str().unwrap(), received["attachments"].as_array().unwrap());
    assert_eq!(files.len(), email.attachments.len());
    for (shown, file) in files.iter().zip(&email.attachments) {
        let kind = file.content_type.split(';').next().unwrap();
        assert_eq!((&shown["filename"], &shown["contentType"]), (&file.name.as_str().into(), &kind.into()));
        assert_eq!(shown["contentId"].as_str(), file.content_id.as_deref());
        let path = format!("/{id}/attachment/{}", shown["generatedFileName"].as_str().unwrap());
        assert_eq!(maildev.get(&path).await.bytes().await.unwrap(), file.content, "{}", file.name);
    }
}
