//! Presigned requests and forms, for clients without credentials.

use std::{collections::BTreeMap, fmt, time::Duration};

use omnistack_core::{clock::Timestamp, http::Method};

use crate::{Error, ErrorKind, ObjectKey};

/// The parameters of a presigned request: one operation on one object, for a limited time.
///
/// ```
/// use std::time::Duration;
///
/// use omnistack_core::{clock::Clock, crypto::KeyRing};
/// use omnistack_storage::{UrlSigner, Memory, PresignRequest, Storage};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), omnistack_storage::Error> {
/// # let ring: KeyRing = KeyRing::new_key("example").parse()?;
/// # let links = UrlSigner::new(ring, Clock::system(), "https://app.example.com");
/// let storage = Storage::new(Memory::default().url_signer(links));
/// let request = PresignRequest::put("exports/7.csv".parse()?, Duration::from_secs(600)).content_type("text/csv").size(8);
/// let signed = storage.presign(&request).await?;
/// assert_eq!(signed.method, "PUT");
/// assert_eq!(signed.headers["content-type"], "text/csv");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PresignRequest {
    /// The method: GET to read the object, PUT to store it.
    pub method: Method,
    /// The key of the object.
    pub key: ObjectKey,
    /// Time for which the request is valid: 1 second to 7 days.
    pub expires_in: Duration,
    /// The media type that a PUT request must have, or the `Content-Type` of the response to a GET request if the
    /// provider can set it.
    pub content_type: Option<String>,
    /// The size in bytes that the body of a PUT request must have.
    pub size: Option<u64>,
    /// The `Content-Disposition` of the response to a GET request.
    pub content_disposition: Option<String>,
}

impl PresignRequest {
    /// Creates a request to read an object.
    pub fn get(key: ObjectKey, expires_in: Duration) -> Self {
        Self { method: Method::GET, key, expires_in, content_type: None, size: None, content_disposition: None }
    }

    /// Creates a request to store an object.
    pub fn put(key: ObjectKey, expires_in: Duration) -> Self {
        Self { method: Method::PUT, ..Self::get(key, expires_in) }
    }

    /// Sets the media type that a PUT must have, or that the response to a GET has.
    #[must_use]
    pub fn content_type(mut self, content_type: impl Into<String>) -> Self {
        self.content_type = Some(content_type.into());
        self
    }

    /// Sets the size in bytes that the body of a PUT must have.
    #[must_use]
    pub fn size(mut self, bytes: u64) -> Self {
        self.size = Some(bytes);
        self
    }

    /// Sets the `Content-Disposition` of the response to a GET.
    #[must_use]
    pub fn content_disposition(mut self, disposition: impl Into<String>) -> Self {
        self.content_disposition = Some(disposition.into());
        self
    }

    /// The longest duration for which a presigned request is valid: 7 days.
    pub const MAX_EXPIRY: Duration = Duration::from_secs(7 * 24 * 60 * 60);

    /// Fails with [`ErrorKind::Unsupported`] if the duration is not 1 second to 7 days.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.expires_in > Self::MAX_EXPIRY || self.expires_in.as_secs() == 0 {
            return Err(Error::new(ErrorKind::Unsupported, "a signed URL is valid for 1 second to 7 days"));
        }
        Ok(())
    }
}

/// A presigned request, which a client can make without credentials until it expires.
///
/// ```
/// use omnistack_storage::{Memory, Storage, UrlSigner};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), omnistack_storage::Error> {
/// # use omnistack_core::{clock::Clock, crypto::KeyRing};
/// # let ring: KeyRing = KeyRing::new_key("example").parse()?;
/// # let signer = UrlSigner::new(ring, Clock::system(), "https://app.example.com");
/// let storage = Storage::new(Memory::default().url_signer(signer));
/// let ten_minutes = std::time::Duration::from_secs(600);
/// let request = storage.presign_get(&"exports/7.csv".parse()?, ten_minutes).await?;
/// assert_eq!(request.method, "GET");
/// assert!(request.url.starts_with("https://app.example.com/"));
/// assert!(request.headers.is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PresignedRequest {
    /// The method.
    pub method: Method,
    /// The signed URL. Every client that has it can use it until it expires, so keep it secret.
    pub url: String,
    /// The headers the request must have.
    pub headers: BTreeMap<String, String>,
    /// When it expires.
    pub expires_at: Timestamp,
}

impl PresignedRequest {
    /// Creates a presigned request without headers.
    pub fn new(method: Method, url: String, expires_at: Timestamp) -> Self {
        Self { method, url, headers: BTreeMap::new(), expires_at }
    }

    /// Adds a header the request must have.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }
}

/// Omits the query, which contains the signature.
impl fmt::Debug for PresignedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.url.split('?').next().unwrap_or_default();
        f.debug_struct("PresignedRequest").field("method", &self.method).field("url", &place).finish_non_exhaustive()
    }
}

/// The policy of an upload form: the object that the form may store. See
/// [`Storage::post_form`](crate::Storage::post_form).
///
/// ```
/// use std::time::Duration;
///
/// use omnistack_storage::PostPolicy;
///
/// let policy = PostPolicy::new("photos/7.png".parse()?, 1 << 20, Duration::from_secs(600)).content_type("image/png");
/// assert_eq!(policy.max_size, 1_048_576);
/// # Ok::<_, omnistack_storage::KeyError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PostPolicy {
    /// The key of the object.
    pub key: ObjectKey,
    /// Time for which the form is valid: 1 second to 7 days.
    pub expires_in: Duration,
    /// The largest size in bytes.
    pub max_size: u64,
    /// The media type the object must have.
    pub content_type: Option<String>,
}

impl PostPolicy {
    /// Creates a policy for an object of at most `max_size` bytes.
    pub fn new(key: ObjectKey, max_size: u64, expires_in: Duration) -> Self {
        Self { key, expires_in, max_size, content_type: None }
    }

    /// Sets the media type the object must have.
    #[must_use]
    pub fn content_type(mut self, content_type: impl Into<String>) -> Self {
        self.content_type = Some(content_type.into());
        self
    }
}

/// A form with which a browser stores an object, sent as `multipart/form-data`: the fields in any order, then the
/// field `file`.
///
/// ```
/// use std::{collections::BTreeMap, time::Duration};
///
/// use omnistack_core::clock::Clock;
/// use omnistack_storage::PostForm;
///
/// let fields = BTreeMap::from([("key".to_owned(), "photos/7.png".to_owned())]);
/// let expires_at = Clock::system().now() + Duration::from_secs(600);
/// let form = PostForm::new("https://files.s3.amazonaws.com/".into(), fields, expires_at);
/// assert_eq!(form.fields["key"], "photos/7.png");
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PostForm {
    /// The URL the form is sent to.
    pub url: String,
    /// The fields, without `file`.
    pub fields: BTreeMap<String, String>,
    /// When it expires.
    pub expires_at: Timestamp,
}

impl PostForm {
    /// Creates a form.
    pub fn new(url: String, fields: BTreeMap<String, String>, expires_at: Timestamp) -> Self {
        Self { url, fields, expires_at }
    }
}

impl fmt::Debug for PostForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostForm").field("url", &self.url).finish_non_exhaustive()
    }
}
