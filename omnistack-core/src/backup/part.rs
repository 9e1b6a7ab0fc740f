//! The objects that modules add to backups, and the places where backups can be stored.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use crate::BoxError;

/// A stream of bytes that ends after its first error.
pub type BackupStream = BoxStream<'static, Result<Bytes, BoxError>>;

/// An object of a [`BackupPart`]: its size, its media type and its bytes.
#[non_exhaustive]
pub struct BackupContent {
    /// The size in bytes. The backup fails if the stream has more or fewer.
    pub size: u64,
    /// The media type, if it is stored with the object.
    pub content_type: Option<String>,
    /// The bytes.
    pub body: BackupStream,
}

impl BackupContent {
    /// Creates an object.
    pub fn new(size: u64, content_type: Option<String>, body: BackupStream) -> Self {
        Self { size, content_type, body }
    }
}

impl fmt::Debug for BackupContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackupContent")
            .field("size", &self.size)
            .field("content_type", &self.content_type)
            .finish_non_exhaustive()
    }
}

/// An object as a [`BackupPart`] found it.
#[derive(Debug)]
pub enum BackupObject {
    /// The object can be read.
    Content(BackupContent),
    /// The object can't be part of the backup, with the reason: it is gone, or must be restored from an archive first.
    /// The report of the backup names it.
    Skipped(String),
}

/// Objects outside of the databases that belong to the app's data, such as the files of a storage. A module adds one with
/// [`Registry::backup_part`](crate::module::Registry::backup_part).
#[async_trait]
pub trait BackupPart: Send + Sync + 'static {
    /// Returns the name of the part, such as `files`. It is the first part of the names in archives, so it must not
    /// change.
    fn name(&self) -> &'static str;

    /// Returns the next keys after `after`, in any fixed order, or none at the end. A key consists of parts separated by
    /// `/`, of which none is empty, `.` or `..`.
    ///
    /// # Errors
    /// Fails if the objects can't be listed. The backup then fails.
    async fn list(&self, after: Option<&str>) -> Result<Vec<String>, BoxError>;

    /// Returns an object.
    ///
    /// # Errors
    /// Fails if the object can't be read at the moment. The backup then fails.
    async fn open(&self, key: &str) -> Result<BackupObject, BoxError>;

    /// Stores an object of a backup under its key. An object under that key is replaced.
    ///
    /// # Errors
    /// Fails if the object can't be stored. The restore then fails.
    async fn restore(&self, key: &str, content: BackupContent) -> Result<(), BoxError>;
}

/// A place in which archives are stored, by the scheme of its URLs. A module adds one with
/// [`Registry::backup_location`](crate::module::Registry::backup_location); files need none.
#[async_trait]
pub trait BackupLocation: Send + Sync + 'static {
    /// Stores an archive, and returns after it is durable. If the stream fails, no archive must remain.
    ///
    /// # Errors
    /// Fails if the URL is not valid or the archive can't be stored.
    async fn write(&self, url: &str, archive: BackupStream) -> Result<(), BoxError>;

    /// Returns an archive. It is called twice to restore one.
    ///
    /// # Errors
    /// Fails if the URL is not valid or there is no such archive.
    async fn read(&self, url: &str) -> Result<BackupStream, BoxError>;
}
