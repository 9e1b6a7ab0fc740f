//! A process with many clients. It answers each line of its input with a line of JSON.
//!
//! | line | waits until | answer |
//! |---|---|---|
//! | `open` | all clients are connected | `{}` |
//! | `received N` | N messages have arrived since the start | microseconds from publishing to arrival of each new one |
//! | `stall` | nothing: the clients read no more | `{}` |
//! | `drop` | all clients have cut their connections | `{}` |
//! | `resume` | all are connected again | `recovered`: clients that have missed nothing; `failures`: failed attempts |

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use futures_util::{SinkExt as _, StreamExt as _};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::json;
use tokio::{
    net::{TcpSocket, TcpStream},
    sync::{Semaphore, watch},
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Message, protocol::WebSocketConfig},
};
use uuid::Uuid;

use crate::process::{lines_of_input, micros};

/// Clients of a process that connect at the same time.
const MAX_CONNECTING: usize = 250;
/// A channel of the load's description that stands for the channel of each user.
pub(crate) const OWN_CHANNEL: &str = "own";
/// The description of a load without subscriptions.
pub(crate) const NO_CHANNEL: &str = "none";

/// The clients of a process.
pub(crate) struct ClientLoad {
    pub(crate) address: SocketAddr,
    /// The address from which they connect.
    pub(crate) source: Ipv4Addr,
    pub(crate) count: usize,
    pub(crate) channel: String,
}

/// Whether the clients are to be connected.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LoadStage {
    Connected,
    /// They are, and never read.
    Stalled,
    Dropped,
    Resumed,
}

/// The progress of all clients.
#[derive(Default)]
struct LoadCounts {
    open: usize,
    received: u64,
    /// The number of messages that is waited for. A notification for each message would take longer than to read it.
    wanted: u64,
    dropped: usize,
    resumed: usize,
    recovered: usize,
    failures: usize,
}

struct SharedLoad {
    load: ClientLoad,
    counts: watch::Sender<LoadCounts>,
    /// Microseconds from publishing to arrival.
    latencies: Mutex<Vec<u64>>,
    connecting: Semaphore,
}

/// An open connection.
struct BenchConnection {
    socket: WebSocketStream<TcpStream>,
    /// Lines that arrived with those that were read.
    waiting: VecDeque<ServerLine>,
    /// The newest epoch and offset of the channel.
    position: Option<(String, u64)>,
    is_recovered: bool,
}

/// The part of a line of the server that the clients need.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ServerLine {
    id: u32,
    push: Option<ChannelPush>,
    connect: Option<IgnoredAny>,
    subscribe: Option<SubscribeResult>,
}

#[derive(Deserialize)]
struct ChannelPush {
    r#pub: Option<Publication>,
}

#[derive(Deserialize)]
struct Publication {
    data: MessageData,
    #[serde(default)]
    offset: u64,
}

#[derive(Deserialize)]
struct MessageData {
    /// Microseconds at which the message was published.
    at: u64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SubscribeResult {
    epoch: String,
    offset: u64,
    recovered: bool,
}

/// Runs the clients until the input ends.
pub(crate) async fn run(load: ClientLoad) {
    let count = load.count;
    let shared = Arc::new(SharedLoad {
        load,
        counts: watch::Sender::new(LoadCounts::default()),
        latencies: Mutex::default(),
        connecting: Semaphore::new(MAX_CONNECTING),
    });
    let stages = watch::Sender::new(LoadStage::Connected);
    for _ in 0..count {
        tokio::spawn(stay(Arc::clone(&shared), stages.subscribe()));
    }
    let mut counts = shared.counts.subscribe();
    let mut lines = lines_of_input();
    while let Some(line) = lines.recv().await {
        let answer = match line.split_once(' ').unwrap_or((line.as_str(), "")) {
            ("open", _) => {
                counts.wait_for(|counts| counts.open == count).await.unwrap();
                json!({})
            }
            ("received", wanted) => {
                let wanted: u64 = wanted.parse().unwrap();
                shared.counts.send_modify(|counts| counts.wanted = wanted);
                counts.wait_for(|counts| counts.received >= wanted).await.unwrap();
                json!(std::mem::take(&mut *shared.latencies.lock().unwrap()))
            }
            ("stall", _) => {
                stages.send_replace(LoadStage::Stalled);
                json!({})
            }
            ("drop", _) => {
                stages.send_replace(LoadStage::Dropped);
                counts.wait_for(|counts| counts.dropped == count).await.unwrap();
                json!({})
            }
            ("resume", _) => {
                stages.send_replace(LoadStage::Resumed);
                let counts = counts.wait_for(|counts| counts.resumed == count).await.unwrap();
                json!({ "recovered": counts.recovered, "failures": counts.failures })
            }
            (other, _) => panic!("unknown question {other}"),
        };
        println!("{answer}");
    }
}

/// Keeps a client connected, as the stage says.
async fn stay(shared: Arc<SharedLoad>, mut stages: watch::Receiver<LoadStage>) {
    let user = Uuid::new_v4();
    let mut connection = shared.connect(user, None).await;
    shared.counts.send_modify(|counts| counts.open += 1);
    loop {
        let line = tokio::select! {
            line = connection.line() => line,
            changed = stages.changed() => {
                if changed.is_err() {
                    return;
                }
                if *stages.borrow() == LoadStage::Stalled {
                    // The connection remains open.
                    return std::future::pending().await;
                }
                let position = connection.position.take();
                drop(connection);
                shared.counts.send_modify(|counts| counts.dropped += 1);
                if stages.wait_for(|stage| *stage == LoadStage::Resumed).await.is_err() {
                    return;
                }
                connection = shared.connect(user, position).await;
                let is_recovered = connection.is_recovered;
                shared.counts.send_modify(|counts| {
                    counts.resumed += 1;
                    counts.recovered += usize::from(is_recovered);
                });
                continue;
            }
        };
        let Some(line) = line else { panic!("the server has closed a connection") };
        shared.take(line, &mut connection);
    }
}

impl SharedLoad {
    /// Connects, and tries again until it succeeds.
    async fn connect(&self, user: Uuid, position: Option<(String, u64)>) -> BenchConnection {
        let _permit = self.connecting.acquire().await.unwrap();
        loop {
            match self.try_connect(user, position.as_ref()).await {
                Some(connection) => return connection,
                None => self.counts.send_modify(|counts| counts.failures += 1),
            }
        }
    }

