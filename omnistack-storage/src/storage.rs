//! The handle to a storage provider.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use omnistack_core::{
    clock::{Clock, Timestamp},
    metrics::{STORAGE_OPERATION_DURATION, STORAGE_OPERATIONS},
    trace::{Span, SpanKind},
};

use crate::{
    Capabilities, Error, ErrorKind, ObjectKey, StorageProvider,
    object::{
        ByteRange, ListResult, Object, ObjectMetadata, PostForm, PostPolicy, PresignRequest, PresignedRequest,
        PutOptions, PutResult, RestoreTier, UploadBody,
    },
};

/// A handle to a storage provider. Cheap to clone.
///
/// The app's handle is `ctx.get::<Storage>()` once [`Files`](crate::Files) is registered; without that module, an
/// app creates one with [`Storage::new`].
///
/// ```
/// use omnistack_storage::{Memory, PutOptions, Storage};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), omnistack_storage::Error> {
/// let storage = Storage::new(Memory::default());
/// let key = "reports/2030.csv".parse()?;
/// let stored = storage.put_with(&key, "a,b\n1,2\n", &PutOptions::content_type("text/csv")).await?;
/// assert_eq!(storage.head(&key).await?.sha256, Some(stored.sha256));
/// assert_eq!(storage.list("reports/", None, 10).await?.objects.len(), 1);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Beside the kinds that a method names, each call to a provider can fail with [`ErrorKind::Unavailable`] if the
/// provider can't be reached, [`ErrorKind::Configuration`] if it refuses the credentials or has no such bucket,
/// [`ErrorKind::InvalidKey`] if it does not accept the key, and [`ErrorKind::Other`].
#[doc(alias("bucket", "S3"))]
#[derive(Clone)]
pub struct Storage(Arc<dyn StorageProvider>);

impl Storage {
    /// Creates a handle to a provider.
    pub fn new(provider: impl StorageProvider) -> Self {
        Self(Arc::new(provider))
    }

