//! Tests against independent token libraries, in both directions. `cargo xtask test --peers` runs them: they need
//! `TEST_PEERS_PYTHON`, a Python with joserfc, and `TEST_PEERS_TOKENS`, a folder of scripts beside their Node
//! packages.

use std::{path::Path, process::Stdio, time::Duration};

use omnistack_auth::{Auth, issuer::Issuer};
use omnistack_core::ExposeSecret as _;
use omnistack_testkit::{TestDatabase, mock_server::MockServer};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use super::{AUDIENCE, NOW, claims, key_set, me, serve_configuration, start, with};
use crate::support;

const SECRET: &str = "a secret that is shared, of more than 32 bytes";
const SHARED: &str = "https://shared.example.com";

/// A program that writes one line for each line it reads.
pub(crate) struct Peer {
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

impl Peer {
    fn start(program: &str, script: &Path) -> Self {
        let mut command = Command::new(program);
        command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut process = command.spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { input: process.stdin.take().unwrap(), lines, _process: process }
    }

    fn joserfc() -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../xtask/peers/tokens.py");
        Self::start(&setting("TEST_PEERS_PYTHON"), script.as_ref())
    }

    pub(crate) fn node(script: &str) -> Self {
        Self::start("node", &Path::new(&setting("TEST_PEERS_TOKENS")).join(script))
    }

    /// Sends a command and returns the next line that is a reply, since oidc-provider also prints other lines.
    pub(crate) async fn ask(&mut self, command: Value) -> Value {
        self.input.write_all(format!("{command}\n").as_bytes()).await.unwrap();
        loop {
            let line = self.lines.next_line().await.unwrap().unwrap();
            if let Ok(answer) = serde_json::from_str(&line) {
                return answer;
            }
        }
    }

    async fn token(&mut self, command: Value) -> String {
        let answer = self.ask(command).await;
        answer["token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }
}

#[expect(clippy::disallowed_methods, reason = "a setting of the test, not of the app")]
fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("set {name}, as `cargo xtask test --peers` does"))
}

/// Verifies the peer's tokens with the app, and the app's tokens with the peer.
async fn both_directions(mut peer: Peer, makes_unsecured: bool) {
    for alg in ["RS256", "ES256", "EdDSA", "Ed25519"] {
        let upstream = MockServer::start().await;
        serve_configuration(&upstream);
        let good = claims(upstream.url());
        let ask = |claims: &Value| json!({ "command": "make", "alg": alg, "header": {}, "claims": claims });
        let made = peer.ask(ask(&good)).await;
        assert!(made["error"].is_null(), "{alg}: {made}");
        upstream.expect("GET", "/keys").reply(key_set(&[made["jwk"].clone()]));
        let app = start(TestDatabase::sqlite(), Auth::jwks(upstream.url())).await;
        me(&app, made["token"].as_str().unwrap()).await.expect(200);
        // Another key with the same id.
        me(&app, &peer.token(ask(&good)).await).await.expect(401);
    }
    let app = start(TestDatabase::sqlite(), Auth::built_in().issuer(Issuer::hs256(SHARED, SECRET))).await;
    let good = claims(SHARED);
    for (secret, changes, status) in [
        (SECRET, json!({}), 200),
        ("another secret, of more than 32 bytes too", json!({}), 401),
        (SECRET, json!({ "exp": NOW - 60 }), 401),
        (SECRET, json!({ "nbf": NOW + 60 }), 401),
        (SECRET, json!({ "aud": "https://other.example.com" }), 401),
    ] {
        let claims = with(good.clone(), changes);
        let token = peer.token(json!({ "command": "shared", "secret": secret, "claims": claims })).await;
        assert_eq!(me(&app, &token).await.status.as_u16(), status, "{claims}");
    }
    if makes_unsecured {
        let token = peer.token(json!({ "command": "unsecured", "claims": good })).await;
        me(&app, &token).await.expect(401);
    }

    // The app's tokens, by its published key set.
    let ada = support::user(&app, "ada@example.com").await;
    let tokens = support::sign_in(&app, ada).await;
    let keys = app.anonymous().get("/.well-known/jwks.json").await.expect(200).json();
    let verify = |token: &str, now: i64| json!({ "command": "verify", "keys": keys, "token": token, "issuer": AUDIENCE, "now": now });
    let ours = tokens.access.expose_secret();
    let verified = peer.ask(verify(ours, NOW)).await;
    assert_eq!(verified["claims"]["sub"], ada.user.to_string(), "{verified}");
    let late = peer.ask(verify(ours, NOW + 3600)).await;
    assert!(late["error"].is_string(), "{late}");
    let cut = peer.ask(verify(&ours[..ours.len() - 6], NOW)).await;
    assert!(cut["error"].is_string(), "{cut}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn jose() {
    both_directions(Peer::node("jose.mjs"), true).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn joserfc() {
    both_directions(Peer::joserfc(), false).await;
}

/// Discovery, and key rotation.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a peer: `cargo xtask test --peers`"]
async fn oidc_provider() {
    let mut provider = Peer::node("provider.mjs");
    let issuer = provider.ask(json!({ "command": "rotate", "alg": "RS256", "keep": 1 })).await["issuer"].clone();
    let app = start(TestDatabase::sqlite(), Auth::jwks(issuer.as_str().unwrap())).await;
    let ask = |alg: &str| json!({ "command": "token", "subject": "ada", "audience": AUDIENCE, "alg": alg });
    let first = provider.token(ask("RS256")).await;
    let ada = me(&app, &first).await.expect(200).json();
    let other =
        json!({ "command": "token", "subject": "ada", "audience": "https://other.example.com", "alg": "RS256" });
    me(&app, &provider.token(other).await).await.expect(401);
    me(&app, &provider.token(json!({ "command": "idToken", "subject": "ada" })).await).await.expect(401);

    for alg in ["ES256", "EdDSA"] {
        provider.ask(json!({ "command": "rotate", "alg": alg, "keep": 1 })).await;
        let next = provider.token(ask(alg)).await;
        app.clock().advance(Duration::from_secs(30));
        assert_eq!(me(&app, &next).await.expect(200).json()["id"], ada["id"], "{alg}");
    }
    // The first key is no longer published.
    app.clock().advance(Duration::from_secs(60));
    me(&app, &first).await.expect(401);
}
