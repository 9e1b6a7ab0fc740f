//! Archival: moves old files to cheaper storage and restores them on request.
//!
//! An archived file stays in the list of files, with all its metadata. Its bytes move to another storage class of
//! the provider, by copying the object onto itself without the bytes passing through the app; or to an external
//! archive, which is another provider or a directory, through the app. A file in the external archive, in
//! `GLACIER` or in `DEEP_ARCHIVE` must be [restored](Archival::restore) before it can be read. That takes minutes
//! to days; until then, reading it fails with 409 `FILE_ARCHIVED`.

mod external_archive;
pub(crate) mod jobs;
mod rule;

use std::time::Duration;

use omnistack_core::{
    clock::Timestamp,
    http::{self, FieldError},
    jobs::Jobs,
};
use serde::Serialize;
use utoipa::ToSchema;

pub use rule::ArchiveRule;

use crate::{
    Error, ErrorKind, File, FileId, FileService, FileState, RestoreStatus, RestoreTier, config::ArchivalSettings,
    model::EXTERNAL_ARCHIVE, store,
};

/// The number of files that are read from the database at a time.
const FILES_PER_BATCH: i64 = 100;
/// The largest number of days for which a file can be restored.
const MAX_RESTORE_DAYS: u32 = 365;

/// Archives and restores files of all tenants. Provided by [`Files`](crate::Files).
///
/// ```
/// use futures_util::{StreamExt as _, stream};
/// use omnistack_core::{app::{App, DevIdentity}, config::Config};
/// use omnistack_storage::{Archival, ArchiveState, FileService, Files, Memory, NewFile, RestoreTier};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:")]);
/// # let app = App::builder(config).with(DevIdentity::default()).with(Files::new(Memory::default())).build()?;
/// # app.migrate().await?;
/// # let body = stream::iter([Ok("Hello.".into())]).boxed();
/// let files: FileService = app.context().get()?;
/// let file = files.upload(&DevIdentity::identity(), NewFile::new("hello.txt"), body).await?;
///
/// let archival: Archival = app.context().get()?;
/// assert_eq!(archival.archive(file.id).await?.state, ArchiveState::Archived);
/// let restored = archival.restore(file.id, Some(2), RestoreTier::Standard).await?;
/// assert_eq!(restored.state, ArchiveState::Restored);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Archival {
    files: FileService,
    jobs: Jobs,
    settings: ArchivalSettings,
    rules: Vec<ArchiveRule>,
}

/// The archive state of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ArchiveState {
    /// The file is not archived, or is in a storage class that can be read at once.
    Available,
    /// The file must be restored before it can be read.
    Archived,
    /// The file is being restored and can't be read yet.
    Restoring,
    /// The file is restored and can be read until `restored_until`.
    Restored,
}

/// The archive state and the storage class of a file.
///
/// ```
/// # use futures_util::{StreamExt as _, stream};
/// # use omnistack_core::{app::{App, DevIdentity}, config::Config};
/// use omnistack_storage::{Archival, ArchiveState, FileService, Files, Memory, NewFile};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:")]);
/// # let app = App::builder(config).with(DevIdentity::default()).with(Files::new(Memory::default())).build()?;
/// # app.migrate().await?;
/// # let files: FileService = app.context().get()?;
/// # let caller = DevIdentity::identity();
/// # let body = stream::iter([Ok("Hello.".into())]).boxed();
/// let file = files.upload(&caller, NewFile::new("hello.txt"), body).await?;
/// let archival: Archival = app.context().get()?;
/// let archived = archival.archive(file.id).await?;
/// assert_eq!(archived.state, ArchiveState::Archived);
/// assert_eq!(archived.storage_class.as_deref(), Some("GLACIER"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct FileArchiveState {
    /// The id of the file.
    #[schema(value_type = String, format = Uuid)]
    pub id: FileId,
    /// Whether the file can be read.
    pub state: ArchiveState,
    /// The storage class, in the provider's terms, or `elsewhere` for the external archive; `null` for the
    /// default class.
    #[schema(required)]
    pub storage_class: Option<String>,
    /// Until when the restored file can be read; `null` if it is not restored.
    #[schema(required)]
    pub restored_until: Option<Timestamp>,
}

