//! The external archive: another provider, or a directory.
//!
//! When a file is archived, its bytes are copied first, then the row is updated, then the copy in the main
//! storage is deleted. After a crash in between, the row says where the bytes are, and the next nightly run
//! deletes the other copy.

use omnistack_core::{
    clock::Timestamp,
    jobs::{NewJob, Priority},
};

use super::{Archival, ArchiveState, FileArchiveState, jobs::RestoreFromArchive};
use crate::{
    Error, ErrorKind, File, FileId, FileState, PutOptions, RestoreTier, Storage, UploadBody, model::EXTERNAL_ARCHIVE,
    store,
};

/// The number of files that are read from the database at a time.
const FILES_PER_BATCH: i64 = 100;

impl Archival {
    /// Copies the bytes of a file from one provider to another, and checks their size and checksum.
    async fn copy_between(&self, file: &File, from: &Storage, to: &Storage) -> Result<(), Error> {
        let key = file.key()?;
        let mut upload = UploadBody::from_stream(from.get(&key).await?.body).size(file.size);
        if let Some(sha256) = file.sha256 {
            upload = upload.sha256(sha256);
        }
        to.put_with(&key, upload, &PutOptions::content_type(&file.content_type)).await?;
        Ok(())
    }

    /// Moves a file to the external archive.
    pub(super) async fn move_to_external(&self, file: &File, archive: &Storage) -> Result<(), Error> {
        self.copy_between(file, &self.files.0.storage, archive).await?;
        let mut tx = self.files.0.db.tenant(file.tenant_id).begin().await?;
        let moved = store::archive::set_class(&mut tx, file, EXTERNAL_ARCHIVE, self.files.0.clock.now()).await?;
        tx.commit().await?;
        if moved { self.delete_main_copy(file).await } else { Ok(()) }
    }

    /// Deletes the copy in the main storage.
    async fn delete_main_copy(&self, file: &File) -> Result<(), Error> {
        self.files.0.storage.delete(&file.key()?).await?;
        let mut tx = self.files.0.db.tenant(file.tenant_id).begin().await?;
        store::archive::set_copy_deleted(&mut tx, file).await?;
        Ok(tx.commit().await?)
    }

    /// Deletes the copies in the main storage of restored files whose days have passed, and the copies that a
    /// crash left behind.
    pub(super) async fn delete_expired_copies(&self) -> Result<(), Error> {
        loop {
            let now = self.files.0.clock.now();
            // The job acts for all tenants.
            let mut tx = self.files.0.db.all_tenants().begin_read().await?;
            let files = store::archive::list_expired_copies(&mut tx, now, FILES_PER_BATCH).await?;
            tx.commit().await?;
            if files.is_empty() {
                return Ok(());
            }
            for file in &files {
                let mut tx = self.files.0.db.tenant(file.tenant_id).begin().await?;
                let leaves = store::archive::mark_copy_for_deletion(&mut tx, file, now).await?;
                tx.commit().await?;
                if leaves {
                    self.delete_main_copy(file).await?;
                }
            }
        }
    }

    /// Enqueues a job that restores a file, with a high, normal or low priority by tier. Fails with
    /// [`ErrorKind::Unavailable`] while the copy in the main storage is being deleted.
    pub(super) async fn enqueue_restore(&self, file: &File, days: u32, tier: RestoreTier) -> Result<(), Error> {
        self.external_archive()?;
        let priority = match tier {
            RestoreTier::Expedited => Priority::High,
            RestoreTier::Standard => Priority::Normal,
            RestoreTier::Bulk => Priority::Low,
        };
        let mut tx = self.files.0.db.tenant(file.tenant_id).begin().await?;
        if !store::archive::request_restore(&mut tx, file, days).await? {
            return Err(Error::new(ErrorKind::Unavailable, "the copy of the file is being deleted: try again later"));
        }
        let job = RestoreFromArchive { tenant_id: file.tenant_id, file_id: file.id };
        let draft = NewJob::new(job).tenant(file.tenant_id).priority(priority).unique(format!("file/{}", file.id));
        let asked = self.jobs.enqueue_in(&mut tx, draft).await;
        asked.map_err(|error| Error::new(ErrorKind::Other, error))?;
        Ok(tx.commit().await?)
    }

    /// Returns the external archive. Fails with [`ErrorKind::Configuration`] if none is set.
    fn external_archive(&self) -> Result<&Storage, Error> {
        let gone = || {
            Error::new(
                ErrorKind::Configuration,
                "the app has no external archive any more: set `ARCHIVAL_DIRECTORY` or call `Files::archive_to`",
            )
        };
        self.files.0.archive.as_ref().ok_or_else(gone)
    }

    /// Copies a file from the external archive to the main storage, if its restoration is still requested.
    pub(crate) async fn restore_from_external(
        &self,
        RestoreFromArchive { tenant_id, file_id }: RestoreFromArchive,
    ) -> Result<(), Error> {
        let archive = self.external_archive()?;
        let Some(file) = self.find_stored(tenant_id, file_id).await? else { return Ok(()) };
        let days = file.restoring.and_then(|days| u32::try_from(days).ok()).unwrap_or_default();
        if days == 0 {
            return Ok(());
        }
        if file.is_only_in_external_archive(self.files.0.clock.now()) {
            self.copy_between(&file, archive, &self.files.0.storage).await?;
        }
        let until = self.files.0.clock.now() + std::time::Duration::from_hours(24) * days;
        let mut tx = self.files.0.db.tenant(tenant_id).begin().await?;
        let back = store::archive::set_restored(&mut tx, &file, until).await?;
        tx.commit().await?;
        // The file was purged in the meantime.
        if !back && self.find_stored(tenant_id, file_id).await?.is_none() {
            self.files.0.storage.delete(&file.key()?).await?;
        }
        Ok(())
    }

    /// Returns a file if it is stored.
    async fn find_stored(&self, tenant: omnistack_core::identity::TenantId, id: FileId) -> Result<Option<File>, Error> {
        let mut tx = self.files.0.db.tenant(tenant).begin_read().await?;
        let found = store::find(&mut tx, tenant, id).await?;
        tx.commit().await?;
        Ok(found.filter(|file| file.state == FileState::Stored))
    }

    /// Returns the archive state of a file that is in the external archive.
    pub(super) fn external_state(file: &File, now: Timestamp) -> FileArchiveState {
        let state = match file.restoring {
            _ if !file.is_only_in_external_archive(now) => ArchiveState::Restored,
            Some(days) if days > 0 => ArchiveState::Restoring,
            _ => ArchiveState::Archived,
        };
        let restored_until = file.restored_until.filter(|until| *until > now);
        FileArchiveState { id: file.id, state, storage_class: file.storage_class.clone(), restored_until }
    }
}
