//! Tests against aiosmtpd, an independent mail server, with Python's `email` package as the parser of received mails.
//! `cargo xtask test --peers` runs them: they need `TEST_PEERS_PYTHON`, a Python with aiosmtpd.

use std::process::Stdio;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use omnistack_core::{
    clock::Clock,
    email::{EmailErrorKind, EmailProvider as _},
};
use omnistack_messaging::email::Smtp;
use omnistack_testkit::email::full_email;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

struct Peer {
    lines: Lines<BufReader<ChildStdout>>,
    port: u64,
    authority: Option<String>,
    _process: Child,
}

impl Peer {
    async fn start(arguments: &[&str]) -> Self {
        let python = setting("TEST_PEERS_PYTHON");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../xtask/peers/smtp.py");
        let mut process = Command::new(python)
            .arg(script)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let first: Value = serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
        let authority = first["authority"].as_str().map(Into::into);
        Self { lines, port: first["port"].as_u64().unwrap(), authority, _process: process }
    }

    fn smtp(&self, before: &str, after: &str) -> Smtp {
        let smtp = Smtp::new(&format!("{before}localhost:{}{after}", self.port), Clock::system()).unwrap();
        match &self.authority {
            Some(authority) => smtp.trust(authority.as_bytes()).unwrap(),
            None => smtp,
        }
    }

    async fn received(&mut self) -> Value {
        serde_json::from_str(&self.lines.next_line().await.unwrap().unwrap()).unwrap()
    }
}

#[expect(clippy::disallowed_methods, reason = "a setting of the test, not of the app")]
fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("set {name}, as `cargo xtask test --peers` does"))
}

fn headers<'a>(received: &'a Value, name: &str) -> Vec<&'a str> {
    let headers = received["headers"].as_array().unwrap().iter();
    headers.filter(|header| header[0] == name).map(|header| header[1].as_str().unwrap()).collect()
}

#[tokio::test]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn reads_what_was_meant() {
    let mut peer = Peer::start(&[]).await;
    let sent = peer.smtp("smtp://", "").send(&full_email()).await.unwrap();
    let received = peer.received().await;
    let email = full_email();
    assert_eq!(received["defects"], json!([]));
    assert_eq!(received["from"], "shop@xn--bcher-kva.example");
    assert_eq!(
        received["to"],
        json!(["ada@example.com", "chloe@example.com", "charles@example.com", "secret@example.com"])
    );
    assert_eq!(headers(&received, "Subject"), [email.subject]);
    assert_eq!(headers(&received, "From"), ["Köln Shop <shop@xn--bcher-kva.example>"]);
    assert_eq!(headers(&received, "To"), ["Ada Lovelace <ada@example.com>, \"O'Brien, Chloë\" <chloe@example.com>"]);
    assert_eq!(headers(&received, "Cc"), ["charles@example.com"]);
    assert!(headers(&received, "Bcc").is_empty() && !received["headers"].to_string().contains("secret@"));
    assert_eq!(headers(&received, "Reply-To"), ["help@example.com"]);
    assert_eq!(headers(&received, "Message-ID"), [format!("<{}>", sent.id.unwrap())]);
    assert_eq!(headers(&received, "X-Campaign"), ["spring—2030"]);
    assert_eq!(headers(&received, "List-Unsubscribe"), ["<https://shop.example.com/unsubscribe/2nFq?x=1>"]);
    assert_eq!(headers(&received, "List-Unsubscribe-Post"), ["List-Unsubscribe=One-Click"]);

    let parts = received["parts"].as_array().unwrap();
    let kinds: Vec<_> = parts.iter().map(|part| part["type"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        [
            "multipart/mixed",
            "multipart/alternative",
            "text/plain",
            "multipart/related",
            "text/html",
            "image/png",
            "text/csv",
        ]
    );
    let text = |part: &Value| part["text"].as_str().unwrap().replace("\r\n", "\n").trim_end_matches('\n').to_owned();
    assert_eq!(text(&parts[2]), email.text.unwrap());
    assert_eq!(text(&parts[4]), email.html.unwrap());
    for (part, file) in parts[5..].iter().zip(&email.attachments) {
        assert_eq!(part["name"], file.name);
        assert_eq!(part["bytes"], STANDARD.encode(&file.content));
    }
    assert_eq!((&parts[5]["disposition"], &parts[5]["id"]), (&json!("inline"), &json!("<logo>")));
    assert_eq!(parts[6]["disposition"], "attachment");
}

#[tokio::test]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn with_tls_and_a_password() {
    for (tls, before, after) in
        [("starttls", "smtp://ada:s3cret%21@", "?tls=required"), ("wrapped", "smtps://ada:s3cret%21@", "")]
    {
        let mut peer = Peer::start(&["--tls", tls, "--auth", "ada", "s3cret!"]).await;
        let smtp = peer.smtp(before, after);
        for _ in 0..2 {
            smtp.send(&full_email()).await.unwrap_or_else(|error| panic!("{tls}: {error}"));
            let received = peer.received().await;
            assert_eq!((&received["encrypted"], &received["user"]), (&json!(true), &json!("ada")), "{tls}");
        }
        let wrong = peer.smtp(&before.replace("s3cret", "guess"), after);
        assert_eq!(wrong.send(&full_email()).await.unwrap_err().kind(), EmailErrorKind::Configuration, "{tls}");
        // The certificate's authority is unknown.
        peer.authority = None;
        let error = peer.smtp(before, after).send(&full_email()).await.unwrap_err();
        assert_eq!(error.kind(), EmailErrorKind::Configuration, "{tls}: {error}");
    }
}

#[tokio::test]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn that_insists_on_tls_gets_none_of_it() {
    let peer = Peer::start(&["--tls", "starttls"]).await;
    let error = peer.smtp("smtp://", "?tls=none").send(&full_email()).await.unwrap_err();
    assert_eq!(error.kind(), EmailErrorKind::Configuration, "{error}");
}
