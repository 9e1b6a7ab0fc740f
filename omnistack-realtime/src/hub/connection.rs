//! A connection: its caller, its subscriptions, and the times at which it is due.

use std::{
    collections::VecDeque,
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex},
};

use omnistack_core::{clock::Timestamp, crypto::Token, id::Id, identity::Identity};

use super::{channels::Channel, limits::CommandRate, lock, outbound::Outbound};
use crate::{protocol::ClientInfo, sign_in::Credential};

/// The transport of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    WebSocket,
    /// Server-sent events, with commands in requests of the emulation.
    Sse,
}

impl Transport {
    /// Returns the name for operators.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Sse => "sse",
        }
    }
}

/// A connection of a client.
pub(crate) struct Connection {
    /// The key in this process, in the order of the connections.
    pub(super) number: u64,
    pub(super) id: Id<Self>,
    pub(super) address: Option<IpAddr>,
    pub(super) opened_at: Timestamp,
    pub(super) outbound: Arc<Outbound>,
    /// `None` for a WebSocket, whose commands arrive on the connection itself.
    pub(super) emulation: Option<Box<Emulation>>,
    pub(super) state: Mutex<ConnectionState>,
}

/// The state that commands and the timer wheel change.
#[derive(Debug)]
pub(super) struct ConnectionState {
    pub(super) phase: ConnectionPhase,
    pub(super) caller: Option<Arc<Identity>>,
    pub(super) credential: Option<Arc<Credential>>,
    pub(super) subscriptions: Vec<Subscription>,
    pub(super) rate: CommandRate,
    pub(super) deadlines: Deadlines,
}

/// The phase of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionPhase {
    /// The connect command has not arrived yet.
    Unauthenticated,
    /// The connect command is carried out.
    SigningIn,
    Connected,
    /// The transport has ended.
    Ended,
}

/// The times at which a connection needs attention.
#[derive(Debug)]
pub(super) struct Deadlines {
    /// The second for which the connection is in the timer wheel.
    pub(super) scheduled: i64,
    /// The end of the time to sign in, of the sign-in itself, and after that the next ping.
    pub(super) ping: Timestamp,
    /// The latest time of the pong that the client owes.
    pub(super) pong: Option<Timestamp>,
    /// The end of the grace period after the expiry of the token.
    pub(super) expiry: Option<Timestamp>,
    /// The next refresh of the presence.
    pub(super) presence: Option<Timestamp>,
    pub(super) reauthentication: Timestamp,
}

/// A subscription of a connection.
pub(super) struct Subscription {
    pub(super) channel: Arc<Channel>,
    /// The key of the subscription among all of this process.
    pub(super) serial: u64,
    /// Whether the server made it, for the path of the connection.
    pub(super) is_server_side: bool,
    /// Whether the client is present in the channel.
    pub(super) is_present: bool,
}

/// The commands that arrive in requests of their own.
pub(super) struct Emulation {
    /// The secret with which requests name the connection.
    pub(super) session: Token,
    pub(super) inbox: Mutex<Inbox>,
}

/// Frames of commands that wait for those before them.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    pub(super) frames: VecDeque<String>,
    pub(super) bytes: usize,
    /// Whether a task executes the frames.
    pub(super) is_served: bool,
}

impl Connection {
    /// Returns whether the connect command has succeeded.
    pub(super) fn is_connected(&self) -> bool {
        lock(&self.state).phase == ConnectionPhase::Connected
    }

    pub(super) fn transport(&self) -> Transport {
        if self.emulation.is_some() { Transport::Sse } else { Transport::WebSocket }
    }

    /// Returns whether the client owes a pong, and records that it has sent it.
    pub(super) fn take_pong(&self) -> bool {
        lock(&self.state).deadlines.pong.take().is_some()
    }

    /// Returns the caller, after the sign-in.
    pub(super) fn caller(&self) -> Option<Arc<Identity>> {
        lock(&self.state).caller.clone()
    }

    /// Returns whether the connection still has a credential, and no later one.
    pub(super) fn has_credential(&self, credential: &Arc<Credential>) -> bool {
        lock(&self.state).credential.as_ref().is_none_or(|present| Arc::ptr_eq(present, credential))
    }

    /// Returns the client as other clients see it.
    pub(super) fn client_info(&self, caller: &Identity) -> ClientInfo {
        ClientInfo { user: caller.user.to_string(), client: self.id.to_string() }
    }

    /// Returns an identity as the connection keeps it: without the id of a request that has ended.
    pub(super) fn caller_of(&self, mut identity: Identity) -> Identity {
        identity.origin.address = self.address;
        identity.origin.request = None;
        identity
    }

    /// Returns whether a subscription has not ended.
    pub(super) fn has_subscription(&self, serial: u64) -> bool {
        lock(&self.state).subscriptions.iter().any(|subscription| subscription.serial == serial)
    }

    /// Removes a subscription. Returns `None` if it has ended already.
    pub(super) fn take_subscription(&self, serial: u64) -> Option<Subscription> {
        lock(&self.state).take_subscription(|subscription| subscription.serial == serial)
    }
}

impl ConnectionState {
    /// Returns the subscription of a channel, by the name that clients use.
    pub(super) fn subscription(&self, name: &str) -> Option<&Subscription> {
        self.subscriptions.iter().find(|subscription| subscription.channel.key.name() == name)
    }

    /// Removes the first subscription for which the function returns true.
    pub(super) fn take_subscription(&mut self, is_taken: impl Fn(&Subscription) -> bool) -> Option<Subscription> {
        let index = self.subscriptions.iter().position(is_taken)?;
        Some(self.subscriptions.swap_remove(index))
    }
}

impl Deadlines {
    /// Returns the next time at which the connection is due.
    pub(super) fn earliest(&self) -> Timestamp {
        let optional = [self.pong, self.expiry, self.presence];
        let always = self.ping.min(self.reauthentication);
        optional.into_iter().flatten().fold(always, Timestamp::min)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("id", &self.id).field("number", &self.number).finish_non_exhaustive()
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("channel", &self.channel.key).finish_non_exhaustive()
    }
}