/// The files and bytes in a storage class.
///
/// ```
/// # use futures_util::{StreamExt as _, stream};
/// # use omnistack_core::{app::{App, DevIdentity}, config::Config};
/// use omnistack_storage::{Archival, FileService, Files, Memory, NewFile};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:")]);
/// # let app = App::builder(config).with(DevIdentity::default()).with(Files::new(Memory::default())).build()?;
/// # app.migrate().await?;
/// # let files: FileService = app.context().get()?;
/// # let caller = DevIdentity::identity();
/// # let body = stream::iter([Ok("Hello.".into())]).boxed();
/// let file = files.upload(&caller, NewFile::new("hello.txt"), body).await?;
/// let archival: Archival = app.context().get()?;
/// archival.archive(file.id).await?;
/// let usage = archival.usage_by_class().await?;
/// assert_eq!(usage[0].storage_class.as_deref(), Some("GLACIER"));
/// assert_eq!((usage[0].files, usage[0].bytes), (1, 6));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct StorageClassUsage {
    /// The storage class, or `elsewhere` for the external archive; `null` for files that are not archived.
    #[schema(required)]
    pub storage_class: Option<String>,
    /// The number of files.
    pub files: u64,
    /// The number of bytes.
    pub bytes: u64,
}

impl Archival {
    pub(crate) fn new(files: FileService, jobs: Jobs, settings: ArchivalSettings, rules: Vec<ArchiveRule>) -> Self {
        Self { files, jobs, settings, rules }
    }

    /// Fails with [`ErrorKind::Unsupported`] if there is no external archive and the provider can't change
    /// storage classes.
    fn require_archive(&self) -> Result<(), Error> {
        if self.files.0.archive.is_some() || self.files.0.storage.capabilities().change_storage_class {
            return Ok(());
        }
        Err(Error::unsupported("changing the storage class of an object"))
    }

    /// Archives the files that match an [`ArchiveRule`] and returns how many were archived. The settings
    /// `ARCHIVAL_…` are one rule. Before that, it deletes the copies of restored files whose days have passed,
    /// and deletes files that have been archived for longer than `ARCHIVAL_RETENTION`. A job runs this every
    /// night if there is a rule, a retention or an external archive.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if there is a rule but no external archive and no provider that changes storage
    /// classes; database errors. If a file can't be archived, the others are still archived, and the first such
    /// error is returned.
    pub async fn run(&self) -> Result<usize, Error> {
        if self.files.0.archive.is_some() {
            self.delete_expired_copies().await?;
        }
        let now = self.files.0.clock.now();
        if let Some(retention) = self.settings.retention {
            // The job acts for all tenants.
            let mut tx = self.files.0.db.all_tenants().begin().await?;
            let retired = store::archive::delete_archived_before(&mut tx, now - retention, now).await?;
            tx.commit().await?;
            if retired > 0 {
                tracing::info!(target: "omnistack::storage", files = retired, "files were deleted after their archive retention");
            }
        }
        let Some(age) = self.rules.iter().map(ArchiveRule::min_age).min() else { return Ok(0) };
        self.require_archive()?;
        let before = now - age;
        let (mut moved, mut after, mut failed) = (0, None, None);
        loop {
            // The job acts for all tenants.
            let mut tx = self.files.0.db.all_tenants().begin_read().await?;
            let files = store::archive::list_unarchived_before(&mut tx, before, after, FILES_PER_BATCH).await?;
            tx.commit().await?;
            let Some(last) = files.last() else { break };
            after = Some((last.created_at, last.id));
            for file in files.iter().filter(|file| self.rules.iter().any(|rule| rule.matches(file, now))) {
                match self.archive_file(file).await {
                    Ok(()) => moved += 1,
                    Err(error) => {
                        tracing::warn!(target: "omnistack::storage", file = %file.id, %error, "a file was not archived");
                        failed.get_or_insert(error);
                    }
                }
            }
        }
        failed.map_or(Ok(moved), Err)
    }

    /// Archives one file. The row is updated last: after a crash in between, the next run archives the file
    /// again, which changes nothing.
    async fn archive_file(&self, file: &File) -> Result<(), Error> {
        if let Some(archive) = &self.files.0.archive {
            return self.move_to_external(file, archive).await;
        }
        let (key, class) = (file.key()?, self.settings.class.as_str());
        match self.files.0.storage.copy_to_storage_class(&key, &key, class).await {
            // The object is already archived.
            Err(error) if error.kind() == ErrorKind::Archived => {}
            copied => copied?,
        }
        let mut tx = self.files.0.db.tenant(file.tenant_id).begin().await?;
        store::archive::set_class(&mut tx, file, class, self.files.0.clock.now()).await?;
        Ok(tx.commit().await?)
    }

