//! Archival: files nobody has needed for long move to where keeping them costs less.
//!
//! A file stays in its list, with all that is known of it. Where it is kept is a storage class of the provider, to which it is copied
//! onto itself, without its bytes passing here; or an archive of its own, another provider or a directory elsewhere, to which they do.
//! From there, and from `GLACIER` and `DEEP_ARCHIVE`, it has to be [restored](Archival::restore) before it can be read, which takes
//! minutes to days; until then reading it is 409 `FILE_ARCHIVED`.

mod elsewhere;
mod rule;

use std::time::Duration;

use omnistack_core::{
    clock::Timestamp,
    http::{self, FieldProblem},
    jobs::Jobs,
};
use serde::Serialize;
use utoipa::ToSchema;

pub use rule::ArchiveRule;

use crate::{
    Archive, Error, ErrorKind, File, FileId, FileService, FileState, RestoreTier, config::ArchivalSettings,
    model::ELSEWHERE, store,
};

/// Files at once.
const CHUNK: i64 = 100;
/// Days a restored file may stay at most.
const LONGEST: u32 = 365;

/// Moves files to archives and back.
#[derive(Clone, Debug)]
pub struct Archival {
    files: FileService,
    jobs: Jobs,
    settings: ArchivalSettings,
    rules: Vec<ArchiveRule>,
}

/// Whether a file can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ArchiveState {
    /// It can.
    Available,
    /// It has to be restored first.
    Archived,
    /// It will be.
    Restoring,
    /// It can, for a while.
    Restored,
}

/// Where a file is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct ArchivedFile {
    /// The file.
    #[schema(value_type = String, format = Uuid)]
    pub id: FileId,
    /// Whether it can be read.
    pub state: ArchiveState,
    /// The storage class it is in, if that is not the ordinary one.
    #[schema(required)]
    pub storage_class: Option<String>,
    /// Until when a restored file can be read.
    #[schema(required)]
    pub restored_until: Option<Timestamp>,
}

/// How much is where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[non_exhaustive]
pub struct ClassUsed {
    /// The storage class; absent for the ordinary one.
    #[schema(required)]
    pub storage_class: Option<String>,
    /// How many files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Archival {
    pub(crate) fn new(files: FileService, jobs: Jobs, settings: ArchivalSettings, rules: Vec<ArchiveRule>) -> Self {
        Self { files, jobs, settings, rules }
    }

    fn able(&self) -> Result<(), Error> {
        if self.files.0.archive.is_some() || self.files.0.storage.capabilities().change_class {
            return Ok(());
        }
        Err(Error::unsupported("changing the storage class"))
    }

    /// Archives what the [rules](ArchiveRule) say, of which the settings make one. Returns how many. Before, copies of restored files
    /// whose days are over leave, and files that were archived longer than `ARCHIVAL_RETENTION` are deleted. Runs every night by
    /// itself, where there is anything of it to do.
    ///
    /// # Errors
    /// The first that kept a file from it; the others are tried all the same.
    pub async fn run(&self) -> Result<usize, Error> {
        if self.files.0.archive.is_some() {
            self.send_back().await?;
        }
        let now = self.files.0.clock.now();
        if let Some(retention) = self.settings.retention {
            // The clock works for every tenant.
            let mut tx = self.files.0.db.all_tenants().begin().await?;
            let retired = store::archive::retire(&mut tx, now - retention, now).await?;
            tx.commit().await?;
            if retired > 0 {
                tracing::info!(target: "omnistack::storage", files = retired, "files outlived their archive");
            }
        }
        let Some(age) = self.rules.iter().map(ArchiveRule::age).min() else { return Ok(0) };
        self.able()?;
        let before = now - age;
        let (mut moved, mut after, mut failed) = (0, None, None);
        loop {
            // The clock works for every tenant.
            let mut tx = self.files.0.db.all_tenants().read().await?;
            let files = store::archive::aged(&mut tx, before, after, CHUNK).await?;
            tx.commit().await?;
            let Some(last) = files.last() else { break };
            after = Some((last.created_at, last.id));
            for file in files.iter().filter(|file| self.rules.iter().any(|rule| rule.takes(file, now))) {
                match self.shift(file).await {
                    Ok(()) => moved += 1,
                    Err(error) => {
                        tracing::warn!(target: "omnistack::storage", file = %file.id, %error, "a file is not archived");
                        failed.get_or_insert(error);
                    }
                }
            }
        }
        failed.map_or(Ok(moved), Err)
    }

