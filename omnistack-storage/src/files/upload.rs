//! Uploads through the app, and the steps they share with direct uploads.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use omnistack_core::{
    crypto::Sha256,
    http::{self, FieldError, HeaderValue, StatusCode, header},
    identity::Identity,
    realtime::RealtimeChannel,
    usage::{Decimal, meters},
};
use serde::Serialize;

use super::{FileService, QuotaState, check_name, check_tags, idempotency::IdempotentUpload, missing};
use crate::{
    ByteStream, Error, ErrorKind, File, FileId, FileState, NewFile, PutOptions, UploadBody, UploadResult,
    config::FileSettings,
    scan::ScanResult,
    sniff::{self, SNIFFED_BYTES},
    store,
};

/// Name of the channel in which connected clients of the tenant see uploads.
const UPLOADS_CHANNEL: &str = "files";

/// The message to connected clients about a stored file.
#[derive(Serialize)]
struct FileUploaded<'a> {
    r#type: &'static str,
    id: FileId,
    name: &'a str,
    content_type: &'a str,
    size: u64,
}

/// An upload in progress. If it is dropped before it is over, because the client disconnected, its row and bytes
/// are deleted.
struct DiscardOnDrop(Option<(FileService, File)>);

impl DiscardOnDrop {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for DiscardOnDrop {
    fn drop(&mut self) {
        // Without a runtime, the process is ending; the cleanup deletes them.
        if let (Some((files, file)), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move { files.discard(&file).await });
        }
    }
}

fn upload_timeout(timeout: Duration) -> Error {
    let message = format!(
        "the upload took longer than {} seconds: send the file again on a faster connection",
        timeout.as_secs()
    );
    Error::new(ErrorKind::Interrupted, http::Error::new(StatusCode::REQUEST_TIMEOUT, "UPLOAD_TIMEOUT", message))
}

impl FileService {
    /// Stores a file whose bytes pass through the app, within `FILES_UPLOAD_TIMEOUT`.
    ///
    /// # Errors
    /// 402 `PLAN_LIMIT_REACHED`, 408 `UPLOAD_TIMEOUT`, 413 `FILE_TOO_LARGE`, 415 `FILE_TYPE_REFUSED` and
    /// `FILE_TYPE_MISMATCH`; 422 for an invalid name, type or tag, for another size or checksum than declared and
    /// for a file that the scanner refuses; 429 `TOO_MANY_UPLOADS`; 503 `SCANNER_UNAVAILABLE`;
    /// [`ErrorKind::StorageFull`]; the error of the body. Nothing is stored then.
    pub async fn upload(&self, caller: &Identity, new: NewFile, body: ByteStream) -> Result<File, Error> {
        Ok(self.upload_with(caller, new, body, None).await?.file)
    }

    /// Stores a file as [`upload`](Self::upload) does, optionally with an idempotency key.
    pub(super) async fn upload_with(
        &self,
        caller: &Identity,
        new: NewFile,
        body: ByteStream,
        once: Option<&IdempotentUpload>,
    ) -> Result<UploadResult, Error> {
        let known = new.size;
        let timeout = self.0.settings.upload_timeout;
        let ttl = timeout + self.0.settings.upload_idle;
        let (file, room) = self.begin_upload(caller, &new, FileState::Receiving, known.unwrap_or(0), ttl).await?;
        let unfinished = DiscardOnDrop(Some((self.clone(), file.clone())));
        let receiving = self.receive(caller, file.clone(), &new, body, &room, once);
        let received = tokio::time::timeout(timeout, receiving).await.unwrap_or_else(|_| Err(upload_timeout(timeout)));
        if !matches!(received, Ok(UploadResult { replayed: false, .. })) {
            self.discard(&file).await;
        }
        unfinished.disarm();
        // The file exceeded what is left of the quota, not the largest size of a file.
        let short = room.left() < self.max_size() && known.is_none();
        received.map_err(|error| {
            if short && error.kind() == ErrorKind::TooLarge {
                self.quota_exceeded(&room, room.used, room.left() + 1)
            } else {
                error
            }
        })
    }

    /// Returns how long an upload may send no bytes before it fails.
    pub(crate) fn idle_timeout(&self) -> Duration {
        self.0.settings.upload_idle
    }

    /// Returns the largest size of a file in bytes.
    pub(crate) fn max_size(&self) -> u64 {
        self.0.settings.max_size.as_u64()
    }

