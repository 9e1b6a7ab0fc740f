//! Temporary folders for copies of databases.

use std::{
    fs::{self, DirBuilder, File, Metadata},
    io,
    path::{Path, PathBuf},
};

use super::Error;
use crate::crypto::Token;

/// The beginning of the names of folders.
const PREFIX: &str = "omnistack-backup-";
/// The file of a folder that is locked while its process runs. The system unlocks it also if the process is killed.
const LOCK: &str = "lock";

/// A folder that only its owner can read. It is removed when this is dropped; if its process is killed, when the next one is
/// created in the same place.
#[derive(Debug)]
pub(super) struct TemporaryFolder {
    path: PathBuf,
    _lock: File,
}

impl TemporaryFolder {
    /// Creates a folder in `parent`, or in that of the system, and removes those of processes that were killed.
    pub(super) fn create(parent: Option<&Path>) -> Result<Self, Error> {
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_owned);
        let folder = Self::create_in(&parent).map_err(|error| {
            Error::refused(format!(
                "a temporary directory can't be created in {} ({error}): set BACKUP_DIRECTORY to one that can be written",
                parent.display()
            ))
        })?;
        // What others left behind must not keep a backup from being made.
        _ = remove_abandoned(&parent, &folder);
        Ok(folder)
    }

    fn create_in(parent: &Path) -> io::Result<Self> {
        loop {
            let path = parent.join(format!("{PREFIX}{}", unique_name()));
            let mut builder = DirBuilder::new();
            builder.recursive(true);
            #[cfg(unix)]
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            builder.create(&path)?;
            let lock = File::create(path.join(LOCK)).inspect_err(|_| _ = fs::remove_dir(&path))?;
            // File systems without locks refuse it, and then no process removes the folder of another one.
            _ = lock.lock();
            // Until then, another process could take the folder for an abandoned one.
            if path.join(LOCK).exists() {
                return Ok(Self { path, _lock: lock });
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.path);
    }
}

/// Removes the folders of the same user whose processes have ended without removing them.
fn remove_abandoned(parent: &Path, own: &TemporaryFolder) -> io::Result<()> {
    let owned = fs::metadata(&own.path)?;
    for entry in fs::read_dir(parent)?.flatten() {
        let path = entry.path();
        let is_folder = entry.file_name().to_string_lossy().starts_with(PREFIX)
            && path != own.path
            && entry.metadata().is_ok_and(|found| found.is_dir() && has_same_owner(&found, &owned));
        if !is_folder {
            continue;
        }
        let Ok(lock) = File::options().write(true).open(path.join(LOCK)) else { continue };
        if lock.try_lock().is_ok() && fs::remove_dir_all(&path).is_ok() {
            tracing::info!(target: "omnistack::backup", folder = %path.display(), "removed what a killed process left");
        }
    }
    Ok(())
}

#[cfg(unix)]
fn has_same_owner(one: &Metadata, other: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;

    one.uid() == other.uid()
}

#[cfg(not(unix))]
fn has_same_owner(_: &Metadata, _: &Metadata) -> bool {
    true
}

/// Returns a random name of lowercase letters and digits.
pub(super) fn unique_name() -> String {
    let mut name = Token::random().hash().to_string();
    name.truncate(16);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_killed_processes_are_removed_and_others_stay() {
        let parent = std::env::temp_dir().join(format!("omnistack-temporary-{}", unique_name()));
        let running = TemporaryFolder::create(Some(&parent)).unwrap();
        let killed = parent.join(format!("{PREFIX}killed"));
        let others = ["omnistack-backups", "omnistack-backup-without-lock"].map(|name| parent.join(name));
        for folder in others.iter().chain([&killed]) {
            fs::create_dir(folder).unwrap();
            fs::write(folder.join("0.copy"), "rows").unwrap();
        }
        fs::write(killed.join(LOCK), "").unwrap();

        let next = TemporaryFolder::create(Some(&parent)).unwrap();
        assert!(!killed.exists(), "nothing locks it");
        assert!(running.path().is_dir() && next.path().is_dir() && others.iter().all(|folder| folder.is_dir()));
        drop((running, next));
        assert_eq!(fs::read_dir(&parent).unwrap().count(), others.len());
        fs::remove_dir_all(&parent).unwrap();
    }
}
