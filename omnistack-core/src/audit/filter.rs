//! Filters for audit entries.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use uuid::Uuid;

use super::{AuditChain, Error};
use crate::{clock::Timestamp, db::Arguments, identity::UserId};

/// Filter for audit entries, of one chain or of all chains.
///
/// ```
/// use omnistack_core::{audit::{AuditFilter, AuditRecord, AuditStore, Error}, clock::Timestamp, identity::UserId};
///
/// async fn what_they_did(store: &AuditStore, user: UserId, since: Timestamp) -> Result<Vec<AuditRecord>, Error> {
///     let filter = AuditFilter::all_chains().actor(user).since(since);
///     let mut page = store.list(&filter, 100, None).await?;
///     let mut all = page.items;
///     while let Some(cursor) = page.next_cursor.take() {
///         page = store.list(&filter, 100, Some(&cursor)).await?;
///         all.append(&mut page.items);
///     }
///     Ok(all)
/// }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct AuditFilter {
    pub(super) chain: Option<AuditChain>,
    actor: Option<UserId>,
    action: Option<String>,
    resource: Option<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl AuditFilter {
    /// Creates a filter for the chain of a tenant or of the app.
    pub fn for_chain(chain: impl Into<AuditChain>) -> Self {
        Self { chain: Some(chain.into()), ..Self::all_chains() }
    }

    /// Creates a filter for all chains, those of the tenants and that of the app: for operators.
    pub fn all_chains() -> Self {
        Self { chain: None, actor: None, action: None, resource: None, since: None, until: None }
    }

    /// Selects entries whose actor is this user.
    pub fn actor(mut self, actor: UserId) -> Self {
        self.actor = Some(actor);
        self
    }

    /// Selects actions with this prefix: `project.`.
    pub fn action(mut self, prefix: impl Into<String>) -> Self {
        self.action = Some(prefix.into());
        self
    }

    /// Selects entries with exactly this resource: `project:0190…`.
    pub fn resource(mut self, resource: impl Into<String>) -> Self {
        self.resource = Some(resource.into());
        self
    }

    /// Selects entries recorded at this time or later.
    pub fn since(mut self, since: Timestamp) -> Self {
        self.since = Some(since);
        self
    }

    /// Selects entries recorded before this time.
    pub fn until(mut self, until: Timestamp) -> Self {
        self.until = Some(until);
        self
    }

    /// Returns the condition on the prefix of the action, or `None` if the filter has none. It does not use
    /// `like`, which ignores case in SQLite.
    pub(super) fn action_condition(&self, args: &mut Arguments) -> Option<String> {
        let prefix = self.action.as_ref()?;
        let length = i32::try_from(prefix.chars().count()).unwrap_or(i32::MAX);
        let (length, prefix) = (args.push(length), args.push(prefix.clone()));
        Some(format!("substr(action, 1, ${length}) = ${prefix}"))
    }

    /// Returns all conditions except that on the action, and adds their values to `args`.
    pub(super) fn conditions(&self, after: Option<&ListPosition>, args: &mut Arguments) -> String {
        let mut conditions = Vec::new();
        if let Some(chain) = self.chain {
            conditions.push(format!("tenant_id = ${}", args.push(chain.id())));
        }
        if let Some(actor) = self.actor {
            conditions.push(format!("actor = ${}", args.push(actor)));
        }
        if let Some(resource) = &self.resource {
            conditions.push(format!("resource = ${}", args.push(resource.clone())));
        }
        if let Some(since) = self.since {
            conditions.push(format!("at >= ${}", args.push(since)));
        }
        if let Some(until) = self.until {
            conditions.push(format!("at < ${}", args.push(until)));
        }
        if let Some(ListPosition(at, chain, sequence)) = after {
            let (at, chain, sequence) = (args.push(*at), args.push(*chain), args.push(*sequence));
            conditions.push(format!("(at, tenant_id, sequence) < (${at}, ${chain}, ${sequence})"));
        }
        if conditions.is_empty() { "1 = 1".into() } else { conditions.join(" and ") }
    }
}

/// Position of an entry in a list, newest first. A cursor is neither secret nor signed: the filter decides
/// which entries are visible, whatever the cursor contains.
pub(super) struct ListPosition(pub(super) Timestamp, pub(super) Uuid, pub(super) i64);

impl ListPosition {
    pub(super) fn encode(&self) -> String {
        let parts = (self.0.as_micros(), self.1, self.2);
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&parts).unwrap_or_default())
    }

    pub(super) fn decode(cursor: &str) -> Result<Self, Error> {
        let parts = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let (at, chain, sequence) = parts.ok_or(Error::Cursor)?;
        Ok(Self(Timestamp::from_micros(at), chain, sequence))
    }
}
