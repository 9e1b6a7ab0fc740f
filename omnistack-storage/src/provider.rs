//! Storage providers: the trait and its implementations.

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

#[cfg(any(feature = "s3", feature = "cloudinary"))]
use std::time::Duration;
use std::{fmt, sync::Arc};

use async_trait::async_trait;
use omnistack_core::clock::Timestamp;

use crate::{
    Error, ObjectKey,
    object::{
        ByteRange, ListResult, Object, ObjectMetadata, PostForm, PostPolicy, PresignRequest, PresignedRequest,
        PutOptions, PutResult, RestoreTier, UploadBody,
    },
};

/// Time after the start of a request in which it is repeated.
#[cfg(any(feature = "s3", feature = "cloudinary"))]
const MAX_RETRY_TIME: Duration = Duration::from_secs(60);

/// A service that stores objects, such as a directory or a bucket.
///
/// An implementation guarantees:
///
/// - An object becomes visible atomically: once the [`UploadBody`] has been read to its end and its size and checksum
///   matched. It then replaces the object that had the key. If an upload fails or its future is dropped, nothing
///   becomes visible, and temporary data is removed soon.
/// - A client that reads an object while it is replaced gets the old or the new bytes, never a mixture.
/// - No object is held in memory as a whole.
/// - Every call ends: the implementation sets its own timeouts, for the time without progress rather than for the
///   whole call.
/// - Deleting an object that does not exist succeeds.
///
/// The macro `storage_conformance!` of `omnistack-testkit` tests these laws:
///
/// - `stored_object_is_read_back`: an object is read back byte for byte, and `head` returns its key, size, content
///   type, an entity tag and, with the capability `checksum`, its SHA-256
/// - `long_stream_is_stored`: a stream of unknown length is stored completely, and `put` returns the SHA-256 of its
///   bytes
/// - `put_replaces_object`: `put` under an existing key replaces the object, and its entity tag changes
/// - `missing_object_is_not_found`: `get`, `head` and `copy` of an object that does not exist fail with `NotFound`,
///   also if keys begin with its key; `delete` of it succeeds
/// - `reads_ranges`: a range is read exactly, and ends with the object; an empty range, and one after the end, fail
///   with `Range`
/// - `lists_in_order`: a list has the objects whose keys begin with the prefix, in the byte order of the keys, after
///   the given key, with their sizes, and says whether there are more
/// - `copy_is_independent`: a copy has the bytes and the content type of the original and does not follow its changes;
///   it replaces an existing object, and a copy onto itself changes nothing
/// - `create_only_rejects_existing_object`: `create_only` fails with `Exists` if the object exists, and one of several
///   uploads at once succeeds; without the capability, it fails with `Unsupported`
/// - `failed_upload_stores_nothing`: an upload with another size or SHA-256 fails with `Mismatch`, one over its limit
///   with `TooLarge`, and one whose stream fails with the error of the stream; it stores nothing and keeps the existing
///   object
/// - `dropped_upload_stores_nothing`: an upload whose future is dropped leaves no object
/// - `replacement_is_atomic`: a read during a replacement returns the old or the new object, never a mixture
/// - `capabilities_match_behaviour`: operations that `Capabilities` has work and the others fail with `Unsupported`, as
///   do links that last no time or longer than `PresignRequest::MAX_EXPIRY`; `Debug` of a presigned request hides its
///   signature
///
/// ```
/// use std::sync::Arc;
///
/// use async_trait::async_trait;
/// use omnistack_storage::{
///     ByteRange, Capabilities, Error, ListResult, Memory, Object, ObjectMetadata, ObjectKey, PutOptions, Storage,
///     StorageProvider, PutResult, UploadBody,
/// };
///
/// /// Stores everything in another provider and refuses to delete.
/// #[derive(Debug)]
/// struct AppendOnly(Arc<dyn StorageProvider>);
///
/// #[async_trait]
/// impl StorageProvider for AppendOnly {
///     fn name(&self) -> &'static str {
///         "append_only"
///     }
///
///     fn capabilities(&self) -> Capabilities {
///         Capabilities::default()
///     }
///
///     async fn put(&self, key: &ObjectKey, upload: UploadBody, options: &PutOptions) -> Result<PutResult, Error> {
///         self.0.put(key, upload, options).await
///     }
///
///     async fn get(&self, key: &ObjectKey, range: Option<ByteRange>) -> Result<Object, Error> {
///         self.0.get(key, range).await
///     }
///
///     async fn head(&self, key: &ObjectKey) -> Result<ObjectMetadata, Error> {
///         self.0.head(key).await
///     }
///
///     async fn list(&self, prefix: &str, after: Option<&ObjectKey>, limit: usize) -> Result<ListResult, Error> {
///         self.0.list(prefix, after, limit).await
///     }
///
///     async fn copy(&self, from: &ObjectKey, to: &ObjectKey, storage_class: Option<&str>) -> Result<(), Error> {
///         self.0.copy(from, to, storage_class).await
///     }
///
///     async fn delete(&self, _: &ObjectKey) -> Result<(), Error> {
///         Err(Error::unsupported("deleting objects"))
///     }
/// }
///
/// let storage = Storage::new(AppendOnly(Arc::new(Memory::default())));
/// assert_eq!(storage.name(), "append_only");
/// ```
#[async_trait]
pub trait StorageProvider: fmt::Debug + Send + Sync + 'static {
    /// Returns the name of the provider for logs and metrics: short and stable, e.g. `s3`.
    fn name(&self) -> &'static str;

    /// Returns which optional operations the provider supports.
    fn capabilities(&self) -> Capabilities;

    /// Stores an object, replacing one with the same key unless the options forbid it.
    ///
    /// # Errors
    /// [`TooLarge`](crate::ErrorKind::TooLarge), [`Mismatch`](crate::ErrorKind::Mismatch) or
    /// [`Interrupted`](crate::ErrorKind::Interrupted) from the upload; [`Exists`](crate::ErrorKind::Exists),
    /// [`StorageFull`](crate::ErrorKind::StorageFull), or [`Unsupported`](crate::ErrorKind::Unsupported) for an option.
    async fn put(&self, key: &ObjectKey, upload: UploadBody, options: &PutOptions) -> Result<PutResult, Error>;

    /// Returns an object, or a part of it, whose body is streamed.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound), [`Archived`](crate::ErrorKind::Archived), or
    /// [`Range`](crate::ErrorKind::Range) if the range contains no byte of the object.
    async fn get(&self, key: &ObjectKey, range: Option<ByteRange>) -> Result<Object, Error>;

    /// Returns the metadata of an object.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) if the object does not exist.
    async fn head(&self, key: &ObjectKey) -> Result<ObjectMetadata, Error>;

    /// Returns at most `limit` objects whose keys begin with `prefix` and come after `after`, in the byte order
    /// of the keys.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) or [`Configuration`](crate::ErrorKind::Configuration) if
    /// the storage can't be read.
    async fn list(&self, prefix: &str, after: Option<&ObjectKey>, limit: usize) -> Result<ListResult, Error>;

    /// Copies an object within the storage, without its bytes passing through the app, into a storage class if
    /// one is given. If `from` and `to` are the same key, the storage class of the object changes.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound), [`Archived`](crate::ErrorKind::Archived), or
    /// [`Unsupported`](crate::ErrorKind::Unsupported) for a storage class.
    async fn copy(&self, from: &ObjectKey, to: &ObjectKey, storage_class: Option<&str>) -> Result<(), Error>;

    /// Deletes an object. Succeeds if it does not exist.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) or [`Configuration`](crate::ErrorKind::Configuration) if
    /// the storage can't be changed.
    async fn delete(&self, key: &ObjectKey) -> Result<(), Error>;

    /// Deletes what remains of uploads that stopped because their process died, if nothing was written to it
    /// since `before`. Returns how many were deleted. The default implementation deletes nothing, which suits a
    /// provider that leaves nothing behind or whose service removes it.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) or [`Configuration`](crate::ErrorKind::Configuration) if
    /// the storage can't be changed.
    async fn delete_unfinished_uploads(&self, _before: Timestamp) -> Result<usize, Error> {
        Ok(0)
    }

    /// Returns a presigned request, which a client can make without credentials.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) if the provider has no signed URLs, as in the default
    /// implementation, can't enforce a condition of the request, or the duration is not 1 second to 7 days.
    async fn presign(&self, _: &PresignRequest) -> Result<PresignedRequest, Error> {
        Err(Error::unsupported("signed URLs"))
    }

    /// Returns a form with which a browser can store an object without credentials.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) if the provider has no such forms, as in the default
    /// implementation.
    async fn post_form(&self, _: &PostPolicy) -> Result<PostForm, Error> {
        Err(Error::unsupported("upload forms for browsers"))
    }

    /// Requests that an archived object becomes readable for a number of days.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound), or [`Unsupported`](crate::ErrorKind::Unsupported) if the object
    /// is not archived or the provider has no archives, as in the default implementation.
    async fn restore(&self, _: &ObjectKey, _days: u32, _: RestoreTier) -> Result<(), Error> {
        Err(Error::unsupported("archives"))
    }
}

