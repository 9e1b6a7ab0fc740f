//! What a provider does.

#[cfg(feature = "azure")]
pub(crate) mod azure;
#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
pub(crate) mod bucket;
#[cfg(feature = "cloudinary")]
pub(crate) mod cloudinary;
#[cfg(feature = "gcs")]
pub(crate) mod gcs;
pub(crate) mod local;
pub(crate) mod memory;
#[cfg(feature = "s3")]
pub(crate) mod s3;
#[cfg(feature = "s3")]
pub(crate) mod sigv4;

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use omnistack_core::clock::Timestamp;

use crate::{
    Error, ObjectKey,
    object::{
        ByteRange, Listing, Object, ObjectInfo, PostForm, PostPolicy, PutOptions, RestoreTier, SignRequest,
        SignedRequest, Stored, Upload,
    },
};

/// Keeps objects: the implementor's contract.
///
/// - An object is whole or not there: it becomes visible once the [`Upload`] is over and was right, in place of the one
///   before. Of an upload that fails, or whose future is dropped, nothing is visible and nothing is left for long.
/// - Who reads an object while it is replaced gets one of the two, never a mixture.
/// - Nothing is held whole in memory.
/// - Every call ends: an implementation has deadlines of its own, for silence rather than for the whole.
/// - Deleting what is not there is no error.
#[async_trait]
pub trait StorageProvider: fmt::Debug + Send + Sync + 'static {
    /// Short and stable, for logs and metrics: `s3`.
    fn name(&self) -> &'static str;

    /// What it can do beyond storing and reading.
    fn capabilities(&self) -> Capabilities;

    /// Stores an object.
    ///
    /// # Errors
    /// See [`ErrorKind`](crate::ErrorKind).
    async fn put(&self, key: &ObjectKey, upload: Upload, options: &PutOptions) -> Result<Stored, Error>;

    /// Reads an object, or a part of it.
    ///
    /// # Errors
    /// See [`ErrorKind`](crate::ErrorKind).
    async fn get(&self, key: &ObjectKey, range: Option<ByteRange>) -> Result<Object, Error>;

    /// What is known of an object.
    ///
    /// # Errors
    /// See [`ErrorKind`](crate::ErrorKind).
    async fn head(&self, key: &ObjectKey) -> Result<ObjectInfo, Error>;

    /// At most `limit` objects whose key begins with `prefix`, behind `after`, in the order of their bytes.
    ///
    /// # Errors
    /// See [`ErrorKind`](crate::ErrorKind).
    async fn list(&self, prefix: &str, after: Option<&ObjectKey>, limit: usize) -> Result<Listing, Error>;

    /// Makes an object of another, in this storage class, without its bytes passing here. Onto itself it changes the class.
    ///
    /// # Errors
    /// See [`ErrorKind`](crate::ErrorKind).
    async fn copy(&self, from: &ObjectKey, to: &ObjectKey, storage_class: Option<&str>) -> Result<(), Error>;

    /// Deletes an object, if it is there.
    ///
    /// # Errors
    /// See [`ErrorKind`](crate::ErrorKind).
    async fn delete(&self, key: &ObjectKey) -> Result<(), Error>;

    /// Removes what is left of uploads whose process died, if nothing was written to it since then, and returns how many there
    /// were. A provider that leaves nothing, or whose store removes it, keeps this default.
    ///
    /// # Errors
    /// See [`ErrorKind`](crate::ErrorKind).
    async fn remove_unfinished(&self, _before: Timestamp) -> Result<usize, Error> {
        Ok(0)
    }

    /// A request somebody without credentials can make.
    ///
    /// # Errors
    /// See [`ErrorKind`](crate::ErrorKind).
    async fn sign(&self, _: &SignRequest) -> Result<SignedRequest, Error> {
        Err(Error::unsupported("signed links"))
    }

    /// A form a browser can send.
    ///
    /// # Errors
    /// See [`ErrorKind`](crate::ErrorKind).
    async fn post_form(&self, _: &PostPolicy) -> Result<PostForm, Error> {
        Err(Error::unsupported("forms of browsers"))
    }

    /// Asks for an archived object to be readable for so many days.
    ///
    /// # Errors
    /// See [`ErrorKind`](crate::ErrorKind).
    async fn restore(&self, _: &ObjectKey, _days: u32, _: RestoreTier) -> Result<(), Error> {
        Err(Error::unsupported("archives"))
    }
}

/// What a provider can do beyond storing and reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[expect(clippy::struct_excessive_bools, reason = "each is said by itself")]
pub struct Capabilities {
    /// Stores only if there is none of the name.
    pub if_absent: bool,
    /// Keeps the checksum with the object, where it is known before the first byte is sent.
    pub checksum: bool,
    /// Makes links for reading.
    pub signed_get: bool,
    /// Makes links for storing.
    pub signed_put: bool,
    /// Whether a link for storing holds who uses it to a size.
    pub signed_size: bool,
    /// Makes forms of browsers, with a limit of size.
    pub post_form: bool,
    /// Has storage classes.
    pub storage_classes: bool,
    /// Changes the storage class of what is there, by copying.
    pub change_class: bool,
    /// Has archives.
    pub restore: bool,
}

#[async_trait]
impl<P: StorageProvider + ?Sized> StorageProvider for Arc<P> {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    fn capabilities(&self) -> Capabilities {
        (**self).capabilities()
    }

    async fn put(&self, key: &ObjectKey, upload: Upload, options: &PutOptions) -> Result<Stored, Error> {
        (**self).put(key, upload, options).await
    }

    async fn get(&self, key: &ObjectKey, range: Option<ByteRange>) -> Result<Object, Error> {
        (**self).get(key, range).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectInfo, Error> {
        (**self).head(key).await
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>, limit: usize) -> Result<Listing, Error> {
        (**self).list(prefix, after, limit).await
    }

    async fn copy(&self, from: &ObjectKey, to: &ObjectKey, storage_class: Option<&str>) -> Result<(), Error> {
        (**self).copy(from, to, storage_class).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), Error> {
        (**self).delete(key).await
    }

    async fn remove_unfinished(&self, before: Timestamp) -> Result<usize, Error> {
        (**self).remove_unfinished(before).await
    }

    async fn sign(&self, request: &SignRequest) -> Result<SignedRequest, Error> {
        (**self).sign(request).await
    }

    async fn post_form(&self, policy: &PostPolicy) -> Result<PostForm, Error> {
        (**self).post_form(policy).await
    }

    async fn restore(&self, key: &ObjectKey, days: u32, tier: RestoreTier) -> Result<(), Error> {
        (**self).restore(key, days, tier).await
    }
}
