//! Operations on files of tenants: their rows, their bytes and their quota.
//!
//! The row of a file is written before its bytes, in a state that says so. The file can't be listed or read, and
//! is not counted as a file, until its bytes are stored, have the declared size and checksum and were scanned. If
//! a process dies in between, [`clean_up`](FileService::clean_up) deletes the row and the bytes once the upload can't
//! be completed any more.

mod cleanup;
mod direct_upload;
mod idempotency;
pub(crate) mod jobs;
#[cfg(feature = "thumbnails")]
mod thumbnail;
mod upload;

use std::{sync::Arc, time::Duration};

use omnistack_core::{
    clock::Clock,
    db::Db,
    http::{self, CursorPage, FieldError},
    identity::{Entitlements, Identity, Plan, TenantId},
    name::is_unsafe_character,
    realtime::RealtimePublisher,
    usage::{Decimal, UsageEvent, UsageSink, meters},
};

use crate::{
    ByteRange, Error, ErrorKind, File, FileId, FileState, Object, PresignRequest, PresignedRequest, Storage,
    config::FileSettings, content_disposition::content_disposition, embedding::EmbeddingOrigins, model::StorageUsage,
    scan::SharedScanner, sniff, store,
};

/// The source of usage events.
const USAGE_SOURCE: &str = "files";

/// The files of tenants: stores, returns and deletes them. Provided by [`Files`](crate::Files).
///
/// Each operation that takes a caller works on the files of the caller's tenant only.
///
/// ```
/// use futures_util::{StreamExt as _, stream};
/// use omnistack_core::{app::{App, DevIdentity}, config::Config};
/// use omnistack_storage::{FileService, Files, Memory, NewFile};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:")]);
/// let app = App::builder(config).with(DevIdentity::default()).with(Files::new(Memory::default())).build()?;
/// app.migrate().await?;
///
/// let files: FileService = app.context().get()?;
/// let caller = DevIdentity::identity();
/// let body = stream::iter([Ok("Hello.".into())]).boxed();
/// let file = files.upload(&caller, NewFile::new("hello.txt"), body).await?;
/// assert_eq!(file.content_type, "text/plain; charset=utf-8");
/// assert_eq!(files.open(&caller, &file, None).await?.read_all(1024).await?, "Hello.");
/// assert_eq!(files.usage(&caller).await?.bytes, 6);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// The methods name errors that are HTTP responses ([`ErrorKind::Refused`]) by their status and code, and the others
/// by their kind. Beside these, each operation that takes a caller fails with 403 if the caller has no tenant, and
/// each can fail with [`ErrorKind::Database`], and with [`ErrorKind::Unavailable`] or [`ErrorKind::Configuration`] if
/// it calls the storage provider.
#[derive(Clone, Debug)]
pub struct FileService(pub(crate) Arc<FileServiceInner>);

#[derive(Debug)]
pub(crate) struct FileServiceInner {
    pub(crate) db: Db,
    pub(crate) clock: Clock,
    pub(crate) storage: Storage,
    /// The external archive, if one is set.
    pub(crate) archive: Option<Storage>,
    pub(crate) entitlements: Entitlements,
    pub(crate) usage: UsageSink,
    pub(crate) realtime: RealtimePublisher,
    pub(crate) scanner: Option<SharedScanner>,
    #[cfg(feature = "thumbnails")]
    pub(crate) thumbnails: Option<crate::thumbnail::ThumbnailEncoder>,
    pub(crate) settings: FileSettings,
    pub(crate) embedding_origins: EmbeddingOrigins,
    /// Time for which idempotency keys of uploads are kept.
    pub(crate) key_retention: Duration,
}

/// The storage quota of a tenant and what is used of it, in bytes.
struct QuotaState {
    plan: Arc<Plan>,
    limit: u64,
    used: u64,
}

impl QuotaState {
    fn left(&self) -> u64 {
        self.limit.saturating_sub(self.used)
    }
}

