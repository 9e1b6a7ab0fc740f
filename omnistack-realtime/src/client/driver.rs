//! The task of a client, which keeps it connected.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use omnistack_core::{SecretString, ShutdownToken};
use tokio::{
    sync::{mpsc, oneshot},
    time::sleep,
};

use super::{
    ClientError,
    backoff::Backoff,
    connection::ServerConnection,
    connection_end::ConnectionEnd,
    settings::TokenSource,
    socket::{ClientSocket, SocketTarget},
    subscription::{DroppedSubscription, SubscriptionEnd},
    subscription_state::{NewSubscription, SubscriptionState},
};
use crate::protocol::{Method, ReplyContent};

/// The receiver of the reply to a command. It is dropped without a reply if the connection is lost or the client ends.
pub(super) type ReplySender = oneshot::Sender<Result<ReplyContent, ClientError>>;

/// A request of the app.
#[derive(Debug)]
pub(super) enum ClientRequest {
    Command { method: Method, reply: ReplySender },
    Subscribe(NewSubscription),
}

/// The state of a client that its connections share.
pub(super) struct ClientDriver {
    pub(super) target: SocketTarget,
    pub(super) token_source: TokenSource,
    /// The token of the last connection.
    pub(super) token: Option<SecretString>,
    /// Whether the token is new, and no connection has signed in with it.
    pub(super) is_token_new: bool,
    pub(super) requests: mpsc::Receiver<ClientRequest>,
    pub(super) drops: mpsc::UnboundedReceiver<DroppedSubscription>,
    pub(super) closing: ShutdownToken,
    pub(super) subscriptions: HashMap<String, SubscriptionState>,
    /// Told when the client is connected for the first time.
    pub(super) connected: Option<oneshot::Sender<()>>,
    /// The error with which the client has ended.
    pub(super) end: Arc<OnceLock<ClientError>>,
    pub(super) backoff: Backoff,
}

impl ClientDriver {
    /// Keeps the client connected until it ends, and tells its subscriptions why.
    pub(super) async fn run(mut self) {
        let error = self.keep_connected().await;
        tracing::debug!(target: "omnistack::realtime", %error, "a realtime client has ended");
        // What waits for a reply looks for the error when its sender is dropped with the driver.
        _ = self.end.set(error.clone());
        for (_, subscription) in self.subscriptions.drain() {
            subscription.end(SubscriptionEnd::Failed(error.clone()));
        }
    }

    async fn keep_connected(&mut self) -> ClientError {
        let closing = self.closing.clone();
        loop {
            let end = match closing.run_until_cancelled(self.open()).await {
                Some(Ok(socket)) => ServerConnection::new(self, socket).exchange().await,
                Some(Err(end)) => end,
                None => return ClientError::ClientClosed,
            };
            self.subscriptions.retain(|_, subscription| {
                subscription.disconnect();
                !subscription.is_dropped()
            });
            let delay = match self.delay_after(end) {
                Ok(delay) => delay,
                Err(error) => return error,
            };
            if closing.run_until_cancelled(sleep(delay)).await.is_none() {
                return ClientError::ClientClosed;
            }
        }
    }

    /// Returns the time until the next attempt to connect, or the error with which the client ends.
    fn delay_after(&mut self, end: ConnectionEnd) -> Result<Duration, ClientError> {
        match end {
            ConnectionEnd::Final(error) => Err(error),
            ConnectionEnd::Lost(reason) => {
                let delay = self.backoff.next_delay();
                tracing::warn!(target: "omnistack::realtime", %reason, ?delay, "a realtime client connects again");
                Ok(delay)
            }
            ConnectionEnd::TokenExpired => {
                if !matches!(self.token_source, TokenSource::Function(_)) {
                    return Err(ClientError::TokenExpired);
                }
                self.token = None;
                // A function that returns tokens which have expired is not called again and again.
                Ok(if self.is_token_new { self.backoff.next_delay() } else { Duration::ZERO })
            }
        }
    }

    async fn open(&mut self) -> Result<ClientSocket, ConnectionEnd> {
        if self.token.is_none() {
            match &self.token_source {
                TokenSource::Headers => {}
                TokenSource::Value(token) => self.token = Some(token.clone()),
                TokenSource::Function(token) => {
                    let token = token().await;
                    let token = token.map_err(|error| ConnectionEnd::Lost(format!("no access token: {error}")))?;
                    self.token = Some(token.into());
                    self.is_token_new = true;
                }
            }
        }
        self.target.open().await
    }
}
