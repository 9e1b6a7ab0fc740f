//! An archive of its own: another provider, or a directory elsewhere.
//!
//! A file's bytes are there before its row says so, and here until it does. What a crash leaves between is set right the next
//! night: the row names it.

use omnistack_core::{
    clock::Timestamp,
    jobs::{Draft, Priority},
};

use super::{Archival, ArchiveState, ArchivedFile};
use crate::{
    Error, ErrorKind, File, FileId, FileState, PutOptions, RestoreTier, Storage, Upload, jobs::BringBack,
    model::ELSEWHERE, store,
};

/// Files at once.
const CHUNK: i64 = 100;

impl Archival {
    /// Copies the bytes, which are looked at again on the way.
    async fn carry(&self, file: &File, from: &Storage, to: &Storage) -> Result<(), Error> {
        let key = file.key()?;
        let mut upload = Upload::stream(from.get(&key).await?.body).size(file.size);
        if let Some(sha256) = file.sha256 {
            upload = upload.sha256(sha256);
        }
        to.put_with(&key, upload, &PutOptions::content_type(&file.content_type)).await?;
        Ok(())
    }

    /// Moves a file away.
    pub(super) async fn send_away(&self, file: &File, archive: &Storage) -> Result<(), Error> {
        self.carry(file, &self.files.0.storage, archive).await?;
        let mut tx = self.files.0.db.tenant(file.tenant_id).begin().await?;
        let moved = store::archive::set_class(&mut tx, file, ELSEWHERE, self.files.0.clock.now()).await?;
        tx.commit().await?;
        if moved { self.clear(file).await } else { Ok(()) }
    }

    /// Removes the copy here.
    async fn clear(&self, file: &File) -> Result<(), Error> {
        self.files.0.storage.delete(&file.key()?).await?;
        let mut tx = self.files.0.db.tenant(file.tenant_id).begin().await?;
        store::archive::left(&mut tx, file).await?;
        Ok(tx.commit().await?)
    }

    /// Removes the copies of files whose time here is over, and those a crash left.
    pub(super) async fn send_back(&self) -> Result<(), Error> {
        loop {
            let now = self.files.0.clock.now();
            // The clock works for every tenant.
            let mut tx = self.files.0.db.all_tenants().read().await?;
            let files = store::archive::over(&mut tx, now, CHUNK).await?;
            tx.commit().await?;
            if files.is_empty() {
                return Ok(());
            }
            for file in &files {
                let mut tx = self.files.0.db.tenant(file.tenant_id).begin().await?;
                let leaves = store::archive::leaves(&mut tx, file, now).await?;
                tx.commit().await?;
                if leaves {
                    self.clear(file).await?;
                }
            }
        }
    }

    /// Has a file brought back by a job: before others when it is wanted soon, behind them when it is not.
    pub(super) async fn ask_back(&self, file: &File, days: u32, tier: RestoreTier) -> Result<(), Error> {
        self.archive_elsewhere()?;
        let priority = match tier {
            RestoreTier::Expedited => Priority::High,
            RestoreTier::Standard => Priority::Normal,
            RestoreTier::Bulk => Priority::Low,
        };
        let mut tx = self.files.0.db.tenant(file.tenant_id).begin().await?;
        if !store::archive::ask(&mut tx, file, days).await? {
            return Err(Error::new(ErrorKind::Unavailable, "its copy is being removed at this moment"));
        }
        let job = BringBack { tenant_id: file.tenant_id, file_id: file.id };
        let draft = Draft::new(job).tenant(file.tenant_id).priority(priority).unique(format!("file/{}", file.id));
        let asked = self.jobs.enqueue_in(&mut tx, draft).await;
        asked.map_err(|error| Error::new(ErrorKind::Other, error))?;
        Ok(tx.commit().await?)
    }

    fn archive_elsewhere(&self) -> Result<&Storage, Error> {
        let gone = || Error::new(ErrorKind::Configuration, "the archive of the app is not set any more");
        self.files.0.archive.as_ref().ok_or_else(gone)
    }

    /// Brings a file back, if that is still wanted.
    pub(crate) async fn bring_back(&self, BringBack { tenant_id, file_id }: BringBack) -> Result<(), Error> {
        let archive = self.archive_elsewhere()?;
        let Some(file) = self.wanted(tenant_id, file_id).await? else { return Ok(()) };
        let days = file.restoring.and_then(|days| u32::try_from(days).ok()).unwrap_or_default();
        if days == 0 {
            return Ok(());
        }
        if file.is_away(self.files.0.clock.now()) {
            self.carry(&file, archive, &self.files.0.storage).await?;
        }
        let until = self.files.0.clock.now() + std::time::Duration::from_hours(24) * days;
        let mut tx = self.files.0.db.tenant(tenant_id).begin().await?;
        let back = store::archive::is_back(&mut tx, &file, until).await?;
        tx.commit().await?;
        // It was removed for good meanwhile.
        if !back && self.wanted(tenant_id, file_id).await?.is_none() {
            self.files.0.storage.delete(&file.key()?).await?;
        }
        Ok(())
    }

    async fn wanted(&self, tenant: omnistack_core::identity::TenantId, id: FileId) -> Result<Option<File>, Error> {
        let mut tx = self.files.0.db.tenant(tenant).read().await?;
        let found = store::find(&mut tx, tenant, id).await?;
        tx.commit().await?;
        Ok(found.filter(|file| file.state == FileState::Stored))
    }

    /// Where a file is that is not here.
    pub(super) fn away(file: &File, now: Timestamp) -> ArchivedFile {
        let state = match file.restoring {
            _ if !file.is_away(now) => ArchiveState::Restored,
            Some(days) if days > 0 => ArchiveState::Restoring,
            _ => ArchiveState::Archived,
        };
        let restored_until = file.restored_until.filter(|until| *until > now);
        ArchivedFile { id: file.id, state, storage_class: file.storage_class.clone(), restored_until }
    }
}