    /// Runs a call to the provider in a span, and measures it.
    async fn measure<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let span = Span::child(SpanKind::Client, || format!("{} {operation}", self.name()).into());
        let clock = Clock::system();
        let began = clock.elapsed();
        let result = span.run(call).await;
        STORAGE_OPERATION_DURATION.histogram([operation]).record(clock.elapsed().saturating_sub(began));
        let status = match &result {
            Ok(_) => "ok",
            Err(error) => {
                span.set_error(error.kind().as_str());
                error.kind().as_str()
            }
        };
        STORAGE_OPERATIONS.counter([operation, status]).increment(1);
        result
    }

    /// Returns the name of the provider, e.g. `s3`.
    pub fn name(&self) -> &'static str {
        self.0.name()
    }

    /// Returns which optional operations the provider supports.
    pub fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    /// Stores an object. An object with the same key is replaced.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`], [`ErrorKind::Mismatch`] or [`ErrorKind::Interrupted`] if the upload is wrong or
    /// incomplete, [`ErrorKind::Exists`] if another object occupies the key as a folder, [`ErrorKind::StorageFull`] if
    /// the storage has no space left. Nothing is stored then.
    pub async fn put(&self, key: &ObjectKey, upload: impl Into<UploadBody>) -> Result<PutResult, Error> {
        self.measure("put", self.0.put(key, upload.into(), &PutOptions::default())).await
    }

    /// Stores an object with [`PutOptions`]. An object with the same key is replaced unless the options forbid
    /// it.
    ///
    /// # Errors
    /// As [`put`](Self::put); also [`ErrorKind::Exists`] with [`PutOptions::create_only`] if the object exists, and
    /// [`ErrorKind::Unsupported`] for an option that the provider does not support.
    pub async fn put_with(
        &self,
        key: &ObjectKey,
        upload: impl Into<UploadBody>,
        options: &PutOptions,
    ) -> Result<PutResult, Error> {
        self.measure("put", self.0.put(key, upload.into(), options)).await
    }

    /// Returns an object whose body is streamed.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the object does not exist, [`ErrorKind::Archived`] if it must be restored
    /// first.
    pub async fn get(&self, key: &ObjectKey) -> Result<Object, Error> {
        self.measure("get", self.0.get(key, None)).await
    }

    /// Returns a part of an object, whose body is streamed.
    ///
    /// # Errors
    /// As [`get`](Self::get); also [`ErrorKind::Range`] if the range is empty or begins after the end of the
    /// object.
    pub async fn get_range(&self, key: &ObjectKey, range: ByteRange) -> Result<Object, Error> {
        self.measure("get", self.0.get(key, Some(range))).await
    }

    /// Returns all bytes of an object. For small objects only: they are held in memory.
    ///
    /// # Errors
    /// As [`get`](Self::get); also [`ErrorKind::TooLarge`] if the object has more than `limit` bytes.
    pub async fn read(&self, key: &ObjectKey, limit: u64) -> Result<Bytes, Error> {
        self.get(key).await?.read_all(limit).await
    }

    /// Returns the metadata of an object.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the object does not exist.
    pub async fn head(&self, key: &ObjectKey) -> Result<ObjectMetadata, Error> {
        self.measure("head", self.0.head(key)).await
    }

    /// Returns whether an object exists.
    ///
    /// # Errors
    /// As [`head`](Self::head), without [`ErrorKind::NotFound`].
    pub async fn exists(&self, key: &ObjectKey) -> Result<bool, Error> {
        match self.head(key).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Returns at most `limit` objects whose keys begin with `prefix` and come after `after`, in the byte order
    /// of the keys.
    ///
    /// # Errors
    /// See [`Storage`](Self#errors).
    pub async fn list(&self, prefix: &str, after: Option<&ObjectKey>, limit: usize) -> Result<ListResult, Error> {
        self.measure("list", self.0.list(prefix, after, limit)).await
    }

    /// Copies an object within the storage, without its bytes passing through the app. An object at `to` is
    /// replaced.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if `from` does not exist, [`ErrorKind::Archived`] if it must be restored first.
    pub async fn copy(&self, from: &ObjectKey, to: &ObjectKey) -> Result<(), Error> {
        self.measure("copy", self.0.copy(from, to, None)).await
    }

    /// Copies an object into a storage class, without its bytes passing through the app. If `from` and `to` are
    /// the same key, the storage class of the object changes.
    ///
    /// # Errors
    /// As [`copy`](Self::copy); also [`ErrorKind::Unsupported`] if the provider can't change storage classes
    /// ([`Capabilities::change_storage_class`]).
    pub async fn copy_to_storage_class(&self, from: &ObjectKey, to: &ObjectKey, class: &str) -> Result<(), Error> {
        self.measure("copy", self.0.copy(from, to, Some(class))).await
    }

    /// Renames an object: copies it, then deletes the original. In between, both exist. Does nothing if the keys
    /// are the same.
    ///
    /// # Errors
    /// As [`copy`](Self::copy) and [`delete`](Self::delete).
    pub async fn rename(&self, from: &ObjectKey, to: &ObjectKey) -> Result<(), Error> {
        if from == to {
            return Ok(());
        }
        self.copy(from, to).await?;
        self.delete(from).await
    }

    /// Deletes an object. Succeeds if it does not exist.
    ///
    /// # Errors
    /// See [`Storage`](Self#errors).
    pub async fn delete(&self, key: &ObjectKey) -> Result<(), Error> {
        self.measure("delete", self.0.delete(key)).await
    }

    /// Deletes what remains of uploads that stopped because their process died, if nothing was written to it
    /// since `before`. Returns how many were deleted.
    ///
    /// # Errors
    /// See [`Storage`](Self#errors).
    pub async fn delete_unfinished_uploads(&self, before: Timestamp) -> Result<usize, Error> {
        self.measure("delete_unfinished_uploads", self.0.delete_unfinished_uploads(before)).await
    }

    /// Returns a signed URL with which any client can read an object until it expires. It is valid for 1 second
    /// to 7 days.
    ///
    /// # Errors
    /// As [`presign`](Self::presign).
    pub async fn presign_get(&self, key: &ObjectKey, expires_in: Duration) -> Result<PresignedRequest, Error> {
        self.presign(&PresignRequest::get(key.clone(), expires_in)).await
    }

    /// Returns a signed URL with which any client can store an object until it expires. It is valid for 1 second
    /// to 7 days.
    ///
    /// # Errors
    /// As [`presign`](Self::presign).
    pub async fn presign_put(&self, key: &ObjectKey, expires_in: Duration) -> Result<PresignedRequest, Error> {
        self.presign(&PresignRequest::put(key.clone(), expires_in)).await
    }

    /// Returns a presigned request, which a client can make without credentials.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if the provider has no signed URLs, can't enforce a condition of the request,
    /// or the duration is not 1 second to 7 days.
    pub async fn presign(&self, request: &PresignRequest) -> Result<PresignedRequest, Error> {
        self.measure("presign", self.0.presign(request)).await
    }

    /// Returns a form with which a browser can store an object without credentials.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if the provider has no such forms ([`Capabilities::post_form`]), or the
    /// duration is not 1 second to 7 days.
    pub async fn post_form(&self, policy: &PostPolicy) -> Result<PostForm, Error> {
        self.measure("post_form", self.0.post_form(policy)).await
    }

    /// Requests that an archived object becomes readable for `days` days. This takes minutes to days;
    /// [`head`](Self::head) returns the progress.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the object does not exist, [`ErrorKind::Unsupported`] if it is not archived or
    /// the provider has no archives ([`Capabilities::restore`]).
    pub async fn restore(&self, key: &ObjectKey, days: u32, tier: RestoreTier) -> Result<(), Error> {
        self.measure("restore", self.0.restore(key, days, tier)).await
    }
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Storage").field(&self.0).finish()
    }
}