    async fn try_connect(&self, user: Uuid, position: Option<&(String, u64)>) -> Option<BenchConnection> {
        let ClientLoad { address, source, channel, .. } = &self.load;
        let socket = TcpSocket::new_v4().ok()?;
        socket.bind((*source, 0).into()).ok()?;
        let stream = socket.connect(*address).await.ok()?;
        let config = WebSocketConfig::default().read_buffer_size(1024).write_buffer_size(0);
        let url = format!("ws://{address}/api/v1/app/ws");
        let (socket, _) = client_async_with_config(url, stream, Some(config)).await.ok()?;
        let mut connection = BenchConnection { socket, waiting: VecDeque::new(), position: None, is_recovered: false };
        let mut frame = json!({ "id": 1, "connect": { "token": user.to_string() } }).to_string();
        let channel = match channel.as_str() {
            NO_CHANNEL => None,
            OWN_CHANNEL => Some(format!("user:{user}")),
            channel => Some(channel.to_owned()),
        };
        if let Some(channel) = &channel {
            let mut subscribe = json!({ "channel": channel });
            if let Some((epoch, offset)) = position {
                subscribe["recover"] = true.into();
                subscribe["epoch"] = epoch.as_str().into();
                subscribe["offset"] = (*offset).into();
            }
            frame = format!("{frame}\n{}", json!({ "id": 2, "subscribe": subscribe }));
        }
        connection.socket.send(Message::text(frame)).await.ok()?;
        connection.reply(1).await?.connect?;
        if channel.is_some() {
            let SubscribeResult { epoch, offset, recovered } = connection.reply(2).await?.subscribe?;
            connection.position = Some((epoch, offset));
            connection.is_recovered = recovered;
        }
        Some(connection)
    }

    /// Takes a line of the server.
    fn take(&self, line: ServerLine, connection: &mut BenchConnection) {
        let Some(Publication { data, offset }) = line.push.and_then(|push| push.r#pub) else { return };
        if let Some((_, newest)) = &mut connection.position {
            *newest = offset;
        }
        self.latencies.lock().unwrap().push(micros().saturating_sub(data.at));
        self.counts.send_if_modified(|counts| {
            counts.received += 1;
            counts.received == counts.wanted
        });
    }
}

impl BenchConnection {
    /// Returns the reply with an id.
    async fn reply(&mut self, id: u32) -> Option<ServerLine> {
        loop {
            let line = self.line().await?;
            if line.id == id {
                return Some(line);
            }
        }
    }

    /// Returns the next line that is no ping, or `None` at the end. A call that is dropped loses no line.
    async fn line(&mut self) -> Option<ServerLine> {
        loop {
            if let Some(line) = self.waiting.pop_front() {
                return Some(line);
            }
            let Message::Text(text) = self.socket.next().await?.ok()? else { continue };
            for line in text.lines() {
                if line == "{}" {
                    self.socket.send(Message::text("{}")).await.ok()?;
                } else {
                    self.waiting.push_back(serde_json::from_str(line).ok()?);
                }
            }
        }
    }
}
