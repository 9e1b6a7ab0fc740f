//! Objects, their metadata, and the options of operations on them.

mod presign;
mod upload_body;

use std::{fmt, ops::Range};

use bytes::Bytes;
use futures_util::{TryStreamExt as _, future, stream::BoxStream};
use omnistack_core::{clock::Timestamp, crypto::Sha256};

pub use presign::{PostForm, PostPolicy, PresignRequest, PresignedRequest};
pub use upload_body::UploadBody;

use crate::{Error, ErrorKind, ObjectKey};

/// A stream of bytes. It ends after its first error.
pub type ByteStream = BoxStream<'static, Result<Bytes, Error>>;

/// Options for storing an object.
///
/// ```
/// use omnistack_storage::{ErrorKind, Memory, PutOptions, Storage};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), omnistack_storage::Error> {
/// let storage = Storage::new(Memory::default());
/// let key = "exports/7.csv".parse()?;
/// let options = PutOptions::content_type("text/csv").create_only();
/// storage.put_with(&key, "a,b\n", &options).await?;
///
/// let second = storage.put_with(&key, "c,d\n", &options).await.unwrap_err();
/// assert_eq!(second.kind(), ErrorKind::Exists);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PutOptions {
    /// The media type; `application/octet-stream` if `None`.
    pub content_type: Option<String>,
    /// Whether to fail with [`ErrorKind::Exists`] if the object exists, instead of replacing it.
    pub create_only: bool,
    /// The storage class, in the provider's terms, e.g. `STANDARD_IA` or `GLACIER`; the default class if `None`.
    pub storage_class: Option<String>,
}

impl PutOptions {
    /// Creates options with a media type.
    pub fn content_type(content_type: impl Into<String>) -> Self {
        Self { content_type: Some(content_type.into()), ..Self::default() }
    }

    /// Makes the call fail with [`ErrorKind::Exists`] if the object exists.
    #[must_use]
    pub fn create_only(mut self) -> Self {
        self.create_only = true;
        self
    }

    /// Sets the storage class.
    #[must_use]
    pub fn storage_class(mut self, class: impl Into<String>) -> Self {
        self.storage_class = Some(class.into());
        self
    }
}

/// The result of storing an object.
///
/// ```
/// use omnistack_storage::{Memory, Storage};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), omnistack_storage::Error> {
/// let storage = Storage::new(Memory::default());
/// let stored = storage.put(&"notes/hello.txt".parse()?, "Hello.").await?;
/// assert_eq!(stored.size, 6);
/// assert_eq!(stored.sha256, omnistack_core::crypto::Sha256::digest("Hello."));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PutResult {
    /// The size in bytes.
    pub size: u64,
    /// The SHA-256 of the bytes.
    pub sha256: Sha256,
    /// The entity tag, with its quotes (RFC 9110, section 8.8.3), if the provider returns one.
    pub etag: Option<String>,
}

impl PutResult {
    /// Creates a result without an entity tag.
    pub fn new(size: u64, sha256: Sha256) -> Self {
        Self { size, sha256, etag: None }
    }

    /// Sets the entity tag.
    #[must_use]
    pub fn etag(mut self, etag: Option<String>) -> Self {
        self.etag = etag;
        self
    }
}

/// The metadata of an object.
///
/// ```
/// use omnistack_storage::{Memory, PutOptions, Storage};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), omnistack_storage::Error> {
/// let storage = Storage::new(Memory::default());
/// let key = "exports/7.csv".parse()?;
/// storage.put_with(&key, "a,b\n", &PutOptions::content_type("text/csv")).await?;
/// let metadata = storage.head(&key).await?;
/// assert_eq!((metadata.size, metadata.content_type.as_deref()), (4, Some("text/csv")));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectMetadata {
    /// The key.
    pub key: ObjectKey,
    /// The size in bytes.
    pub size: u64,
    /// The entity tag, with its quotes (RFC 9110, section 8.8.3), if the provider returns one.
    pub etag: Option<String>,
    /// When the object was last stored.
    pub modified_at: Timestamp,
    /// The media type, if the provider returns it. Lists do not contain it.
    pub content_type: Option<String>,
    /// The SHA-256 of the bytes, if it was stored with the object.
    pub sha256: Option<Sha256>,
    /// The storage class, in the provider's terms; `None` for the default class.
    pub storage_class: Option<String>,
    /// Whether the object is archived, is being restored, or is restored for a while.
    pub restore_status: RestoreStatus,
}

impl ObjectMetadata {
    /// Creates metadata with a key, a size in bytes and a time; everything else is unset.
    pub fn new(key: ObjectKey, size: u64, modified_at: Timestamp) -> Self {
        let (etag, content_type, sha256, storage_class) = (None, None, None, None);
        Self { key, size, etag, modified_at, content_type, sha256, storage_class, restore_status: RestoreStatus::None }
    }
}

