//! A client for Rust programs: [`RealtimeClient`].

mod backoff;
mod connection;
mod connection_end;
mod driver;
mod error;
mod queries;
mod settings;
mod socket;
mod subscription;
mod subscription_state;

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use omnistack_core::ShutdownToken;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::{RawValue, to_raw_value};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use self::{
    backoff::Backoff,
    driver::{ClientDriver, ClientRequest},
    socket::SocketTarget,
    subscription::{DroppedSubscription, SubscriptionGuard},
    subscription_state::NewSubscription,
};
use crate::protocol::{Method, PresenceRequest, PublishRequest, ReplyContent, RpcRequest};

pub use error::ClientError;
pub use queries::{ChannelPosition, HistoryMessage, HistoryRange, MessageHistory, PresenceCounts, PresentClient};
pub use settings::ClientOptions;
pub use subscription::{ClientSubscription, SubscriptionEvent};

/// Longest time until the reply to a command.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(5);
/// The unit of the timeouts and delays of a connection.
const TICK_INTERVAL: Duration = Duration::from_secs(1);
/// Number of commands that wait until they are sent. Further callers wait.
const MAX_WAITING_REQUESTS: usize = 64;

/// A client of the protocol over WebSocket, of this server or of another that is compatible with the Centrifuge client
/// protocol v2 in JSON. Cheap to clone.
///
/// The client keeps itself connected: after a loss it connects again, after a random time that grows from 500 ms to
/// 20 s, and its subscriptions continue where they were. It ends with an error when the server refuses it for good,
/// and when all its clones and subscriptions are dropped.
///
/// ```no_run
/// use omnistack_core::BoxError;
/// use omnistack_realtime::{ClientOptions, RealtimeClient, SubscriptionEvent};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Said {
///     text: String,
/// }
///
/// # async fn fetch_access_token() -> Result<String, BoxError> { Ok(String::new()) }
/// # async fn load_room() -> Result<(), BoxError> { Ok(()) }
/// # async fn chat() -> Result<(), BoxError> {
/// let options = ClientOptions::new().token_from(fetch_access_token);
/// let client = RealtimeClient::connect("wss://app.example.com/api/v1/app/ws", options).await?;
/// let mut room = client.subscribe::<Said>("room:42").await?;
/// client.publish("room:42", &Said { text: "hello".to_owned() }).await?;
/// while let Some(event) = room.next().await {
///     match event? {
///         SubscriptionEvent::Message { data, offset, .. } => println!("{offset}: {}", data.text),
///         SubscriptionEvent::Missed => load_room().await?, // messages were missed that are no longer kept
///         SubscriptionEvent::Ended { code, reason, .. } => println!("the server has ended it: {code} {reason}"),
///         _ => {}
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RealtimeClient(Arc<ClientHandle>);

/// The side of the app. The client ends when it is dropped.
struct ClientHandle {
    requests: mpsc::Sender<ClientRequest>,
    /// The subscriptions that the app has dropped: at most as many as there were.
    drops: mpsc::UnboundedSender<DroppedSubscription>,
    closing: ShutdownToken,
    end: Arc<OnceLock<ClientError>>,
    serials: AtomicU64,
    buffered_events: usize,
}

