//! The provider [`Cloudinary`], through Cloudinary's own API.

mod calls;
mod sign;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use omnistack_core::{
    SecretString,
    clock::Clock,
    crypto::{Sha256, Token},
    http::{
        Method,
        client::{Client, base_url},
    },
};

use self::calls::{Resource, UploadContent};
use crate::{
    Capabilities, Error, ErrorKind, ObjectKey, StorageProvider,
    object::{
        ByteRange, ListResult, Object, ObjectMetadata, PresignRequest, PresignedRequest, PutOptions, PutResult,
        UploadBody,
    },
};

/// The delivery type of all objects, with which they can't be read without a signature.
const DELIVERY_TYPE: &str = "authenticated";
/// The size of a part in bytes. Two parts are in memory at the same time. Cloudinary refuses parts below 5 MB,
/// except the last.
const PART_BYTES: usize = 8 * 1024 * 1024;
/// The largest size of a public id in bytes.
const MAX_PUBLIC_ID_BYTES: usize = 255;

/// A storage provider on Cloudinary, with raw files that can't be read without a signature.
///
/// Cloudinary is a service for media with fewer operations than a bucket. It can't refuse to replace an object,
/// has no signed URLs for storing, can't set a file name in signed URLs, and has no storage classes and archives.
/// A list is read as a whole, page by page, to sort it. A key has at most 255 bytes, where each byte other than
/// ASCII letters, digits, `.`, `-` and `/` counts three times. Reading an object requests its metadata first,
/// which counts towards the hourly limit of requests of the account.
///
/// ```
/// use omnistack_core::{clock::Clock, http::client::ClientSettings};
/// use omnistack_storage::{Cloudinary, Storage};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let client = ClientSettings::default().client()?;
/// let storage = Storage::new(Cloudinary::new("demo", "874837483274837", "secret", client, Clock::system())?);
/// assert_eq!(storage.name(), "cloudinary");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Cloudinary {
    cloud: String,
    key: String,
    secret: SecretString,
    client: Client,
    clock: Clock,
    api: String,
    delivery: String,
    patience: Duration,
    retries: usize,
}

