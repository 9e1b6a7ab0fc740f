//! What is left of a user's API keys once the user is signed out everywhere: keys belong to no session, so they go on until
//! they are revoked.

use omnistack_core::{
    audit::{AuditEntry, AuditLog},
    clock::Timestamp,
    db::Tx,
    identity::UserId,
};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::ApiKey;
use crate::{Error, store::api_key as store};

/// The API keys of a user, in every tenant, after the user's sessions have ended.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ApiKeysLeft)]
pub(crate) struct KeysLeft {
    /// Those that still call in the user's name, the newest first, at most 200.
    pub(crate) api_keys: Vec<ApiKey>,
    /// How many were revoked.
    pub(crate) api_keys_revoked: usize,
}

/// Lists the API keys of a user, or revokes them and records each with this entry. The transaction is one of all tenants;
/// once it is committed, tell [`Sessions::forget`](crate::session::Sessions::forget).
pub(crate) async fn keys_left(
    tx: &mut Tx,
    audit: &AuditLog,
    user: UserId,
    revoke: Option<AuditEntry>,
    now: Timestamp,
) -> Result<KeysLeft, Error> {
    let Some(entry) = revoke else {
        return Ok(KeysLeft { api_keys: store::of_user(tx, user, now).await?, api_keys_revoked: 0 });
    };
    let revoked = store::delete_of_user(tx, user).await?;
    for key in &revoked {
        let entry = entry.clone().for_tenant(key.tenant_id).on("api_key", key.id).with(json!({ "name": key.name }));
        audit.record_in(tx, entry).await?;
    }
    Ok(KeysLeft { api_keys: Vec::new(), api_keys_revoked: revoked.len() })
}