    /// The row last: a crash in between leaves an archived file that the next night archives again, which changes nothing.
    async fn shift(&self, file: &File) -> Result<(), Error> {
        if let Some(archive) = &self.files.0.archive {
            return self.send_away(file, archive).await;
        }
        let (key, class) = (file.key()?, self.settings.class.as_str());
        match self.files.0.storage.copy_to_class(&key, &key, class).await {
            // It is in the archive already.
            Err(error) if error.kind() == ErrorKind::Archived => {}
            copied => copied?,
        }
        let mut tx = self.files.0.db.tenant(file.tenant_id).begin().await?;
        store::archive::set_class(&mut tx, file, class, self.files.0.clock.now()).await?;
        Ok(tx.commit().await?)
    }

    async fn find(&self, id: FileId) -> Result<File, Error> {
        // Operators look after every tenant's.
        let mut tx = self.files.0.db.all_tenants().read().await?;
        let found = store::archive::of_any_tenant(&mut tx, id).await?;
        tx.commit().await?;
        let found = found.filter(|file| file.state == FileState::Stored);
        Ok(found.ok_or_else(|| http::Error::not_found("the file"))?)
    }

    /// Archives one file now, whatever its age.
    ///
    /// # Errors
    /// 404 for none; [`ErrorKind::Unsupported`] where the provider changes no classes.
    pub async fn archive(&self, id: FileId) -> Result<ArchivedFile, Error> {
        self.able()?;
        let file = self.find(id).await?;
        if file.storage_class.is_none() {
            self.shift(&file).await?;
        }
        self.state(id).await
    }

    /// Asks for an archived file to be readable for so many days: `ARCHIVAL_RESTORE_DAYS` unless said, a year at most. Asking again
    /// while it is on its way changes nothing.
    ///
    /// # Errors
    /// 404 for none; 409 `NOT_ARCHIVED` for one that can be read anyway; 422 for days out of range.
    pub async fn restore(&self, id: FileId, days: Option<u32>, tier: RestoreTier) -> Result<ArchivedFile, Error> {
        let days = days.unwrap_or(self.settings.restore_days);
        if !(1..=LONGEST).contains(&days) {
            let message = format!("must be a number from 1 to {LONGEST}");
            return Err(http::Error::invalid([FieldProblem::new("days", message)]).into());
        }
        let file = self.find(id).await?;
        if self.state(id).await?.state == ArchiveState::Available {
            return Err(http::Error::conflict("NOT_ARCHIVED", "the file can be read as it is").into());
        }
        if file.storage_class.as_deref() == Some(ELSEWHERE) {
            self.ask_back(&file, days, tier).await?;
        } else {
            self.files.0.storage.restore(&file.key()?, days, tier).await?;
        }
        self.state(id).await
    }

    /// Where a file is, as its provider says now.
    ///
    /// # Errors
    /// 404 for none.
    pub async fn state(&self, id: FileId) -> Result<ArchivedFile, Error> {
        let file = self.find(id).await?;
        if file.storage_class.as_deref() == Some(ELSEWHERE) {
            return Ok(Self::away(&file, self.files.0.clock.now()));
        }
        let info = self.files.0.storage.head(&file.key()?).await?;
        let (state, restored_until) = match info.archive {
            Archive::None => (ArchiveState::Available, None),
            Archive::Archived => (ArchiveState::Archived, None),
            Archive::Restoring => (ArchiveState::Restoring, None),
            // A time that is over is as none.
            Archive::RestoredUntil(until) if until <= self.files.0.clock.now() => (ArchiveState::Archived, None),
            Archive::RestoredUntil(until) => (ArchiveState::Restored, Some(until)),
        };
        Ok(ArchivedFile { id, state, storage_class: info.storage_class, restored_until })
    }

    /// How much is where, of all tenants.
    ///
    /// # Errors
    /// The database's.
    pub async fn classes(&self) -> Result<Vec<ClassUsed>, Error> {
        // Operators look after every tenant's.
        let mut tx = self.files.0.db.all_tenants().read().await?;
        let classes = store::archive::classes(&mut tx).await?;
        tx.commit().await?;
        let number = |count: i64| u64::try_from(count).unwrap_or(0);
        let used =
            |(storage_class, files, bytes)| ClassUsed { storage_class, files: number(files), bytes: number(bytes) };
        Ok(classes.into_iter().map(used).collect())
    }

    /// How old files are that the first to be archived are of; none without a rule.
    pub fn after(&self) -> Option<Duration> {
        self.rules.iter().map(ArchiveRule::age).min()
    }
}
