//! The provider [`S3`]: buckets of Amazon S3 and of S3-compatible services.

mod calls;

use std::{fmt, time::Duration};

use async_trait::async_trait;
use object_store::{
    BackoffConfig, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder, AwsCredential},
};
use omnistack_core::{
    ExposeSecret as _, SecretString,
    clock::{Clock, Timestamp},
    http::{
        Method,
        client::{Client, base_url},
    },
};

use super::{
    MAX_RETRY_TIME,
    bucket::{AppHttpClient, Bucket},
    sigv4::{SigV4Signer, SignableRequest, encode_path},
};
use crate::{
    Capabilities, Error, ErrorKind, ObjectKey, StorageProvider,
    object::{
        ByteRange, ListResult, Object, ObjectMetadata, PostForm, PostPolicy, PresignRequest, PresignedRequest,
        PutOptions, PutResult, RestoreTier, UploadBody,
    },
};

/// The configuration of an [`S3`] bucket.
///
/// ```
/// use omnistack_core::{clock::Clock, http::client::ClientSettings};
/// use omnistack_storage::{S3Builder, Storage};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let client = ClientSettings::default().client()?;
/// let bucket = S3Builder::new("files", "eu-central-1").credentials("AKIAIOSFODNN7EXAMPLE", "secret").max_retries(5);
/// let storage = Storage::new(bucket.build(client, Clock::system())?);
/// assert_eq!(storage.name(), "s3");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct S3Builder {
    name: &'static str,
    bucket: String,
    region: String,
    endpoint: Option<String>,
    credentials: Option<(String, SecretString, Option<SecretString>)>,
    patience: Duration,
    retries: usize,
}

impl S3Builder {
    /// Creates the configuration of a bucket of Amazon S3. Without [`credentials`](Self::credentials), the role
    /// of the machine is used.
    pub fn new(bucket: impl Into<String>, region: impl Into<String>) -> Self {
        Self {
            name: "s3",
            bucket: bucket.into(),
            region: region.into(),
            endpoint: None,
            credentials: None,
            patience: Duration::from_secs(60),
            retries: 3,
        }
    }

    /// Creates the configuration of a bucket of Cloudflare R2, which has one region, and neither the storage
    /// classes and archives of S3 nor upload forms.
    pub fn r2(bucket: impl Into<String>, account: &str) -> Self {
        let endpoint = format!("https://{account}.r2.cloudflarestorage.com");
        Self { name: "r2", ..Self::new(bucket, "auto").endpoint(endpoint) }
    }

    /// Sets the URL of an S3-compatible service: `https://…`, or `http://…` for a service on this machine. The
    /// bucket is the first part of the path there (path style).
    pub fn endpoint(mut self, url: impl Into<String>) -> Self {
        self.endpoint = Some(url.into());
        self
    }

    /// Sets the access key id and the secret access key.
    pub fn credentials(mut self, key_id: impl Into<String>, secret: impl Into<SecretString>) -> Self {
        self.credentials = Some((key_id.into(), secret.into(), None));
        self
    }

    /// Sets the session token of temporary credentials. Has no effect without [`credentials`](Self::credentials),
    /// which must be called before.
    pub fn session_token(mut self, token: impl Into<SecretString>) -> Self {
        if let Some((.., session)) = &mut self.credentials {
            *session = Some(token.into());
        }
        self
    }

