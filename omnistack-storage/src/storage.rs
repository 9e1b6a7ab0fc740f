//! The handle.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use omnistack_core::clock::Timestamp;

use crate::{
    Capabilities, Error, ErrorKind, ObjectKey, StorageProvider,
    object::{
        ByteRange, Listing, Object, ObjectInfo, PostForm, PostPolicy, PutOptions, RestoreTier, SignRequest,
        SignedRequest, Stored, Upload,
    },
};

/// The app's storage. Cheap to clone.
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
#[derive(Clone)]
pub struct Storage(Arc<dyn StorageProvider>);

impl Storage {
    /// With this provider.
    pub fn new(provider: impl StorageProvider) -> Self {
        Self(Arc::new(provider))
    }

    /// The provider's name.
    pub fn name(&self) -> &'static str {
        self.0.name()
    }

    /// What the provider can do.
    pub fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    /// Stores an object, in place of the one of this name.
    pub async fn put(&self, key: &ObjectKey, upload: impl Into<Upload>) -> Result<Stored, Error> {
        self.0.put(key, upload.into(), &PutOptions::default()).await
    }

    /// As [`put`](Self::put), and how.
    pub async fn put_with(
        &self,
        key: &ObjectKey,
        upload: impl Into<Upload>,
        options: &PutOptions,
    ) -> Result<Stored, Error> {
        self.0.put(key, upload.into(), options).await
    }

    /// An object and its bytes as they come.
    pub async fn get(&self, key: &ObjectKey) -> Result<Object, Error> {
        self.0.get(key, None).await
    }

    /// A part of an object.
    pub async fn get_range(&self, key: &ObjectKey, range: ByteRange) -> Result<Object, Error> {
        self.0.get(key, Some(range)).await
    }

    /// All bytes of a small object.
    ///
    /// # Errors
    /// Also [`ErrorKind::TooLarge`] for more than `limit`.
    pub async fn read(&self, key: &ObjectKey, limit: u64) -> Result<Bytes, Error> {
        self.get(key).await?.bytes(limit).await
    }

    /// What is known of an object.
    pub async fn head(&self, key: &ObjectKey) -> Result<ObjectInfo, Error> {
        self.0.head(key).await
    }

    /// Whether there is one.
    pub async fn exists(&self, key: &ObjectKey) -> Result<bool, Error> {
        match self.head(key).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// At most `limit` objects whose key begins with `prefix`, behind `after`, in the order of their bytes.
    pub async fn list(&self, prefix: &str, after: Option<&ObjectKey>, limit: usize) -> Result<Listing, Error> {
        self.0.list(prefix, after, limit).await
    }

    /// Makes an object of another, without its bytes passing here.
    pub async fn copy(&self, from: &ObjectKey, to: &ObjectKey) -> Result<(), Error> {
        self.0.copy(from, to, None).await
    }

    /// As [`copy`](Self::copy), in a storage class. Onto itself it changes the class.
    pub async fn copy_to_class(&self, from: &ObjectKey, to: &ObjectKey, class: &str) -> Result<(), Error> {
        self.0.copy(from, to, Some(class)).await
    }

    /// Copies, then deletes: for a while there are two.
    pub async fn rename(&self, from: &ObjectKey, to: &ObjectKey) -> Result<(), Error> {
        if from == to {
            return Ok(());
        }
        self.copy(from, to).await?;
        self.delete(from).await
    }

    /// Deletes an object, if it is there.
    pub async fn delete(&self, key: &ObjectKey) -> Result<(), Error> {
        self.0.delete(key).await
    }

    /// Removes what is left of uploads whose process died, if nothing was written to it since then. Returns how many there were.
    pub async fn remove_unfinished(&self, before: Timestamp) -> Result<usize, Error> {
        self.0.remove_unfinished(before).await
    }

    /// A link with which anybody can read an object for a while.
    pub async fn signed_get(&self, key: &ObjectKey, expires_in: Duration) -> Result<SignedRequest, Error> {
        self.sign(&SignRequest::get(key.clone(), expires_in)).await
    }

    /// A link with which anybody can store an object for a while.
    pub async fn signed_put(&self, key: &ObjectKey, expires_in: Duration) -> Result<SignedRequest, Error> {
        self.sign(&SignRequest::put(key.clone(), expires_in)).await
    }

    /// A request somebody without credentials can make.
    pub async fn sign(&self, request: &SignRequest) -> Result<SignedRequest, Error> {
        self.0.sign(request).await
    }

    /// A form a browser can send.
    pub async fn post_form(&self, policy: &PostPolicy) -> Result<PostForm, Error> {
        self.0.post_form(policy).await
    }

    /// Asks for an archived object to be readable for so many days. [`head`](Self::head) says when it is.
    pub async fn restore(&self, key: &ObjectKey, days: u32, tier: RestoreTier) -> Result<(), Error> {
        self.0.restore(key, days, tier).await
    }
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Storage").field(&self.0).finish()
    }
}
