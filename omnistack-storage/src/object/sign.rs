//! Requests and forms of somebody without credentials.

use std::{collections::BTreeMap, fmt, time::Duration};

use omnistack_core::{clock::Timestamp, http::Method};

use crate::{Error, ErrorKind, ObjectKey};

/// What somebody without credentials may do with one object for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SignRequest {
    /// GET or PUT.
    pub method: Method,
    /// With which object.
    pub key: ObjectKey,
    /// For how long, at most seven days.
    pub expires_in: Duration,
    /// Of a PUT: the media type it has to have. Of a GET: the `Content-Type` of the answer, where the provider can set it.
    pub content_type: Option<String>,
    /// Of a PUT: how many bytes it has to have.
    pub size: Option<u64>,
    /// Of a GET: the `Content-Disposition` of the answer.
    pub disposition: Option<String>,
}

impl SignRequest {
    /// Reading an object.
    pub fn get(key: ObjectKey, expires_in: Duration) -> Self {
        Self { method: Method::GET, key, expires_in, content_type: None, size: None, disposition: None }
    }

    /// Storing an object.
    pub fn put(key: ObjectKey, expires_in: Duration) -> Self {
        Self { method: Method::PUT, ..Self::get(key, expires_in) }
    }

    /// Of this media type, or answered with it.
    #[must_use]
    pub fn content_type(mut self, content_type: impl Into<String>) -> Self {
        self.content_type = Some(content_type.into());
        self
    }

    /// Of so many bytes.
    #[must_use]
    pub fn size(mut self, bytes: u64) -> Self {
        self.size = Some(bytes);
        self
    }

    /// Answered with this `Content-Disposition`.
    #[must_use]
    pub fn disposition(mut self, disposition: impl Into<String>) -> Self {
        self.disposition = Some(disposition.into());
        self
    }

    /// The longest a link may last.
    pub const LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);

    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.expires_in > Self::LONGEST || self.expires_in.as_secs() == 0 {
            return Err(Error::new(ErrorKind::Unsupported, "a link lasts from a second to seven days"));
        }
        Ok(())
    }
}

/// A request somebody without credentials can make.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SignedRequest {
    /// Its method.
    pub method: Method,
    /// Its address. Who has it may use it.
    pub url: String,
    /// Headers it has to have.
    pub headers: BTreeMap<String, String>,
    /// Until when it is good.
    pub expires_at: Timestamp,
}

impl SignedRequest {
    /// Good until then.
    pub fn new(method: Method, url: String, expires_at: Timestamp) -> Self {
        Self { method, url, headers: BTreeMap::new(), expires_at }
    }

    /// With a header it has to have.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }
}

/// Without the signature.
impl fmt::Debug for SignedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.url.split('?').next().unwrap_or_default();
        f.debug_struct("SignedRequest").field("method", &self.method).field("url", &place).finish_non_exhaustive()
    }
}

/// What a browser's form may store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PostPolicy {
    /// Under which name.
    pub key: ObjectKey,
    /// For how long it is good, at most seven days.
    pub expires_in: Duration,
    /// Bytes at most.
    pub max_size: u64,
    /// Its media type.
    pub content_type: Option<String>,
}

impl PostPolicy {
    /// At most so many bytes under this name.
    pub fn new(key: ObjectKey, max_size: u64, expires_in: Duration) -> Self {
        Self { key, expires_in, max_size, content_type: None }
    }

    /// Of this media type.
    #[must_use]
    pub fn content_type(mut self, content_type: impl Into<String>) -> Self {
        self.content_type = Some(content_type.into());
        self
    }
}

/// A form a browser can send, as `multipart/form-data`: these fields in any order, and `file` behind them.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PostForm {
    /// Where it is sent.
    pub url: String,
    /// Its fields.
    pub fields: BTreeMap<String, String>,
    /// Until when it is good.
    pub expires_at: Timestamp,
}

impl PostForm {
    /// Sent there with these fields until then.
    pub fn new(url: String, fields: BTreeMap<String, String>, expires_at: Timestamp) -> Self {
        Self { url, fields, expires_at }
    }
}

impl fmt::Debug for PostForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostForm").field("url", &self.url).finish_non_exhaustive()
    }
}
