//! The provider [`Azure`]: containers of Azure Blob Storage.

mod sas;

use std::{fmt, time::Duration};

use async_trait::async_trait;
use object_store::{
    azure::{MicrosoftAzure, MicrosoftAzureBuilder},
    signer::Signer as _,
};
use omnistack_core::{
    ExposeSecret as _, SecretString,
    clock::Clock,
    http::{
        Method,
        client::{Client, base_url},
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

/// A storage provider on a container of Azure Blob Storage.
///
/// An access tier (`Cool`, `Cold`, `Archive`) can be set when an object is stored. Signed URLs for storing can't
/// enforce a media type or size. Without the account key, signed URLs for reading can't set a file name.
///
/// ```
/// use omnistack_core::{clock::Clock, http::client::ClientSettings};
/// use omnistack_storage::{Azure, Storage};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let client = ClientSettings::default().client()?;
/// let key = "c2VjcmV0".into();
/// let storage = Storage::new(Azure::new("account", "files", Some(&key), client, Clock::system())?);
/// assert_eq!(storage.name(), "azure");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Azure {
    bucket: Bucket<MicrosoftAzure>,
    clock: Clock,
    base: String,
    account: String,
    container: String,
    /// The account key; without it, the machine's managed identity signs.
    key: Option<SecretString>,
}

impl Azure {
    /// Opens a container of an account with the account key, or with the machine's managed identity if `key` is
    /// `None`.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] if the key or a name is invalid.
    pub fn new(
        account: &str,
        container: &str,
        key: Option<&SecretString>,
        client: Client,
        clock: Clock,
    ) -> Result<Self, Error> {
        Self::open(None, account, container, key, client, clock)
    }

    /// Opens a container as [`new`](Self::new) does, at the URL of an account that is not Azure's: `https://…`,
    /// or `http://…` for a service on this machine.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] if the URL, the key or a name is invalid.
    pub fn with_endpoint(
        url: &str,
        account: &str,
        container: &str,
        key: Option<&SecretString>,
        client: Client,
        clock: Clock,
    ) -> Result<Self, Error> {
        Self::open(Some(url), account, container, key, client, clock)
    }

    fn open(
        url: Option<&str>,
        account: &str,
        container: &str,
        key: Option<&SecretString>,
        client: Client,
        clock: Clock,
    ) -> Result<Self, Error> {
        let connector = AppHttpClient { client, idle_timeout: Duration::from_secs(60) };
        let mut builder = MicrosoftAzureBuilder::new()
            .with_account(account)
            .with_container_name(container)
            .with_http_connector(connector);
        if let Some(key) = key {
            builder = builder.with_access_key(key.expose_secret());
        }
        if let Some(url) = url {
            let checked = base_url(url).map_err(|error| Error::new(ErrorKind::Configuration, error))?;
            let url = url.trim_end_matches('/').to_owned();
            builder = builder.with_endpoint(url).with_allow_http(checked.scheme() == "http");
        }
        let store = builder.build().map_err(|error| Error::new(ErrorKind::Configuration, error))?;
        let base = match url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("https://{account}.blob.core.windows.net"),
        };
        let (account, container) = (account.to_owned(), container.to_owned());
        Ok(Self { bucket: Bucket::new(store), clock, base, account, container, key: key.cloned() })
    }
}

#[async_trait]
impl StorageProvider for Azure {
    fn name(&self) -> &'static str {
        "azure"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            create_only: true,
            checksum: true,
            presigned_get: true,
            presigned_put: true,
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
            None => self.bucket.copy(from, to).await,
        }
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), Error> {
        self.bucket.delete(key).await
    }

    async fn presign(&self, request: &PresignRequest) -> Result<PresignedRequest, Error> {
        request.check()?;
        if request.size.is_some() {
            return Err(Error::unsupported("signed URLs that enforce a size"));
        }
        let (method, until) = (request.method.clone(), self.clock.now() + request.expires_in);
        let url = match &self.key {
            Some(key) => sas::SasUrl {
                base: &self.base,
                account: &self.account,
                container: &self.container,
                key: key.expose_secret(),
                blob: &request.key,
                method: &method,
                until,
                disposition: request.content_disposition.as_deref(),
                content_type: request.content_type.as_deref().filter(|_| method == Method::GET),
            }
            .url()?,
            None if request.content_disposition.is_some() => {
                return Err(Error::unsupported("signed URLs that set a file name"));
            }
            None => {
                let path = path(&request.key)?;
                self.bucket.store.signed_url(method.clone(), &path, request.expires_in).await?.into()
            }
        };
        let signed = PresignedRequest::new(method.clone(), url, until);
        Ok(match &request.content_type {
            _ if method != Method::PUT => signed,
            Some(content_type) => {
                signed.header("x-ms-blob-type", "BlockBlob").header("content-type", content_type.clone())
            }
            None => signed.header("x-ms-blob-type", "BlockBlob"),
        })
    }
}

impl fmt::Debug for Azure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Azure").field("bucket", &self.bucket.store.to_string()).finish_non_exhaustive()
    }
}
