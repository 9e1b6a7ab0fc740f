//! A client of the protocol over WebSocket, as small as the tests need it.

#![cfg(test)]

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use omnistack_realtime::{Channels, Realtime};
use omnistack_testkit::{TestApp, TestClient, TestDatabase};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

/// Longest time that a test waits for a frame.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Starts an app with these channels.
pub(crate) async fn app_with(database: TestDatabase, channels: Channels) -> TestApp {
    TestApp::start(database, |app| app.with(Realtime::from_env().channels(channels))).await
}

/// A connected client.
pub(crate) struct LiveClient {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// Objects of the last frame that are not read yet.
    lines: VecDeque<Value>,
    /// Pushes that arrived before a reply.
    pushes: VecDeque<Value>,
    commands: u32,
}

impl LiveClient {
    /// Connects as a caller, with a ticket.
    pub(crate) async fn connect(address: SocketAddr, caller: &TestClient) -> Self {
        let ticket = caller.post("/api/v1/app/ws/ticket", json!({})).await.expect(200).json();
        let url = format!("ws://{address}/api/v1/app/ws?ticket={}", ticket["ticket"].as_str().unwrap());
        let (socket, _) = connect_async(url).await.unwrap();
        let mut client = Self { socket, lines: VecDeque::new(), pushes: VecDeque::new(), commands: 0 };
        let reply = client.command("connect", json!({})).await;
        assert!(reply["connect"]["client"].is_string(), "{reply}");
        client
    }

    /// Connects as a caller, and subscribes to a channel.
    pub(crate) async fn subscribed(address: SocketAddr, caller: &TestClient, channel: &str) -> Self {
        let mut client = Self::connect(address, caller).await;
        let reply = client.command("subscribe", json!({ "channel": channel })).await;
        assert!(reply["error"].is_null(), "{channel}: {reply}");
        client
    }

    /// Sends a command and returns its reply.
    pub(crate) async fn command(&mut self, method: &str, request: Value) -> Value {
        self.commands += 1;
        let id = self.commands;
        let command = json!({ "id": id, method: request });
        self.socket.send(Message::text(command.to_string())).await.unwrap();
        loop {
            match self.line().await {
                Ok(line) if line["id"] == id => return line,
                Ok(line) => self.pushes.push_back(line),
                Err(code) => panic!("closed with {code} before the reply to {command}"),
            }
        }
    }

    /// Returns the data of the next message in a channel.
    pub(crate) async fn message(&mut self, channel: &str) -> Value {
        loop {
            let line = match self.pushes.pop_front() {
                Some(line) => line,
                None => self.line().await.unwrap_or_else(|code| panic!("closed with {code}")),
            };
            let push = &line["push"];
            if push["channel"] == channel && !push["pub"].is_null() {
                return push["pub"]["data"].clone();
            }
        }
    }

    /// Returns the data of the messages that have arrived and are not read yet.
    pub(crate) async fn waiting_messages(&mut self) -> Vec<Value> {
        // The reply comes after all that the server has sent before.
        self.command("unsubscribe", json!({ "channel": "room:nowhere" })).await;
        let pushes = std::mem::take(&mut self.pushes);
        pushes.into_iter().map(|line| line["push"]["pub"]["data"].clone()).filter(|data| !data.is_null()).collect()
    }

    /// Returns the code with which the server closes the connection.
    pub(crate) async fn close_code(&mut self) -> u16 {
        loop {
            if let Err(code) = self.line().await {
                return code;
            }
        }
    }

    /// Returns the next object, or the code with which the server has closed the connection.
    async fn line(&mut self) -> Result<Value, u16> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Ok(line);
            }
            let next = tokio::time::timeout(TIMEOUT, self.socket.next()).await;
            match next.expect("a frame arrives in time").unwrap().unwrap() {
                Message::Text(text) => {
                    let lines = text.as_str().lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
                    self.lines = lines.filter(|line| line.as_object().is_some_and(|line| !line.is_empty())).collect();
                }
                Message::Close(frame) => return Err(frame.map_or(1005, |frame| frame.code.into())),
                _ => {}
            }
        }
    }
}
