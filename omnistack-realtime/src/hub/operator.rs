//! Numbers and connections of the hub, for operators and for other parts of the app.

use std::net::IpAddr;

use omnistack_core::{
    clock::Timestamp,
    http::Error,
    identity::{TenantId, UserId},
};

use super::{Hub, connection::Connection, lock};
use crate::{engine::ControlMessage, protocol::CloseCode};

/// A selection of connections. Every condition that is set must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ConnectionFilter {
    pub(crate) user: Option<UserId>,
    pub(crate) tenant: Option<TenantId>,
    /// The id of a connection.
    pub(crate) client: Option<String>,
}

/// An open connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionInfo {
    pub(crate) client: String,
    /// `None` before the sign-in.
    pub(crate) user: Option<UserId>,
    pub(crate) tenant: Option<TenantId>,
    pub(crate) transport: &'static str,
    pub(crate) address: Option<IpAddr>,
    pub(crate) opened_at: Timestamp,
    pub(crate) channels: Vec<String>,
    /// Size of the frames that wait to be sent.
    pub(crate) queued_bytes: usize,
}

/// Numbers of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HubStats {
    pub(crate) connections: usize,
    pub(crate) users: usize,
    pub(crate) tenants: usize,
    /// Number of channels with subscribers.
    pub(crate) channels: usize,
    pub(crate) subscriptions: usize,
}

impl Hub {
    /// Returns the numbers of this process.
    pub(crate) fn stats(&self) -> HubStats {
        let totals = self.0.connections.totals();
        let channels = self.0.channels.all();
        let counts: Vec<_> =
            channels.iter().map(|channel| channel.subscriber_count()).filter(|count| *count > 0).collect();
        HubStats {
            connections: totals.connections,
            users: totals.users,
            tenants: totals.tenants,
            channels: counts.len(),
            subscriptions: counts.iter().sum(),
        }
    }

    /// Returns the connections of this process that a filter selects, the oldest first, at most `limit`.
    pub(crate) fn connections(&self, filter: &ConnectionFilter, limit: usize) -> Vec<ConnectionInfo> {
        let mut connections = self.0.connections.candidates(filter.user, filter.tenant);
        connections.sort_unstable_by_key(|connection| connection.number);
        connections.iter().filter(|connection| filter.selects(connection)).map(|c| c.info()).take(limit).collect()
    }

    /// Closes the connections in all replicas that a filter selects. A filter without a condition selects none.
    ///
    /// # Errors
    /// 503 if the other replicas can't be reached.
    pub(crate) async fn disconnect(&self, filter: &ConnectionFilter, code: CloseCode) -> Result<(), Error> {
        let message = ControlMessage::Disconnect {
            user: filter.user.map(|user| user.to_string()),
            tenant: filter.tenant.map(|tenant| tenant.to_string()),
            client: filter.client.clone(),
            code: code.number(),
        };
        self.0.engine.control(&message).await.map(drop)
    }

    /// Closes the connections of this process for which all conditions hold.
    pub(super) fn disconnect_here(
        &self,
        user: Option<&str>,
        tenant: Option<&str>,
        client: Option<&str>,
        code: CloseCode,
    ) {
        let user = user.map(|user| user.parse::<UserId>()).transpose();
        let tenant = tenant.map(|tenant| tenant.parse::<TenantId>()).transpose();
        let (Ok(user), Ok(tenant)) = (user, tenant) else { return };
        let filter = ConnectionFilter { user, tenant, client: client.map(str::to_owned) };
        if filter == ConnectionFilter::default() {
            return;
        }
        let candidates = self.0.connections.candidates(filter.user, filter.tenant);
        for connection in candidates.iter().filter(|connection| filter.selects(connection)) {
            connection.outbound.close(code);
        }
    }
}

impl ConnectionFilter {
    fn selects(&self, connection: &Connection) -> bool {
        let caller = connection.caller();
        let caller = caller.as_deref();
        let is_user = |user: UserId| caller.is_some_and(|caller| caller.user == user);
        let is_tenant = |tenant: TenantId| caller.is_some_and(|caller| caller.tenant == Some(tenant));
        self.user.is_none_or(is_user)
            && self.tenant.is_none_or(is_tenant)
            && self.client.as_ref().is_none_or(|client| *client == connection.id.to_string())
    }
}

impl Connection {
    fn info(&self) -> ConnectionInfo {
        let state = lock(&self.state);
        let caller = state.caller.as_deref();
        let channels = state.subscriptions.iter().map(|subscription| subscription.channel.key.name().to_owned());
        ConnectionInfo {
            client: self.id.to_string(),
            user: caller.map(|caller| caller.user),
            tenant: caller.and_then(|caller| caller.tenant),
            transport: self.transport().as_str(),
            address: self.address,
            opened_at: self.opened_at,
            channels: channels.collect(),
            queued_bytes: self.outbound.queued_bytes(),
        }
    }
}

/// Returns the code of a number that another replica has sent.
pub(super) fn close_code(number: u16) -> CloseCode {
    let codes = [
        CloseCode::ConnectionClosed,
        CloseCode::Shutdown,
        CloseCode::InvalidToken,
        CloseCode::ForceNoReconnect,
        CloseCode::PermissionDenied,
    ];
    codes.into_iter().find(|code| code.number() == number).unwrap_or(CloseCode::ForceReconnect)
}
