//! Objects: what is handed to a provider, and what comes back.

mod sign;

use std::{fmt, ops::Range};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, future, stream, stream::BoxStream};
use omnistack_core::{clock::Timestamp, crypto::Sha256};
use sha2::Digest as _;

pub use sign::{PostForm, PostPolicy, SignRequest, SignedRequest};

use crate::{Error, ErrorKind, ObjectKey};

/// Bytes as they come. It ends after its first error.
pub type ByteStream = BoxStream<'static, Result<Bytes, Error>>;

/// Bytes to be stored: counted, hashed and checked as they pass.
///
/// A provider takes them with [`next`](Self::next) until it answers nothing, and only then makes the object visible: an error
/// before that means that nothing is stored.
pub struct Upload {
    stream: ByteStream,
    size: Option<u64>,
    limit: u64,
    expected: Option<Sha256>,
    hash: sha2::Sha256,
    read: u64,
    /// Passed already, and given back.
    rest: Bytes,
    /// Set once all bytes came and were right.
    done: Option<Sha256>,
}

impl Upload {
    /// Of these bytes.
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let size = bytes.len() as u64;
        Self::stream(stream::iter([Ok(bytes)]).boxed()).size(size)
    }

    /// Of bytes that come one after another, of a length nobody knows.
    pub fn stream(stream: ByteStream) -> Self {
        let hash = sha2::Sha256::new();
        Self { stream, size: None, limit: u64::MAX, expected: None, hash, read: 0, rest: Bytes::new(), done: None }
    }

    /// Of exactly so many bytes: more or fewer are an error.
    #[must_use]
    pub fn size(mut self, bytes: u64) -> Self {
        self.size = Some(bytes);
        self
    }

    /// Of at most so many bytes.
    #[must_use]
    pub fn at_most(mut self, bytes: u64) -> Self {
        self.limit = bytes;
        self
    }

    /// With this checksum: bytes with another are an error.
    #[must_use]
    pub fn sha256(mut self, expected: Sha256) -> Self {
        self.expected = Some(expected);
        self
    }

    /// How many bytes it has, if that is known.
    pub fn known_size(&self) -> Option<u64> {
        self.size
    }

    /// Its checksum, if the sender said one.
    pub fn known_sha256(&self) -> Option<Sha256> {
        self.expected
    }

    /// How many bytes have passed.
    pub fn passed(&self) -> u64 {
        self.read
    }

    /// The next bytes, never none; nothing after the last, when size and checksum were right.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`], [`ErrorKind::Mismatch`], or why the sender stopped.
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
                        return Err(Error::new(ErrorKind::TooLarge, format!("more than {} bytes", self.limit)));
                    }
                    if self.size.is_some_and(|size| self.read > size) {
                        return Err(mismatch(format!("more than the {} bytes announced", self.size.unwrap_or(0))));
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

    fn finish(&self) -> Result<Sha256, Error> {
        if let Some(size) = self.size.filter(|size| *size != self.read) {
            return Err(mismatch(format!("{} bytes in place of the {size} announced", self.read)));
        }
        let hash: [u8; 32] = self.hash.clone().finalize().into();
        let hash = Sha256::from_bytes(&hash).ok_or_else(|| Error::new(ErrorKind::Other, "no hash"))?;
        if self.expected.is_some_and(|expected| expected != hash) {
            return Err(mismatch("another checksum than the one announced".into()));
        }
        Ok(hash)
    }

    /// How many bytes it had, and their checksum: after [`next`](Self::next) answered nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Other`] before that.
    pub fn finished(&self) -> Result<(u64, Sha256), Error> {
        let hash = self.done.ok_or_else(|| Error::new(ErrorKind::Other, "the upload is not over"))?;
        Ok((self.read, hash))
    }

    /// Exactly so many bytes, or those that are left: for providers that store in parts.
    ///
    /// # Errors
    /// As of [`next`](Self::next).
    pub async fn part(&mut self, bytes: usize) -> Result<Vec<Bytes>, Error> {
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

impl From<&'static str> for Upload {
    fn from(text: &'static str) -> Self {
        Self::bytes(text)
    }
}

impl From<Vec<u8>> for Upload {
    fn from(bytes: Vec<u8>) -> Self {
        Self::bytes(bytes)
    }
}

impl From<Bytes> for Upload {
    fn from(bytes: Bytes) -> Self {
        Self::bytes(bytes)
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").field("size", &self.size).field("passed", &self.read).finish_non_exhaustive()
    }
}

/// How an object is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PutOptions {
    /// Its media type; `application/octet-stream` unless said.
    pub content_type: Option<String>,
    /// Whether it is an error when there is one of the name.
    pub if_absent: bool,
    /// Where the provider keeps it, by the provider's own name: `STANDARD_IA`, `GLACIER`.
    pub storage_class: Option<String>,
}

