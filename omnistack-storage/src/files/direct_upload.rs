//! Direct uploads: the bytes go from the client to the storage without passing through the app.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use omnistack_core::{
    crypto::Sha256,
    http::{self, FieldError},
    identity::Identity,
};
use sha2::Digest as _;

use super::{FileService, missing};
use crate::{
    ByteRange, Error, ErrorKind, File, FileId, FileState, NewFile, ObjectKey, PresignRequest, PresignedRequest,
    sniff::SNIFFED_BYTES, store,
};

/// Time for which the signed URL of a direct upload is valid.
const LINK_TTL: Duration = Duration::from_secs(60 * 60);
/// Time within which a direct upload can be completed.
pub(super) const DIRECT_UPLOAD_TTL: Duration = Duration::from_secs(2 * 60 * 60);

impl FileService {
    /// Creates a direct upload: returns the file, in the state `awaited`, and the presigned request with which
    /// the client sends the bytes. The request is valid for one hour. Within two hours, the upload must be
    /// [completed](Self::complete_direct_upload); until then, the file can't be read.
    ///
    /// # Errors
    /// 422 if the size is not declared; [`ErrorKind::Unsupported`] if the provider has no signed URLs for
    /// storing; otherwise as [`upload`](Self::upload).
    pub async fn create_direct_upload(
        &self,
        caller: &Identity,
        new: NewFile,
    ) -> Result<(File, PresignedRequest), Error> {
        let can = self.0.storage.capabilities();
        if !can.presigned_put {
            return Err(Error::unsupported("signed URLs"));
        }
        let required = || http::Error::invalid([FieldError::new("size", "is required")]);
        let size = new.size.ok_or_else(required)?;
        let (file, _) = self.begin_upload(caller, &new, FileState::Awaited, size, DIRECT_UPLOAD_TTL).await?;
        let mut request = PresignRequest::put(file.direct_upload_key()?, LINK_TTL).content_type(&file.content_type);
        if can.presigned_put_size {
            request = request.size(size);
        }
        match self.0.storage.presign(&request).await {
            Ok(signed) => Ok((file, signed)),
            Err(error) => {
                self.discard(&file).await;
                Err(error)
            }
        }
    }

    /// Completes a direct upload: copies the object to its final key, checks it and marks the file as stored.
    /// Later writes to the signed URL do not change the file. Returns the file if it is stored already.
    ///
    /// # Errors
    /// 404 if there is no such direct upload; 409 `NOT_UPLOADED` if no bytes have arrived; otherwise as
    /// [`upload`](Self::upload). The direct upload is discarded if the error is not
    /// [retryable](Error::is_retryable), as with `SCANNER_UNAVAILABLE`.
    pub async fn complete_direct_upload(&self, caller: &Identity, id: FileId) -> Result<File, Error> {
        let file = self.find(caller.require_tenant()?, id).await?;
        match file.state {
            // The upload was completed before.
            FileState::Stored if file.deleted_at.is_none() => return Ok(file),
            FileState::Awaited => {}
            FileState::Stored | FileState::Receiving => return Err(missing().into()),
        }
        match self.0.storage.copy(&file.direct_upload_key()?, &file.key()?).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let message = "no bytes have arrived: send them to the upload URL first";
                return Err(http::Error::conflict("NOT_UPLOADED", message).into());
            }
            copied => copied?,
        }
        match self.check_direct_upload(caller, file.clone()).await {
            Ok(stored) => {
                if let Err(error) = self.0.storage.delete(&file.direct_upload_key()?).await {
                    tracing::warn!(target: "omnistack::storage", file = %id, %error, "a completed direct upload was not deleted; the cleanup deletes it");
                }
                Ok(stored)
            }
            // The caller can complete the upload again.
            Err(error) if error.is_retryable() => Err(error),
            Err(error) => {
                // A concurrent request may have completed the upload.
                match self.find(file.tenant_id, id).await {
                    Ok(found) if found.state == FileState::Stored => return Ok(found),
                    _ => self.discard(&file).await,
                }
                Err(error)
            }
        }
    }

    /// Checks the copy of a direct upload, which the signed URL can't change, and marks the file as stored.
    async fn check_direct_upload(&self, caller: &Identity, mut file: File) -> Result<File, Error> {
        let key = file.key()?;
        let info = self.0.storage.head(&key).await?;
        if info.size != file.size {
            let message = format!("{} bytes arrived instead of the declared {}", info.size, file.size);
            return Err(Error::new(ErrorKind::Mismatch, message));
        }
        let first = match info.size {
            0 => Bytes::new(),
            _ => {
                let part = ByteRange::Bounded(0, SNIFFED_BYTES as u64);
                self.0.storage.get_range(&key, part).await?.read_all(SNIFFED_BYTES as u64).await?
            }
        };
        file.content_type = self.check_media_type(&first, Some(&file.content_type))?;
        let sha256 = match file.sha256 {
            Some(expected) => {
                if self.hash(&key).await? != expected {
                    return Err(Error::new(
                        ErrorKind::Mismatch,
                        "the SHA-256 of the bytes differs from the declared one",
                    ));
                }
                Some(expected)
            }
            None => info.sha256,
        };
        let room = self.quota(file.tenant_id).await?;
        let size = file.size;
        Ok(self.finish_upload(caller, file, size, sha256, &room, None).await?.file)
    }

    /// Returns whether bytes may be stored under a key: it is not the key of a direct upload, or the direct
    /// upload was created and is neither completed nor deleted.
    ///
    /// # Errors
    /// Database errors.
    pub(crate) async fn accepts_bytes(&self, key: &ObjectKey) -> Result<bool, Error> {
        let Some((tenant, id)) = File::from_direct_upload_key(key) else { return Ok(true) };
        let mut tx = self.0.db.tenant(tenant).begin_read().await?;
        let awaits = store::is_awaited(&mut tx, tenant, id, self.0.clock.now()).await?;
        tx.commit().await?;
        Ok(awaits)
    }

    async fn hash(&self, key: &ObjectKey) -> Result<Sha256, Error> {
        let mut body = self.0.storage.get(key).await?.body;
        let mut hash = sha2::Sha256::new();
        while let Some(bytes) = body.next().await.transpose()? {
            hash.update(&bytes);
        }
        let bytes: [u8; 32] = hash.finalize().into();
        Sha256::from_bytes(&bytes).ok_or_else(|| Error::new(ErrorKind::Other, "the SHA-256 has an unexpected length"))
    }
}
