//! The actions of operators, with their entries in the audit log.

use omnistack_core::{
    audit::AuditEntry,
    http::{Error, FieldError},
    identity::{Identity, TenantId, UserId},
    realtime::RealtimeChannel,
};
use serde_json::{Value, json};

use super::{RealtimeAdmin, model::RealtimeBroadcast};
use crate::{hub::ConnectionFilter, protocol::CloseCode};

/// The clients that get a message of an operator.
#[derive(Clone, Copy, Debug)]
pub(super) enum BroadcastTarget {
    /// All signed-in users.
    App,
    Tenant(TenantId),
    User(UserId),
}

impl BroadcastTarget {
    /// Returns the target. Fails with 422 for a tenant and a user.
    pub(super) fn new(tenant: Option<TenantId>, user: Option<UserId>) -> Result<Self, Error> {
        match (tenant, user) {
            (None, None) => Ok(Self::App),
            (Some(tenant), None) => Ok(Self::Tenant(tenant)),
            (None, Some(user)) => Ok(Self::User(user)),
            (Some(_), Some(_)) => Err(Error::invalid([FieldError::new("user", "can't be set together with `tenant`")])),
        }
    }

    fn channel(self) -> RealtimeChannel {
        match self {
            Self::App => RealtimeChannel::broadcast(),
            Self::Tenant(tenant) => RealtimeChannel::tenant(tenant),
            Self::User(user) => RealtimeChannel::user(user),
        }
    }
}

impl RealtimeAdmin {
    /// Closes connections in all processes. If that fails after the entry was recorded, the operator repeats it. Fails
    /// with 422 for a target without a condition, which would be all connections of the app.
    pub(super) async fn disconnect(
        &self,
        operator: &Identity,
        target: &ConnectionFilter,
        reconnect: bool,
        reason: Option<String>,
    ) -> Result<(), Error> {
        let ConnectionFilter { user, tenant, client } = target;
        let (kind, id) = match (client, user, tenant) {
            (Some(client), ..) => ("realtime_connection", client.clone()),
            (None, Some(user), _) => ("user", user.to_string()),
            (None, None, Some(tenant)) => ("tenant", tenant.to_string()),
            (None, None, None) => {
                let field = FieldError::new("user", "is required, unless `tenant` or `connection` is set");
                return Err(Error::invalid([field]));
            }
        };
        let details = json!({ "user": user, "tenant": tenant, "reconnect": reconnect, "reason": reason });
        let entry = AuditEntry::new("realtime.connection_disconnected").actor(operator);
        self.record(of_tenant(entry, *tenant).resource(kind, id).details(details)).await?;
        let code = if reconnect { CloseCode::ForceReconnect } else { CloseCode::ForceNoReconnect };
        self.hub.disconnect(target, code).await
    }

    /// Sends a message to clients, if its entry is recorded.
    pub(super) async fn broadcast(
        &self,
        operator: &Identity,
        target: BroadcastTarget,
        data: Value,
    ) -> Result<RealtimeBroadcast, Error> {
        let channel = target.channel();
        let name = channel.name().to_owned();
        let entry = AuditEntry::new("realtime.broadcast_sent").actor(operator);
        let entry = of_tenant(entry, channel.tenant_id()).resource("realtime_channel", &name);
        let mut tx = self.db.begin().await?;
        self.realtime.publish_in(&mut tx, channel, &data).await?;
        self.log.record_in(&mut tx, entry).await?;
        tx.commit().await?;
        Ok(RealtimeBroadcast { channel: name })
    }

    async fn record(&self, entry: AuditEntry) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        self.log.record_in(&mut tx, entry).await?;
        Ok(tx.commit().await?)
    }
}

fn of_tenant(entry: AuditEntry, tenant: Option<TenantId>) -> AuditEntry {
    match tenant {
        Some(tenant) => entry.for_tenant(tenant),
        None => entry.for_app(),
    }
}
