//! A check of files before they can be read.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use omnistack_core::BoxError;

use crate::{File, ObjectKey, Storage};

/// A check of files before they can be read, e.g. for viruses. Registered with
/// [`Files::scanner`](crate::Files::scanner).
///
/// ```
/// use async_trait::async_trait;
/// use omnistack_core::BoxError;
/// use omnistack_storage::{File, Files, ObjectKey, FileScanner, Storage, ScanResult};
///
/// struct NoScripts;
///
/// #[async_trait]
/// impl FileScanner for NoScripts {
///     async fn scan(&self, file: &File, key: &ObjectKey, storage: &Storage) -> Result<ScanResult, BoxError> {
///         let start = storage.get(key).await?.read_all(file.size).await?;
///         let refused = start.starts_with(b"#!");
///         Ok(if refused { ScanResult::Refused("scripts are not accepted".into()) } else { ScanResult::Clean })
///     }
/// }
///
/// let files = Files::from_env().scanner(NoScripts);
/// # let _ = files;
/// ```
#[async_trait]
pub trait FileScanner: Send + Sync + 'static {
    /// Returns whether the file may be stored. Its bytes are read with `storage.get(key)`.
    ///
    /// # Errors
    /// If the file can't be checked now. The upload fails with 503 `SCANNER_UNAVAILABLE` and nothing is stored.
    async fn scan(&self, file: &File, key: &ObjectKey, storage: &Storage) -> Result<ScanResult, BoxError>;
}

/// The result of a [`FileScanner`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScanResult {
    /// The file may be stored.
    Clean,
    /// The file is deleted. The client gets 422 `FILE_REFUSED` with this reason.
    Refused(String),
}

/// The scanner of the app.
#[derive(Clone)]
pub(crate) struct SharedScanner(pub(crate) Arc<dyn FileScanner>);

impl fmt::Debug for SharedScanner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedScanner")
    }
}
