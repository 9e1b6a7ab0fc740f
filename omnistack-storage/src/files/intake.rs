//! How files come in.

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use omnistack_core::{
    crypto::Sha256,
    http::{self, FieldProblem, StatusCode},
    identity::Identity,
};
use sha2::Digest as _;

use super::{FILE_UPLOADS, FileService, Room, STORAGE_BYTES, check_name, check_tags, full, missing};
use crate::{
    ByteRange, ByteStream, Error, ErrorKind, File, FileId, FileState, Links, NewFile, ObjectKey, PutOptions,
    SignRequest, SignedRequest, Upload,
    scan::Verdict,
    sniff::{self, FIRST},
    store,
};

/// For how long a link to store at is good.
const LINK: std::time::Duration = Links::SLACK;

impl FileService {
    /// Takes a file whose bytes come through the app.
    ///
    /// # Errors
    /// 409 `STORAGE_QUOTA_EXCEEDED`, 413 `FILE_TOO_LARGE`, 415 `FILE_TYPE_REFUSED` and `FILE_TYPE_MISMATCH`, 422 for a name that is
    /// none, for another size or checksum than announced and for what the scanner refuses; why the sender stopped. Nothing is kept
    /// then.
    pub async fn upload(&self, caller: &Identity, new: NewFile, body: ByteStream) -> Result<File, Error> {
        let known = new.size;
        let (file, room) = self.begin(caller, &new, FileState::Receiving, known.unwrap_or(0)).await?;
        let limit = known.unwrap_or_else(|| room.left.min(self.largest()));
        match self.receive(file.clone(), &new, body, &room, limit).await {
            Ok(file) => Ok(file),
            Err(error) => {
                self.discard(&file).await;
                // What was too large for what is left is not too large for the app.
                let short = error.kind() == ErrorKind::TooLarge && room.left < self.largest() && known.is_none();
                Err(if short { full(&room).into() } else { error })
            }
        }
    }

    fn largest(&self) -> u64 {
        self.0.settings.max_size.as_u64()
    }

    /// Makes the row, with so many bytes reserved.
    async fn begin(
        &self,
        caller: &Identity,
        new: &NewFile,
        state: FileState,
        reserved: u64,
    ) -> Result<(File, Room), Error> {
        let tenant = caller.require_tenant()?;
        check_name(&new.name)?;
        check_tags(&new.tags)?;
        if let Some(claimed) = new.content_type.as_deref().filter(|claimed| !sniff::is_media_type(claimed)) {
            let message = format!("`{}` is no media type", claimed.escape_debug());
            return Err(http::Error::invalid([FieldProblem::new("content_type", message)]).into());
        }
        if reserved > self.largest() {
            return Err(Error::new(ErrorKind::TooLarge, format!("a file has at most {} bytes", self.largest())));
        }
        let room = self.room(tenant).await?;
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
        if !store::reserve(&mut tx, tenant, reserved, room.limit).await? {
            return Err(full(&room).into());
        }
        store::insert(&mut tx, &file).await?;
        tx.commit().await?;
        Ok((file, room))
    }

    async fn receive(
        &self,
        mut file: File,
        new: &NewFile,
        body: ByteStream,
        room: &Room,
        limit: u64,
    ) -> Result<File, Error> {
        let mut body = body.fuse();
        // Enough to tell what it is, before anything is stored.
        let (mut first, mut seen) = (Vec::new(), Vec::<u8>::new());
        while seen.len() < FIRST {
            let Some(bytes) = body.next().await.transpose()? else { break };
            seen.extend_from_slice(&bytes[..bytes.len().min(FIRST - seen.len())]);
            first.push(Ok::<Bytes, Error>(bytes));
        }
        file.content_type = self.admit(&seen, new.content_type.as_deref())?;
        let mut upload = Upload::stream(stream::iter(first).chain(body).boxed()).at_most(limit);
        if let Some(size) = new.size {
            upload = upload.size(size);
        }
        if let Some(sha256) = new.sha256 {
            upload = upload.sha256(sha256);
        }
        let (key, options) = (file.key()?, PutOptions::content_type(&file.content_type));
        let stored = self.0.storage.put_with(&key, upload, &options).await?;
        self.finish(file, &key, stored.size, Some(stored.sha256), room).await
    }

