//! Temporary folders.

use std::{
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    command,
    failure::{Context, Result},
    host,
};

/// The file system in memory of Linux.
const MEMORY_FILE_SYSTEM: &str = "/dev/shm";
/// The free space that a file system in memory must have, in KiB.
const MIN_FREE_KIB: u64 = 4 * 1024 * 1024;

/// A temporary folder outside the repository. Dropping it deletes the folder and its contents.
#[derive(Debug)]
pub(crate) struct TempFolder(PathBuf);

impl TempFolder {
    /// Creates an empty folder that only the current user can read.
    pub(crate) fn create(purpose: &str) -> Result<Self> {
        Self::create_in(&std::env::temp_dir(), purpose)
    }

    /// Creates a folder as [`create`](Self::create) does, in memory if the machine has a file system in memory with at
    /// least 4 GiB free. A server that creates and drops a database for each test spends most of its time in the file
    /// system otherwise.
    pub(crate) fn in_memory(purpose: &str) -> Result<Self> {
        match Path::new(MEMORY_FILE_SYSTEM) {
            memory if free_kib(memory).is_some_and(|free| free >= MIN_FREE_KIB) => Self::create_in(memory, purpose),
            _ => Self::create(purpose),
        }
    }

    fn create_in(parent: &Path, purpose: &str) -> Result<Self> {
        let path = parent.join(format!("omnistack-{purpose}-{}", host::random_hex()?));
        let created = fs::DirBuilder::new().mode(0o700).create(&path);
        created.context(format_args!("creating {}", path.display()))?;
        Ok(Self(path))
    }

    /// Returns the path.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

/// Returns the free space of a file system in KiB. Returns `None` if there is none at the path, or it can't be asked.
fn free_kib(path: &Path) -> Option<u64> {
    let answer = command::output_of(Command::new("df").args(["-Pk"]).arg(path)).ok()?;
    // A heading, then: name, size, used and free space.
    answer.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        // Fails if a supervised process has already deleted the folder.
        let _ = fs::remove_dir_all(&self.0);
    }
}