impl Cloudinary {
    /// Creates a provider with the name of a cloud, its API key and its API secret.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] if the name of the cloud is invalid.
    pub fn new(
        cloud: impl Into<String>,
        key: impl Into<String>,
        secret: impl Into<SecretString>,
        client: Client,
        clock: Clock,
    ) -> Result<Self, Error> {
        let cloud = cloud.into();
        if cloud.is_empty() || !cloud.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
            let what = "the name of the cloud must contain only letters, digits, `-` and `_`";
            return Err(Error::new(ErrorKind::Configuration, what));
        }
        Ok(Self {
            cloud,
            key: key.into(),
            secret: secret.into(),
            client,
            clock,
            api: "https://api.cloudinary.com".into(),
            delivery: "https://res.cloudinary.com".into(),
            patience: Duration::from_secs(60),
            retries: 3,
        })
    }

    /// Sets other URLs for the API and for the delivery of objects.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] if a URL is not `https://…`, or `http://…` for a service on this machine.
    pub fn with_endpoints(mut self, api: &str, delivery: &str) -> Result<Self, Error> {
        for (place, url) in [(&mut self.api, api), (&mut self.delivery, delivery)] {
            base_url(url).map_err(|error| Error::new(ErrorKind::Configuration, error))?;
            url.trim_end_matches('/').clone_into(place);
        }
        Ok(self)
    }

    /// Sets how long to wait for a response, and between the pieces of an object; 60 seconds by default.
    #[must_use]
    pub fn idle_timeout(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sets how many times a request is repeated after a temporary failure; 3 times by default.
    #[must_use]
    pub fn max_retries(mut self, retries: usize) -> Self {
        self.retries = retries;
        self
    }

    /// Returns the parameters of an upload. Fails with [`ErrorKind::InvalidKey`] if the public id is longer than 255
    /// bytes.
    fn parameters(key: &ObjectKey, context: &[(&str, String)]) -> Result<BTreeMap<&'static str, String>, Error> {
        let public_id = sign::public_id(key.as_str());
        if public_id.len() > MAX_PUBLIC_ID_BYTES {
            return Err(Error::new(ErrorKind::InvalidKey, format!("`{key}` is too long for Cloudinary")));
        }
        let escaped = |value: &str| value.replace('=', "\\=").replace('|', "\\|");
        let context: Vec<_> = context.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
        Ok(BTreeMap::from([
            ("public_id", public_id),
            ("type", DELIVERY_TYPE.into()),
            ("overwrite", "true".into()),
            ("invalidate", "true".into()),
            ("context", context.join("|")),
        ]))
    }

    fn context(options: &PutOptions, sha256: Option<Sha256>, empty: bool) -> Vec<(&'static str, String)> {
        let plain = |text: &String| !text.contains(char::is_control);
        let content_type = options.content_type.clone().filter(plain).map(|text| ("content_type", text));
        let sha256 = sha256.map(|hash| ("sha256", hash.to_string()));
        let empty = empty.then(|| ("empty", "1".to_owned()));
        content_type.into_iter().chain(sha256).chain(empty).collect()
    }

    fn stored(answer: serde_json::Value, size: u64, sha256: Sha256) -> Result<PutResult, Error> {
        let resource: Resource = serde_json::from_value(answer).map_err(|error| Error::new(ErrorKind::Other, error))?;
        // Any valid key will do, because it is not used.
        let info = resource.info(ObjectKey::new("a")?);
        Ok(PutResult::new(size, sha256).etag(info.etag))
    }

    /// Sends an upload in parts, one after the other. An upload that stops before its last part creates no
    /// object.
    async fn put_parts(
        &self,
        key: &ObjectKey,
        mut upload: UploadBody,
        first: Vec<Bytes>,
        options: &PutOptions,
    ) -> Result<PutResult, Error> {
        let (id, mut start, mut part) = (Token::random().expose().to_owned(), 0, first);
        let parameters = Self::parameters(key, &Self::context(options, upload.expected_sha256(), false))?;
        loop {
            // The next part is read before this one is sent, to know whether this one is the last.
            let next = upload.read_part(PART_BYTES).await?;
            let end = start + length(&part) as u64;
            let total = if next.is_empty() { Some(upload.digest()?) } else { None };
            let of = total.map_or_else(|| "-1".to_owned(), |(size, _)| size.to_string());
            let range = format!("bytes {start}-{}/{of}", end - 1);
            let answer = self.upload(&parameters, &UploadContent::Bytes(part), Some((&id, range))).await?;
            if let Some((size, sha256)) = total {
                return Self::stored(answer, size, sha256);
            }
            (start, part) = (end, next);
        }
    }
}

fn length(part: &[Bytes]) -> usize {
    part.iter().map(Bytes::len).sum()
}

