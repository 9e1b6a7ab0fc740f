//! The API keys that remain after all of a user's sessions are revoked: keys belong to no session, so they stay valid
//! until they are revoked.

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
use crate::{Error, api_key::store};

/// The API keys of a user, in all tenants, after the user's sessions were revoked.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ApiKeysLeft)]
pub(crate) struct RemainingKeys {
    /// The keys that still act on behalf of the user, the newest first, at most 200.
    pub(crate) api_keys: Vec<ApiKey>,
    /// The number of keys revoked.
    pub(crate) api_keys_revoked: usize,
}

/// Returns the API keys of a user, or, if `revoke` is set, revokes them and records each revocation with that entry.
/// The transaction spans all tenants; call [`Sessions::forget`](crate::session::Sessions::forget) once it is
/// committed.
pub(crate) async fn remaining_keys(
    tx: &mut Tx,
    audit: &AuditLog,
    user: UserId,
    revoke: Option<AuditEntry>,
    now: Timestamp,
) -> Result<RemainingKeys, Error> {
    let Some(entry) = revoke else {
        return Ok(RemainingKeys { api_keys: store::list_for_user(tx, user, now).await?, api_keys_revoked: 0 });
    };
    let revoked = store::delete_for_user(tx, user).await?;
    for key in &revoked {
        let entry =
            entry.clone().for_tenant(key.tenant_id).resource("api_key", key.id).details(json!({ "name": key.name }));
        audit.record_in(tx, entry).await?;
    }
    Ok(RemainingKeys { api_keys: Vec::new(), api_keys_revoked: revoked.len() })
}