impl RealtimeClient {
    /// Connects to the WebSocket of a server, such as `wss://app.example.com/api/v1/app/ws`, and returns when it has
    /// signed in. It tries again as long as the server can't be reached: use [`tokio::time::timeout`] to wait for a
    /// limited time. Messages of channels that the server subscribes to by the path, such as `/ws/run/7`, are not
    /// delivered: subscribe to `run:7`.
    ///
    /// # Errors
    /// The error with which the client has ended: a URL that is not that of a WebSocket, a token that has expired or is
    /// wrong, and each refusal after which the server wants no further attempt.
    pub async fn connect(url: &str, options: ClientOptions) -> Result<Self, ClientError> {
        let ClientOptions { token, headers, buffered_events } = options;
        let target = SocketTarget::new(url, headers)?;
        let (requests, received_requests) = mpsc::channel(MAX_WAITING_REQUESTS);
        let (drops, received_drops) = mpsc::unbounded_channel();
        let (connected, is_connected) = oneshot::channel();
        let (closing, end) = (ShutdownToken::new(), Arc::<OnceLock<ClientError>>::default());
        let driver = ClientDriver {
            target,
            token_source: token,
            token: None,
            is_token_new: false,
            requests: received_requests,
            drops: received_drops,
            closing: closing.clone(),
            subscriptions: HashMap::new(),
            connected: Some(connected),
            end: Arc::clone(&end),
            backoff: Backoff::default(),
        };
        let serials = AtomicU64::new(0);
        let client = Self(Arc::new(ClientHandle { requests, drops, closing, end, serials, buffered_events }));
        tokio::spawn(driver.run());
        match is_connected.await {
            Ok(()) => Ok(client),
            Err(_) => Err(client.0.end_or(ClientError::ClientClosed)),
        }
    }

    /// Subscribes to a channel whose messages have data of the type `T`.
    ///
    /// # Errors
    /// [`ClientError::CommandRefused`] with the server's code, such as 103 if the caller may not subscribe,
    /// [`ClientError::AlreadySubscribed`], [`ClientError::Timeout`], and the error with which the client has ended.
    pub async fn subscribe<T>(&self, channel: &str) -> Result<ClientSubscription<T>, ClientError> {
        self.begin_subscription(channel, None).await
    }

    /// Subscribes to a channel from a position, which was read before the state was loaded. The first event is
    /// [`SubscriptionEvent::Recovered`], and the messages after the position follow, or
    /// [`SubscriptionEvent::Missed`]: then load the state again.
    ///
    /// # Errors
    /// The errors of [`subscribe`](Self::subscribe).
    pub async fn subscribe_from<T>(
        &self,
        channel: &str,
        position: ChannelPosition,
    ) -> Result<ClientSubscription<T>, ClientError> {
        self.begin_subscription(channel, Some(position)).await
    }

    async fn begin_subscription<T>(
        &self,
        channel: &str,
        position: Option<ChannelPosition>,
    ) -> Result<ClientSubscription<T>, ClientError> {
        let serial = self.0.serials.fetch_add(1, Ordering::Relaxed);
        let (updates, received_updates) = mpsc::channel(self.0.buffered_events);
        let (ready, is_ready) = oneshot::channel();
        let end = Arc::default();
        let request = NewSubscription {
            channel: channel.to_owned(),
            serial,
            position: position.map(Into::into),
            updates,
            end: Arc::clone(&end),
            ready,
        };
        let guard = SubscriptionGuard::new(channel, serial, Arc::clone(&self.0));
        let subscription = ClientSubscription::new(channel, received_updates, end, guard);
        self.0.request(ClientRequest::Subscribe(request), is_ready).await?;
        Ok(subscription)
    }

    /// Publishes a message in a channel, if the server allows it to clients. A frame that is larger than the server's
    /// `REALTIME_MAX_MESSAGE` ends the client.
    ///
    /// # Errors
    /// [`ClientError::CommandRefused`], [`ClientError::Timeout`], [`ClientError::ConnectionLost`],
    /// [`ClientError::Encode`], and the error with which the client has ended. After a timeout and a lost connection,
    /// the message was published or not.
    pub async fn publish(&self, channel: &str, data: &impl Serialize) -> Result<(), ClientError> {
        let request = PublishRequest { channel: channel.to_owned(), data: Some(encode(data)?) };
        match self.call(Method::Publish(request)).await? {
            ReplyContent::Publish(_) => Ok(()),
            _ => Err(unexpected()),
        }
    }

    /// Reads messages of a channel's history, and its position.
    ///
    /// # Errors
    /// [`ClientError::CommandRefused`], with the code 112 if the position of the range is of another epoch,
    /// [`ClientError::Timeout`], [`ClientError::ConnectionLost`], [`ClientError::Decode`], and the error with which the
    /// client has ended.
    pub async fn history<T: DeserializeOwned>(
        &self,
        channel: &str,
        range: HistoryRange,
    ) -> Result<MessageHistory<T>, ClientError> {
        match self.call(Method::History(range.into_request(channel))).await? {
            ReplyContent::History(result) => MessageHistory::new(result),
            _ => Err(unexpected()),
        }
    }