    async fn find(&self, id: FileId) -> Result<File, Error> {
        // Operators act for all tenants.
        let mut tx = self.files.0.db.all_tenants().begin_read().await?;
        let found = store::archive::find_in_any_tenant(&mut tx, id).await?;
        tx.commit().await?;
        let found = found.filter(|file| file.state == FileState::Stored);
        Ok(found.ok_or_else(|| http::Error::not_found("the file"))?)
    }

    /// Archives one file now, regardless of the rules. Does nothing if it is archived already.
    ///
    /// # Errors
    /// 404 if there is no such file; [`ErrorKind::Unsupported`] if there is no external archive and the provider
    /// can't change storage classes; [`ErrorKind::StorageFull`] or [`ErrorKind::Mismatch`] if the bytes can't be
    /// copied to the external archive; other errors of the provider and of the database.
    pub async fn archive(&self, id: FileId) -> Result<FileArchiveState, Error> {
        self.require_archive()?;
        let file = self.find(id).await?;
        if file.storage_class.is_none() {
            self.archive_file(&file).await?;
        }
        self.state(id).await
    }

    /// Requests that an archived file becomes readable for a number of days: 1 to 365, `ARCHIVAL_RESTORE_DAYS` if
    /// `None`. A second request while the file is being restored starts nothing new: with the external archive it
    /// replaces the number of days, with a storage class it changes nothing.
    ///
    /// # Errors
    /// 404 if there is no such file; 409 `NOT_ARCHIVED` if it can be read without; 422 if the days are out of
    /// range; [`ErrorKind::Unavailable`] while its copy is being deleted; [`ErrorKind::Unsupported`] if the provider
    /// has no archives; [`ErrorKind::Configuration`] if the external archive is no longer set; other errors of the
    /// provider and of the database.
    pub async fn restore(&self, id: FileId, days: Option<u32>, tier: RestoreTier) -> Result<FileArchiveState, Error> {
        let days = days.unwrap_or(self.settings.restore_days);
        if !(1..=MAX_RESTORE_DAYS).contains(&days) {
            let message = format!("must be from 1 to {MAX_RESTORE_DAYS}");
            return Err(http::Error::invalid([FieldError::new("days", message)]).into());
        }
        let file = self.find(id).await?;
        if self.state(id).await?.state == ArchiveState::Available {
            return Err(http::Error::conflict("NOT_ARCHIVED", "the file can be read without being restored").into());
        }
        if file.storage_class.as_deref() == Some(EXTERNAL_ARCHIVE) {
            self.enqueue_restore(&file, days, tier).await?;
        } else {
            self.files.0.storage.restore(&file.key()?, days, tier).await?;
        }
        self.state(id).await
    }

    /// Returns the archive state of a file, as the provider reports it now.
    ///
    /// # Errors
    /// 404 if there is no such file; errors of the provider and of the database.
    pub async fn state(&self, id: FileId) -> Result<FileArchiveState, Error> {
        let file = self.find(id).await?;
        if file.storage_class.as_deref() == Some(EXTERNAL_ARCHIVE) {
            return Ok(Self::external_state(&file, self.files.0.clock.now()));
        }
        let info = self.files.0.storage.head(&file.key()?).await?;
        let (state, restored_until) = match info.restore_status {
            RestoreStatus::None => (ArchiveState::Available, None),
            RestoreStatus::Archived => (ArchiveState::Archived, None),
            RestoreStatus::Restoring => (ArchiveState::Restoring, None),
            // An expired restoration counts as none.
            RestoreStatus::RestoredUntil(until) if until <= self.files.0.clock.now() => (ArchiveState::Archived, None),
            RestoreStatus::RestoredUntil(until) => (ArchiveState::Restored, Some(until)),
        };
        Ok(FileArchiveState { id, state, storage_class: info.storage_class, restored_until })
    }

    /// Returns the number of files and bytes in each storage class, of all tenants.
    ///
    /// # Errors
    /// Database errors.
    pub async fn usage_by_class(&self) -> Result<Vec<StorageClassUsage>, Error> {
        // Operators act for all tenants.
        let mut tx = self.files.0.db.all_tenants().begin_read().await?;
        let classes = store::archive::usage_by_class(&mut tx).await?;
        tx.commit().await?;
        let number = |count: i64| u64::try_from(count).unwrap_or(0);
        let used = |(storage_class, files, bytes)| StorageClassUsage {
            storage_class,
            files: number(files),
            bytes: number(bytes),
        };
        Ok(classes.into_iter().map(used).collect())
    }

    /// Returns the smallest age at which a rule archives files, or `None` if there is no rule.
    pub fn min_age(&self) -> Option<Duration> {
        self.rules.iter().map(ArchiveRule::min_age).min()
    }
}
