//! [`UploadBody`], the bytes of an object that is being stored.

use std::fmt;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use omnistack_core::crypto::Sha256;
use sha2::Digest as _;

use super::ByteStream;
use crate::{Error, ErrorKind};

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
    /// The checksum, once all bytes were read and matched the declared size and checksum.
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
    /// the declared ones.
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

    /// Returns the checksum. Fails if the size or the checksum differs from the declared one.
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
    /// Returns the errors of [`next`](Self::next).
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

impl From<String> for UploadBody {
    fn from(text: String) -> Self {
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