    /// Sets how long to wait for a response to begin, and between the pieces of its body; 60 seconds by default.
    pub fn idle_timeout(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sets how many times a request is repeated after a temporary failure; 3 times by default.
    pub fn max_retries(mut self, retries: usize) -> Self {
        self.retries = retries;
        self
    }

    /// Creates the provider.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] if the URL, or the name of the bucket or region, is invalid.
    pub fn build(self, client: Client, clock: Clock) -> Result<S3, Error> {
        let wrong = |what: String| Error::new(ErrorKind::Configuration, what);
        let plain = |text: &str| {
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
        };
        if !plain(&self.bucket) || !plain(&self.region) {
            return Err(wrong(
                "the names of the bucket and the region must contain only letters, digits, `.`, `-` and `_`".into(),
            ));
        }
        let address = match &self.endpoint {
            Some(endpoint) => format!("{}/{}", endpoint.trim_end_matches('/'), self.bucket),
            None => format!("https://{}.s3.{}.amazonaws.com", self.bucket, self.region),
        };
        let url = base_url(&address).map_err(|error| wrong(format!("the URL of the bucket is invalid: {error}")))?;
        let host = match (url.host_str(), url.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (host, _) => host.unwrap_or_default().to_owned(),
        };
        let connector = AppHttpClient { client: client.clone(), idle_timeout: self.patience };
        let backoff = BackoffConfig { max_backoff: Duration::from_secs(2), ..BackoffConfig::default() };
        let retry = RetryConfig { backoff, max_retries: self.retries, retry_timeout: MAX_RETRY_TIME };
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&self.bucket)
            .with_region(&self.region)
            .with_http_connector(connector)
            .with_retry(retry)
            .with_allow_http(url.scheme() == "http")
            // Deletes one object per request: not all services support the request for several objects, and it
            // reports failures less precisely.
            .with_disable_bulk_delete(true);
        builder = match &self.endpoint {
            Some(endpoint) => builder.with_endpoint(endpoint.trim_end_matches('/')),
            None => builder.with_virtual_hosted_style_request(true),
        };
        if let Some((key_id, secret, token)) = &self.credentials {
            builder = builder.with_access_key_id(key_id).with_secret_access_key(secret.expose_secret());
            if let Some(token) = token {
                builder = builder.with_token(token.expose_secret());
            }
        }
        let store = builder.build().map_err(|error| Error::new(ErrorKind::Configuration, error))?;
        let prefix = url.path().trim_end_matches('/').to_owned();
        let origin = format!("{}://{host}", url.scheme());
        Ok(S3 { settings: self, bucket: Bucket::new(store), client, clock, origin, host, prefix })
    }
}

/// A storage provider on a bucket of Amazon S3 or of an S3-compatible service. Created by [`S3Builder::build`].
///
/// An object of more than 8 MiB is sent in parts, of which two are in memory at the same time. If an upload
/// fails, its parts are deleted. A process that is killed leaves the parts behind, so give the bucket a lifecycle
/// rule that aborts incomplete multipart uploads after some days.
///
/// ```
/// use std::time::Duration;
///
/// use omnistack_core::{clock::Clock, http::client::ClientSettings};
/// use omnistack_storage::{PostPolicy, S3Builder, Storage};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// # let client = ClientSettings::default().client()?;
/// let bucket = S3Builder::new("files", "eu-central-1").credentials("AKIAIOSFODNN7EXAMPLE", "secret");
/// let storage = Storage::new(bucket.build(client, Clock::system())?);
/// let policy = PostPolicy::new("photos/7.png".parse()?, 1 << 20, Duration::from_secs(600)).content_type("image/png");
/// let form = storage.post_form(&policy).await?;
/// assert_eq!(form.fields["key"], "photos/7.png");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct S3 {
    settings: S3Builder,
    bucket: Bucket<AmazonS3>,
    client: Client,
    clock: Clock,
    /// The scheme, host and port of the URL.
    origin: String,
    host: String,
    /// The prefix of the path of each object.
    prefix: String,
}

impl S3 {
    fn is_r2(&self) -> bool {
        self.settings.name == "r2"
    }

    fn path(&self, key: &ObjectKey) -> String {
        format!("{}/{}", self.prefix, encode_path(key.as_str()))
    }

    async fn credential(&self) -> Result<std::sync::Arc<AwsCredential>, Error> {
        Ok(self.bucket.store.credentials().get_credential().await?)
    }

    fn signer<'a>(&'a self, credential: &'a AwsCredential) -> SigV4Signer<'a> {
        SigV4Signer {
            key_id: &credential.key_id,
            secret: &credential.secret_key,
            token: credential.token.as_deref(),
            region: &self.settings.region,
            now: self.clock.now(),
        }
    }

    fn until(&self, expires_in: Duration) -> Timestamp {
        self.clock.now() + expires_in
    }

