//! The SQL of error analytics.

mod groups;
mod query;
mod retention;
mod write;

pub(super) use groups::{GroupChange, GroupFilter, GroupPosition};
pub(super) use query::{Dimension, ErrorScope, SignalRow, ValueRow};

use omnistack_core::{
    clock::{Clock, Timestamp},
    db::{self, Db, ErrorKind},
    events::{Events, PublishError},
    identity::TenantId,
    jobs::{EnqueueError, Jobs},
};
use uuid::Uuid;

/// The tables of errors, and what is published and enqueued with them.
#[derive(Clone, Debug)]
pub(super) struct ErrorStore {
    pub(super) db: Db,
    pub(super) clock: Clock,
    pub(super) events: Events,
    pub(super) jobs: Jobs,
    /// The version of the app.
    pub(super) release: String,
    /// Whether mails about groups are sent.
    pub(super) sends_mail: bool,
    /// Whether groups are posted to a webhook.
    pub(super) posts_webhook: bool,
}

/// The tenant of errors without a tenant, since a primary key has no nulls.
fn stored_tenant(tenant: Option<TenantId>) -> TenantId {
    tenant.unwrap_or_else(|| TenantId::from_uuid(Uuid::nil()))
}

/// Returns the tenant that [`stored_tenant`] has stored.
fn shown_tenant(tenant: TenantId) -> Option<TenantId> {
    Some(tenant).filter(|tenant| !tenant.uuid().is_nil())
}

/// Returns an id in the form that both databases read from JSON.
fn hex(id: Uuid) -> String {
    id.simple().to_string()
}

/// Serializes rows, which can always be serialized.
fn json(rows: &impl serde::Serialize) -> String {
    serde_json::to_string(rows).unwrap_or_else(|_| "[]".into())
}

fn timestamp(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

fn not_enqueued(error: EnqueueError) -> db::Error {
    match error {
        EnqueueError::Database(error) => error,
        error => db::Error::new(ErrorKind::Other, Box::new(error)),
    }
}

fn not_published(error: PublishError) -> db::Error {
    match error {
        PublishError::Database(error) => error,
        error => db::Error::new(ErrorKind::Other, Box::new(error)),
    }
}
