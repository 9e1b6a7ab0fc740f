//! Files, as the API returns them.

use omnistack_core::{
    clock::Timestamp,
    crypto::Sha256,
    id::Id,
    identity::{TenantId, UserId},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{KeyError, ObjectKey};

/// The marker type of [`FileId`].
#[derive(Debug)]
pub enum FileMarker {}

/// The id of a file.
pub type FileId = Id<FileMarker>;

/// A file of a tenant.
///
/// Its bytes never change. It is not listed and can't be read before its state is `stored`.
///
/// ```
/// use futures_util::{StreamExt as _, stream};
/// # use omnistack_core::{app::{App, DevIdentity}, config::Config};
/// use omnistack_storage::{FileService, FileState, Files, Memory, NewFile};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:")]);
/// # let app = App::builder(config).with(DevIdentity::default()).with(Files::new(Memory::default())).build()?;
/// # app.migrate().await?;
/// # let files: FileService = app.context().get()?;
/// # let caller = DevIdentity::identity();
/// let body = stream::iter([Ok("%PDF-1.7 …".into())]).boxed();
/// let file = files.upload(&caller, NewFile::new("invoice.pdf"), body).await?;
/// assert_eq!((file.content_type.as_str(), file.size), ("application/pdf", 12));
/// assert_eq!(file.state, FileState::Stored);
/// assert_eq!(file.key()?.to_string(), format!("files/{}/{}", file.tenant_id, file.id));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = StoredFile)]
#[non_exhaustive]
pub struct File {
    /// The id of the file.
    #[schema(value_type = String, format = Uuid)]
    pub id: FileId,
    /// The tenant that owns the file.
    #[schema(value_type = String, format = Uuid)]
    pub tenant_id: TenantId,
    /// The user who uploaded the file.
    #[schema(value_type = String, format = Uuid)]
    pub user_id: UserId,
    /// The name: 1 to 255 bytes. Several files can have the same name.
    pub name: String,
    /// The media type, detected from the first 8 KiB of the file.
    pub content_type: String,
    /// The size in bytes; while the state is `awaited`, the declared size.
    pub size: u64,
    /// The SHA-256 of the bytes, as 64 hexadecimal digits, if it is known.
    #[schema(required, value_type = Option<String>)]
    pub sha256: Option<Sha256>,
    /// Whether the bytes are stored or still expected.
    pub state: FileState,
    /// When the upload began.
    pub created_at: Timestamp,
    /// The tags: at most 10.
    pub tags: Vec<String>,
    /// The storage class the file was archived in, or `elsewhere` if it was moved to an external archive; `null`
    /// if it is not archived.
    #[schema(required)]
    pub storage_class: Option<String>,
    /// Until when a file restored from an external archive can be read.
    #[schema(required)]
    pub restored_until: Option<Timestamp>,
    /// The number of days for which the file is being restored from the external archive; 0 while its copy in the
    /// main storage is being deleted.
    #[serde(skip)]
    pub(crate) restoring: Option<i32>,
    /// When the file was deleted, if it was. It can be restored until it is purged.
    #[schema(required)]
    pub deleted_at: Option<Timestamp>,
}

impl File {
    /// Returns the key of the object that holds the bytes.
    ///
    /// # Errors
    /// Never fails, because ids form a valid key.
    pub fn key(&self) -> Result<ObjectKey, KeyError> {
        ObjectKey::new(format!("files/{}/{}", self.tenant_id, self.id))
    }

    /// Returns whether the bytes are only in the external archive, and not in the main storage.
    pub(crate) fn is_only_in_external_archive(&self, now: Timestamp) -> bool {
        self.storage_class.as_deref() == Some(EXTERNAL_ARCHIVE) && self.restored_until.is_none_or(|until| until <= now)
    }

    /// Returns the key of the object to which a direct upload is sent.
    pub(crate) fn direct_upload_key(&self) -> Result<ObjectKey, KeyError> {
        ObjectKey::new(format!("{DIRECT_UPLOAD_PREFIX}{}/{}", self.tenant_id, self.id))
    }

    /// Returns the tenant and the file of a direct upload, if this is the key of one.
    pub(crate) fn from_direct_upload_key(key: &ObjectKey) -> Option<(TenantId, FileId)> {
        let (tenant, file) = key.as_str().strip_prefix(DIRECT_UPLOAD_PREFIX)?.split_once('/')?;
        Some((tenant.parse().ok()?, file.parse().ok()?))
    }
}

/// The result of an upload.
///
/// ```
/// use futures_util::{StreamExt as _, stream};
/// # use omnistack_core::{app::{App, DevIdentity}, config::Config};
/// use omnistack_storage::{FileService, Files, Memory, NewFile};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:")]);
/// # let app = App::builder(config).with(DevIdentity::default()).with(Files::new(Memory::default())).build()?;
/// # app.migrate().await?;
/// # let files: FileService = app.context().get()?;
/// # let caller = DevIdentity::identity();
/// let body = || stream::iter([Ok("Hello.".into())]).boxed();
/// let first = files.upload_idempotent(&caller, "order-7", NewFile::new("hello.txt"), body()).await?;
/// let second = files.upload_idempotent(&caller, "order-7", NewFile::new("hello.txt"), body()).await?;
/// assert!(!first.replayed && second.replayed);
/// assert_eq!(second.file.id, first.file.id);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UploadResult {
    /// The file.
    pub file: File,
    /// Whether the file was stored by an earlier request with the same `Idempotency-Key`.
    pub replayed: bool,
}