    /// What it is, if that is taken here.
    fn admit(&self, first: &[u8], claimed: Option<&str>) -> Result<String, Error> {
        let refused =
            |code: &'static str, message: String| http::Error::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, code, message);
        let media_type = sniff::media_type(first, claimed).map_err(|found| {
            let message = format!("its bytes are `{found}`, not what it is said to be");
            refused("FILE_TYPE_MISMATCH", message).detail("found", found)
        })?;
        if !sniff::is_taken(&self.0.settings.types, &media_type) {
            let message = format!("files of the type `{media_type}` are not taken");
            let error = refused("FILE_TYPE_REFUSED", message).detail("found", &media_type);
            return Err(error.detail("taken", &self.0.settings.types).into());
        }
        Ok(media_type)
    }

    /// Has it looked at, and makes it a file.
    async fn finish(
        &self,
        file: File,
        key: &ObjectKey,
        size: u64,
        sha256: Option<Sha256>,
        room: &Room,
    ) -> Result<File, Error> {
        if let Some(scanner) = &self.0.scanner {
            let shown = File { size, sha256, ..file.clone() };
            match scanner.0.scan(&shown, key, &self.0.storage).await {
                Ok(Verdict::Clean) => {}
                Ok(Verdict::Refused(reason)) => {
                    return Err(http::Error::new(StatusCode::UNPROCESSABLE_ENTITY, "FILE_REFUSED", reason).into());
                }
                Err(error) => {
                    let answer = http::Error::unavailable("SCANNER_UNAVAILABLE", "the file can't be looked at now");
                    return Err(answer.cause(error).into());
                }
            }
        }
        let (tenant, now) = (file.tenant_id, self.0.clock.now());
        let mut tx = self.0.db.tenant(tenant).begin().await?;
        if size > file.size {
            if !store::reserve(&mut tx, tenant, size - file.size, room.limit).await? {
                return Err(full(room).into());
            }
        } else {
            store::release(&mut tx, tenant, file.size - size).await?;
        }
        if !store::stored(&mut tx, &file, size, sha256, now).await? {
            return Err(missing().into());
        }
        tx.commit().await?;
        let bytes = i64::try_from(size).unwrap_or(i64::MAX);
        self.count(tenant, STORAGE_BYTES, bytes, Some(format!("file/{}/stored", file.id))).await;
        self.count(tenant, FILE_UPLOADS, 1, Some(format!("file/{}/uploaded", file.id))).await;
        Ok(File { size, sha256, state: FileState::Stored, ..file })
    }

    /// Removes what came of an upload that failed; what can't be removed now, the sweep removes.
    async fn discard(&self, file: &File) {
        if let Err(error) = self.remove(file).await {
            tracing::warn!(target: "omnistack::storage", file = %file.id, %error, "an upload that failed is swept later");
        }
    }

    /// Removes the bytes, then the row and what is reserved.
    pub(super) async fn remove(&self, file: &File) -> Result<bool, Error> {
        self.0.storage.delete(&file.key()?).await?;
        #[cfg(feature = "thumbnails")]
        self.remove_thumbnails(file).await?;
        if let Some(archive) = &self.0.archive {
            archive.delete(&file.key()?).await?;
        }
        if file.state != FileState::Stored {
            self.0.storage.delete(&file.incoming()?).await?;
        }
        let mut tx = self.0.db.tenant(file.tenant_id).begin().await?;
        let removed = store::remove(&mut tx, file).await?;
        if removed {
            store::release(&mut tx, file.tenant_id, file.size).await?;
        }
        tx.commit().await?;
        Ok(removed)
    }

