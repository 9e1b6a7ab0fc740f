//! Backups: the objects of storages are part of them, and archives can be stored in buckets.

#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _};
use omnistack_core::{
    BoxError,
    backup::{BackupContent, BackupLocation, BackupObject, BackupPart, BackupStream},
};

use crate::{ErrorKind, ObjectKey, PutOptions, Storage, UploadBody};

/// Objects that one list has.
const OBJECTS_PER_LIST: usize = 1000;
/// The beginning of the keys of archives in the app's own storage. They are not part of backups.
const ARCHIVE_PREFIX: &str = "backups/";

/// All objects of a storage, except archives of backups.
pub(crate) struct StoredObjects {
    name: &'static str,
    storage: Storage,
}

impl StoredObjects {
    pub(crate) fn new(name: &'static str, storage: Storage) -> Self {
        Self { name, storage }
    }
}

#[async_trait]
impl BackupPart for StoredObjects {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn list(&self, after: Option<&str>) -> Result<Vec<String>, BoxError> {
        let mut after = after.map(ObjectKey::new).transpose()?;
        loop {
            let page = self.storage.list("", after.as_ref(), OBJECTS_PER_LIST).await?;
            let last = page.objects.last().map(|object| object.key.clone());
            let keys = page.objects.into_iter().map(|object| object.key.to_string());
            let keys: Vec<_> = keys.filter(|key| !key.starts_with(ARCHIVE_PREFIX)).collect();
            // A page that has archives only is not the end.
            if !keys.is_empty() || !page.has_more || last.is_none() {
                return Ok(keys);
            }
            after = last;
        }
    }

    async fn open(&self, key: &str) -> Result<BackupObject, BoxError> {
        match self.storage.get(&ObjectKey::new(key)?).await {
            Ok(object) => {
                let body = object.body.map_err(BoxError::from).boxed();
                Ok(BackupObject::Content(BackupContent::new(object.info.size, object.info.content_type, body)))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Ok(BackupObject::Skipped("it was deleted while the backup was made".into()))
            }
            Err(error) if error.kind() == ErrorKind::Archived => {
                Ok(BackupObject::Skipped("it is in an archive of the provider, and must be restored first".into()))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn restore(&self, key: &str, content: BackupContent) -> Result<(), BoxError> {
        let BackupContent { size, content_type, body, .. } = content;
        let options = content_type.map(PutOptions::content_type).unwrap_or_default();
        self.storage.put_with(&ObjectKey::new(key)?, upload(body).size(size), &options).await?;
        Ok(())
    }
}

fn upload(body: BackupStream) -> UploadBody {
    UploadBody::from_stream(body.map_err(|error| crate::Error::new(ErrorKind::Other, error)).boxed())
}

async fn write(storage: &Storage, key: &ObjectKey, archive: BackupStream) -> Result<(), BoxError> {
    let options = PutOptions::content_type("application/x-tar");
    storage.put_with(key, upload(archive), &options).await?;
    Ok(())
}

async fn read(storage: &Storage, key: &ObjectKey) -> Result<BackupStream, BoxError> {
    Ok(storage.get(key).await?.body.map_err(BoxError::from).boxed())
}

/// The app's own storage as a place for archives: `storage:backups/NAME.tar`.
pub(crate) struct OwnStorageLocation(pub(crate) Storage);

impl OwnStorageLocation {
    fn key(url: &str) -> Result<ObjectKey, BoxError> {
        let key = url.split_once(':').map_or("", |(_, key)| key).trim_start_matches('/');
        if !key.starts_with(ARCHIVE_PREFIX) {
            return Err(format!("`{url}` must begin with `storage:{ARCHIVE_PREFIX}`").into());
        }
        Ok(ObjectKey::new(key)?)
    }
}

#[async_trait]
impl BackupLocation for OwnStorageLocation {
    async fn write(&self, url: &str, archive: BackupStream) -> Result<(), BoxError> {
        write(&self.0, &Self::key(url)?, archive).await
    }

    async fn read(&self, url: &str) -> Result<BackupStream, BoxError> {
        read(&self.0, &Self::key(url)?).await
    }
}

/// Opens the bucket of a provider.
#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
type OpenBucket = Arc<dyn Fn(&str, &str) -> Result<Storage, BoxError> + Send + Sync>;

/// Buckets as a place for archives: `s3://BUCKET/NAME.tar`.
#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
pub(crate) struct BucketLocation(OpenBucket);

#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
impl BucketLocation {
    /// Creates the place. `open` opens the bucket of a provider, both by their names.
    pub(crate) fn new(open: impl Fn(&str, &str) -> Result<Storage, BoxError> + Send + Sync + 'static) -> Self {
        Self(Arc::new(open))
    }

    fn find(&self, url: &str) -> Result<(Storage, ObjectKey), BoxError> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let Some((bucket, key)) = rest.split_once('/') else {
            return Err(format!("`{url}` has no name: write `{scheme}://BUCKET/NAME.tar`").into());
        };
        let provider = if scheme == "gs" { "gcs" } else { scheme };
        Ok(((self.0)(provider, bucket)?, ObjectKey::new(key)?))
    }
}

#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
#[async_trait]
impl BackupLocation for BucketLocation {
    async fn write(&self, url: &str, archive: BackupStream) -> Result<(), BoxError> {
        let (storage, key) = self.find(url)?;
        write(&storage, &key, archive).await
    }

    async fn read(&self, url: &str) -> Result<BackupStream, BoxError> {
        let (storage, key) = self.find(url)?;
        read(&storage, &key).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
    fn urls_name_a_bucket_and_a_key() {
        let location = BucketLocation::new(|provider, bucket| {
            assert_eq!((provider, bucket), ("gcs", "safe"));
            Ok(Storage::new(crate::Memory::default()))
        });
        let (_, key) = location.find("gs://safe/2030/nightly.tar").unwrap();
        assert_eq!(key.as_str(), "2030/nightly.tar");
        assert!(location.find("gs://safe").is_err());
    }

    #[test]
    fn archives_in_the_own_storage_have_their_own_prefix() {
        assert!(OwnStorageLocation::key("storage:other/a.tar").is_err());
        assert_eq!(OwnStorageLocation::key("storage:backups/a.tar").unwrap().as_str(), "backups/a.tar");
    }
}
