//! Subscriptions, as the app reads them.

use std::{
    fmt,
    marker::PhantomData,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use futures_util::Stream;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::{
    ClientError, ClientHandle,
    queries::{PresentClient, decode},
};
use crate::protocol::{ClientInfo, Publication};

/// An event of a [`ClientSubscription`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum SubscriptionEvent<T> {
    /// A message.
    #[non_exhaustive]
    Message {
        /// The content.
        data: T,
        /// The number of the message in the channel's history; 0 in a channel without history.
        offset: u64,
        /// The client that has published the message; `None` if the app has.
        sender: Option<PresentClient>,
    },
    /// The subscription has begun again, and no message is missing: those that were missed follow.
    Recovered,
    /// The subscription has begun again, and messages are missing. Load the state from the app's API again.
    Missed,
    /// The first client of a user has subscribed to the channel.
    Joined(PresentClient),
    /// The last client of a user has left the channel.
    Left(PresentClient),
    /// The server has ended the subscription. It is the last event.
    #[non_exhaustive]
    Ended {
        /// The code: that of an ended subscription, or of the error with which the server refuses to begin it again.
        code: u32,
        /// The reason.
        reason: String,
    },
}

/// A subscription of a [`RealtimeClient`](super::RealtimeClient): a stream of events, whose messages have data of the
/// type `T`. It outlasts lost connections. It ends with [`SubscriptionEvent::Ended`] if the server ends it, and with an
/// error if the client has ended or the app reads too slowly. Data of another type than `T` is an error too, and the
/// stream goes on after it. The client unsubscribes when the subscription is dropped.
pub struct ClientSubscription<T> {
    channel: String,
    updates: mpsc::Receiver<ChannelUpdate>,
    end: Arc<OnceLock<SubscriptionEnd>>,
    has_ended: bool,
    // Declared after the receiver, which the client looks at when it is told.
    _guard: SubscriptionGuard,
    data: PhantomData<fn() -> T>,
}

/// An event of a subscription that waits until the app reads it.
#[derive(Debug)]
pub(super) enum ChannelUpdate {
    Message(Arc<Publication>),
    Recovered,
    Missed,
    Joined(ClientInfo),
    Left(ClientInfo),
}

/// The end of a subscription.
#[derive(Debug)]
pub(super) enum SubscriptionEnd {
    Server { code: u32, reason: String },
    Failed(ClientError),
}

impl<T> ClientSubscription<T> {
    pub(super) fn new(
        channel: &str,
        updates: mpsc::Receiver<ChannelUpdate>,
        end: Arc<OnceLock<SubscriptionEnd>>,
        guard: SubscriptionGuard,
    ) -> Self {
        Self { channel: channel.to_owned(), updates, end, has_ended: false, _guard: guard, data: PhantomData }
    }

    /// Returns the name of the channel.
    pub fn channel(&self) -> &str {
        &self.channel
    }
}

impl<T: DeserializeOwned> ClientSubscription<T> {
    /// Returns the next event, or `None` after the last.
    ///
    /// # Errors
    /// [`ClientError::Decode`] for data of another type, after which further events follow. The error with which the
    /// client has ended, and [`ClientError::SlowSubscription`], end the subscription.
    pub async fn next(&mut self) -> Option<Result<SubscriptionEvent<T>, ClientError>> {
        std::future::poll_fn(|context| self.poll_event(context)).await
    }

    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<SubscriptionEvent<T>, ClientError>>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        let Poll::Ready(update) = self.updates.poll_recv(context) else { return Poll::Pending };
        let event = match update {
            Some(ChannelUpdate::Message(publication)) => decode(&publication).map(|data| SubscriptionEvent::Message {
                data,
                offset: publication.offset,
                sender: publication.info.clone().map(PresentClient::from),
            }),
            Some(ChannelUpdate::Recovered) => Ok(SubscriptionEvent::Recovered),
            Some(ChannelUpdate::Missed) => Ok(SubscriptionEvent::Missed),
            Some(ChannelUpdate::Joined(info)) => Ok(SubscriptionEvent::Joined(info.into())),
            Some(ChannelUpdate::Left(info)) => Ok(SubscriptionEvent::Left(info.into())),
            None => {
                self.has_ended = true;
                match self.end.get() {
                    Some(SubscriptionEnd::Server { code, reason }) => {
                        Ok(SubscriptionEvent::Ended { code: *code, reason: reason.clone() })
                    }
                    Some(SubscriptionEnd::Failed(error)) => Err(error.clone()),
                    // The runtime of the client has shut down.
                    None => Err(ClientError::ClientClosed),
                }
            }
        };
        Poll::Ready(Some(event))
    }
}

impl<T: DeserializeOwned> Stream for ClientSubscription<T> {
    type Item = Result<SubscriptionEvent<T>, ClientError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_event(context)
    }
}

impl<T> fmt::Debug for ClientSubscription<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientSubscription").field("channel", &self.channel).finish_non_exhaustive()
    }
}

/// The end of a subscription that the app has dropped.
#[derive(Debug)]
pub(super) struct DroppedSubscription {
    pub(super) channel: String,
    pub(super) serial: u64,
}

/// The guard that tells the client when the app drops a subscription, and keeps the client connected until then.
pub(super) struct SubscriptionGuard {
    channel: String,
    serial: u64,
    client: Arc<ClientHandle>,
}

impl SubscriptionGuard {
    pub(super) fn new(channel: &str, serial: u64, client: Arc<ClientHandle>) -> Self {
        Self { channel: channel.to_owned(), serial, client }
    }
}

impl Drop for SubscriptionGuard {
    fn drop(&mut self) {
        let dropped = DroppedSubscription { channel: std::mem::take(&mut self.channel), serial: self.serial };
        // A client that has ended has no subscriptions any more.
        _ = self.client.drops.send(dropped);
    }
}