    /// Inserts the row of a file whose upload must complete within `ttl`, and reserves bytes of the quota. Fails
    /// if the name, type or tags are invalid, the size or the quota is exceeded, or the tenant has too many
    /// unfinished uploads.
    pub(super) async fn begin_upload(
        &self,
        caller: &Identity,
        new: &NewFile,
        state: FileState,
        reserved: u64,
        ttl: Duration,
    ) -> Result<(File, QuotaState), Error> {
        let tenant = caller.require_tenant()?;
        check_name(&new.name)?;
        check_tags(&new.tags)?;
        if let Some(claimed) = new.content_type.as_deref().filter(|claimed| !sniff::is_media_type(claimed)) {
            let message = format!("`{}` is not a media type", claimed.escape_debug());
            return Err(http::Error::invalid([FieldError::new("content_type", message)]).into());
        }
        if reserved > self.max_size() {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!("the file exceeds the limit of {} bytes", self.max_size()),
            ));
        }
        let room = self.quota(tenant).await?;
        let now = self.0.clock.now();
        let content_type = new.content_type.clone().unwrap_or_else(|| "application/octet-stream".into());
        let file = File {
            id: FileId::new(now),
            tenant_id: tenant,
            user_id: caller.user,
            name: new.name.clone(),
            content_type,
            size: reserved,
            sha256: new.sha256,
            state,
            created_at: now,
            tags: new.tags.clone(),
            storage_class: None,
            restored_until: None,
            restoring: None,
            deleted_at: None,
        };
        let mut tx = self.0.db.tenant(tenant).begin().await?;
        if !store::reserve_bytes(&mut tx, tenant, reserved, room.limit).await? {
            let used = store::usage(&mut tx, tenant).await?;
            return Err(self.quota_exceeded(&room, used, reserved));
        }
        // After the reservation, for which concurrent uploads of the tenant wait.
        if store::count_unfinished(&mut tx, tenant, now).await? >= i64::from(self.0.settings.open_uploads) {
            return Err(self.too_many());
        }
        store::insert(&mut tx, &file, now + ttl).await?;
        tx.commit().await?;
        Ok((file, room))
    }

    fn too_many(&self) -> Error {
        let FileSettings { open_uploads, upload_idle, .. } = &self.0.settings;
        let message =
            format!("this tenant has {open_uploads} unfinished uploads: complete or delete one, or try again later");
        let error = http::Error::new(StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_UPLOADS", message);
        error.with_header(header::RETRY_AFTER, HeaderValue::from(upload_idle.as_secs().max(1))).into()
    }

    async fn receive(
        &self,
        caller: &Identity,
        mut file: File,
        new: &NewFile,
        body: ByteStream,
        room: &QuotaState,
        once: Option<&IdempotentUpload>,
    ) -> Result<UploadResult, Error> {
        let mut body = body.fuse();
        // Reads the first bytes to detect the media type before anything is stored.
        let (mut first, mut seen) = (Vec::new(), Vec::<u8>::new());
        while seen.len() < SNIFFED_BYTES {
            let Some(bytes) = body.next().await.transpose()? else { break };
            seen.extend_from_slice(&bytes[..bytes.len().min(SNIFFED_BYTES - seen.len())]);
            first.push(Ok::<Bytes, Error>(bytes));
        }
        file.content_type = self.check_media_type(&seen, new.content_type.as_deref())?;
        let limit = new.size.unwrap_or_else(|| room.left().min(self.max_size()));
        let mut upload = UploadBody::from_stream(stream::iter(first).chain(body).boxed()).max_size(limit);
        if let Some(size) = new.size {
            upload = upload.size(size);
        }
        if let Some(sha256) = new.sha256 {
            upload = upload.sha256(sha256);
        }
        let (key, options) = (file.key()?, PutOptions::content_type(&file.content_type));
        let stored = self.0.storage.put_with(&key, upload, &options).await?;
        self.finish_upload(caller, file, stored.size, Some(stored.sha256), room, once).await
    }

    /// Returns the media type of a file that begins with these bytes. Fails with 415 if it contradicts the
    /// claimed type or is not accepted.
    pub(super) fn check_media_type(&self, first: &[u8], claimed: Option<&str>) -> Result<String, Error> {
        let refused =
            |code: &'static str, message: String| http::Error::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, code, message);
        let media_type = sniff::media_type(first, claimed).map_err(|found| {
            let message =
                format!("the file is of the type `{found}`, not of the declared type: declare the right type");
            refused("FILE_TYPE_MISMATCH", message).with_detail("found", found)
        })?;
        if !sniff::matches_any(&self.0.settings.types, &media_type) {
            let message = format!("files of the type `{media_type}` are not accepted: send a file of another type");
            let error = refused("FILE_TYPE_REFUSED", message).with_detail("found", &media_type);
            return Err(error.with_detail("taken", &self.0.settings.types).into());
        }
        Ok(media_type)
    }

    /// Scans a file whose bytes are stored, marks it as stored and records its usage. Returns the other file if a
    /// concurrent upload with the same key was stored first.
    pub(super) async fn finish_upload(
        &self,
        caller: &Identity,
        file: File,
        size: u64,
        sha256: Option<Sha256>,
        room: &QuotaState,
        once: Option<&IdempotentUpload>,
    ) -> Result<UploadResult, Error> {
        if let Some(scanner) = &self.0.scanner {
            let shown = File { size, sha256, ..file.clone() };
            match scanner.0.scan(&shown, &file.key()?, &self.0.storage).await {
                Ok(ScanResult::Clean) => {}
                Ok(ScanResult::Refused(reason)) => {
                    return Err(http::Error::new(StatusCode::UNPROCESSABLE_ENTITY, "FILE_REFUSED", reason).into());
                }
                Err(error) => {
                    let answer = http::Error::unavailable(
                        "SCANNER_UNAVAILABLE",
                        "the file can't be scanned now: try again later",
                    );
                    return Err(answer.with_source(error).into());
                }
            }
        }
        let (tenant, now) = (file.tenant_id, self.0.clock.now());
        let mut tx = self.0.db.tenant(tenant).begin().await?;
        if size > file.size {
            let added = size - file.size;
            if !store::reserve_bytes(&mut tx, tenant, added, room.limit).await? {
                let used = store::usage(&mut tx, tenant).await?;
                return Err(self.quota_exceeded(room, used, added));
            }
        } else {
            store::release_bytes(&mut tx, tenant, file.size - size).await?;
        }
        if !store::set_stored(&mut tx, &file, size, sha256, now).await? {
            return Err(missing().into());
        }
        if let (Some(once), Some(sha256)) = (once, sha256)
            && !self.bind_key_in(&mut tx, &file, once, sha256).await?
        {
            drop(tx);
            return self.first_upload(tenant, once, sha256).await;
        }
        let bytes = self.single_usage_event(&file, "stored", meters::STORAGE_BYTES, size);
        let uploads = self.single_usage_event(&file, "uploaded", meters::FILE_UPLOADS, 1);
        self.0.usage.record_in(&mut tx, [bytes, uploads].map(|event| event.api_key(caller.api_key))).await?;
        let File { id, name, content_type, .. } = &file;
        let uploaded = FileUploaded { r#type: "file.uploaded", id: *id, name, content_type, size };
        if let Ok(channel) = RealtimeChannel::of_tenant(tenant, UPLOADS_CHANNEL) {
            self.0.realtime.publish_in(&mut tx, channel, &uploaded).await?;
        }
        tx.commit().await?;
        Ok(UploadResult { file: File { size, sha256, state: FileState::Stored, ..file }, replayed: false })
    }

    /// Deletes the row and the bytes of an upload that failed. If that fails too, the cleanup deletes them.
    pub(super) async fn discard(&self, file: &File) {
        if let Err(error) = self.remove(file).await {
            tracing::warn!(target: "omnistack::storage", file = %file.id, %error, "a failed upload was not deleted; the cleanup deletes it");
        }
    }

    /// Deletes the bytes, then the row and its reservation, and records that the bytes of a stored file are no longer
    /// stored. Returns `false` if a concurrent request stored or removed the file. An upload that is not stored is
    /// cancelled first, so that a concurrent request can't store a file whose bytes are gone.
    pub(super) async fn remove(&self, file: &File) -> Result<bool, Error> {
        if file.state != FileState::Stored {
            let mut tx = self.0.db.tenant(file.tenant_id).begin().await?;
            let given_up = store::cancel_upload(&mut tx, file).await?;
            tx.commit().await?;
            if !given_up {
                return Ok(false);
            }
        }
        self.0.storage.delete(&file.key()?).await?;
        #[cfg(feature = "thumbnails")]
        self.remove_thumbnails(file).await?;
        if let Some(archive) = &self.0.archive {
            archive.delete(&file.key()?).await?;
        }
        if file.state != FileState::Stored {
            self.0.storage.delete(&file.direct_upload_key()?).await?;
        }
        let mut tx = self.0.db.tenant(file.tenant_id).begin().await?;
        let removed = store::remove(&mut tx, file).await?;
        if removed {
            store::release_bytes(&mut tx, file.tenant_id, file.size).await?;
            if file.state == FileState::Stored {
                let bytes = -Decimal::from(file.size);
                let event = self.single_usage_event(file, "removed", meters::STORAGE_BYTES, bytes);
                self.0.usage.record_in(&mut tx, [event]).await?;
            }
        }
        tx.commit().await?;
        Ok(removed)
    }
}