#[async_trait]
impl StorageProvider for Cloudinary {
    fn name(&self) -> &'static str {
        "cloudinary"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { checksum: true, presigned_get: true, ..Capabilities::default() }
    }

    async fn put(&self, key: &ObjectKey, mut upload: UploadBody, options: &PutOptions) -> Result<PutResult, Error> {
        if options.create_only {
            return Err(Error::unsupported("storing an object only if it does not exist"));
        }
        if options.storage_class.is_some() {
            return Err(Error::unsupported("storage classes"));
        }
        let first = upload.read_part(PART_BYTES).await?;
        if length(&first) == PART_BYTES {
            return self.put_parts(key, upload, first, options).await;
        }
        let (size, sha256) = upload.digest()?;
        let parameters = Self::parameters(key, &Self::context(options, Some(sha256), size == 0))?;
        let bytes = if size == 0 { vec![Bytes::from_static(b"\0")] } else { first };
        Self::stored(self.upload(&parameters, &UploadContent::Bytes(bytes), None).await?, size, sha256)
    }

    async fn get(&self, key: &ObjectKey, range: Option<ByteRange>) -> Result<Object, Error> {
        for _ in 0..4 {
            let resource = self.fetch_resource(key).await?;
            let info = resource.info(key.clone());
            let range = range.map_or(Ok(0..info.size), |range| range.resolve(info.size))?;
            let body = if resource.is_empty() {
                Some(stream::empty().boxed())
            } else {
                // `None` if the object was replaced between the two requests.
                self.fetch(&resource, range.clone()).await?
            };
            if let Some(body) = body {
                return Ok(Object { info, range, body });
            }
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            format!("the object `{key}` was replaced during each of 4 attempts to read it: try again"),
        ))
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMetadata, Error> {
        Ok(self.fetch_resource(key).await?.info(key.clone()))
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>, limit: usize) -> Result<ListResult, Error> {
        let (public, mut cursor) = (sign::public_id(prefix), None);
        let (mut least, mut infos) = (BTreeSet::new(), BTreeMap::new());
        loop {
            let page = self.fetch_page(&public, cursor.as_deref()).await?;
            for resource in page.resources {
                let key = sign::key(&resource.public_id).and_then(|key| ObjectKey::new(key).ok());
                let key = key.filter(|key| key.as_str().starts_with(prefix) && after.is_none_or(|after| key > after));
                let Some(key) = key else { continue };
                let info = ObjectMetadata { content_type: None, sha256: None, ..resource.info(key.clone()) };
                least.insert(key.clone());
                infos.insert(key, info);
                if least.len() > limit.saturating_add(1)
                    && let Some(last) = least.pop_last()
                {
                    infos.remove(&last);
                }
            }
            match page.next_cursor {
                Some(next) => cursor = Some(next),
                None => return Ok(ListResult::from_objects(infos.into_values().collect(), limit)),
            }
        }
    }

    /// Cloudinary reads the original from its own delivery URL.
    async fn copy(&self, from: &ObjectKey, to: &ObjectKey, storage_class: Option<&str>) -> Result<(), Error> {
        if storage_class.is_some() {
            return Err(Error::unsupported("changing the storage class of an object"));
        }
        let resource = self.fetch_resource(from).await?;
        if from == to {
            return Ok(());
        }
        let info = resource.info(from.clone());
        let options = PutOptions { content_type: info.content_type.clone(), ..PutOptions::default() };
        let parameters = Self::parameters(to, &Self::context(&options, info.sha256, resource.is_empty()))?;
        self.upload(&parameters, &UploadContent::At(self.delivery_url(&resource)), None).await?;
        Ok(())
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), Error> {
        let parameters = BTreeMap::from([
            ("public_id", sign::public_id(key.as_str())),
            ("type", DELIVERY_TYPE.to_owned()),
            ("invalidate", "true".to_owned()),
        ]);
        let url = self.endpoint("raw/destroy");
        let answer: Result<serde_json::Value, Error> = self
            .call(|| {
                // The body is a form, which is signed anew for each attempt.
                let signed = self.signed(parameters.clone());
                let query = reqwest::Url::parse_with_params("http://form/", &signed);
                let body = query.ok().and_then(|url| url.query().map(str::to_owned)).unwrap_or_default();
                self.client.post(&url).header("content-type", "application/x-www-form-urlencoded").body(body)
            })
            .await;
        match answer {
            Ok(answer) if matches!(answer["result"].as_str(), Some("ok" | "not found")) => Ok(()),
            Ok(answer) => Err(Error::new(ErrorKind::Other, format!("the object was not deleted: {answer}"))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Returns a download URL of the API, which expires. Delivery URLs do not expire.
    async fn presign(&self, request: &PresignRequest) -> Result<PresignedRequest, Error> {
        request.check()?;
        if request.method != Method::GET {
            return Err(Error::unsupported("signed URLs for storing"));
        }
        if request.content_disposition.is_some() {
            return Err(Error::unsupported("signed URLs that set a file name"));
        }
        let until = self.clock.now() + request.expires_in;
        let parameters = self.signed(BTreeMap::from([
            ("public_id", sign::public_id(request.key.as_str())),
            ("type", DELIVERY_TYPE.to_owned()),
            ("attachment", "true".to_owned()),
            ("expires_at", until.as_seconds().to_string()),
        ]));
        let url = reqwest::Url::parse_with_params(&self.endpoint("raw/download"), &parameters);
        let url = url.map_err(|error| Error::new(ErrorKind::Configuration, error))?;
        Ok(PresignedRequest::new(Method::GET, url.into(), until))
    }
}

impl fmt::Debug for Cloudinary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cloudinary").field("cloud", &self.cloud).field("api", &self.api).finish_non_exhaustive()
    }
}
