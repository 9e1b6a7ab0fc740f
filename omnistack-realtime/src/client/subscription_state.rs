//! The state of a subscription, as the client keeps it also while it is disconnected.

use std::sync::{Arc, OnceLock};

use tokio::sync::{mpsc, oneshot};

use super::{
    ClientError,
    backoff::Backoff,
    subscription::{ChannelUpdate, SubscriptionEnd},
};
use crate::protocol::{ReplyError, StreamPosition, SubscribeRequest, SubscribeResult};

/// The phase of a subscription on the present connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SubscriptionPhase {
    /// The client subscribes after this number of ticks.
    Waiting(u32),
    /// The reply is awaited.
    Subscribing,
    Subscribed,
}

/// A subscription of a client.
#[derive(Debug)]
pub(super) struct SubscriptionState {
    serial: u64,
    phase: SubscriptionPhase,
    /// The position up to which the app gets the messages.
    position: Option<StreamPosition>,
    /// Whether the app knows a state of the channel, so that it must learn what it has missed.
    has_begun: bool,
    updates: mpsc::Sender<ChannelUpdate>,
    end: Arc<OnceLock<SubscriptionEnd>>,
    ready: Option<oneshot::Sender<Result<(), ClientError>>>,
    backoff: Backoff,
}

/// The request of the app for a subscription.
#[derive(Debug)]
pub(super) struct NewSubscription {
    pub(super) channel: String,
    pub(super) serial: u64,
    pub(super) position: Option<StreamPosition>,
    pub(super) updates: mpsc::Sender<ChannelUpdate>,
    pub(super) end: Arc<OnceLock<SubscriptionEnd>>,
    pub(super) ready: oneshot::Sender<Result<(), ClientError>>,
}

impl SubscriptionState {
    /// Creates the state of a subscription that has not begun. Returns the name of its channel too.
    pub(super) fn new(request: NewSubscription) -> (String, Self) {
        let NewSubscription { channel, serial, position, updates, end, ready } = request;
        let state = Self {
            serial,
            phase: SubscriptionPhase::Waiting(0),
            has_begun: position.is_some(),
            position,
            updates,
            end,
            ready: Some(ready),
            backoff: Backoff::default(),
        };
        (channel, state)
    }

    /// Returns the number that tells this subscription from another one to the same channel.
    pub(super) fn serial(&self) -> u64 {
        self.serial
    }

    /// Returns whether the app has dropped the subscription.
    pub(super) fn is_dropped(&self) -> bool {
        self.updates.is_closed()
    }

    /// Returns whether the server knows of the subscription, or will when it has read what was sent.
    pub(super) fn is_at_server(&self) -> bool {
        !matches!(self.phase, SubscriptionPhase::Waiting(_))
    }

    /// Forgets the connection, on which the subscription was: the next one begins it again at once.
    pub(super) fn disconnect(&mut self) {
        self.phase = SubscriptionPhase::Waiting(0);
    }

    /// Lets a tick pass. Returns whether the subscription is to be begun now.
    pub(super) fn tick(&mut self) -> bool {
        match &mut self.phase {
            SubscriptionPhase::Waiting(0) => true,
            SubscriptionPhase::Waiting(ticks) => {
                *ticks -= 1;
                false
            }
            SubscriptionPhase::Subscribing | SubscriptionPhase::Subscribed => false,
        }
    }

    /// Begins the subscription again after a delay.
    pub(super) fn try_later(&mut self) {
        let ticks = self.backoff.next_delay().as_millis().div_ceil(super::TICK_INTERVAL.as_millis());
        self.phase = SubscriptionPhase::Waiting(u32::try_from(ticks).unwrap_or(u32::MAX));
    }

    /// Returns the command that begins the subscription, which is sent now.
    pub(super) fn begin(&mut self, channel: &str) -> SubscribeRequest {
        self.phase = SubscriptionPhase::Subscribing;
        let StreamPosition { offset, epoch } = self.position.clone().unwrap_or_default();
        SubscribeRequest {
            channel: channel.to_owned(),
            recover: self.position.is_some(),
            epoch,
            offset,
            ..SubscribeRequest::default()
        }
    }

    /// Passes the result of the command to the app. Returns whether the app keeps up.
    pub(super) fn go_live(&mut self, result: SubscribeResult) -> bool {
        let SubscribeResult { epoch, offset, publications, recovered, .. } = result;
        self.phase = SubscriptionPhase::Subscribed;
        self.backoff.reset();
        if let Some(ready) = self.ready.take() {
            // An app that does not wait any more drops the subscription, too.
            _ = ready.send(Ok(()));
        }
        let had_begun = std::mem::replace(&mut self.has_begun, true);
        self.position = (!epoch.is_empty()).then_some(StreamPosition { offset, epoch });
        let tells = if recovered { ChannelUpdate::Recovered } else { ChannelUpdate::Missed };
        (!had_begun || self.pass(tells))
            && publications.into_iter().all(|publication| self.pass(ChannelUpdate::Message(publication)))
    }

    /// Passes an update of the server to the app. Returns whether the app keeps up.
    pub(super) fn receive(&mut self, update: ChannelUpdate) -> bool {
        // What arrives before the result is of an earlier subscription to the channel.
        if self.phase != SubscriptionPhase::Subscribed {
            return true;
        }
        if let (ChannelUpdate::Message(publication), Some(position)) = (&update, &mut self.position)
            && publication.offset > 0
        {
            position.offset = publication.offset;
        }
        self.pass(update)
    }

    fn pass(&self, update: ChannelUpdate) -> bool {
        // A subscription that was dropped is ended when the client is told.
        !matches!(self.updates.try_send(update), Err(mpsc::error::TrySendError::Full(_)))
    }

    /// Ends the subscription, because the server refuses to begin it.
    pub(super) fn refuse(mut self, error: ReplyError) {
        match self.ready.take() {
            Some(ready) => _ = ready.send(Err(error.into())),
            None => self.end(SubscriptionEnd::Server { code: error.code, reason: error.message }),
        }
    }

    /// Ends the subscription: the app gets what waits, and then the end.
    pub(super) fn end(self, end: SubscriptionEnd) {
        // It is set once, and read when the sender of the updates is dropped.
        _ = self.end.set(end);
    }
}