impl FileService {
    /// Returns a cursor page of the files of the caller's tenant, newest first: the files after `after`, or from
    /// the newest if `None`. With `deleted`, returns the deleted files that can be restored instead of the
    /// others.
    ///
    /// # Errors
    /// 403 if the caller has no tenant, database errors.
    pub async fn list(
        &self,
        caller: &Identity,
        deleted: bool,
        after: Option<FileId>,
        limit: u32,
    ) -> Result<CursorPage<File>, Error> {
        let tenant = caller.require_tenant()?;
        let mut tx = self.0.db.tenant(tenant).begin_read().await?;
        let mut items = store::list(&mut tx, tenant, deleted, after, i64::from(limit) + 1).await?;
        tx.commit().await?;
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let next_cursor = items.last().filter(|_| more).map(|last| last.id.to_string());
        Ok(CursorPage { items, next_cursor })
    }

    /// Returns a file of the caller's tenant, including deleted files and direct uploads that are not complete.
    ///
    /// # Errors
    /// 404 if there is no such file or it is being uploaded through the app.
    pub async fn get(&self, caller: &Identity, id: FileId) -> Result<File, Error> {
        let file = self.find(caller.require_tenant()?, id).await?;
        if file.state == FileState::Receiving { Err(missing().into()) } else { Ok(file) }
    }

    async fn find(&self, tenant: TenantId, id: FileId) -> Result<File, Error> {
        let mut tx = self.0.db.tenant(tenant).begin_read().await?;
        let found = store::find(&mut tx, tenant, id).await?;
        tx.commit().await?;
        Ok(found.ok_or_else(missing)?)
    }

    /// Returns a file that can be read.
    ///
    /// # Errors
    /// 404 if there is no such file, if it is deleted or if its upload is not complete.
    pub async fn get_readable(&self, caller: &Identity, id: FileId) -> Result<File, Error> {
        let file = self.find(caller.require_tenant()?, id).await?;
        if file.state == FileState::Stored && file.deleted_at.is_none() { Ok(file) } else { Err(missing().into()) }
    }

    /// Returns the bytes of a [readable](Self::get_readable) file, or a part of them, and counts a download by the
    /// caller unless the part begins after the first byte.
    ///
    /// # Errors
    /// [`ErrorKind::Range`] if the range contains no byte of the file, [`ErrorKind::Archived`] if the file must
    /// be restored first, [`ErrorKind::Unavailable`], [`ErrorKind::Other`] if the object has another size or
    /// checksum than the file.
    pub async fn open(&self, caller: &Identity, file: &File, range: Option<ByteRange>) -> Result<Object, Error> {
        let object = self.open_object(file, range).await?;
        if object.range.start == 0 {
            self.count_download(caller, file);
        }
        Ok(object)
    }

