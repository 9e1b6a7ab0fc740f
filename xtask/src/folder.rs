//! Temporary folders.

use std::{
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use crate::{
    failure::{Context, Result},
    host,
};

/// A temporary folder outside the repository. Dropping it deletes the folder and its contents.
#[derive(Debug)]
pub(crate) struct TempFolder(PathBuf);

impl TempFolder {
    /// Creates an empty folder that only the current user can read.
    pub(crate) fn create(purpose: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("omnistack-{purpose}-{}", host::random_hex()?));
        let created = fs::DirBuilder::new().mode(0o700).create(&path);
        created.context(format_args!("creating {}", path.display()))?;
        Ok(Self(path))
    }

    /// Returns the path.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        // Fails if a supervised process has already deleted the folder.
        let _ = fs::remove_dir_all(&self.0);
    }
}
