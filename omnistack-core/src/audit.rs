//! Who did what.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use serde_json::Value;

use crate::{
    db,
    identity::{TenantId, UserId},
};

/// One thing somebody did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditEntry {
    /// What was done: `project.deleted`.
    pub action: String,
    /// Who did it; nobody for the app itself.
    pub actor: Option<UserId>,
    /// In which tenant.
    pub tenant: Option<TenantId>,
    /// To what: `project:0190…`.
    pub resource: Option<String>,
    /// What else is worth knowing. No secrets.
    pub details: Option<Value>,
}

impl AuditEntry {
    /// Of an action.
    pub fn new(action: impl Into<String>) -> Self {
        Self { action: action.into(), actor: None, tenant: None, resource: None, details: None }
    }

    /// Done by a caller, in the caller's tenant.
    pub fn by(mut self, caller: &crate::identity::Identity) -> Self {
        self.actor = Some(caller.user);
        self.tenant = caller.tenant;
        self
    }

    /// Done to something.
    pub fn on(mut self, kind: &str, id: impl fmt::Display) -> Self {
        self.resource = Some(format!("{kind}:{id}"));
        self
    }

    /// With more to know.
    pub fn with(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }
}

/// Keeps audit entries.
#[async_trait]
pub trait AuditSink: Send + Sync + 'static {
    /// Keeps an entry within the transaction that did what it records.
    async fn record(&self, tx: &mut db::Tx, entry: AuditEntry) -> Result<(), db::Error>;
}

/// The app's audit log. Without a module that keeps one, entries are written to the log as `omnistack::audit`.
#[derive(Clone)]
pub struct AuditLog(Arc<dyn AuditSink>);

impl AuditLog {
    /// Kept in this way.
    pub fn new(sink: impl AuditSink) -> Self {
        Self(Arc::new(sink))
    }

    /// Records an entry in the same transaction as what it records.
    pub async fn record_in(&self, tx: &mut db::Tx, entry: AuditEntry) -> Result<(), db::Error> {
        self.0.record(tx, entry).await
    }
}

impl Default for AuditLog {
    fn default() -> Self {
        Self::new(Logged)
    }
}

impl fmt::Debug for AuditLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuditLog")
    }
}

struct Logged;

#[async_trait]
impl AuditSink for Logged {
    async fn record(&self, _: &mut db::Tx, entry: AuditEntry) -> Result<(), db::Error> {
        let AuditEntry { action, actor, tenant, resource, .. } = entry;
        tracing::info!(target: "omnistack::audit", action, ?actor, ?tenant, resource);
        Ok(())
    }
}