/// The archive status of an object.
///
/// ```
/// use omnistack_storage::{Memory, PutOptions, RestoreStatus, RestoreTier, Storage};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), omnistack_storage::Error> {
/// let storage = Storage::new(Memory::default());
/// let key = "videos/2020.mp4".parse()?;
/// storage.put_with(&key, "…", &PutOptions::default().storage_class("GLACIER")).await?;
/// assert_eq!(storage.head(&key).await?.restore_status, RestoreStatus::Archived);
/// storage.restore(&key, 7, RestoreTier::Bulk).await?;
/// assert!(matches!(storage.head(&key).await?.restore_status, RestoreStatus::RestoredUntil(_)));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RestoreStatus {
    /// The object can be read and is not archived.
    #[default]
    None,
    /// The object is archived and must be restored before it can be read.
    Archived,
    /// The object is being restored and can't be read yet.
    Restoring,
    /// The object is restored and can be read until this time.
    RestoredUntil(Timestamp),
}

/// The speed at which an archived object is restored. A faster tier costs more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RestoreTier {
    /// Within minutes, at the highest price. Not available for `DEEP_ARCHIVE`.
    Expedited,
    /// Within hours.
    #[default]
    Standard,
    /// Within half a day to two days, at the lowest price.
    Bulk,
}

/// A part of an object.
///
/// ```
/// use omnistack_storage::{ByteRange, ErrorKind};
///
/// assert_eq!(ByteRange::Bounded(2, 100).resolve(10)?, 2..10);
/// assert_eq!(ByteRange::From(4).resolve(10)?, 4..10);
/// assert_eq!(ByteRange::Last(3).resolve(10)?, 7..10);
/// assert_eq!(ByteRange::From(10).resolve(10).unwrap_err().kind(), ErrorKind::Range);
/// # Ok::<_, omnistack_storage::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteRange {
    /// From the first offset up to, but not including, the second.
    Bounded(u64, u64),
    /// From this offset to the end.
    From(u64),
    /// The last bytes, at most this many.
    Last(u64),
}

impl ByteRange {
    /// Resolves the range against the size of an object.
    ///
    /// # Errors
    /// [`ErrorKind::Range`] if the range contains no byte of the object.
    pub fn resolve(self, size: u64) -> Result<Range<u64>, Error> {
        let range = match self {
            Self::Bounded(start, end) => start..end.min(size),
            Self::From(start) => start..size,
            Self::Last(bytes) => size.saturating_sub(bytes)..size,
        };
        if range.start >= range.end {
            return Err(Error::new(ErrorKind::Range, format!("the object has {size} bytes")));
        }
        Ok(range)
    }
}

/// An object that is being read: its metadata and a stream of its bytes, or of a part of them.
///
/// ```
/// use omnistack_storage::{ByteRange, Memory, Storage};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), omnistack_storage::Error> {
/// let storage = Storage::new(Memory::default());
/// let key = "notes/hello.txt".parse()?;
/// storage.put(&key, "Hello.").await?;
/// let object = storage.get_range(&key, ByteRange::Last(2)).await?;
/// assert_eq!((object.info.size, object.range.clone()), (6, 4..6));
/// assert_eq!(object.read_all(1024).await?, "o.");
/// # Ok(())
/// # }
/// ```
pub struct Object {
    /// The metadata. The size is that of the whole object.
    pub info: ObjectMetadata,
    /// The range of bytes that `body` contains.
    pub range: Range<u64>,
    /// The bytes.
    pub body: ByteStream,
}

impl Object {
    /// Returns all bytes of the body. For small objects only: they are held in memory.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] if there are more than `limit` bytes; otherwise the error of the stream.
    pub async fn read_all(self, limit: u64) -> Result<Bytes, Error> {
        if self.range.end - self.range.start > limit {
            return Err(Error::new(ErrorKind::TooLarge, format!("the object exceeds the limit of {limit} bytes")));
        }
        let bytes = self.body.try_fold(Vec::new(), |mut all, bytes| {
            all.extend_from_slice(&bytes);
            future::ready(Ok(all))
        });
        Ok(bytes.await?.into())
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object").field("info", &self.info).field("range", &self.range).finish_non_exhaustive()
    }
}

/// A page of a list of objects, in the byte order of their keys.
///
/// ```
/// use omnistack_storage::{Memory, Storage};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), omnistack_storage::Error> {
/// let storage = Storage::new(Memory::default());
/// for name in ["notes/1", "notes/2", "notes/3"] {
///     storage.put(&name.parse()?, "…").await?;
/// }
/// let page = storage.list("notes/", None, 2).await?;
/// assert!(page.has_more);
/// let rest = storage.list("notes/", page.objects.last().map(|last| &last.key), 2).await?;
/// assert_eq!(rest.objects[0].key.as_str(), "notes/3");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListResult {
    /// The objects.
    pub objects: Vec<ObjectMetadata>,
    /// Whether more objects follow after the last one.
    pub has_more: bool,
}

impl ListResult {
    /// Creates a page of at most `limit` objects. The caller passes up to `limit + 1` objects; one beyond the
    /// limit sets `more`.
    pub fn from_objects(mut objects: Vec<ObjectMetadata>, limit: usize) -> Self {
        let more = objects.len() > limit;
        objects.truncate(limit);
        Self { objects, has_more: more }
    }
}
