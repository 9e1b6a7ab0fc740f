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
    /// Number of tenants with open connections.
    tenants: u64,
    /// Number of channels with subscribers.
    channels: u64,
    /// Number of subscriptions of all connections.
    subscriptions: u64,
    /// The rules of channels, in the order in which they are applied.
    rules: Vec<ChannelTableRow>,
}

impl RealtimeStats {
    pub(super) fn new(stats: HubStats, rules: Vec<ChannelTableRow>) -> Self {
        let HubStats { connections, users, tenants, channels, subscriptions } = stats;
        Self {
            connections: number(connections),
            users: number(users),
            tenants: number(tenants),
            channels: number(channels),
            subscriptions: number(subscriptions),
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
    transport: &'static str,
    /// The address of the client; `null` if it is not known.
    #[schema(required)]
    address: Option<String>,
    /// The channels of the subscriptions.
    channels: Vec<String>,
    /// Number of bytes that wait to be sent to the client.
    queued_bytes: u64,
    /// When the connection was opened.
    connected_at: Timestamp,
}

impl From<ConnectionInfo> for RealtimeConnection {
    fn from(info: ConnectionInfo) -> Self {
        let ConnectionInfo { client, user, tenant, transport, address, opened_at, channels, queued_bytes } = info;
        Self {
            id: client,
            user_id: user,
            tenant_id: tenant,
            transport,
            address: address.map(|address| address.to_string()),
            channels,
            queued_bytes: number(queued_bytes),
            connected_at: opened_at,
        }
    }
}

/// A message that was sent to clients.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RealtimeBroadcast {
    /// The channel of the message.
    pub(super) channel: String,
}