impl PutOptions {
    /// Of this media type.
    pub fn content_type(content_type: impl Into<String>) -> Self {
        Self { content_type: Some(content_type.into()), ..Self::default() }
    }

    /// Only if there is none of the name.
    #[must_use]
    pub fn if_absent(mut self) -> Self {
        self.if_absent = true;
        self
    }

    /// In this storage class.
    #[must_use]
    pub fn storage_class(mut self, class: impl Into<String>) -> Self {
        self.storage_class = Some(class.into());
        self
    }
}

/// What is known of an object that was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stored {
    /// Its bytes.
    pub size: u64,
    /// Their checksum.
    pub sha256: Sha256,
    /// The provider's mark of this content, with the quotes of HTTP.
    pub etag: Option<String>,
}

impl Stored {
    /// So many bytes of this checksum.
    pub fn new(size: u64, sha256: Sha256) -> Self {
        Self { size, sha256, etag: None }
    }

    /// With this mark.
    #[must_use]
    pub fn etag(mut self, etag: Option<String>) -> Self {
        self.etag = etag;
        self
    }
}

/// What is known of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectInfo {
    /// Its name.
    pub key: ObjectKey,
    /// Its bytes.
    pub size: u64,
    /// The provider's mark of this content, with the quotes of HTTP.
    pub etag: Option<String>,
    /// When it was stored.
    pub modified_at: Timestamp,
    /// Its media type, where the provider tells. Lists don't.
    pub content_type: Option<String>,
    /// Its checksum, where it was kept with it.
    pub sha256: Option<Sha256>,
    /// Where the provider keeps it, if that is not the ordinary place.
    pub storage_class: Option<String>,
    /// Whether it has to be restored, is being restored, or is for a while.
    pub archive: Archive,
}

impl ObjectInfo {
    /// So many bytes under this name.
    pub fn new(key: ObjectKey, size: u64, modified_at: Timestamp) -> Self {
        let (etag, content_type, sha256, storage_class) = (None, None, None, None);
        Self { key, size, etag, modified_at, content_type, sha256, storage_class, archive: Archive::None }
    }
}

/// Whether an object is in an archive from which it has to be restored before it can be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Archive {
    /// It can be read.
    #[default]
    None,
    /// It has to be restored.
    Archived,
    /// It is on its way.
    Restoring,
    /// It can be read until then.
    RestoredUntil(Timestamp),
}

/// How soon an archived object is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RestoreTier {
    /// In minutes, at the highest price; not from `DEEP_ARCHIVE`.
    Expedited,
    /// In hours.
    #[default]
    Standard,
    /// In half a day or two, at the lowest price.
    Bulk,
}

/// Which part of an object is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteRange {
    /// From this byte up to, and without, that one.
    Bounded(u64, u64),
    /// From this byte on.
    From(u64),
    /// The last so many.
    Last(u64),
}

impl ByteRange {
    /// Which bytes of an object of this size these are.
    ///
    /// # Errors
    /// [`ErrorKind::Range`] if none is.
    pub fn of(self, size: u64) -> Result<Range<u64>, Error> {
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

/// An object's bytes, or a part of them.
pub struct Object {
    /// What is known of it; its size is that of the whole.
    pub info: ObjectInfo,
    /// Which bytes these are.
    pub range: Range<u64>,
    /// Them.
    pub body: ByteStream,
}

impl Object {
    /// All bytes at once: for what is known to be small.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] for more than `limit`; otherwise as the stream.
    pub async fn bytes(self, limit: u64) -> Result<Bytes, Error> {
        if self.range.end - self.range.start > limit {
            return Err(Error::new(ErrorKind::TooLarge, format!("more than {limit} bytes")));
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

/// A part of a list, in the order of the keys' bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listing {
    /// What is there.
    pub objects: Vec<ObjectInfo>,
    /// Whether more follow behind the last.
    pub more: bool,
}

impl Listing {
    /// Of these, which may be one more than the limit to say that more follow.
    pub fn of(mut objects: Vec<ObjectInfo>, limit: usize) -> Self {
        let more = objects.len() > limit;
        objects.truncate(limit);
        Self { objects, more }
    }
}
