//! Programs of others, which `cargo xtask test --peers` installs: Vercel's AI SDK and the client of the Model Context
//! Protocol's SDK call the app; the clients of OpenAI, Anthropic, Google and Groq read the same bytes as the codecs; and
//! aimock and vidaimock are providers. The tests need `TEST_PEERS_PYTHON`, a Python with the providers' clients;
//! `TEST_PEERS_AI`, a folder with scripts beside the packages of Node; and `TEST_PEERS_VIDAIMOCK`, the program.

#![cfg(test)]

mod ai_sdk;
mod aimock;
mod decoders;
mod mcp_client;
mod vidaimock;

use std::{ffi::OsStr, path::Path, process::Stdio};

use futures_util::StreamExt as _;
use omnistack_ai::{Call, ChatRequest, ChatResponse, HttpProvider, LlmError, LlmProvider as _, StreamAssembler};
use omnistack_core::http::client::{Client, ClientSettings};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

#[expect(clippy::disallowed_methods, reason = "a setting of the test, not of the app")]
fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("set {name}, as `cargo xtask test --peers` does"))
}

/// Returns a command that runs a script with Node, beside its packages.
fn node(script: &str) -> Command {
    let mut command = Command::new("node");
    command.arg(Path::new(&setting("TEST_PEERS_AI")).join(script));
    command
}

/// Returns a command that runs a script with Python.
fn python(script: &str) -> Command {
    let mut command = Command::new(setting("TEST_PEERS_PYTHON"));
    command.arg(format!("{}/../xtask/peers/ai/{script}", env!("CARGO_MANIFEST_DIR")));
    command
}

/// Runs a program to its end, and returns the JSON that it prints.
async fn printed<T: AsRef<OsStr>>(mut command: Command, arguments: impl IntoIterator<Item = T>) -> Value {
    let output = command.args(arguments).kill_on_drop(true).output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    serde_json::from_str(text.trim()).unwrap_or_else(|error| panic!("{error}: {text}{errors}"))
}

/// A program that prints JSON in lines. It is stopped when this is dropped.
struct LineProgram {
    lines: Lines<BufReader<ChildStdout>>,
    input: ChildStdin,
    _process: Child,
}

impl LineProgram {
    fn start(mut command: Command) -> Self {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { lines, input: process.stdin.take().unwrap(), _process: process }
    }

    async fn line(&mut self) -> Value {
        serde_json::from_str(&self.lines.next_line().await.unwrap().expect("the program prints a line")).unwrap()
    }

    /// Sends a line, and returns the answer.
    async fn ask(&mut self, line: &str) -> Value {
        self.input.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        self.line().await
    }
}

fn client() -> Client {
    ClientSettings::default().client().unwrap()
}

/// Returns a provider of each wire format at a server, with its name.
fn each_format(url: &str) -> [(&'static str, HttpProvider); 4] {
    let key = || "key".to_owned().into();
    [
        ("openai", HttpProvider::openai(client(), key()).with_base_url(format!("{url}/v1"))),
        ("groq", HttpProvider::groq(client(), key()).with_base_url(format!("{url}/v1"))),
        ("anthropic", HttpProvider::anthropic(client(), key()).with_base_url(url)),
        ("gemini", HttpProvider::gemini(client(), key()).with_base_url(url)),
    ]
}

/// Reads a stream to its end.
async fn streamed(provider: &HttpProvider, request: &ChatRequest) -> Result<ChatResponse, LlmError> {
    let mut events = provider.stream(request, &Call::default()).await?;
    let mut assembler = StreamAssembler::default();
    while let Some(event) = events.next().await {
        assembler.push(&event?);
    }
    Ok(assembler.finish())
}

/// Returns the answer to a request, as a whole or in pieces.
async fn answer(provider: &HttpProvider, request: &ChatRequest, streams: bool) -> Result<ChatResponse, LlmError> {
    if streams { streamed(provider, request).await } else { provider.complete(request, &Call::default()).await }
}
