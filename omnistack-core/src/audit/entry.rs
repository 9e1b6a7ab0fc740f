//! What is recorded, and what is read back.

use std::fmt;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    clock::Timestamp,
    crypto::Sha256,
    id::Id,
    identity::{Origin, TenantId, UserId},
};

/// One thing somebody did.
///
/// ```
/// use omnistack_core::{audit::AuditEntry, clock::Clock, id::Id, identity::Identity};
/// use serde_json::json;
///
/// # let now = Clock::system().now();
/// # let (operator, ada, tenant) = (Id::new(now), Id::new(now), Id::new(now));
/// // An operator acts as Ada.
/// let caller = Identity::user(ada).for_tenant(tenant).with_actor(operator);
/// let entry = AuditEntry::new("member.invited").by(&caller).on("email", "bob@example.org");
/// let entry = entry.with(json!({ "role": "viewer" }));
/// assert_eq!((entry.actor, entry.on_behalf_of), (Some(operator), Some(ada)));
/// assert_eq!(entry.resource.as_deref(), Some("email:bob@example.org"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditEntry {
    /// What was done: `project.deleted`.
    pub action: String,
    /// Who did it; nobody for the app itself. Of an operator who acts as a user, the operator.
    pub actor: Option<UserId>,
    /// The user an operator acted as. Kept as `on_behalf_of` in the details.
    pub on_behalf_of: Option<UserId>,
    /// In which tenant.
    pub tenant: Option<TenantId>,
    /// To what: `project:0190…`.
    pub resource: Option<String>,
    /// What else is worth knowing. No secrets.
    pub details: Option<Value>,
    /// Where the request came from. Kept as `address` and `request_id` in the details.
    pub origin: Origin,
}

impl AuditEntry {
    /// Of an action. `audit.` is for the audit log's own.
    pub fn new(action: impl Into<String>) -> Self {
        Self {
            action: action.into(),
            actor: None,
            on_behalf_of: None,
            tenant: None,
            resource: None,
            details: None,
            origin: Origin::default(),
        }
    }

    /// Done by a caller, in the caller's tenant. An operator who acts as a user is named with that user.
    pub fn by(mut self, caller: &crate::identity::Identity) -> Self {
        self.actor = Some(caller.actor.unwrap_or(caller.user));
        self.on_behalf_of = caller.actor.map(|_| caller.user);
        self.tenant = caller.tenant;
        self.origin = caller.origin.clone();
        self
    }

    /// Done by an operator to the app: in its own chain, whichever tenant the operator has chosen.
    pub fn for_app(mut self) -> Self {
        self.tenant = None;
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

    /// The details as they are kept: with who was acted as, and where the request came from. What the entry says of these
    /// itself stays.
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

    /// With more to know.
    pub fn with(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }
}

/// An entry as it is kept.
///
/// ```
/// use omnistack_core::audit::{AuditEntry, AuditLog, AuditRecord, AuditStore, Chain};
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
/// # let (log, store): (AuditLog, AuditStore) = (app.ctx().get()?, app.ctx().get()?);
/// # let mut tx = app.db().begin().await?;
/// # log.record_in(&mut tx, AuditEntry::new("backup.made").on("backup", "monday")).await?;
/// # tx.commit().await?;
/// let first = store.get(Chain::App, 1).await?;
/// assert_eq!(first.as_ref().map(line).as_deref(), Some("1: the app: backup.made backup:monday"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(description = "An entry as it is kept.")]
#[non_exhaustive]
pub struct AuditRecord {
    /// Its id.
    pub id: Id<Self>,
    /// The tenant whose chain it is in; none for the app's own.
    #[schema(required, value_type = Option<String>, format = Uuid)]
    pub tenant: Option<TenantId>,
    /// Its number in the chain, from 1.
    pub sequence: i64,
    /// When it was recorded.
    pub at: Timestamp,
    /// Who did it; nobody for the app itself.
    #[schema(required, value_type = Option<String>, format = Uuid)]
    pub actor: Option<UserId>,
    /// What was done.
    pub action: String,
    /// To what.
    #[schema(required)]
    pub resource: Option<String>,
    /// What else is worth knowing.
    #[schema(required, value_type = Option<Object>)]
    pub details: Option<Value>,
    /// The hash of the entry before, 64 hexadecimal digits.
    #[schema(value_type = String)]
    pub previous: Sha256,
    /// Its own hash.
    #[schema(value_type = String)]
    pub hash: Sha256,
}
