//! Clients of others, which a program in Node or Python drives by questions.

#![cfg(test)]

use std::{net::SocketAddr, ops::RangeInclusive, path::Path, process::Stdio, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use super::{python_script, setting};

/// Longest time until a question is answered, which is longer than the programs wait for an event.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(90);

/// A client of others, with its transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StockClient {
    JsWebSocket,
    JsSse,
    Python,
}

impl StockClient {
    pub(super) const ALL: [Self; 3] = [Self::JsWebSocket, Self::JsSse, Self::Python];

    fn command(self) -> Command {
        match self {
            Self::JsWebSocket | Self::JsSse => {
                let mut command = Command::new("node");
                command.arg(Path::new(&setting("TEST_PEERS_REALTIME")).join("clients.mjs"));
                command
            }
            Self::Python => {
                let mut command = Command::new(setting("TEST_PEERS_PYTHON"));
                command.arg(python_script("clients.py")).env("NO_PROXY", "*");
                command
            }
        }
    }
}

/// The clients of a program. Each has a name.
pub(super) struct StockClients {
    kind: StockClient,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

impl StockClients {
    /// Starts the program.
    pub(super) fn start(kind: StockClient) -> Self {
        let mut command = kind.command();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().unwrap();
        let input = process.stdin.take().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { kind, input, lines, _process: process }
    }

    /// Returns the answer to a question, which may be an error.
    pub(super) async fn answer(&mut self, ask: &str, mut question: Value) -> Value {
        question["ask"] = ask.into();
        self.input.write_all(format!("{question}\n").as_bytes()).await.unwrap();
        let line = timeout(ANSWER_TIMEOUT, self.lines.next_line()).await.unwrap().unwrap();
        let line = line.unwrap_or_else(|| panic!("{:?} has ended at {question}", self.kind));
        serde_json::from_str(&line).unwrap()
    }

    /// Returns the answer to a question.
    pub(super) async fn ask(&mut self, ask: &str, question: Value) -> Value {
        let answer = self.answer(ask, question.clone()).await;
        assert!(answer["error"].is_null(), "{:?} {ask} {question}: {answer}", self.kind);
        answer
    }

    /// Opens a client, which gets the tokens one after another, and waits until it is connected.
    pub(super) async fn open(&mut self, client: &str, address: SocketAddr, tokens: &[String]) {
        self.open_between(client, address, address, tokens).await;
    }

    /// Opens a client like [`open`](Self::open), whose commands over SSE go to another address.
    pub(super) async fn open_between(
        &mut self,
        client: &str,
        address: SocketAddr,
        commands: SocketAddr,
        tokens: &[String],
    ) {
        self.open_without_waiting(client, address, commands, tokens).await;
        self.event(client, "connecting", None).await;
        let connected = self.event(client, "connected", None).await;
        let transport = if self.kind == StockClient::JsSse { "sse" } else { "websocket" };
        assert_eq!(connected["transport"], transport);
    }

    /// Opens a client, and does not wait until it is connected.
    pub(super) async fn open_unconnected(&mut self, client: &str, address: SocketAddr, tokens: &[String]) {
        self.open_without_waiting(client, address, address, tokens).await;
    }

    async fn open_without_waiting(
        &mut self,
        client: &str,
        address: SocketAddr,
        commands: SocketAddr,
        tokens: &[String],
    ) {
        if self.kind == StockClient::JsSse {
            let emulation = format!("http://{commands}/api/v1/app/emulation");
            let url = format!("http://{address}/api/v1/app/sse");
            self.open_url(client, &url, Some(emulation), tokens).await;
        } else {
            self.open_url(client, &format!("ws://{address}/api/v1/app/ws"), None, tokens).await;
        }
    }

    /// Opens a client at a URL.
    pub(super) async fn open_url(&mut self, client: &str, url: &str, emulation: Option<String>, tokens: &[String]) {
        let question = json!({ "client": client, "url": url, "emulation": emulation, "tokens": tokens });
        self.ask("open", question).await;
    }

    /// Waits for the next event of a kind.
    pub(super) async fn event(&mut self, client: &str, kind: &str, channel: Option<&str>) -> Value {
        self.ask("event", json!({ "client": client, "kind": kind, "channel": channel })).await
    }

    /// Returns the events of a kind that were not asked for yet.
    pub(super) async fn waiting(&mut self, client: &str, kind: &str, channel: Option<&str>) -> Vec<Value> {
        let answer = self.ask("waiting", json!({ "client": client, "kind": kind, "channel": channel })).await;
        answer["events"].as_array().unwrap().clone()
    }

    /// Subscribes to a channel, and returns what the client is told then.
    pub(super) async fn subscribe(&mut self, client: &str, channel: &str) -> Value {
        self.ask("subscribe", json!({ "client": client, "channel": channel })).await;
        self.event(client, "subscribed", Some(channel)).await
    }

    /// Publishes numbers.
    pub(super) async fn publish(&mut self, client: &str, channel: &str, numbers: RangeInclusive<u64>) {
        for number in numbers {
            let data = json!({ "number": number });
            self.ask("publish", json!({ "client": client, "channel": channel, "data": data })).await;
        }
    }

    /// Returns the numbers of the next messages.
    pub(super) async fn numbers(&mut self, client: &str, channel: &str, count: u64) -> Vec<u64> {
        let answer = self.ask("numbers", json!({ "client": client, "channel": channel, "count": count })).await;
        answer["numbers"].as_array().unwrap().iter().map(|number| number.as_u64().unwrap()).collect()
    }
}
