//! Operations that all buckets have in common, by `object_store`.

mod client;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, future};
use object_store::{
    Attribute, AttributeValue, Attributes, GetOptions, GetRange, GetResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt as _, PutMode, PutMultipartOptions, PutOptions as Put, PutPayload, path::Path,
};
use omnistack_core::{clock::Timestamp, crypto::Sha256};

pub(crate) use client::AppHttpClient;

use crate::{
    Error, ErrorKind, ObjectKey,
    object::{ByteRange, ListResult, Object, ObjectMetadata, PutOptions, PutResult, UploadBody},
};

/// The smallest size of a part in bytes. Two parts are in memory at the same time.
const MIN_PART_BYTES: usize = 8 * 1024 * 1024;
/// The largest number of parts of an object, with a margin to the 10,000 that S3 allows.
const MAX_PARTS: u64 = 9_000;
/// The name of the metadata that holds the SHA-256 of an object.
const CHECKSUM_METADATA: &str = "sha256";

/// A bucket.
#[derive(Clone, Debug)]
pub(crate) struct Bucket<S> {
    pub(crate) store: Arc<S>,
}

impl<S: ObjectStore> Bucket<S> {
    pub(crate) fn new(store: S) -> Self {
        Self { store: Arc::new(store) }
    }

    pub(crate) async fn put(
        &self,
        key: &ObjectKey,
        mut upload: UploadBody,
        options: &PutOptions,
    ) -> Result<PutResult, Error> {
        let path = path(key)?;
        let size = part_size(upload.declared_size());
        let first = upload.read_part(size).await?;
        if length(&first) == size {
            return self.put_parts(key, &path, upload, first, size, options).await;
        }
        let (bytes, sha256) = upload.digest()?;
        let mode = if options.create_only { PutMode::Create } else { PutMode::Overwrite };
        let put = Put { mode, attributes: attributes(options, Some(sha256)), ..Put::default() };
        let done = self.store.put_opts(&path, payload(first), put).await.map_err(put_error)?;
        Ok(PutResult::new(bytes, sha256).etag(done.e_tag))
    }

    async fn put_parts(
        &self,
        key: &ObjectKey,
        path: &Path,
        mut upload: UploadBody,
        first: Vec<Bytes>,
        size: usize,
        options: &PutOptions,
    ) -> Result<PutResult, Error> {
        self.check_absent(path, key, options).await?;
        let attributes = attributes(options, upload.expected_sha256());
        let put = PutMultipartOptions { attributes, ..PutMultipartOptions::default() };
        let begun = self.store.put_multipart_opts(path, put).await.map_err(put_error)?;
        let mut parts = AbortOnDrop(Some(begun));
        let mut part = first;
        while !part.is_empty() {
            let sent = parts.upload()?.put_part(payload(part));
            let sent = async { sent.await.map_err(put_error) };
            // The next part is read while this one is sent.
            ((), part) = tokio::try_join!(sent, upload.read_part(size))?;
        }
        let (bytes, sha256) = upload.digest()?;
        self.check_absent(path, key, options).await?;
        let done = parts.upload()?.complete().await.map_err(put_error)?;
        parts.0 = None;
        Ok(PutResult::new(bytes, sha256).etag(done.e_tag))
    }