/// The storage class of files that were moved to the external archive.
pub(crate) const EXTERNAL_ARCHIVE: &str = "elsewhere";

/// The key prefix of the objects of direct uploads.
pub(crate) const DIRECT_UPLOAD_PREFIX: &str = "incoming/";

/// Whether the bytes of a file are stored or still expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileState {
    /// The file is being uploaded through the app.
    Receiving,
    /// A direct upload was created; its bytes were not confirmed yet.
    Awaited,
    /// The file is stored.
    Stored,
}

impl FileState {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Receiving => "receiving",
            Self::Awaited => "awaited",
            Self::Stored => "stored",
        }
    }

    pub(crate) fn from_db(text: &str) -> Self {
        match text {
            "receiving" => Self::Receiving,
            "awaited" => Self::Awaited,
            _ => Self::Stored,
        }
    }
}

/// The declared properties of a new file.
///
/// ```
/// use omnistack_storage::NewFile;
///
/// let new = NewFile::new("report.csv").content_type("text/csv").size(4096).tags(["export"]);
/// assert_eq!(new.tags, ["export"]);
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct NewFile {
    /// The name: 1 to 255 bytes, without slashes, backslashes and control characters.
    pub name: String,
    /// The media type, as the caller claims it. The stored file has the type that was detected from its bytes.
    pub content_type: Option<String>,
    /// The size in bytes, if it is known. An upload of another size fails.
    pub size: Option<u64>,
    /// The SHA-256 of the bytes, if it is known. An upload with another checksum fails.
    pub sha256: Option<Sha256>,
    /// The tags: at most 10, each of 1 to 50 characters of `a-z`, `0-9`, `-`, `_` and `.`.
    pub tags: Vec<String>,
}

impl NewFile {
    /// Creates a new file with a name.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Sets the claimed media type.
    #[must_use]
    pub fn content_type(mut self, content_type: impl Into<String>) -> Self {
        self.content_type = Some(content_type.into());
        self
    }

    /// Declares the size in bytes.
    #[must_use]
    pub fn size(mut self, bytes: u64) -> Self {
        self.size = Some(bytes);
        self
    }

    /// Declares the SHA-256 of the bytes.
    #[must_use]
    pub fn sha256(mut self, sha256: Sha256) -> Self {
        self.sha256 = Some(sha256);
        self
    }

    /// Sets the tags, replacing those set before.
    #[must_use]
    pub fn tags(mut self, tags: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.tags = tags.into_iter().map(Into::into).collect();
        self
    }
}

/// The storage usage of a tenant.
///
/// ```
/// use futures_util::{StreamExt as _, stream};
/// # use omnistack_core::{app::{App, DevIdentity}, config::Config};
/// use omnistack_storage::{FileService, Files, Memory, NewFile};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> omnistack_core::Result<()> {
/// # let config = Config::from_pairs([("DATABASE_URL", "sqlite::memory:")]);
/// # let app = App::builder(config).with(DevIdentity::default()).with(Files::new(Memory::default())).build()?;
/// # app.migrate().await?;
/// # let files: FileService = app.context().get()?;
/// # let caller = DevIdentity::identity();
/// let body = stream::iter([Ok("Hello.".into())]).boxed();
/// let file = files.upload(&caller, NewFile::new("hello.txt"), body).await?;
/// files.delete(&caller, file.id).await?;
/// let usage = files.usage(&caller).await?;
/// assert_eq!((usage.bytes, usage.limit), (6, None), "a deleted file counts until it is purged");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct StorageUsage {
    /// The bytes of all files, including deleted files that can still be restored and the reservations of
    /// unfinished uploads.
    pub bytes: u64,
    /// The bytes that the plan allows; `null` if there is no limit.
    #[schema(required)]
    pub limit: Option<u64>,
}