    /// Fails with [`ErrorKind::Unsupported`] if `refused` is set and the bucket is one of R2.
    fn refuse_on_r2(&self, refused: bool, what: &'static str) -> Result<(), Error> {
        if refused && self.is_r2() { Err(Error::unsupported(what)) } else { Ok(()) }
    }
}

#[async_trait]
impl StorageProvider for S3 {
    fn name(&self) -> &'static str {
        self.settings.name
    }

    fn capabilities(&self) -> Capabilities {
        let amazon = !self.is_r2();
        Capabilities {
            create_only: true,
            checksum: true,
            presigned_get: true,
            presigned_put: true,
            presigned_put_size: true,
            // R2 does not support POST with forms.
            post_form: amazon,
            storage_classes: amazon,
            change_storage_class: amazon,
            restore: amazon,
        }
    }

    async fn put(&self, key: &ObjectKey, upload: UploadBody, options: &PutOptions) -> Result<PutResult, Error> {
        self.refuse_on_r2(options.storage_class.is_some(), "storage classes")?;
        self.bucket.put(key, upload, options).await
    }

    async fn get(&self, key: &ObjectKey, range: Option<ByteRange>) -> Result<Object, Error> {
        self.bucket.get(key, range).await
    }

    /// Sends a request of its own, because `object_store` returns neither the storage class nor the archive
    /// status.
    async fn head(&self, key: &ObjectKey) -> Result<ObjectMetadata, Error> {
        self.head_object(key).await
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>, limit: usize) -> Result<ListResult, Error> {
        self.bucket.list(prefix, after, limit).await
    }

    async fn copy(&self, from: &ObjectKey, to: &ObjectKey, storage_class: Option<&str>) -> Result<(), Error> {
        self.refuse_on_r2(storage_class.is_some(), "storage classes")?;
        match storage_class {
            Some(class) => self.copy_to_class(from, to, class).await,
            // S3 refuses to copy an object onto itself without a change.
            None if from == to => self.head(from).await.map(|_| ()),
            None => self.bucket.copy(from, to).await,
        }
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), Error> {
        self.bucket.delete(key).await
    }

    async fn presign(&self, request: &PresignRequest) -> Result<PresignedRequest, Error> {
        request.check()?;
        let credential = self.credential().await?;
        let path = self.path(&request.key);
        let mut signed = SignableRequest {
            method: request.method.as_str(),
            host: &self.host,
            path: &path,
            query: Vec::new(),
            headers: std::collections::BTreeMap::new(),
        };
        let mut needed = Vec::new();
        if request.method == Method::PUT {
            if let Some(content_type) = &request.content_type {
                needed.push(("content-type", content_type.clone()));
            }
            if let Some(size) = request.size {
                needed.push(("content-length", size.to_string()));
            }
        } else {
            let answered = [
                ("response-content-disposition", &request.content_disposition),
                ("response-content-type", &request.content_type),
            ];
            signed.query.extend(answered.into_iter().filter_map(|(name, value)| Some((name.into(), value.clone()?))));
        }
        signed.headers.extend(needed.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        let query = self.signer(&credential).presigned_query(signed, request.expires_in)?;
        let url = format!("{}{path}?{query}", self.origin);
        let answer = PresignedRequest::new(request.method.clone(), url, self.until(request.expires_in));
        Ok(needed.into_iter().fold(answer, |answer, (name, value)| answer.header(name, value)))
    }

    async fn post_form(&self, policy: &PostPolicy) -> Result<PostForm, Error> {
        self.refuse_on_r2(true, "upload forms for browsers")?;
        PresignRequest::put(policy.key.clone(), policy.expires_in).check()?;
        let credential = self.credential().await?;
        let fields = self.signer(&credential).form(&self.settings.bucket, &policy.key, policy)?;
        let url = format!("{}{}/", self.origin, self.prefix);
        Ok(PostForm::new(url, fields, self.until(policy.expires_in)))
    }

    async fn restore(&self, key: &ObjectKey, days: u32, tier: RestoreTier) -> Result<(), Error> {
        self.refuse_on_r2(true, "archives")?;
        self.restore_object(key, days, tier).await
    }
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3")
            .field("origin", &self.origin)
            .field("bucket", &self.settings.bucket)
            .finish_non_exhaustive()
    }
}
