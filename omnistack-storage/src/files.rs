//! Files of tenants: their rows, their bytes, and how much of them there may be.
//!
//! A file's row comes before its bytes and says so: it is not listed, read or counted as a file until the bytes are there, were
//! what was announced, and have been looked at. A process that dies in between leaves a row that [`sweep`](FileService::sweep) removes
//! with its bytes, once they can't come any more.

mod announced;
mod intake;
mod once;
mod sweep;
#[cfg(feature = "thumbnails")]
mod thumbnail;

use std::{sync::Arc, time::Duration};

use omnistack_core::{
    clock::Clock,
    db::Db,
    http::{self, FieldProblem, Page},
    identity::{Entitlements, Identity, TenantId},
    name::is_unwanted,
    usage::{UsageEvent, UsageSink},
};

use crate::{
    ByteRange, Error, ErrorKind, File, FileId, FileState, Object, SignRequest, SignedRequest, Storage,
    config::FileSettings, model::StorageUsed, scan::Scanner, sniff, store,
};

/// The meter of bytes that are stored.
pub const STORAGE_BYTES: &str = "storage_bytes";
/// The meter of uploads.
pub const FILE_UPLOADS: &str = "file_uploads";
/// The meter of downloads.
pub const FILE_DOWNLOADS: &str = "file_downloads";

/// Takes, gives and removes files.
#[derive(Clone, Debug)]
pub struct FileService(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) db: Db,
    pub(crate) clock: Clock,
    pub(crate) storage: Storage,
    /// Where archived files are, if that is elsewhere.
    pub(crate) archive: Option<Storage>,
    pub(crate) entitlements: Entitlements,
    pub(crate) usage: UsageSink,
    pub(crate) scanner: Option<Scanner>,
    #[cfg(feature = "thumbnails")]
    pub(crate) thumbnails: Option<crate::thumbnail::Thumbnails>,
    pub(crate) settings: FileSettings,
    /// How long the keys of uploads are kept.
    pub(crate) key_retention: Duration,
}

/// A tenant's limit of bytes, and what is left of it.
struct Room {
    limit: u64,
    left: u64,
}

impl FileService {
    /// The files of the caller's tenant, the latest first, behind another; those that are deleted, or those that are not.
    ///
    /// # Errors
    /// 403 without a tenant.
    pub async fn list(
        &self,
        caller: &Identity,
        deleted: bool,
        after: Option<FileId>,
        limit: u32,
    ) -> Result<Page<File>, Error> {
        let tenant = caller.require_tenant()?;
        let mut tx = self.0.db.tenant(tenant).read().await?;
        let mut items = store::list(&mut tx, tenant, deleted, after, i64::from(limit) + 1).await?;
        tx.commit().await?;
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let next_cursor = items.last().filter(|_| more).map(|last| last.id.to_string());
        Ok(Page { items, next_cursor })
    }

    /// A file of the caller's tenant, deleted or awaited ones included.
    ///
    /// # Errors
    /// 404 for none, and for one whose bytes are on their way through the app.
    pub async fn get(&self, caller: &Identity, id: FileId) -> Result<File, Error> {
        let file = self.find(caller.require_tenant()?, id).await?;
        if file.state == FileState::Receiving { Err(missing().into()) } else { Ok(file) }
    }

    async fn find(&self, tenant: TenantId, id: FileId) -> Result<File, Error> {
        let mut tx = self.0.db.tenant(tenant).read().await?;
        let found = store::find(&mut tx, tenant, id).await?;
        tx.commit().await?;
        Ok(found.ok_or_else(missing)?)
    }

    /// A file that can be read.
    ///
    /// # Errors
    /// 404 for one that is deleted or awaited, too.
    pub async fn readable(&self, caller: &Identity, id: FileId) -> Result<File, Error> {
        let file = self.find(caller.require_tenant()?, id).await?;
        if file.state == FileState::Stored && file.deleted_at.is_none() { Ok(file) } else { Err(missing().into()) }
    }

