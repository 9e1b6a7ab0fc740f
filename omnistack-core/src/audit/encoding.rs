//! Encoding of the bytes that an entry's hash is computed from.
//!
//! `hash = SHA-256(previous hash (32 bytes) ‖ sequence (8 bytes) ‖ content)`. `content` is `omnistack.audit.1`
//! followed by the tenant, id, time, actor, action, resource and details, in this order. Each of them is a byte
//! 0 if it is absent; otherwise it is a byte 1, the length (8 bytes) and the value: ids as 16 bytes, the time
//! as 8 bytes of microseconds since 1970, text as UTF-8. Numbers are big-endian. Different entries therefore
//! never have the same bytes.
//!
//! PostgreSQL computes the outer hash itself, in the statement that assigns the number.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{AuditChain, AuditRecord, ChainHead};
use crate::{clock::Timestamp, crypto::Sha256, id::Id, identity::UserId};

/// Entry as it is hashed and exported, without its chain.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChainedEntry {
    pub(super) sequence: i64,
    pub(super) id: Id<AuditRecord>,
    pub(super) at: Timestamp,
    pub(super) actor: Option<UserId>,
    pub(super) action: String,
    pub(super) resource: Option<String>,
    /// JSON text, exactly as it was hashed.
    pub(super) details: Option<String>,
    pub(super) previous: Sha256,
    pub(super) hash: Sha256,
}

impl ChainedEntry {
    pub(super) fn content(&self, chain: AuditChain) -> Vec<u8> {
        let mut bytes = b"omnistack.audit.1".to_vec();
        let tenant = chain.tenant().map(|tenant| tenant.uuid().into_bytes());
        let actor = self.actor.map(|actor| actor.uuid().into_bytes());
        add(&mut bytes, tenant.as_ref().map(|id| id.as_slice()));
        add(&mut bytes, Some(self.id.uuid().as_bytes()));
        add(&mut bytes, Some(&self.at.as_micros().to_be_bytes()));
        add(&mut bytes, actor.as_ref().map(|id| id.as_slice()));
        add(&mut bytes, Some(self.action.as_bytes()));
        add(&mut bytes, self.resource.as_deref().map(str::as_bytes));
        add(&mut bytes, self.details.as_deref().map(str::as_bytes));
        bytes
    }

    /// Returns the hash computed from the entry's content.
    pub(super) fn computed(&self, chain: AuditChain) -> Sha256 {
        hash(self.previous, self.sequence, &self.content(chain))
    }

    /// Returns whether the entry records that retention deleted everything up to the checkpoint.
    pub(super) fn records_deletion_up_to(&self, checkpoint: ChainHead) -> bool {
        let details = self.details.as_deref().and_then(|details| serde_json::from_str::<Value>(details).ok());
        details.is_some_and(|details| {
            details["through"] == checkpoint.sequence && details["hash"] == checkpoint.hash.to_string()
        })
    }

    pub(super) fn into_record(self, chain: AuditChain) -> AuditRecord {
        let Self { sequence, id, at, actor, action, resource, details, previous, hash } = self;
        // Text that is not JSON was not written by this module; it is returned as a string.
        let details = details.map(|text| serde_json::from_str(&text).unwrap_or(Value::String(text)));
        AuditRecord { id, tenant: chain.tenant(), sequence, at, actor, action, resource, details, previous, hash }
    }
}

/// Returns the details of an entry that [explains](Link::records_deletion_up_to) a checkpoint.
pub(super) fn deletion_details(checkpoint: ChainHead, before: Timestamp) -> Value {
    json!({ "through": checkpoint.sequence, "hash": checkpoint.hash, "before": before })
}

pub(super) fn hash(previous: Sha256, sequence: i64, content: &[u8]) -> Sha256 {
    Sha256::digest_parts([previous.as_bytes().as_slice(), &sequence.to_be_bytes(), content])
}

fn add(bytes: &mut Vec<u8>, field: Option<&[u8]>) {
    bytes.push(u8::from(field.is_some()));
    if let Some(field) = field {
        bytes.extend_from_slice(&(field.len() as u64).to_be_bytes());
        bytes.extend_from_slice(field);
    }
}
