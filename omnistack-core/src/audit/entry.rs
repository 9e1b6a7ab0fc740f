//! Audit entries, as recorded and as read.

use std::fmt;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    clock::Timestamp,
    crypto::Sha256,
    id::Id,
    identity::{RequestOrigin, TenantId, UserId},
};

/// Audit entry to record: an action, with its actor, tenant and resource.
///
/// ```
/// use omnistack_core::{audit::AuditEntry, clock::Clock, id::Id, identity::Identity};
/// use serde_json::json;
///
/// # let now = Clock::system().now();
/// # let (operator, ada, tenant) = (Id::new(now), Id::new(now), Id::new(now));
/// // An operator acts as Ada.
/// let caller = Identity::user(ada).for_tenant(tenant).with_impersonator(operator);
/// let entry = AuditEntry::new("member.invited").actor(&caller).resource("email", "bob@example.org");
/// let entry = entry.details(json!({ "role": "viewer" }));
/// assert_eq!((entry.actor, entry.on_behalf_of), (Some(operator), Some(ada)));
/// assert_eq!(entry.resource.as_deref(), Some("email:bob@example.org"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditEntry {
    /// Name of the action: `project.deleted`.
    pub action: String,
    /// User who acted; `None` for the app itself. During an impersonation it is the operator.
    pub actor: Option<UserId>,
    /// User who was impersonated by the operator. Stored as `on_behalf_of` in the details.
    pub on_behalf_of: Option<UserId>,
    /// Tenant in which the action took place.
    pub tenant: Option<TenantId>,
    /// Resource that was acted on: `project:0190…`.
    pub resource: Option<String>,
    /// Further details. Must not contain secrets.
    pub details: Option<Value>,
    /// Origin of the request. Stored as `address` and `request_id` in the details.
    pub origin: RequestOrigin,
}

impl AuditEntry {
    /// Creates an entry for an action. The prefix `audit.` is reserved for the audit log itself.
    pub fn new(action: impl Into<String>) -> Self {
        Self {
            action: action.into(),
            actor: None,
            on_behalf_of: None,
            tenant: None,
            resource: None,
            details: None,
            origin: RequestOrigin::default(),
        }
    }

    /// Sets the caller as the actor, with the caller's tenant and origin. During an impersonation, the operator
    /// is the actor and the user is recorded as well.
    pub fn actor(mut self, caller: &crate::identity::Identity) -> Self {
        self.actor = Some(caller.impersonator.unwrap_or(caller.user));
        self.on_behalf_of = caller.impersonator.map(|_| caller.user);
        self.tenant = caller.tenant;
        self.origin = caller.origin.clone();
        self
    }

    /// Removes the tenant: the entry is recorded in the app's chain, whichever tenant the caller has chosen.
    pub fn for_app(mut self) -> Self {
        self.tenant = None;
        self
    }

    /// Sets the tenant, for actions of the app itself or of an operator who is not a member.
    pub fn for_tenant(mut self, tenant: TenantId) -> Self {
        self.tenant = Some(tenant);
        self
    }

    /// Sets the resource, from its kind and id.
    pub fn resource(mut self, kind: &str, id: impl fmt::Display) -> Self {
        self.resource = Some(format!("{kind}:{id}"));
        self
    }

    /// Takes the details to store: those of the entry, with the impersonated user and the origin of the request
    /// added. Fields that the details contain already are kept.
    pub(super) fn take_details(&mut self) -> Option<Value> {
        let text = |text: String| Value::String(text);
        let more = [
            ("on_behalf_of", self.on_behalf_of.map(|user| text(user.to_string()))),
            ("address", self.origin.address.map(|address| text(address.to_string()))),
            ("request_id", self.origin.request.as_ref().map(|request| text(request.as_str().to_owned()))),
        ];
        let more: Vec<_> = more.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        if more.is_empty() {
            return self.details.take();
        }
        let mut details = match self.details.take() {
            Some(Value::Object(details)) => details,
            None => serde_json::Map::new(),
            Some(other) => serde_json::Map::from_iter([("details".to_owned(), other)]),
        };
        for (name, value) in more {
            details.entry(name).or_insert(value);
        }
        Some(Value::Object(details))
    }

    /// Sets further details.
    pub fn details(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }
}

/// Audit entry as it is stored.
///
/// ```
/// use omnistack_core::audit::{AuditEntry, AuditLog, AuditRecord, AuditStore, AuditChain};
/// # use omnistack_core::{app::App, config::Config};
///
/// fn line(record: &AuditRecord) -> String {
///     let who = record.actor.map_or("the app".to_owned(), |user| user.to_string());
///     format!("{}: {who}: {} {}", record.sequence, record.action, record.resource.as_deref().unwrap_or("-"))
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let app = App::builder(Config::from_pairs([("DATABASE_URL", "sqlite::memory:")])).build()?;
/// # app.migrate().await?;
/// # let (log, store): (AuditLog, AuditStore) = (app.context().get()?, app.context().get()?);
/// # let mut tx = app.db().begin().await?;
/// # log.record_in(&mut tx, AuditEntry::new("backup.made").resource("backup", "monday")).await?;
/// # tx.commit().await?;
/// let first = store.get(AuditChain::App, 1).await?;
/// assert_eq!(first.as_ref().map(line).as_deref(), Some("1: the app: backup.made backup:monday"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(description = "Audit entry as it is stored.")]
#[non_exhaustive]
pub struct AuditRecord {
    /// Id of the entry.
    pub id: Id<Self>,
    /// Tenant whose chain the entry belongs to; `null` for the app's chain.
    #[schema(required, value_type = Option<String>, format = Uuid)]
    pub tenant: Option<TenantId>,
    /// Number of the entry in its chain, from 1.
    pub sequence: i64,
    /// Time when the entry was recorded.
    pub at: Timestamp,
    /// User who acted; `null` for the app itself.
    #[schema(required, value_type = Option<String>, format = Uuid)]
    pub actor: Option<UserId>,
    /// Name of the action.
    pub action: String,
    /// Resource that was acted on.
    #[schema(required)]
    pub resource: Option<String>,
    /// Further details.
    #[schema(required, value_type = Option<Object>)]
    pub details: Option<Value>,
    /// Hash of the previous entry, 64 hexadecimal digits.
    #[schema(value_type = String)]
    pub previous: Sha256,
    /// Hash of this entry, 64 hexadecimal digits.
    #[schema(value_type = String)]
    pub hash: Sha256,
}
