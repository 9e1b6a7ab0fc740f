//! The provider [`Memory`]: objects in memory.

use std::{
    collections::BTreeMap,
    fmt,
    ops::Bound,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};
use omnistack_core::clock::Clock;

use crate::{
    Capabilities, Error, ErrorKind, ObjectKey, StorageProvider, UrlSigner,
    object::{
        ByteRange, ListResult, Object, ObjectMetadata, PresignRequest, PresignedRequest, PutOptions, PutResult,
        RestoreStatus, RestoreTier, UploadBody,
    },
};

/// A storage provider in memory, for tests. The objects are lost when the last clone is dropped.
///
/// Storage classes and archives behave as in S3, but an archived object is restored at once.
///
/// ```
/// use omnistack_storage::{Memory, Storage};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), omnistack_storage::Error> {
/// let storage = Storage::new(Memory::default());
/// let key = "notes/hello.txt".parse()?;
/// storage.put(&key, "Hello.").await?;
/// assert_eq!(storage.read(&key, 1024).await?, "Hello.");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Memory {
    objects: Arc<RwLock<BTreeMap<ObjectKey, (ObjectMetadata, Bytes)>>>,
    clock: Clock,
    links: Option<UrlSigner>,
}

impl Memory {
    /// Creates an empty storage with a clock.
    pub fn new(clock: Clock) -> Self {
        Self { objects: Arc::default(), clock, links: None }
    }

    /// Enables signed URLs, which the app serves.
    #[must_use]
    pub fn url_signer(mut self, links: UrlSigner) -> Self {
        self.links = Some(links);
        self
    }

    fn find(&self, key: &ObjectKey) -> Result<(ObjectMetadata, Bytes), Error> {
        let objects = self.objects.read().unwrap_or_else(PoisonError::into_inner);
        objects.get(key).cloned().ok_or_else(|| Error::not_found(key))
    }
}

/// Returns the archive status of a new object in a storage class, as in S3.
fn archive_of(class: Option<&str>) -> RestoreStatus {
    if matches!(class, Some("GLACIER" | "DEEP_ARCHIVE")) { RestoreStatus::Archived } else { RestoreStatus::None }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new(Clock::system())
    }
}

#[async_trait]
impl StorageProvider for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn capabilities(&self) -> Capabilities {
        let links = self.links.is_some();
        Capabilities {
            create_only: true,
            checksum: true,
            presigned_get: links,
            presigned_put: links,
            presigned_put_size: links,
            storage_classes: true,
            change_storage_class: true,
            restore: true,
            ..Capabilities::default()
        }
    }

    async fn put(&self, key: &ObjectKey, mut upload: UploadBody, options: &PutOptions) -> Result<PutResult, Error> {
        let mut bytes = BytesMut::new();
        while let Some(more) = upload.next().await? {
            bytes.extend_from_slice(&more);
        }
        let (size, sha256) = upload.digest()?;
        let etag = Some(format!("\"{sha256}\""));
        let mut info = ObjectMetadata::new(key.clone(), size, self.clock.now());
        info.etag.clone_from(&etag);
        info.sha256 = Some(sha256);
        info.content_type.clone_from(&options.content_type);
        info.storage_class.clone_from(&options.storage_class);
        info.restore_status = archive_of(options.storage_class.as_deref());
        let mut objects = self.objects.write().unwrap_or_else(PoisonError::into_inner);
        if options.create_only && objects.contains_key(key) {
            return Err(Error::new(ErrorKind::Exists, format!("the object `{key}`")));
        }
        objects.insert(key.clone(), (info, bytes.freeze()));
        Ok(PutResult::new(size, sha256).etag(etag))
    }

    async fn get(&self, key: &ObjectKey, range: Option<ByteRange>) -> Result<Object, Error> {
        let (info, bytes) = self.find(key)?;
        let readable = match info.restore_status {
            RestoreStatus::None => true,
            RestoreStatus::RestoredUntil(until) => self.clock.now() < until,
            RestoreStatus::Archived | RestoreStatus::Restoring => false,
        };
        if !readable {
            return Err(Error::new(ErrorKind::Archived, format!("the object `{key}`")));
        }
        let range = range.map_or(Ok(0..info.size), |range| range.resolve(info.size))?;
        let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        let part = bytes.slice(index(range.start)..index(range.end));
        Ok(Object { info, range, body: stream::iter([Ok(part)]).boxed() })
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMetadata, Error> {
        Ok(self.find(key)?.0)
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>, limit: usize) -> Result<ListResult, Error> {
        let objects = self.objects.read().unwrap_or_else(PoisonError::into_inner);
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let found = objects.range((from, Bound::Unbounded)).filter(|(key, _)| key.as_str().starts_with(prefix));
        // Lists of buckets contain neither media types nor checksums.
        let found = found.take(limit.saturating_add(1)).map(|(_, (info, _))| ObjectMetadata {
            content_type: None,
            sha256: None,
            ..info.clone()
        });
        Ok(ListResult::from_objects(found.collect(), limit))
    }

    async fn copy(&self, from: &ObjectKey, to: &ObjectKey, storage_class: Option<&str>) -> Result<(), Error> {
        let (mut info, bytes) = self.find(from)?;
        if matches!(info.restore_status, RestoreStatus::Archived | RestoreStatus::Restoring) {
            return Err(Error::new(ErrorKind::Archived, format!("the object `{from}`")));
        }
        info.key = to.clone();
        info.modified_at = self.clock.now();
        info.storage_class = storage_class.map(Into::into);
        info.restore_status = archive_of(storage_class);
        self.objects.write().unwrap_or_else(PoisonError::into_inner).insert(to.clone(), (info, bytes));
        Ok(())
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), Error> {
        self.objects.write().unwrap_or_else(PoisonError::into_inner).remove(key);
        Ok(())
    }

    /// Restores the object at once.
    async fn restore(&self, key: &ObjectKey, days: u32, _: RestoreTier) -> Result<(), Error> {
        let mut objects = self.objects.write().unwrap_or_else(PoisonError::into_inner);
        let (info, _) = objects.get_mut(key).ok_or_else(|| Error::not_found(key))?;
        if info.restore_status == RestoreStatus::None {
            return Err(Error::new(ErrorKind::Unsupported, "the object is not archived"));
        }
        info.restore_status = RestoreStatus::RestoredUntil(self.clock.now() + Duration::from_hours(24) * days);
        Ok(())
    }

    async fn presign(&self, request: &PresignRequest) -> Result<PresignedRequest, Error> {
        self.links.as_ref().ok_or_else(|| Error::unsupported("signed URLs"))?.sign(request)
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}