    pub(crate) async fn open_object(&self, file: &File, range: Option<ByteRange>) -> Result<Object, Error> {
        if file.is_only_in_external_archive(self.0.clock.now()) {
            return Err(Error::new(ErrorKind::Archived, format!("the file `{}`", file.id)));
        }
        let key = file.key()?;
        let object = match range {
            Some(range) => self.0.storage.get_range(&key, range).await,
            None => self.0.storage.get(&key).await,
        };
        match object {
            Ok(object) if is_other_content(&object, file) => {
                let message =
                    format!("the object of the file `{}` has another size or checksum than the stored file", file.id);
                Err(Error::new(ErrorKind::Other, message))
            }
            // The row names the main storage, or did so when it was read: the file may have been archived since.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let away = self.find(file.tenant_id, file.id).await?.is_only_in_external_archive(self.0.clock.now());
                Err(Error::new(if away { ErrorKind::Archived } else { ErrorKind::Other }, error))
            }
            object => object,
        }
    }

    /// Returns a signed URL with which any client can read a file until it expires: after `expires_in`, or after
    /// `FILES_LINK` if `None`. The URL stays valid when the file is deleted, and can't be revoked. With `shown`,
    /// browsers display images, audio, video, plain text and PDF instead of saving them.
    ///
    /// # Errors
    /// As [`get_readable`](Self::get_readable); 403 `IMPERSONATION_REFUSED` if an operator impersonates the user, because
    /// the URL can't be revoked; [`ErrorKind::Archived`]; [`ErrorKind::Unsupported`] if the provider has no
    /// signed URLs.
    pub async fn create_signed_url(
        &self,
        caller: &Identity,
        id: FileId,
        expires_in: Option<Duration>,
        shown: bool,
    ) -> Result<PresignedRequest, Error> {
        caller.deny_impersonation()?;
        let file = self.get_readable(caller, id).await?;
        if file.is_only_in_external_archive(self.0.clock.now()) {
            return Err(Error::new(ErrorKind::Archived, format!("the file `{}`", file.id)));
        }
        let expires_in = expires_in.unwrap_or(self.0.settings.link);
        let shown = shown && sniff::is_safe_inline(&file.content_type);
        let plain = PresignRequest::get(file.key()?, expires_in).content_type(&file.content_type);
        let named = plain.clone().content_disposition(content_disposition(&file.name, shown));
        let signed = match self.0.storage.presign(&named).await {
            // The provider can't set a file name in the response. The URL is not on the app's origin, so showing
            // the file is safe.
            Err(error) if error.kind() == ErrorKind::Unsupported => self.0.storage.presign(&plain).await?,
            signed => signed?,
        };
        self.count_download(caller, &file);
        Ok(signed)
    }

    /// Replaces the tags of a file. [`ArchiveRule`](crate::ArchiveRule)s can select files by tag.
    ///
    /// # Errors
    /// 404 if there is no such file, 422 for more than 10 tags or for tags that
    /// [`NewFile::tags`](crate::NewFile::tags) does not allow.
    pub async fn set_tags(&self, caller: &Identity, id: FileId, tags: &[String]) -> Result<File, Error> {
        let tenant = caller.require_tenant()?;
        check_tags(tags)?;
        let mut tx = self.0.db.tenant(tenant).begin().await?;
        if !store::set_tags(&mut tx, tenant, id, tags).await? {
            return Err(missing().into());
        }
        let file = store::find(&mut tx, tenant, id).await?.ok_or_else(missing)?;
        tx.commit().await?;
        Ok(file)
    }

    /// Deletes a file. It can be [restored](Self::restore) for `FILES_DELETE_GRACE` and counts towards the quota
    /// until it is purged. A direct upload that is not complete is removed at once, with its reservation.
    ///
    /// # Errors
    /// 404 if there is no such file.
    pub async fn delete(&self, caller: &Identity, id: FileId) -> Result<(), Error> {
        let tenant = caller.require_tenant()?;
        let file = self.find(tenant, id).await?;
        if file.state == FileState::Awaited && self.remove(&file).await? {
            return Ok(());
        }
        let mut tx = self.0.db.tenant(tenant).begin().await?;
        if !store::set_deleted(&mut tx, tenant, id, Some(self.0.clock.now())).await? {
            return Err(missing().into());
        }
        Ok(tx.commit().await?)
    }

    /// Restores a deleted file.
    ///
    /// # Errors
    /// 404 if there is no such file, if it is not deleted or if `FILES_DELETE_GRACE` has passed.
    pub async fn restore(&self, caller: &Identity, id: FileId) -> Result<File, Error> {
        let tenant = caller.require_tenant()?;
        let mut tx = self.0.db.tenant(tenant).begin().await?;
        let found = store::find(&mut tx, tenant, id).await?.ok_or_else(missing)?;
        let since = found.deleted_at.ok_or_else(missing)?;
        // The cleanup may already be purging the file, so it stays deleted.
        let over = since + self.0.settings.delete_grace <= self.0.clock.now();
        if over || !store::set_deleted(&mut tx, tenant, id, None).await? {
            return Err(missing().into());
        }
        tx.commit().await?;
        Ok(File { deleted_at: None, ..found })
    }

    /// Returns how many bytes the caller's tenant stores, and how many its plan allows.
    ///
    /// # Errors
    /// 403 if the caller has no tenant, database errors.
    pub async fn usage(&self, caller: &Identity) -> Result<StorageUsage, Error> {
        let tenant = caller.require_tenant()?;
        let limit = self.0.entitlements.plan(tenant).await?.limits.get(meters::STORAGE_BYTES).copied();
        let mut tx = self.0.db.tenant(tenant).begin_read().await?;
        let bytes = store::usage(&mut tx, tenant).await?;
        tx.commit().await?;
        Ok(StorageUsage { bytes, limit })
    }

    async fn quota(&self, tenant: TenantId) -> Result<QuotaState, Error> {
        let plan = self.0.entitlements.plan(tenant).await?;
        let Some(limit) = plan.limits.get(meters::STORAGE_BYTES).copied() else {
            return Ok(QuotaState { plan, limit: UNLIMITED, used: 0 });
        };
        let mut tx = self.0.db.tenant(tenant).begin_read().await?;
        let used = store::usage(&mut tx, tenant).await?;
        tx.commit().await?;
        Ok(QuotaState { plan, limit, used })
    }

    /// Returns the error of an upload that adds more bytes than the plan allows.
    fn quota_exceeded(&self, quota: &QuotaState, used: u64, added: u64) -> Error {
        self.0.entitlements.limit_reached(&quota.plan, meters::STORAGE_BYTES, used, added).into()
    }

    /// Creates a usage event about a file: its category is the media type, its user the uploader.
    fn usage_event(&self, file: &File, meter: &'static str, quantity: impl Into<Decimal>) -> UsageEvent {
        let event = UsageEvent::new(file.tenant_id, meter, quantity, self.0.clock.now());
        event.category(sniff::essence(&file.content_type)).user(file.user_id)
    }

    /// Creates a usage event that counts once for each file; `change` is the change of the file that it records.
    fn single_usage_event(
        &self,
        file: &File,
        change: &str,
        meter: &'static str,
        quantity: impl Into<Decimal>,
    ) -> UsageEvent {
        self.usage_event(file, meter, quantity).once(USAGE_SOURCE, format!("file/{}/{change}", file.id))
    }

    fn count_download(&self, caller: &Identity, file: &File) {
        let event = self.usage_event(file, meters::FILE_DOWNLOADS, 1).user(caller.user).api_key(caller.api_key);
        self.0.usage.count(event);
    }
}