    /// Announces a file whose bytes go to the bucket by themselves, and says how to send them. Nobody can read it before it is
    /// [confirmed](Self::confirm), for which there is a day.
    ///
    /// # Errors
    /// 422 without a size; [`ErrorKind::Unsupported`] where the provider makes no links; otherwise as of [`upload`](Self::upload).
    pub async fn announce(&self, caller: &Identity, new: NewFile) -> Result<(File, SignedRequest), Error> {
        let can = self.0.storage.capabilities();
        if !can.signed_put {
            return Err(Error::unsupported("signed links"));
        }
        let required = || http::Error::invalid([FieldProblem::new("size", "is required")]);
        let size = new.size.ok_or_else(required)?;
        let (file, _) = self.begin(caller, &new, FileState::Awaited, size).await?;
        let mut request = SignRequest::put(file.incoming()?, LINK).content_type(&file.content_type);
        if can.signed_size {
            request = request.size(size);
        }
        match self.0.storage.sign(&request).await {
            Ok(signed) => Ok((file, signed)),
            Err(error) => {
                self.discard(&file).await;
                Err(error)
            }
        }
    }

    /// Takes a file whose bytes have arrived. What arrives at the same link later is not the file's.
    ///
    /// # Errors
    /// 409 `NOT_UPLOADED` when nothing has arrived; otherwise as of [`upload`](Self::upload), and the file is to be announced anew.
    pub async fn confirm(&self, caller: &Identity, id: FileId) -> Result<File, Error> {
        let file = self.find(caller.require_tenant()?, id).await?;
        match file.state {
            // Confirmed twice.
            FileState::Stored if file.deleted_at.is_none() => return Ok(file),
            FileState::Awaited => {}
            FileState::Stored | FileState::Receiving => return Err(missing().into()),
        }
        match self.0.storage.copy(&file.incoming()?, &file.key()?).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let message = "nothing has arrived yet: send the bytes first";
                return Err(http::Error::conflict("NOT_UPLOADED", message).into());
            }
            copied => copied?,
        }
        match self.accept(file.clone()).await {
            Ok(stored) => {
                if let Err(error) = self.0.storage.delete(&file.incoming()?).await {
                    tracing::warn!(target: "omnistack::storage", file = %id, %error, "what arrived is swept later");
                }
                Ok(stored)
            }
            // It may be confirmed again.
            Err(error) if error.is_retryable() => Err(error),
            Err(error) => {
                // Of two who confirm at once, the other was faster.
                match self.find(file.tenant_id, id).await {
                    Ok(found) if found.state == FileState::Stored => return Ok(found),
                    _ => self.discard(&file).await,
                }
                Err(error)
            }
        }
    }

    /// Looks at a copy nobody else can change.
    async fn accept(&self, mut file: File) -> Result<File, Error> {
        let key = file.key()?;
        let info = self.0.storage.head(&key).await?;
        if info.size != file.size {
            let message = format!("{} bytes arrived in place of the {} announced", info.size, file.size);
            return Err(Error::new(ErrorKind::Mismatch, message));
        }
        let first = match info.size {
            0 => Bytes::new(),
            _ => {
                let part = ByteRange::Bounded(0, FIRST as u64);
                self.0.storage.get_range(&key, part).await?.bytes(FIRST as u64).await?
            }
        };
        file.content_type = self.admit(&first, Some(&file.content_type))?;
        let sha256 = match file.sha256 {
            Some(expected) => {
                if self.hash(&key).await? != expected {
                    return Err(Error::new(ErrorKind::Mismatch, "another checksum than the one announced"));
                }
                Some(expected)
            }
            None => info.sha256,
        };
        let room = self.room(file.tenant_id).await?;
        let size = file.size;
        self.finish(file, &key, size, sha256, &room).await
    }

    async fn hash(&self, key: &ObjectKey) -> Result<Sha256, Error> {
        let mut body = self.0.storage.get(key).await?.body;
        let mut hash = sha2::Sha256::new();
        while let Some(bytes) = body.next().await.transpose()? {
            hash.update(&bytes);
        }
        let bytes: [u8; 32] = hash.finalize().into();
        Sha256::from_bytes(&bytes).ok_or_else(|| Error::new(ErrorKind::Other, "no hash"))
    }
}