    /// Returns the clients in a channel, up to the limit of the server.
    ///
    /// # Errors
    /// [`ClientError::CommandRefused`], [`ClientError::Timeout`], [`ClientError::ConnectionLost`], and the error with
    /// which the client has ended.
    pub async fn presence(&self, channel: &str) -> Result<Vec<PresentClient>, ClientError> {
        match self.call(Method::Presence(PresenceRequest { channel: channel.to_owned() })).await? {
            ReplyContent::Presence(result) => Ok(result.presence.into_values().map(PresentClient::from).collect()),
            _ => Err(unexpected()),
        }
    }

    /// Returns the numbers of clients and users in a channel.
    ///
    /// # Errors
    /// The errors of [`presence`](Self::presence).
    pub async fn presence_stats(&self, channel: &str) -> Result<PresenceCounts, ClientError> {
        match self.call(Method::PresenceStats(PresenceRequest { channel: channel.to_owned() })).await? {
            ReplyContent::PresenceStats(stats) => Ok(stats.into()),
            _ => Err(unexpected()),
        }
    }

    /// Calls a procedure of the server: see [`Realtime::procedure`](crate::Realtime::procedure).
    ///
    /// # Errors
    /// [`ClientError::CommandRefused`], [`ClientError::Timeout`], [`ClientError::ConnectionLost`],
    /// [`ClientError::Encode`], [`ClientError::Decode`], and the error with which the client has ended.
    pub async fn rpc<T: DeserializeOwned>(&self, method: &str, data: &impl Serialize) -> Result<T, ClientError> {
        let request = RpcRequest { method: method.to_owned(), data: Some(encode(data)?) };
        let ReplyContent::Rpc(result) = self.call(Method::Rpc(request)).await? else { return Err(unexpected()) };
        let data = result.data.as_deref().map_or("null", RawValue::get);
        serde_json::from_str(data).map_err(|error| ClientError::decode(0, error))
    }

    /// Waits until the client has ended, and returns why.
    pub async fn closed(&self) -> ClientError {
        self.0.requests.closed().await;
        self.0.end_or(ClientError::ClientClosed)
    }

    /// Closes the connection for all clones, and ends their subscriptions with [`ClientError::ClientClosed`].
    pub async fn close(self) {
        self.0.closing.cancel();
        self.0.requests.closed().await;
    }

    async fn call(&self, method: Method) -> Result<ReplyContent, ClientError> {
        let (reply, replied) = oneshot::channel();
        self.0.request(ClientRequest::Command { method, reply }, replied).await
    }
}

impl fmt::Debug for RealtimeClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RealtimeClient").field("end", &self.0.end.get()).finish_non_exhaustive()
    }
}

impl ClientHandle {
    /// Passes a request to the client's task, and waits for the reply.
    async fn request<T>(
        &self,
        request: ClientRequest,
        replied: oneshot::Receiver<Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        let replied = async {
            if self.requests.send(request).await.is_err() {
                return Err(self.end_or(ClientError::ClientClosed));
            }
            replied.await.unwrap_or_else(|_| Err(self.end_or(ClientError::ConnectionLost)))
        };
        timeout(COMMAND_TIMEOUT, replied).await.unwrap_or(Err(ClientError::Timeout))
    }

    /// Returns the error with which the client has ended, or another one if it has not.
    fn end_or(&self, otherwise: ClientError) -> ClientError {
        self.end.get().cloned().unwrap_or(otherwise)
    }
}

impl Drop for ClientHandle {
    fn drop(&mut self) {
        self.closing.cancel();
    }
}

fn encode(data: &impl Serialize) -> Result<Box<RawValue>, ClientError> {
    to_raw_value(data).map_err(|error| ClientError::Encode(Arc::new(error)))
}

fn unexpected() -> ClientError {
    ClientError::Protocol("a reply is that of another command".to_owned())
}
