//! Objects, their metadata, and the options of operations on them.

mod presign;

use std::{fmt, ops::Range};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, future, stream, stream::BoxStream};
use omnistack_core::{clock::Timestamp, crypto::Sha256};
use sha2::Digest as _;

pub use presign::{PostForm, PostPolicy, PresignRequest, PresignedRequest};

use crate::{Error, ErrorKind, ObjectKey};

/// A stream of bytes. It ends after its first error.
pub type ByteStream = BoxStream<'static, Result<Bytes, Error>>;

/// The body of an object that is being stored. It counts and hashes the bytes and checks their size and checksum.
///
/// A provider reads it with [`next`](Self::next) until that returns `None`, and only then makes the object
/// visible. If `next` fails, nothing is stored.
///
/// ```
/// use futures_util::{StreamExt as _, stream};
/// use omnistack_storage::{ErrorKind, Memory, Storage, UploadBody};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), omnistack_storage::Error> {
/// let storage = Storage::new(Memory::default());
/// let key = "exports/7.csv".parse()?;
/// let rows = stream::iter([Ok("a,b\n".into()), Ok("1,2\n".into())]).boxed();
/// storage.put(&key, UploadBody::from_stream(rows).max_size(1024)).await?;
///
/// let incomplete = storage.put(&key, UploadBody::from_bytes("a,b\n").size(8)).await.unwrap_err();
/// assert_eq!(incomplete.kind(), ErrorKind::Mismatch);
/// assert_eq!(storage.read(&key, 1024).await?, "a,b\n1,2\n");
/// # Ok(())
/// # }
/// ```
pub struct UploadBody {
    stream: ByteStream,
    size: Option<u64>,
    limit: u64,
    expected: Option<Sha256>,
    hash: sha2::Sha256,
    read: u64,
    /// Bytes that were read and hashed but not yet returned.
    rest: Bytes,
    /// The checksum, once all bytes were read and matched what was declared.
    done: Option<Sha256>,
}

impl UploadBody {
    /// Creates an upload of bytes in memory.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let size = bytes.len() as u64;
        Self::from_stream(stream::iter([Ok(bytes)]).boxed()).size(size)
    }

    /// Creates an upload of a stream of unknown size.
    pub fn from_stream(stream: ByteStream) -> Self {
        let hash = sha2::Sha256::new();
        Self { stream, size: None, limit: u64::MAX, expected: None, hash, read: 0, rest: Bytes::new(), done: None }
    }

    /// Declares the size. Reading fails with [`ErrorKind::Mismatch`] if there are more or fewer bytes.
    #[must_use]
    pub fn size(mut self, bytes: u64) -> Self {
        self.size = Some(bytes);
        self
    }

    /// Sets the largest size. Reading fails with [`ErrorKind::TooLarge`] if there are more bytes.
    #[must_use]
    pub fn max_size(mut self, bytes: u64) -> Self {
        self.limit = bytes;
        self
    }

    /// Declares the SHA-256. Reading fails with [`ErrorKind::Mismatch`] if the bytes have another one.
    #[must_use]
    pub fn sha256(mut self, expected: Sha256) -> Self {
        self.expected = Some(expected);
        self
    }

    /// Returns the declared size in bytes, or `None` if it is unknown.
    pub fn declared_size(&self) -> Option<u64> {
        self.size
    }

    /// Returns the declared SHA-256, if any.
    pub fn expected_sha256(&self) -> Option<Sha256> {
        self.expected
    }

    /// Returns how many bytes were read so far.
    pub fn bytes_read(&self) -> u64 {
        self.read
    }

    /// Returns the next bytes, which are never empty. Returns `None` at the end, once size and checksum match
    /// what was declared.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`], [`ErrorKind::Mismatch`], or the error of the stream, such as
    /// [`ErrorKind::Interrupted`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        if !self.rest.is_empty() {
            return Ok(Some(std::mem::take(&mut self.rest)));
        }
        loop {
            if self.done.is_some() {
                return Ok(None);
            }
            match self.stream.next().await.transpose()? {
                Some(bytes) if bytes.is_empty() => {}
                Some(bytes) => {
                    self.read += bytes.len() as u64;
                    if self.read > self.limit {
                        return Err(Error::new(
                            ErrorKind::TooLarge,
                            format!("the upload exceeds the limit of {} bytes", self.limit),
                        ));
                    }
                    if self.size.is_some_and(|size| self.read > size) {
                        return Err(mismatch(format!(
                            "more than the declared {} bytes were sent",
                            self.size.unwrap_or(0)
                        )));
                    }
                    self.hash.update(&bytes);
                    return Ok(Some(bytes));
                }
                None => {
                    self.done = Some(self.finish()?);
                }
            }
        }
    }

    /// Returns the checksum. Fails if size or checksum differ from what was declared.
    fn finish(&self) -> Result<Sha256, Error> {
        if let Some(size) = self.size.filter(|size| *size != self.read) {
            return Err(mismatch(format!("{} of the declared {size} bytes were sent", self.read)));
        }
        let hash: [u8; 32] = self.hash.clone().finalize().into();
        let hash = Sha256::from_bytes(&hash)
            .ok_or_else(|| Error::new(ErrorKind::Other, "the SHA-256 has an unexpected length"))?;
        if self.expected.is_some_and(|expected| expected != hash) {
            return Err(mismatch("the SHA-256 of the bytes differs from the declared one".into()));
        }
        Ok(hash)
    }

    /// Returns the size and the SHA-256 of the upload, once [`next`](Self::next) has returned `None`.
    ///
    /// # Errors
    /// [`ErrorKind::Other`] before that.
    pub fn digest(&self) -> Result<(u64, Sha256), Error> {
        let hash = self.done.ok_or_else(|| Error::new(ErrorKind::Other, "the upload is not complete"))?;
        Ok((self.read, hash))
    }

    /// Returns exactly `bytes` bytes, or fewer at the end. For providers that store objects in parts.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn read_part(&mut self, bytes: usize) -> Result<Vec<Bytes>, Error> {
        let (mut part, mut wanted) = (Vec::new(), bytes);
        while wanted > 0 {
            let Some(mut more) = self.next().await? else { break };
            if more.len() > wanted {
                self.rest = more.split_off(wanted);
            }
            wanted -= more.len();
            part.push(more);
        }
        Ok(part)
    }
}

fn mismatch(what: String) -> Error {
    Error::new(ErrorKind::Mismatch, what)
}

impl From<&'static str> for UploadBody {
    fn from(text: &'static str) -> Self {
        Self::from_bytes(text)
    }
}

impl From<Vec<u8>> for UploadBody {
    fn from(bytes: Vec<u8>) -> Self {
        Self::from_bytes(bytes)
    }
}

impl From<Bytes> for UploadBody {
    fn from(bytes: Bytes) -> Self {
        Self::from_bytes(bytes)
    }
}

impl fmt::Debug for UploadBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UploadBody").field("size", &self.size).field("passed", &self.read).finish_non_exhaustive()
    }
}

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
