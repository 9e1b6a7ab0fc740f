//! What is recorded, and what is read back.

use std::fmt;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    clock::Timestamp,
    crypto::Sha256,
    id::Id,
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
    /// Of an action. `audit.` is for the audit log's own.
    pub fn new(action: impl Into<String>) -> Self {
        Self { action: action.into(), actor: None, tenant: None, resource: None, details: None }
    }

    /// Done by a caller, in the caller's tenant.
    pub fn by(mut self, caller: &crate::identity::Identity) -> Self {
        self.actor = Some(caller.user);
        self.tenant = caller.tenant;
        self
    }

    /// Done in a tenant, by the app itself or by an operator who belongs to none.
    pub fn for_tenant(mut self, tenant: TenantId) -> Self {
        self.tenant = Some(tenant);
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

/// An entry as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct AuditRecord {
    /// Its id.
    pub id: Id<Self>,
    /// The tenant whose chain it is in; none for the app's own.
    #[schema(value_type = Option<String>, format = Uuid)]
    pub tenant: Option<TenantId>,
    /// Its number in the chain, from 1.
    pub sequence: i64,
    /// When it was recorded.
    pub at: Timestamp,
    /// Who did it; nobody for the app itself.
    #[schema(value_type = Option<String>, format = Uuid)]
    pub actor: Option<UserId>,
    /// What was done.
    pub action: String,
    /// To what.
    pub resource: Option<String>,
    /// What else is worth knowing.
    #[schema(value_type = Option<Object>)]
    pub details: Option<Value>,
    /// The hash of the entry before, 64 hexadecimal digits.
    #[schema(value_type = String)]
    pub previous: Sha256,
    /// Its own hash.
    #[schema(value_type = String)]
    pub hash: Sha256,
}
