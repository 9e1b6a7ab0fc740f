//! A client that follows the numbered messages of a channel across lost connections and replicas.

#![cfg(test)]

use std::{net::SocketAddr, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use serde_json::json;
use tokio::{net::TcpStream, sync::mpsc, time::timeout};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

use crate::support::SOCKET;

/// Longest wait for a message of the server, which sends pings.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest time until a connection is open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// A client that follows a channel.
pub(crate) struct Follower {
    pub(crate) token: String,
    pub(crate) channel: String,
    /// The replicas, in the order in which the client tries them.
    pub(crate) addresses: Vec<SocketAddr>,
    /// The number at which it ends.
    pub(crate) until: u64,
    /// Is sent a message when the client is subscribed for the first time.
    pub(crate) subscribed: mpsc::UnboundedSender<()>,
}

/// The history of a client.
#[derive(Debug, Default)]
pub(crate) struct FollowerReport {
    pub(crate) received: u64,
    pub(crate) subscriptions: u32,
    /// Subscriptions that have recovered all missed messages.
    pub(crate) recoveries: u32,
    /// Subscriptions that have told that messages are missed.
    pub(crate) losses: u32,
}

/// The end of a connection before the last message.
struct ConnectionLost;

/// A line of the server.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Line {
    id: u32,
    error: Option<serde_json::Value>,
    subscribe: Option<Subscribed>,
    push: Option<Push>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Subscribed {
    epoch: String,
    offset: u64,
    recovered: bool,
    was_recovering: bool,
    publications: Vec<NumberedMessage>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Push {
    r#pub: Option<NumberedMessage>,
    unsubscribe: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct NumberedMessage {
    #[serde(default)]
    offset: u64,
    data: NumberedData,
}

#[derive(Deserialize)]
struct NumberedData {
    number: u64,
}

/// The progress of a client.
struct Progress {
    report: FollowerReport,
    /// The newest epoch and offset.
    position: Option<(String, u64)>,
    /// The number that comes next, or `None` if the client was told that messages are missed.
    next: Option<u64>,
    /// Whether the number of a message is its offset, as in the first epoch.
    is_first_epoch: bool,
}

impl Follower {
    /// Follows the channel until its last message, and connects again whenever a connection is lost.
    ///
    /// # Panics
    /// Panics if a message arrives twice, in a wrong order, or after a gap that was not told.
    pub(crate) async fn follow(self) -> FollowerReport {
        let report = FollowerReport::default();
        let mut progress = Progress { report, position: None, next: Some(1), is_first_epoch: true };
        for address in self.addresses.iter().cycle() {
            if self.stay_connected(*address, &mut progress).await.is_ok() {
                break;
            }
            // Lets the server that was tried make progress.
            tokio::task::yield_now().await;
        }
        progress.report
    }

    async fn stay_connected(&self, address: SocketAddr, progress: &mut Progress) -> Result<(), ConnectionLost> {
        let mut socket = timeout(CONNECT_TIMEOUT, connect(address)).await.map_err(|_| ConnectionLost)??;
        let mut subscribe = json!({ "channel": self.channel });
        if let Some((epoch, offset)) = &progress.position {
            subscribe["recover"] = true.into();
            subscribe["epoch"] = epoch.as_str().into();
            subscribe["offset"] = (*offset).into();
        }
        let connect = json!({ "id": 1, "connect": { "token": self.token } });
        let frame = format!("{connect}\n{}", json!({ "id": 2, "subscribe": subscribe }));
        socket.send(Message::text(frame)).await.map_err(|_| ConnectionLost)?;
        loop {
            let message = timeout(SILENCE_TIMEOUT, socket.next()).await.map_err(|_| ConnectionLost)?;
            let Some(Ok(message)) = message else { return Err(ConnectionLost) };
            let Message::Text(text) = message else { continue };
            for line in text.lines() {
                if line == "{}" {
                    socket.send(Message::text("{}")).await.map_err(|_| ConnectionLost)?;
                    continue;
                }
                if self.take(serde_json::from_str(line).unwrap(), progress)? {
                    return Ok(());
                }
            }
        }
    }

    /// Takes a line. Returns whether it has the last message.
    fn take(&self, line: Line, progress: &mut Progress) -> Result<bool, ConnectionLost> {
        let Line { id, error, subscribe, push } = line;
        if error.is_some() {
            return Err(ConnectionLost);
        }
        if let Some(subscribed) = subscribe.filter(|_| id == 2) {
            return Ok(self.take_start(subscribed, progress));
        }
        let Some(push) = push else { return Ok(false) };
        if push.unsubscribe.is_some() {
            return Err(ConnectionLost);
        }
        Ok(push.r#pub.is_some_and(|message| self.take_message(&message, progress)))
    }

    /// Takes the result of a subscription.
    fn take_start(&self, subscribed: Subscribed, progress: &mut Progress) -> bool {
        let Subscribed { epoch, offset, recovered, was_recovering, publications } = subscribed;
        progress.report.subscriptions += 1;
        if progress.position.is_none() {
            _ = self.subscribed.send(());
            progress.position = Some((epoch, offset));
            return false;
        }
        assert!(was_recovering, "{}", self.channel);
        if !recovered {
            assert!(publications.is_empty(), "missed messages are whole or none");
            progress.report.losses += 1;
            let is_same_epoch = progress.position.as_ref().is_some_and(|(old, _)| *old == epoch);
            progress.is_first_epoch &= is_same_epoch;
            progress.next = progress.is_first_epoch.then_some(offset + 1);
            progress.position = Some((epoch, offset));
            return progress.is_first_epoch && offset >= self.until;
        }
        progress.report.recoveries += 1;
        let mut is_last = false;
        for message in &publications {
            is_last |= self.take_message(message, progress);
        }
        let position = progress.position.as_ref().map(|(epoch, offset)| (epoch.as_str(), *offset));
        assert_eq!(position, Some((epoch.as_str(), offset)), "recovered messages reach up to the position");
        is_last
    }

    fn take_message(&self, message: &NumberedMessage, progress: &mut Progress) -> bool {
        let number = message.data.number;
        if let Some(next) = progress.next {
            assert_eq!(number, next, "{} after {:?}", self.channel, progress.report);
        }
        progress.next = Some(number + 1);
        progress.report.received += 1;
        // A message without an offset was delivered while Redis was away.
        if let Some((_, offset)) = progress.position.as_mut().filter(|_| message.offset > 0) {
            *offset = message.offset;
        }
        number >= self.until
    }
}

async fn connect(address: SocketAddr) -> Result<WebSocketStream<TcpStream>, ConnectionLost> {
    let stream = TcpStream::connect(address).await.map_err(|_| ConnectionLost)?;
    let opened = client_async(format!("ws://{address}{SOCKET}"), stream).await;
    opened.map(|(socket, _)| socket).map_err(|_| ConnectionLost)
}
