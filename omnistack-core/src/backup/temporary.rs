//! Temporary folders for copies of databases.

use std::{
    fs::{self, DirBuilder},
    path::{Path, PathBuf},
};

use super::Error;
use crate::crypto::Token;

/// A folder that only its owner can read. It is removed when this is dropped.
#[derive(Debug)]
pub(super) struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    /// Creates a folder in `parent`, or in that of the system.
    pub(super) fn create(parent: Option<&Path>) -> Result<Self, Error> {
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_owned);
        let path = parent.join(format!("omnistack-backup-{}", unique_name()));
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        match builder.create(&path) {
            Ok(()) => Ok(Self(path)),
            Err(error) => Err(Error::refused(format!(
                "the temporary directory {} can't be created ({error}): set BACKUP_DIRECTORY to one that can be written",
                path.display()
            ))),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

/// Returns a random name of lowercase letters and digits.
pub(super) fn unique_name() -> String {
    let mut name = Token::random().hash().to_string();
    name.truncate(16);
    name
}
