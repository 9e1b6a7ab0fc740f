//! SQL for the idempotency keys of uploads.

use omnistack_core::{
    clock::Timestamp,
    crypto::Sha256,
    db::{Error, Tx},
    identity::TenantId,
};

use crate::model::FileId;

/// The file that a key is bound to, and the fingerprint of the upload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UploadKeyRow {
    pub(crate) file_id: FileId,
    pub(crate) fingerprint: Sha256,
}

/// Returns the file and fingerprint that a key is bound to, if it has not expired.
pub(crate) async fn find(
    tx: &mut Tx,
    tenant: TenantId,
    scope: Sha256,
    now: Timestamp,
) -> Result<Option<UploadKeyRow>, Error> {
    let sql = "select file_id, fingerprint from omni_file_upload_keys where tenant_id = $1 and scope = $2 and expires_at > $3";
    let query = tx.query(sql).bind(tenant).bind(scope.as_bytes().to_vec()).bind(now);
    let row: Option<(FileId, Vec<u8>)> = query.fetch_optional().await?;
    Ok(row.and_then(|(file_id, bytes)| Some(UploadKeyRow { file_id, fingerprint: Sha256::from_bytes(&bytes)? })))
}

/// Binds a key to a file if the key is free or has expired, and returns whether it did. Waits for another
/// transaction that binds the same key.
pub(crate) async fn bind(
    tx: &mut Tx,
    tenant: TenantId,
    scope: Sha256,
    UploadKeyRow { file_id, fingerprint }: UploadKeyRow,
    expires_at: Timestamp,
    now: Timestamp,
) -> Result<bool, Error> {
    let sql = "insert into omni_file_upload_keys (tenant_id, scope, file_id, fingerprint, expires_at) values ($1, $2, $3, $4, $5) \
               on conflict (tenant_id, scope) do update set file_id = $3, fingerprint = $4, expires_at = $5 \
               where omni_file_upload_keys.expires_at <= $6";
    let insert = tx.query(sql).bind(tenant).bind(scope.as_bytes().to_vec()).bind(file_id);
    let insert = insert.bind(fingerprint.as_bytes().to_vec()).bind(expires_at).bind(now);
    Ok(insert.execute().await? == 1)
}

/// Deletes the expired keys of all tenants.
pub(crate) async fn remove_expired(tx: &mut Tx, now: Timestamp) -> Result<(), Error> {
    tx.query("delete from omni_file_upload_keys where expires_at <= $1").bind(now).execute().await?;
    Ok(())
}
