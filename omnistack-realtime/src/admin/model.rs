//! The numbers and connections that operators see.

use omnistack_core::{
    clock::Timestamp,
    identity::{TenantId, UserId},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    channel::ChannelTableRow,
    hub::{ConnectionInfo, HubStats},
};

/// The connections and channels of a process, and the rules of channels.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RealtimeStats {
    /// Number of open connections.
    connections: u64,
    /// Number of users with open connections.
    users: u64,
    /// Number of channels with subscribers.
    channels: u64,
    /// Number of subscriptions of all connections.
    subscriptions: u64,
    /// The rules of channels, in the order in which they are applied.
    rules: Vec<ChannelTableRow>,
}

impl RealtimeStats {
    pub(super) fn new(stats: &HubStats, rules: Vec<ChannelTableRow>) -> Self {
        Self {
            connections: number(stats.connections),
            users: number(stats.users),
            channels: number(stats.channels),
            subscriptions: number(stats.subscriptions),
            rules,
        }
    }
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// An open connection.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RealtimeConnection {
    /// The id of the connection.
    id: String,
    /// The user; `null` before the sign-in.
    #[schema(required, value_type = Option<String>, format = Uuid)]
    user_id: Option<UserId>,
    /// The tenant that the user has selected; `null` for none.
    #[schema(required, value_type = Option<String>, format = Uuid)]
    tenant_id: Option<TenantId>,
    /// The transport: `websocket` or `sse`.
    transport: String,
    /// The address of the client; `null` if it is not known.
    #[schema(required)]
    address: Option<String>,
    /// The channels of the subscriptions.
    channels: Vec<String>,
    /// When the connection was opened.
    connected_at: Timestamp,
}

/// A message that was sent to clients.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RealtimeBroadcast {
    /// The channel of the message.
    pub(super) channel: String,
}