    /// The bytes of a [readable](Self::readable) file, or a part of them.
    ///
    /// # Errors
    /// [`ErrorKind::Range`] for a part behind the end, [`ErrorKind::Archived`], [`ErrorKind::Unavailable`].
    pub async fn open(&self, file: &File, range: Option<ByteRange>) -> Result<Object, Error> {
        let object = self.bytes_of(file, range).await?;
        if object.range.start == 0 {
            self.count(file.tenant_id, FILE_DOWNLOADS, 1, None).await;
        }
        Ok(object)
    }

    async fn bytes_of(&self, file: &File, range: Option<ByteRange>) -> Result<Object, Error> {
        if file.is_away(self.0.clock.now()) {
            return Err(Error::new(ErrorKind::Archived, format!("`{}`", file.id)));
        }
        let key = file.key()?;
        let object = match range {
            Some(range) => self.0.storage.get_range(&key, range).await,
            None => self.0.storage.get(&key).await,
        };
        match object {
            Ok(object) if differs(&object, file) => {
                let message = format!("the object of the file `{}` is not the one that was stored", file.id);
                Err(Error::new(ErrorKind::Other, message))
            }
            // A row says it is there, or said so a moment ago.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let away = self.find(file.tenant_id, file.id).await?.is_away(self.0.clock.now());
                Err(Error::new(if away { ErrorKind::Archived } else { ErrorKind::Other }, error))
            }
            object => object,
        }
    }

    /// A link with which anybody can read a file for a while: `FILES_LINK` unless said. It ends with its time alone, not when the
    /// file is deleted.
    ///
    /// # Errors
    /// As of [`readable`](Self::readable); 403 `IMPERSONATION_REFUSED` to an operator who acts as a user, since a link can't be
    /// taken back; [`ErrorKind::Unsupported`] where the provider makes no links.
    pub async fn link(
        &self,
        caller: &Identity,
        id: FileId,
        expires_in: Option<Duration>,
        shown: bool,
    ) -> Result<SignedRequest, Error> {
        caller.refuse_impersonation()?;
        let file = self.readable(caller, id).await?;
        if file.is_away(self.0.clock.now()) {
            return Err(Error::new(ErrorKind::Archived, format!("`{}`", file.id)));
        }
        let expires_in = expires_in.unwrap_or(self.0.settings.link);
        let shown = shown && sniff::may_be_shown(&file.content_type);
        let plain = SignRequest::get(file.key()?, expires_in).content_type(&file.content_type);
        let named = plain.clone().disposition(crate::http::disposition(&file.name, shown));
        let signed = match self.0.storage.sign(&named).await {
            // It can't give a name; the link is to an address that is not the app's.
            Err(error) if error.kind() == ErrorKind::Unsupported => self.0.storage.sign(&plain).await?,
            signed => signed?,
        };
        self.count(file.tenant_id, FILE_DOWNLOADS, 1, None).await;
        Ok(signed)
    }

    /// Marks a file with these, in place of those before: for rules of [archival](crate::Archival).
    ///
    /// # Errors
    /// 404 for none; 422 for more than ten, or others than [`NewFile::tags`](crate::NewFile::tags) says.
    pub async fn tag(&self, caller: &Identity, id: FileId, tags: &[String]) -> Result<File, Error> {
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

    /// Deletes a file. For `FILES_DELETE_GRACE` it can be [restored](Self::restore), and counts as stored. One that is announced is
    /// removed at once, with what is reserved for it.
    ///
    /// # Errors
    /// 404 for none.
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

    /// Brings a deleted file back.
    ///
    /// # Errors
    /// 404 for none that is deleted, and for one whose time is over.
    pub async fn restore(&self, caller: &Identity, id: FileId) -> Result<File, Error> {
        let tenant = caller.require_tenant()?;
        let mut tx = self.0.db.tenant(tenant).begin().await?;
        let found = store::find(&mut tx, tenant, id).await?.ok_or_else(missing)?;
        let since = found.deleted_at.ok_or_else(missing)?;
        // What the sweep may be removing stays deleted.
        let over = since + self.0.settings.delete_grace <= self.0.clock.now();
        if over || !store::set_deleted(&mut tx, tenant, id, None).await? {
            return Err(missing().into());
        }
        tx.commit().await?;
        Ok(File { deleted_at: None, ..found })
    }

    /// How much the caller's tenant stores, and may.
    ///
    /// # Errors
    /// 403 without a tenant.
    pub async fn used(&self, caller: &Identity) -> Result<StorageUsed, Error> {
        let tenant = caller.require_tenant()?;
        let limit = self.0.entitlements.plan(tenant).await?.limits.get(STORAGE_BYTES).copied();
        let mut tx = self.0.db.tenant(tenant).read().await?;
        let bytes = store::used(&mut tx, tenant).await?;
        tx.commit().await?;
        Ok(StorageUsed { bytes, limit })
    }

    async fn room(&self, tenant: TenantId) -> Result<Room, Error> {
        let limit = self.0.entitlements.plan(tenant).await?.limits.get(STORAGE_BYTES).copied();
        let Some(limit) = limit else { return Ok(Room { limit: UNLIMITED, left: UNLIMITED }) };
        let mut tx = self.0.db.tenant(tenant).read().await?;
        let used = store::used(&mut tx, tenant).await?;
        tx.commit().await?;
        Ok(Room { limit, left: limit.saturating_sub(used) })
    }

    async fn count(&self, tenant: TenantId, meter: &'static str, quantity: i64, key: Option<String>) {
        let event = UsageEvent::new(tenant, meter, quantity, self.0.clock.now());
        let event = match key {
            Some(key) => event.once(key),
            None => event,
        };
        self.0.usage.record(event).await;
    }
}