/// Returns whether an object has another size or checksum than its file.
fn is_other_content(object: &Object, file: &File) -> bool {
    let other = object.info.sha256.zip(file.sha256).is_some_and(|(there, stored)| there != stored);
    object.info.size != file.size || other
}

/// The limit of tenants without a quota: the largest integer of the databases.
const UNLIMITED: u64 = i64::MAX as u64;

fn missing() -> http::Error {
    http::Error::not_found("the file")
}

/// Fails with 422 if a text can't be the name of a file.
fn check_name(name: &str) -> Result<(), http::Error> {
    let wrong = |message: &str| Err(http::Error::invalid([FieldError::new("name", message)]));
    let odd = |character: char| is_unsafe_character(character) || matches!(character, '/' | '\\');
    match name {
        name if name.trim().is_empty() => wrong("is required"),
        name if name.len() > 255 => wrong("must have at most 255 bytes"),
        name if name.chars().any(odd) => wrong("must not contain slashes, backslashes or control characters"),
        "." | ".." => wrong("must not be `.` or `..`"),
        _ => Ok(()),
    }
}

/// Fails with 422 if there are too many tags or one is invalid.
fn check_tags(tags: &[String]) -> Result<(), http::Error> {
    let odd = |byte: u8| !(byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte));
    let wrong = |message: &str| Err(http::Error::invalid([FieldError::new("tags", message)]));
    match () {
        () if tags.len() > 10 => wrong("must be at most 10 tags"),
        () if tags.iter().any(|tag| tag.is_empty() || tag.len() > 50) => wrong("must each have 1 to 50 bytes"),
        () if tags.iter().any(|tag| tag.bytes().any(odd)) => wrong("must contain only a-z, 0-9, `-`, `_` and `.`"),
        () => Ok(()),
    }
}
