//! Clients that sign in as callers of a [`TestApp`].

#![cfg(test)]

use std::{collections::VecDeque, net::SocketAddr};

use omnistack_realtime::{Channels, Realtime};
use omnistack_testkit::{TestApp, TestClient, TestDatabase};
use serde_json::{Value, json};

use crate::support::{Client, SOCKET};

/// Starts an app with these channels.
pub(crate) async fn app_with(database: TestDatabase, channels: Channels) -> TestApp {
    TestApp::start(database, |app| app.with(Realtime::from_env().channels(channels))).await
}

/// A connected client.
pub(crate) struct LiveClient {
    client: Client,
    /// Pushes that arrived before a reply.
    pushes: VecDeque<Value>,
    commands: u32,
}

impl LiveClient {
    /// Connects as a caller, with a ticket.
    pub(crate) async fn connect(address: SocketAddr, caller: &TestClient) -> Self {
        let ticket = caller.post("/api/v1/app/ws/ticket", json!({})).await.expect(200).json();
        let path = format!("{SOCKET}?ticket={}", ticket["ticket"].as_str().unwrap());
        let client = Client::open(address, &path, &[]).await.unwrap();
        let mut connected = Self { client, pushes: VecDeque::new(), commands: 0 };
        let reply = connected.command("connect", json!({})).await;
        assert!(reply["connect"]["client"].is_string(), "{reply}");
        connected
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
        self.client.send(json!({ "id": id, method: request }).to_string()).await;
        loop {
            let line = self.client.line().await;
            if line["id"] == id {
                return line;
            }
            self.pushes.push_back(line);
        }
    }

    /// Returns the data of the next message in a channel.
    pub(crate) async fn message(&mut self, channel: &str) -> Value {
        loop {
            let line = match self.pushes.pop_front() {
                Some(line) => line,
                None => self.client.line().await,
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
        self.client.closed().await
    }
}
