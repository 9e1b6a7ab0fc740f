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

/// A folder of our own outside the repository, deleted with everything in it when dropped.
#[derive(Debug)]
pub(crate) struct Temporary(PathBuf);

impl Temporary {
    /// Creates an empty folder that only this user can read.
    pub(crate) fn create(purpose: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("omnistack-{purpose}-{}", host::random_hex()?));
        let created = fs::DirBuilder::new().mode(0o700).create(&path);
        created.context(format_args!("creating {}", path.display()))?;
        Ok(Self(path))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Already gone where a supervised process deleted it first.
        let _ = fs::remove_dir_all(&self.0);
    }
}
