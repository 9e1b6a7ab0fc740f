//! The provider [`Gcs`]: buckets of Google Cloud Storage.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use object_store::{
    ClientOptions, StaticCredentialProvider,
    gcp::{GcpCredential, GoogleCloudStorage, GoogleCloudStorageBuilder},
    signer::{SignedUrlOptions, Signer as _},
};
use omnistack_core::{
    clock::Clock,
    http::{
        HeaderValue, Method,
        client::{Client, base_url},
        header,
    },
};

use super::bucket::{AppHttpClient, Bucket, path};
use crate::{
    Capabilities, Error, ErrorKind, ObjectKey, StorageProvider,
    object::{
        ByteRange, ListResult, Object, ObjectMetadata, PresignRequest, PresignedRequest, PutOptions, PutResult,
        UploadBody,
    },
};

/// A storage provider on a bucket of Google Cloud Storage.
///
/// An object of more than 8 MiB is sent in parts, of which two are in memory at the same time. If an upload
/// fails, its parts are deleted; a process that is killed leaves them behind. A storage class (`NEARLINE`,
/// `COLDLINE`, `ARCHIVE`) can be set when an object is stored; objects of each class can be read at once. To
/// change the class later, give the bucket a lifecycle rule. Signed URLs for storing can't enforce a size.
///
/// ```
/// use omnistack_core::{clock::Clock, http::client::ClientSettings};
/// use omnistack_storage::{Gcs, Storage};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let client = ClientSettings::default().client()?;
/// // Without the key of a service account, that of the machine is used, which can't create signed URLs.
/// let storage = Storage::new(Gcs::new("files", None, client, Clock::system())?);
/// assert_eq!(storage.name(), "gcs");
/// assert!(!storage.capabilities().presigned_get);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Gcs {
    bucket: Bucket<GoogleCloudStorage>,
    clock: Clock,
    signs: bool,
}

impl Gcs {
    /// Opens a bucket with the key of a service account (the JSON text from Google), or with the machine's
    /// service account if `key` is `None`, which can't create signed URLs.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] if the key is invalid.
    pub fn new(bucket: &str, key: Option<&str>, client: Client, clock: Clock) -> Result<Self, Error> {
        Self::open(None, bucket, key, client, clock)
    }

    /// Opens a bucket as [`new`](Self::new) does, at a URL that is not Google's: `https://…`, or `http://…` for a
    /// service on this machine. With `http://`, no access token is requested or sent.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] if the URL or the key is invalid.
    pub fn with_endpoint(
        url: &str,
        bucket: &str,
        key: Option<&str>,
        client: Client,
        clock: Clock,
    ) -> Result<Self, Error> {
        Self::open(Some(url), bucket, key, client, clock)
    }

    fn open(url: Option<&str>, bucket: &str, key: Option<&str>, client: Client, clock: Clock) -> Result<Self, Error> {
        let connector = AppHttpClient { client, idle_timeout: Duration::from_secs(60) };
        let mut builder = GoogleCloudStorageBuilder::new().with_bucket_name(bucket).with_http_connector(connector);
        if let Some(key) = key {
            builder = builder.with_service_account_key(key);
        }
        if let Some(url) = url {
            let checked = base_url(url).map_err(|error| Error::new(ErrorKind::Configuration, error))?;
            builder = builder.with_base_url(url.trim_end_matches('/'));
            if checked.scheme() == "http" {
                let nobody = GcpCredential { bearer: String::new() };
                builder = builder
                    .with_credentials(Arc::new(StaticCredentialProvider::new(nobody)))
                    .with_client_options(ClientOptions::new().with_allow_http(true));
            }
        }
        let store = builder.build().map_err(|error| Error::new(ErrorKind::Configuration, error))?;
        Ok(Self { bucket: Bucket::new(store), clock, signs: key.is_some() })
    }
}

#[async_trait]
impl StorageProvider for Gcs {
    fn name(&self) -> &'static str {
        "gcs"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            create_only: true,
            checksum: true,
            presigned_get: self.signs,
            presigned_put: self.signs,
            storage_classes: true,
            ..Capabilities::default()
        }
    }

    async fn put(&self, key: &ObjectKey, upload: UploadBody, options: &PutOptions) -> Result<PutResult, Error> {
        self.bucket.put(key, upload, options).await
    }

    async fn get(&self, key: &ObjectKey, range: Option<ByteRange>) -> Result<Object, Error> {
        self.bucket.get(key, range).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMetadata, Error> {
        self.bucket.head(key).await
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>, limit: usize) -> Result<ListResult, Error> {
        self.bucket.list(prefix, after, limit).await
    }

    async fn copy(&self, from: &ObjectKey, to: &ObjectKey, storage_class: Option<&str>) -> Result<(), Error> {
        match storage_class {
            Some(_) => Err(Error::unsupported("changing the storage class of an object")),
            None if from == to => self.head(from).await.map(|_| ()),
            None => self.bucket.copy(from, to).await,
        }
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), Error> {
        self.bucket.delete(key).await
    }

    async fn presign(&self, request: &PresignRequest) -> Result<PresignedRequest, Error> {
        if !self.signs {
            return Err(Error::unsupported("signed URLs without the key of a service account"));
        }
        request.check()?;
        let mut options = SignedUrlOptions::new();
        let mut needed = None;
        match (&request.method, &request.content_type) {
            (&Method::PUT, Some(content_type)) => {
                let value = HeaderValue::from_str(content_type).map_err(|error| Error::new(ErrorKind::Other, error))?;
                options = options.with_signed_header(header::CONTENT_TYPE, value);
                needed = Some(content_type.clone());
            }
            (&Method::GET, content_type) => {
                let answered = [
                    ("response-content-disposition", &request.content_disposition),
                    ("response-content-type", content_type),
                ];
                let answered = answered.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
                options = options.with_query(answered);
            }
            _ => {}
        }
        let (path, method) = (path(&request.key)?, request.method.clone());
        let url = self.bucket.store.signed_url_opts(method.clone(), &path, request.expires_in, &options).await?;
        let signed = PresignedRequest::new(method, url.into(), self.clock.now() + request.expires_in);
        Ok(match needed {
            Some(content_type) => signed.header("content-type", content_type),
            None => signed,
        })
    }
}

impl fmt::Debug for Gcs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gcs").field("bucket", &self.bucket.store.to_string()).finish_non_exhaustive()
    }
}
