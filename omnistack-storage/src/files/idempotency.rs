//! Uploads with an `Idempotency-Key`: carried out once, without holding the body in memory.
//!
//! A key belongs to one user in a tenant. It is bound to a file in the transaction that stores the file, so an
//! upload that fails or whose process dies leaves the key unused. If two uploads with the same key run at the
//! same time, the first to complete is stored.

use omnistack_core::{
    crypto::Sha256,
    db::Tx,
    http,
    identity::{Identity, TenantId},
};
use serde_json::{Value, json};

use super::FileService;
use crate::{
    ByteStream, Error, ErrorKind, File, NewFile, UploadBody, UploadResult,
    store::upload_key::{self, UploadKeyRow},
};

/// The idempotency key of a request, and the declared properties of its file.
pub(super) struct IdempotentUpload {
    scope: Sha256,
    declared: Value,
}

impl IdempotentUpload {
    fn new(caller: &Identity, key: &str, new: &NewFile) -> Self {
        let scope = Sha256::digest(json!([caller.user, key]).to_string());
        Self { scope, declared: json!([new.name, new.content_type, new.tags]) }
    }

    fn fingerprint(&self, bytes: Sha256) -> Sha256 {
        Sha256::digest(json!([self.declared, bytes]).to_string())
    }
}

fn key_reused() -> Error {
    let message = "this Idempotency-Key was used for another file: use a new key for a new file";
    http::Error::conflict("IDEMPOTENCY_KEY_REUSED", message).into()
}

impl FileService {
    /// Stores a file as [`upload`](Self::upload) does, once for each idempotency key of a user. If the file was
    /// stored with the key before, with the same name, claimed type, tags and bytes, it is not stored again: the
    /// call returns the first file in its present state. A key is kept for `IDEMPOTENCY_RETENTION` after the file
    /// was stored; a failed upload does not use up the key.
    ///
    /// # Errors
    /// 409 `IDEMPOTENCY_KEY_REUSED` if the key was used for another file; otherwise as [`upload`](Self::upload).
    pub async fn upload_idempotent(
        &self,
        caller: &Identity,
        key: &str,
        new: NewFile,
        body: ByteStream,
    ) -> Result<UploadResult, Error> {
        let tenant = caller.require_tenant()?;
        let once = IdempotentUpload::new(caller, key, &new);
        let Some((file, _)) = self.find_by_key(tenant, &once).await? else {
            return self.upload_with(caller, new, body, Some(&once)).await;
        };
        if new.size.is_some_and(|size| size != file.size) {
            return Err(key_reused());
        }
        // The bytes are compared by their SHA-256 and not stored.
        let mut upload = UploadBody::from_stream(body).max_size(file.size);
        loop {
            match upload.next().await {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) if error.kind() == ErrorKind::TooLarge => return Err(key_reused()),
                Err(error) => return Err(error),
            }
        }
        let (_, sha256) = upload.digest()?;
        self.first_upload(tenant, &once, sha256).await
    }

    /// Binds a key to a file in the transaction that stores it. Returns `false` if the key is bound to another
    /// file.
    pub(super) async fn bind_key_in(
        &self,
        tx: &mut Tx,
        file: &File,
        once: &IdempotentUpload,
        sha256: Sha256,
    ) -> Result<bool, Error> {
        let now = self.0.clock.now();
        let bound = UploadKeyRow { file_id: file.id, fingerprint: once.fingerprint(sha256) };
        let expires_at = now + self.0.key_retention;
        Ok(upload_key::bind(tx, file.tenant_id, once.scope, bound, expires_at, now).await?)
    }

    /// Returns the file that a key is bound to. Fails with 409 if the fingerprint of this upload differs.
    pub(super) async fn first_upload(
        &self,
        tenant: TenantId,
        once: &IdempotentUpload,
        sha256: Sha256,
    ) -> Result<UploadResult, Error> {
        match self.find_by_key(tenant, once).await? {
            Some((file, fingerprint)) if fingerprint == once.fingerprint(sha256) => {
                Ok(UploadResult { file, replayed: true })
            }
            _ => Err(key_reused()),
        }
    }

    /// Returns the file that a key is bound to and the fingerprint of its upload, if the key is in use.
    async fn find_by_key(&self, tenant: TenantId, once: &IdempotentUpload) -> Result<Option<(File, Sha256)>, Error> {
        let mut tx = self.0.db.tenant(tenant).begin_read().await?;
        let bound = upload_key::find(&mut tx, tenant, once.scope, self.0.clock.now()).await?;
        tx.commit().await?;
        match bound {
            Some(UploadKeyRow { file_id, fingerprint }) => Ok(Some((self.find(tenant, file_id).await?, fingerprint))),
            None => Ok(None),
        }
    }
}