/// Returns whether an object has another size or checksum than the file whose bytes it should be.
fn differs(object: &Object, file: &File) -> bool {
    let other = object.info.sha256.zip(file.sha256).is_some_and(|(there, stored)| there != stored);
    object.info.size != file.size || other
}

/// As many as databases count.
const UNLIMITED: u64 = i64::MAX as u64;

fn missing() -> http::Error {
    http::Error::not_found("the file")
}

fn full(room: &Room) -> http::Error {
    let message = "the plan's storage is used up: delete files, or choose a larger plan";
    http::Error::conflict("STORAGE_QUOTA_EXCEEDED", message).detail("limit", room.limit)
}

/// What can't be a name of a file, whoever saves it.
fn check_name(name: &str) -> Result<(), http::Error> {
    let wrong = |message: &str| Err(http::Error::invalid([FieldProblem::new("name", message)]));
    let odd = |character: char| is_unwanted(character) || matches!(character, '/' | '\\');
    match name {
        name if name.trim().is_empty() => wrong("is required"),
        name if name.len() > 255 => wrong("is longer than 255 bytes"),
        name if name.chars().any(odd) => wrong("has a slash, a backslash or a control character"),
        "." | ".." => wrong("is no name of a file"),
        _ => Ok(()),
    }
}

/// What is no mark.
fn check_tags(tags: &[String]) -> Result<(), http::Error> {
    let odd = |byte: u8| !(byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte));
    let wrong = |message: &str| Err(http::Error::invalid([FieldProblem::new("tags", message)]));
    match () {
        () if tags.len() > 10 => wrong("are more than 10"),
        () if tags.iter().any(|tag| tag.is_empty() || tag.len() > 50) => {
            wrong("has one that is not 1 to 50 bytes long")
        }
        () if tags.iter().any(|tag| tag.bytes().any(odd)) => wrong("has one with others than a-z, 0-9, `-`, `_`, `.`"),
        () => Ok(()),
    }
}