/// The optional operations that a provider supports.
///
/// ```
/// use omnistack_storage::{Memory, Storage};
///
/// let storage = Storage::new(Memory::default());
/// assert!(storage.capabilities().create_only && !storage.capabilities().post_form);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[expect(clippy::struct_excessive_bools, reason = "each capability is independent")]
pub struct Capabilities {
    /// Whether it can refuse to replace an object: [`PutOptions::create_only`].
    pub create_only: bool,
    /// Whether it stores the SHA-256 with the object if it is known before the first byte is sent.
    pub checksum: bool,
    /// Whether it has signed URLs for reading.
    pub presigned_get: bool,
    /// Whether it has signed URLs for storing.
    pub presigned_put: bool,
    /// Whether it enforces [`PresignRequest::size`] on a signed URL for storing.
    pub presigned_put_size: bool,
    /// Whether it has upload forms for browsers with a size limit: [`PostPolicy`].
    pub post_form: bool,
    /// Whether it has storage classes: [`PutOptions::storage_class`].
    pub storage_classes: bool,
    /// Whether it can change the storage class of an existing object by copying it onto itself.
    pub change_storage_class: bool,
    /// Whether it has archives and can restore objects from them.
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

    async fn put(&self, key: &ObjectKey, upload: UploadBody, options: &PutOptions) -> Result<PutResult, Error> {
        (**self).put(key, upload, options).await
    }

    async fn get(&self, key: &ObjectKey, range: Option<ByteRange>) -> Result<Object, Error> {
        (**self).get(key, range).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMetadata, Error> {
        (**self).head(key).await
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>, limit: usize) -> Result<ListResult, Error> {
        (**self).list(prefix, after, limit).await
    }

    async fn copy(&self, from: &ObjectKey, to: &ObjectKey, storage_class: Option<&str>) -> Result<(), Error> {
        (**self).copy(from, to, storage_class).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), Error> {
        (**self).delete(key).await
    }

    async fn delete_unfinished_uploads(&self, before: Timestamp) -> Result<usize, Error> {
        (**self).delete_unfinished_uploads(before).await
    }

    async fn presign(&self, request: &PresignRequest) -> Result<PresignedRequest, Error> {
        (**self).presign(request).await
    }

    async fn post_form(&self, policy: &PostPolicy) -> Result<PostForm, Error> {
        (**self).post_form(policy).await
    }

    async fn restore(&self, key: &ObjectKey, days: u32, tier: RestoreTier) -> Result<(), Error> {
        (**self).restore(key, days, tier).await
    }
}