    /// Fails with [`ErrorKind::Exists`] if the object exists and the options forbid to replace it. An object in
    /// several parts can't be created conditionally, so this is checked before and after the parts are sent.
    async fn check_absent(&self, path: &Path, key: &ObjectKey, options: &PutOptions) -> Result<(), Error> {
        if !options.create_only {
            return Ok(());
        }
        match self.store.head(path).await {
            Ok(_) => Err(Error::new(ErrorKind::Exists, format!("the object `{key}`"))),
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) async fn get(&self, key: &ObjectKey, range: Option<ByteRange>) -> Result<Object, Error> {
        let path = path(key)?;
        let wanted = match range {
            None => None,
            Some(ByteRange::Bounded(start, end)) if start < end => Some(GetRange::Bounded(start..end)),
            Some(ByteRange::From(start)) => Some(GetRange::Offset(start)),
            // An empty range is never satisfiable, and not all services support ranges that count from the end.
            Some(range) => {
                let range = range.resolve(self.head(key).await?.size)?;
                Some(GetRange::Bounded(range))
            }
        };
        let options = GetOptions { range: wanted, ..GetOptions::default() };
        let result = match self.store.get_opts(&path, options).await {
            Ok(result) => result,
            Err(error) => {
                let error = Error::from(error);
                // Services report in different ways that a range is not satisfiable.
                if let (Some(range), ErrorKind::Range | ErrorKind::Other | ErrorKind::Unavailable) =
                    (range, error.kind())
                {
                    range.resolve(self.head(key).await?.size)?;
                }
                return Err(error);
            }
        };
        let (info, range) = (info(key.clone(), &result.meta, &result.attributes), result.range.clone());
        Ok(Object { info, range, body: GetResult::into_stream(result).map_err(Error::from).boxed() })
    }

    pub(crate) async fn head(&self, key: &ObjectKey) -> Result<ObjectMetadata, Error> {
        let options = GetOptions { head: true, ..GetOptions::default() };
        let result = self.store.get_opts(&path(key)?, options).await?;
        Ok(info(key.clone(), &result.meta, &result.attributes))
    }

    pub(crate) async fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<ListResult, Error> {
        // Prefixes of `object_store` are folders.
        let folder = match prefix.rsplit_once('/') {
            Some((folder, _)) => match Path::parse(folder) {
                Ok(folder) => Some(folder),
                Err(_) => return Ok(ListResult::default()),
            },
            None => None,
        };
        let listed = match after {
            Some(after) => self.store.list_with_offset(folder.as_ref(), &path(after)?),
            None => self.store.list(folder.as_ref()),
        };
        let objects = listed
            .map_err(Error::from)
            .try_filter_map(|meta| {
                let found = ObjectKey::new(meta.location.as_ref()).ok();
                let found = found.filter(|key| key.as_str().starts_with(prefix));
                future::ready(Ok(found.map(|key| info(key, &meta, &Attributes::new()))))
            })
            .take(limit.saturating_add(1))
            .try_collect();
        Ok(ListResult::from_objects(objects.await?, limit))
    }

    pub(crate) async fn copy(&self, from: &ObjectKey, to: &ObjectKey) -> Result<(), Error> {
        Ok(self.store.copy(&path(from)?, &path(to)?).await?)
    }

    pub(crate) async fn delete(&self, key: &ObjectKey) -> Result<(), Error> {
        match self.store.delete(&path(key)?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// A multipart upload that is not complete. Dropping it aborts the upload, which deletes its parts.
struct AbortOnDrop(Option<Box<dyn MultipartUpload>>);

impl AbortOnDrop {
    fn upload(&mut self) -> Result<&mut Box<dyn MultipartUpload>, Error> {
        self.0.as_mut().ok_or_else(|| Error::new(ErrorKind::Other, "the multipart upload is complete"))
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        let (Some(mut upload), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) else { return };
        runtime.spawn(async move {
            if let Err(error) = upload.abort().await {
                tracing::warn!(target: "omnistack::storage", %error, "a multipart upload was not aborted; its parts remain in the bucket");
            }
        });
    }
}

/// Returns the size of the parts for an object of this size, so that it has at most `MAX_PARTS`.
fn part_size(size: Option<u64>) -> usize {
    let least = size.unwrap_or(0).div_ceil(MAX_PARTS);
    usize::try_from(least).unwrap_or(usize::MAX).max(MIN_PART_BYTES)
}

fn length(part: &[Bytes]) -> usize {
    part.iter().map(Bytes::len).sum()
}

fn payload(part: Vec<Bytes>) -> PutPayload {
    part.into_iter().collect()
}

pub(crate) fn path(key: &ObjectKey) -> Result<Path, Error> {
    Path::parse(key.as_str()).map_err(|error| Error::new(ErrorKind::InvalidKey, error))
}

fn attributes(options: &PutOptions, sha256: Option<Sha256>) -> Attributes {
    let mut attributes = Attributes::new();
    let mut set = |attribute, value: Option<String>| {
        if let Some(value) = value {
            attributes.insert(attribute, AttributeValue::from(value));
        }
    };
    set(Attribute::ContentType, options.content_type.clone());
    set(Attribute::StorageClass, options.storage_class.clone());
    set(Attribute::Metadata(CHECKSUM_METADATA.into()), sha256.map(|hash| hash.to_string()));
    attributes
}

fn info(key: ObjectKey, meta: &ObjectMeta, attributes: &Attributes) -> ObjectMetadata {
    let value = |attribute: Attribute| attributes.get(&attribute).map(|value| value.as_ref().to_owned());
    let modified = Timestamp::from_micros(meta.last_modified.timestamp_micros());
    let mut info = ObjectMetadata::new(key, meta.size, modified);
    info.etag.clone_from(&meta.e_tag);
    info.content_type = value(Attribute::ContentType);
    info.storage_class = value(Attribute::StorageClass);
    info.sha256 = value(Attribute::Metadata(CHECKSUM_METADATA.into())).and_then(|text| text.parse().ok());
    info
}

/// When an object is stored, "not found" means that the bucket does not exist.
fn put_error(error: object_store::Error) -> Error {
    match Error::from(error) {
        error if error.kind() == ErrorKind::NotFound => Error::new(ErrorKind::Configuration, error),
        error => error,
    }
}

impl From<object_store::Error> for Error {
    fn from(error: object_store::Error) -> Self {
        use object_store::Error as Cause;
        let kind = match &error {
            Cause::NotFound { .. } => ErrorKind::NotFound,
            Cause::AlreadyExists { .. } | Cause::Precondition { .. } | Cause::NotModified { .. } => ErrorKind::Exists,
            Cause::InvalidPath { .. } => ErrorKind::InvalidKey,
            Cause::NotSupported { .. } | Cause::NotImplemented { .. } => ErrorKind::Unsupported,
            Cause::PermissionDenied { .. } if error_chain_text(&error).contains("InvalidObjectState") => {
                ErrorKind::Archived
            }
            Cause::PermissionDenied { .. } | Cause::Unauthenticated { .. } | Cause::UnknownConfigurationKey { .. } => {
                ErrorKind::Configuration
            }
            _ => kind_from_text(&error_chain_text(&error)),
        };
        Self::new(kind, error)
    }
}

/// Returns the messages of an error and its causes. Only these contain the status code.
fn error_chain_text(error: &object_store::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

fn kind_from_text(text: &str) -> ErrorKind {
    let status = text.split("status code: ").nth(1).and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok());
    match status {
        Some(416) => ErrorKind::Range,
        Some(408 | 429) => ErrorKind::Unavailable,
        Some(507) => ErrorKind::StorageFull,
        Some(300..=399) => ErrorKind::Configuration,
        Some(400..=499_u16) => ErrorKind::Other,
        // A 5xx response, or no response at all.
        _ => ErrorKind::Unavailable,
    }
}
